"""Small JSON files of ours, on disks that rot and that others write to: read as a type, or not to be believed."""

import errno
import os
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

DigestText = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
SizeBytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
"""What open(2) answers for nothing, a link and a socket."""

_T = TypeVar("_T")


def decode(raw: bytes, kind: type[_T]) -> _T | None:
    """Return what JSON says as ``kind``; None when it does not, whatever else it holds.

    msgspec answers bad UTF-8 with UnicodeDecodeError, a ValueError as its own errors are, and deep nesting with
    RecursionError.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, OverflowError, RecursionError):
        return None


def read(path: str, kind: type[_T], *, max_bytes: int) -> _T | None:
    """Return what a file says as ``kind``; None when it is not there or not to be believed. Blocks.

    Links, pipes and what is larger than ``max_bytes`` are not believed.

    Raises:
        OSError: the disk fails, which says nothing of the file; or a folder lies there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    try:
        raw = os.read(fd, max_bytes + 1)
    finally:
        os.close(fd)
    return decode(raw, kind) if len(raw) <= max_bytes else None
