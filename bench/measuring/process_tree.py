"""Trees of processes: who is in one, and what all of them take."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

SAMPLE_S = 5.0
"""A look at the memory of 25 processes takes 20 ms of CPU, which what is measured does not have."""


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found, ahead = [], [root]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def cpu_s(root: int) -> float:
    """Return the CPU time of a tree: of every living process and of the children each has reaped (proc(5))."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree_memory_mb(root: int, *, with_shared: bool) -> float:
    """Return the proportional set size of a tree: shared pages count once, or not at all."""
    total_kb = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
                elif line.startswith("Pss_Shmem:") and not with_shared:
                    total_kb -= int(line.split()[1])
    return total_kb / 1024


@contextlib.contextmanager
def peak_memory(root: int, *, with_shared: bool = True, every_s: float = SAMPLE_S) -> Iterator[list[float]]:
    """Sample a tree's memory now and then into the list it gives.

    Without what is shared, the buffers of PostgreSQL do not count: they fill up to their setting, whatever is done.
    """
    samples, done = [_tree_memory_mb(root, with_shared=with_shared)], threading.Event()

    def sample() -> None:
        while not done.wait(every_s):
            samples.append(_tree_memory_mb(root, with_shared=with_shared))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
