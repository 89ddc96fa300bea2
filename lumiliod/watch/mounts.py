"""What is mounted where: which file systems tell nothing of what others change, and when a disk comes or goes."""

import os
import re
import select
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import trio

TABLE = "/proc/self/mountinfo"

_REMOTE = frozenset({
    b"nfs", b"nfs4", b"cifs", b"smb3", b"smbfs", b"9p", b"ceph", b"glusterfs", b"lustre", b"afs", b"coda", b"ncpfs",
    b"ocfs2", b"gfs2", b"gpfs", b"beegfs", b"orangefs", b"vboxsf", b"vmhgfs", b"prl_fs", b"virtiofs", b"fuse",
})  # fmt: skip
_LOCAL_FUSE = frozenset({b"fuseblk", b"fuse.mergerfs"})
"""Through these everything goes that is changed here, and nothing is changed elsewhere: inotify tells it."""

_INODES = frozenset({b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"zfs", b"f2fs", b"jfs", b"bcachefs", b"tmpfs"})
"""File systems whose inodes are numbered on the disk, where a file keeps its number (FAT's have none)."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


def why_polled(root: str, table: str = TABLE) -> str | None:
    """Return why changes below ``root`` are not told by the system, None when they are. Blocks.

    One that lies below it counts, too. What cannot be told counts as a local disk.
    """
    kind, below = _kinds(root, table)
    for place, other in below.items():
        if _is_remote(other):
            return f"{os.fsdecode(place)} in it is on {os.fsdecode(other)}"
    return f"it is on {os.fsdecode(kind)}" if kind is not None and _is_remote(kind) else None


def keeps_inodes(root: str, table: str = TABLE) -> bool:
    """Tell whether a file has one inode number as long as it is there, under whatever name. Blocks."""
    kind, below = _kinds(root, table)
    return kind in _INODES and all(other in _INODES for other in below.values())


def below(root: str, known: Collection[bytes], table: str = TABLE) -> tuple[set[bytes], set[bytes]]:
    """Return where below ``root`` file systems are mounted, and which of the ``known`` such places are bare. Blocks.

    A place that something lies in by now is a folder like others.
    """
    there = set(_kinds(root, table)[1])
    return there, {place for place in known if place not in there and _is_bare(os.path.join(os.fsencode(root), place))}


def _is_bare(path: bytes) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _kinds(root: str, table: str) -> tuple[bytes | None, dict[bytes, bytes]]:
    """Return the type of the file system that ``root`` is on, None where none is told, and of those below it."""
    try:
        lines = Path(table).read_bytes().splitlines()
    except OSError:
        return None, {}
    folder = os.fsencode(root).rstrip(b"/") + b"/"
    kind: bytes | None = None
    below: dict[bytes, bytes] = {}
    longest = -1
    for line in lines:
        own, _, others = line.partition(b" - ")
        place = _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), own.split(b" ")[4]).rstrip(b"/") + b"/"
        if place != folder and place.startswith(folder):
            below[place[len(folder) :].rstrip(b"/")] = others.split(b" ")[0]
        # a later line hides those before it
        if folder.startswith(place) and len(place) >= longest:
            longest, kind = len(place), others.split(b" ")[0]
    return kind, below


def _is_remote(kind: bytes) -> bool:
    return kind in _REMOTE or (kind.startswith(b"fuse.") and kind not in _LOCAL_FUSE)


class Mounts:
    """Tells when something is mounted or unmounted (proc(5): the table is ready for POLLPRI then, once for each look).

    In a thread of its own: an epoll in trio's would look twice, at registering and at waiting, and lose what the first
    look saw.
    """

    def __enter__(self) -> "Mounts":
        self._table = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = trio.CapacityLimiter(1)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._wake)
        os.close(self._table)

    async def changed(self) -> None:
        """Wait until something is mounted or unmounted, or was since it was waited for last."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_when_cancelled)
            await trio.to_thread.run_sync(self._wait, limiter=self._thread)
            nursery.cancel_scope.cancel()

    def _wait(self) -> None:
        poll = select.poll()
        # without POLLIN, for which it is always ready
        poll.register(self._table, select.POLLPRI)
        poll.register(self._wake, select.POLLIN)
        poll.poll()

    async def _wake_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            os.eventfd_write(self._wake, 1)
