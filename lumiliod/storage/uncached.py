"""Reading what the disk has, not what stands of it in memory: for bytes that are believed, or let go, afterwards."""

import os
from collections.abc import Callable

from blake3 import blake3

from lumiliod.domain.ids import Digest
from lumiliod.storage import blocks, durable

DROP_BYTES = 8 << 20
"""How much of a file may stand in the page cache on our account."""


def uncached_digest(fd: int, count: Callable[[int], object] | None = None) -> tuple[Digest, int]:
    """Return the digest of an open file from its start, as the disk has it, and how many bytes that were.

    Pages that are not written yet stay; fsync first where that matters. ``count`` is told the bytes of each block. In a
    thread of trio it ends within a block when its caller is cancelled. Raises OSError.
    """
    # what is dropped beforehand is really read; what is dropped afterwards leaves the others' pages alone
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    hasher = blake3()
    done = dropped = 0
    os.lseek(fd, 0, os.SEEK_SET)
    with blocks.lent() as block:
        while read := os.readv(fd, [block]):
            durable.check_cancelled()
            hasher.update(block[:read])
            done += read
            if count is not None:
                count(read)
            if done - dropped >= DROP_BYTES:
                os.posix_fadvise(fd, dropped, done - dropped, os.POSIX_FADV_DONTNEED)
                dropped = done
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return Digest(hasher.hexdigest()), done
