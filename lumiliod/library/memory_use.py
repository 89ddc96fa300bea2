"""The memory of this process and of what it started, by what these are."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lumiliod.storage import hasher

PROCESSES_MAX = 1000

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_NAMES = {"postgres": "database", "perl": "exiftool", "exiftool": "exiftool", hasher.NAME: "hashing"}

Use = dict[str, int]
"""Bytes by ``daemon | database | exiftool | hashing | media``."""


def memory_use() -> Use:
    """Return the bytes of this process and all below it. Blocks for some 20 ms.

    What processes share is divided among them (proportional set size) where the kernel tells; else it counts for each.
    """
    own = os.getpid()
    found: Use = {}
    for pid in _tree(own):
        with suppress(OSError, ValueError):
            what = "daemon" if pid == own else _what(pid)
            found[what] = found.get(what, 0) + _bytes(pid)
    return found


def _tree(root: int) -> Iterator[int]:
    ahead, seen = [root], 0
    while ahead and seen < PROCESSES_MAX:
        pid = ahead.pop()
        seen += 1
        yield pid
        with suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                ahead += map(int, (task / "children").read_text().split())


def _what(pid: int) -> str:
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    return _NAMES.get(name, "media")


def _bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
