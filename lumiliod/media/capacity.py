"""How many media workers a machine carries, and how much memory each may use."""

import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.5
"""What all workers together may take of the machine's memory; the rest is the database's, the cache's and others'."""
ENOUGH_MB = 1024
"""With so much a worker decodes all but the rarest pictures: rather one fewer than several with less."""
LEAST_MB = 256


def planned(workers: int, memory_limit_mb: int, cores: int, memory_bytes: int) -> tuple[int, int]:
    """Return the number of workers and the limit of each in MiB, so that all fit into their share of the memory.

    A number that was asked for stays; else there is one per core, as long as each has enough. What is left over raises
    nobody's limit, what lacks lowers it: 2 GB make one worker with 1 GiB, 8 GB and four cores four of them.

    Args:
        workers: 0 means as many as are sensible.
        memory_limit_mb: the most one may use.
        cores: how many can run at once.
        memory_bytes: the machine's, or what of it we may use.
    """
    share_mb = int(memory_bytes * MEMORY_SHARE) >> 20
    workers = workers or max(1, min(cores, share_mb // min(ENOUGH_MB, memory_limit_mb)))
    limit_mb = min(memory_limit_mb, max(LEAST_MB, share_mb // workers))
    if limit_mb < memory_limit_mb:
        log.info("a media worker may use %d MiB, not %d: there is no more memory", limit_mb, memory_limit_mb)
    return workers, limit_mb


def memory_bytes() -> int:
    """Return the machine's memory, or the least that a control group above us allows."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                own = Path("/sys/fs/cgroup", path.lstrip("/"))
                limits += filter(None, map(_limit, (own, *own.parents)))
    return min(limits)


def _limit(group: Path) -> int | None:
    try:
        return int((group / "memory.max").read_text())
    except (OSError, ValueError):  # no such control, or ``max``
        return None
