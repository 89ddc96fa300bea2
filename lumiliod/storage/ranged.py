"""A file whose bytes come in ranges from far away: seekable, with a read-ahead that grows while reading goes on."""

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from lumiliod.storage import durable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST_BYTES = 256 << 10
"""Read after opening or seeking: what a header needs."""

MOST_BYTES = 8 << 20
"""Read at once after that, and all that is kept in memory."""


class Ranged(io.RawIOBase):
    """A raw file of ``size_bytes``; what it raises is what ``fetch`` raises.

    Args:
        size_bytes: its size, which does not change.
        fetch: returns all bytes of a range ``[start, end)`` that lies within the file.
    """

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size = size_bytes
        self._fetch = fetch
        self._position = 0
        self._block = memoryview(b"")
        self._block_at = 0
        self._ahead = FIRST_BYTES // 2

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, which may lie behind the end; nothing is read."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read up to as many bytes as ``buffer`` holds; 0 at the end."""
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if not view or self._position >= self._size:
            return 0
        ready = self._here()[: len(view)]
        view[: len(ready)] = ready
        self._position += len(ready)
        return len(ready)

    def close(self) -> None:
        """Give up what is in memory."""
        self._block = memoryview(b"")
        super().close()

    def _here(self) -> memoryview:
        """Return what is known from the position on, fetching it if nothing is."""
        end = self._block_at + len(self._block)
        if not self._block_at <= self._position < end:
            durable.check_cancelled()
            self._ahead = min(self._ahead * 2, MOST_BYTES) if self._position == end else FIRST_BYTES
            until = min(self._position + self._ahead, self._size)
            self._block = memoryview(self._fetch(self._position, until))
            self._block_at = self._position
        return self._block[self._position - self._block_at :]
