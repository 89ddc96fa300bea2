"""How the state of a file fits into the columns of a row: bigints, where the file system has more."""

from collections.abc import Mapping
from typing import Any

from lumiliod.domain.assets import FileStat

_INODE_MASK = (1 << 64) - 1
_TIME_MAX_NS = (1 << 63) - 1


def file_stat(row: Mapping[str, Any]) -> FileStat:
    """Return a state from the columns ``size_bytes``, ``mtime_ns`` and ``inode``."""
    return FileStat(row["size_bytes"], row["mtime_ns"], unsigned(row["inode"]))


def columns(stat: FileStat) -> dict[str, int]:
    """Fit a state into bigints: unsigned inodes, and years beyond 2262."""
    return {"size_bytes": stat.size_bytes, "mtime_ns": fitting(stat.mtime_ns), "inode": signed(stat.inode)}


def fitting(number: int) -> int:
    """Return the bigint that is nearest to ``number``, as a time in nanoseconds beyond 2262."""
    return max(min(number, _TIME_MAX_NS), -_TIME_MAX_NS - 1)


def signed(inode: int) -> int:
    """Fit an unsigned 64-bit inode number into a bigint."""
    return inode - (1 << 64) if inode >= 1 << 63 else inode


def unsigned(inode: int) -> int:
    """Return the inode number that :func:`signed` made a bigint of."""
    return inode & _INODE_MASK
