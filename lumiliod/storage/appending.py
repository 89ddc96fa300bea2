"""Long files written at their end: past the page cache, where that is known to pay.

What arrives once and is not read soon gains nothing from memory, and takes that from everybody else: finding free
pages, copying into them and writing them back costs more processor time than hashing does. So from some size on, whole
blocks go straight to the disk (``O_DIRECT``, open(2)); what is not whole, or lies anywhere else in memory than
:func:`block` puts it, goes the usual way.
"""

import ctypes
import errno
import fcntl
import mmap
import os

from lumiliod.storage import durable

DIRECT_FROM_BYTES = 32 << 20
"""How long a file has to be: shorter ones are read again at once, for their pictures."""

ALIGNED_BYTES = 4096
"""What offsets, sizes and addresses are multiples of; no disk wants more."""

_EXT4, _XFS = 0xEF53, 0x58465342
_DIRECT_ON = frozenset({_EXT4, _XFS})
"""File systems (statfs(2)) that write past the cache as fast as through it; others copy, compress or ask a server."""

_STATFS_BYTES = 256
_libc = ctypes.CDLL(None, use_errno=True)


def block(size_bytes: int) -> mmap.mmap:
    """Return memory that begins where a disk can read it."""
    return mmap.mmap(-1, size_bytes)


def lead_bytes(offset: int) -> int:
    """Return how many bytes less the first block from ``offset`` on has, so that all others begin at a multiple."""
    return offset % ALIGNED_BYTES


class Appender:
    """Writes blocks one after the other, from where an open file is; nothing is durable by it.

    Args:
        fd: open for writing, and nobody else's meanwhile.
        offset: where it is.
    """

    def __init__(self, fd: int, offset: int = 0) -> None:
        self._fd = fd
        self._offset = offset
        self._begun = offset
        self._may_be_direct: bool | None = None

    def write(self, content: bytes | memoryview) -> None:
        """Write all of ``content``. Blocks.

        Raises:
            OSError: the disk does not take it; some of it may be there.
        """
        view = memoryview(content)
        whole = len(view) - len(view) % ALIGNED_BYTES
        if whole and self._offset % ALIGNED_BYTES == 0 and self._offset >= DIRECT_FROM_BYTES and self._goes_direct():
            view = view[self._write_direct(view[:whole]) :]
        if view:
            durable.write_all(self._fd, view)
            self._offset += len(view)
            if self._offset - self._begun >= durable.WRITEBACK_BYTES:
                self._begin_writeback()

    def _goes_direct(self) -> bool:
        if self._may_be_direct is None:
            self._may_be_direct = _file_system(self._fd) in _DIRECT_ON
            self._begin_writeback()
        return self._may_be_direct

    def _write_direct(self, view: memoryview) -> int:
        """Write past the cache; return how much of it could be."""
        written = 0
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        try:
            # only now: whoever reads from the descriptor need not know
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # this disk wants something else of us, or took less than a multiple
            self._may_be_direct = False
        finally:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)
            self._offset += written
            self._begun = self._offset
        return written

    def _begin_writeback(self) -> None:
        durable.begin_writeback(self._fd, self._begun, self._offset - self._begun)
        self._begun = self._offset


def _file_system(fd: int) -> int:
    """Return the type of the file system that an open file is on (``f_type``), 0 where it cannot be told."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
