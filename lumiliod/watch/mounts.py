"""What is mounted where: which file systems tell nothing of what others change, and when a disk comes or goes."""

import os
import re
import select
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

_OCTAL = re.compile(rb"\\([0-7]{3})")


def why_polled(root: str, table: str = TABLE) -> str | None:
    """Return why changes below ``root`` are not told by the system, None when they are. Blocks.

    One that lies below it counts, too. What cannot be told counts as a local disk.
    """
    try:
        lines = Path(table).read_bytes().splitlines()
    except OSError:
        return None
    folder = os.fsencode(root).rstrip(b"/") + b"/"
    kind: bytes | None = None
    longest = -1
    for line in lines:
        own, _, others = line.partition(b" - ")
        place = _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), own.split(b" ")[4]).rstrip(b"/") + b"/"
        if place != folder and place.startswith(folder):
            below = others.split(b" ")[0]
            if _is_remote(below):
                return f"{os.fsdecode(place[len(folder) :]).rstrip('/')} in it is on {os.fsdecode(below)}"
        # a later line hides those before it
        if folder.startswith(place) and len(place) >= longest:
            longest, kind = len(place), others.split(b" ")[0]
    return f"it is on {os.fsdecode(kind)}" if kind is not None and _is_remote(kind) else None


def _is_remote(kind: bytes) -> bool:
    return kind in _REMOTE or (kind.startswith(b"fuse.") and kind not in _LOCAL_FUSE)


class Mounts:
    """Tells when something is mounted or unmounted (proc(5): the table is ready for EPOLLPRI then)."""

    def __enter__(self) -> "Mounts":
        self._table = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.epoll()
        # without EPOLLIN, for which it is always ready
        self._poll.register(self._table, select.EPOLLPRI)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._poll.close()
        os.close(self._table)

    async def changed(self) -> None:
        """Wait until something is mounted or unmounted."""
        await trio.lowlevel.wait_readable(self._poll.fileno())
        self._poll.poll(0)
