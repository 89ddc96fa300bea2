"""Memory that files are read into, lent to one thread after the other.

A block that is fresh for every file is cleared by the kernel page by page, which takes as long as hashing what is
read into it.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from lumiliod.storage.durable import BLOCK_BYTES

KEPT = 8
"""So many blocks stay when nobody reads."""

_kept: deque[memoryview] = deque(maxlen=KEPT)


@contextmanager
def lent() -> Iterator[memoryview]:
    """Lend a block of ``BLOCK_BYTES`` with anything in it; what is made of it must not outlive the context."""
    try:
        block = _kept.pop()
    except IndexError:
        block = memoryview(bytearray(BLOCK_BYTES))
    try:
        yield block
    finally:
        _kept.append(block)
