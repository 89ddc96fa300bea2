"""inotify(7), as the kernel gives it: watches on folders by their bytes, and what happened in them; blocking, briefly.

The masks of ``include/uapi/linux/inotify.h``.
"""

import ctypes
import errno
import os
import struct
from typing import NamedTuple

ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED, ISDIR = 0x2000, 0x4000, 0x8000, 0x4000_0000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK = 0x100_0000, 0x200_0000, 0x400_0000

CHANGES = ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE

_HEAD = struct.Struct("iIII")
_BLOCK_BYTES = 1 << 16
_READS = 32
"""How often it is read at once: whoever floods it does not keep what is known from being used."""

_LIBC = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """What happened to ``name`` in the folder of a watch; without a name, to the folder, or to the queue."""

    watch: int
    mask: int
    name: bytes


class Inotify:
    """A queue of events, and the watches that fill it; closed by who made it.

    Raises:
        OSError: EMFILE, there are too many already.
    """

    def __init__(self) -> None:
        self._fd = _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """Return the descriptor that is readable when something happened."""
        return self._fd

    def add(self, folder: bytes, *, itself: bool = False, follow: bool = False) -> int:
        """Watch a folder and return the watch's number; one that is watched already keeps its own.

        Args:
            folder: its absolute path.
            itself: whether it is told, too, when the folder is moved or removed.
            follow: whether the path may be a symbolic link.

        Raises:
            OSError: ENOSPC, there are too many watches; or it cannot be read, or is no folder.
        """
        mask = CHANGES | _ONLYDIR | _EXCL_UNLINK
        mask |= (DELETE_SELF | MOVE_SELF) * itself | _DONT_FOLLOW * (not follow)
        return _checked(_LIBC.inotify_add_watch(self._fd, folder, ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """Watch a folder no longer; nothing where that has gone."""
        if _LIBC.inotify_rm_watch(self._fd, watch) and ctypes.get_errno() != errno.EINVAL:
            _checked(-1)

    def read(self) -> list[Event]:
        """Return what happened, in its order; nothing when nothing did."""
        events: list[Event] = []
        for _ in range(_READS):
            try:
                block = os.read(self._fd, _BLOCK_BYTES)
            except BlockingIOError:
                break
            at = 0
            while at < len(block):
                watch, mask, _cookie, length = _HEAD.unpack_from(block, at)
                at += _HEAD.size + length
                events.append(Event(watch, mask, block[at - length : at].rstrip(b"\0")))
        return events

    def close(self) -> None:
        """Give up the queue with all its watches; doing it again is nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
