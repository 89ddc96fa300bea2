"""Open originals, and files that are written for them, in threads: a disk that hangs holds up nothing else."""

import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable

DISK_AGAIN_S = 10.0
"""When it makes sense to try again what a disk failed at."""


def open_original(path: bytes) -> int:
    """Open a regular file for reading, following no link at its last part; the caller closes it.

    Raises:
        NotFound: it is gone.
        Permanent: ``unreadable``, ``unsupported`` (no regular file) or ``empty``.
        Unavailable: ``io_error``, the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        facts = os.fstat(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("the file is gone") from error
    except PermissionError as error:
        raise Permanent("the file may not be read", code="unreadable") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Permanent("the file is a symbolic link", code="unreadable") from error
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise Permanent("not a regular file", code="unsupported") from error
        raise disk_failed(error) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        os.close(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Permanent("not a regular file", code="unsupported")
        raise Permanent("the file is empty", code="empty")
    return descriptor


def disk_failed(error: OSError) -> Unavailable:
    """Return the error of a disk that fails."""
    return Unavailable(f"the disk failed: {error.strerror}", code="io_error", after_s=DISK_AGAIN_S)


@asynccontextmanager
async def opened(path: bytes, limiter: trio.CapacityLimiter) -> AsyncIterator[int]:
    """Hand out an original, opened by :func:`open_original`; a caller that gives up does not wait for the disk."""
    async with opened_all([path], limiter) as [one]:
        if isinstance(one, LumilioError):
            raise one
        yield one


@asynccontextmanager
async def opened_all(paths: Sequence[bytes], limiter: trio.CapacityLimiter) -> AsyncIterator[list[int | LumilioError]]:
    """Hand out originals as :func:`opened` does one, or why one cannot be opened."""
    found: list[int | LumilioError] = []
    abandoned = threading.Event()

    def close() -> None:
        with suppress(IndexError):
            while True:
                one = found.pop()  # one thread gets it
                if isinstance(one, int):
                    os.close(one)

    def open_them() -> None:
        for path in paths:
            try:
                found.append(open_original(path))
            except LumilioError as error:
                found.append(error)
        if abandoned.is_set():
            close()

    try:
        await trio.to_thread.run_sync(open_them, abandon_on_cancel=True, limiter=limiter)
        yield list(found)
    finally:
        abandoned.set()
        close()


@asynccontextmanager
async def made(path: str, limiter: trio.CapacityLimiter) -> AsyncIterator[int]:
    """Hand out a new file, empty and open for reading and writing.

    Raises:
        Unavailable: ``io_error``, the disk fails.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = await trio.to_thread.run_sync(os.open, path, flags, 0o600, limiter=limiter)
    except OSError as error:
        raise disk_failed(error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
