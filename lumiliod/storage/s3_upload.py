"""Bytes into a bucket, without ever replacing any.

- Up to :data:`WHOLE_BYTES`: one PUT with ``If-None-Match: *`` (Amazon S3 User Guide, "Conditional writes").
- More: in parts to a key of our own, and from there into place by a copy that gives way to what is there:
  on S3 a CompleteMultipartUpload with ``If-None-Match: *``, on Google ``x-goog-if-generation-match: 0``, on
  Azure ``If-None-Match: *``. The client cannot put that condition on the upload's own completion
  (object_store 0.14, ``PutMultipartOptions``). So a file that is cut off is never seen under its name.
- Where the store ignores conditions, what is there is looked at right before; two writers at the same moment
  can then replace each other.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import obstore
from obstore import exceptions

from lumiliod.domain.errors import Conflict, NotFound, Refused, Unavailable
from lumiliod.domain.ids import RepoPath, shown
from lumiliod.storage import durable, s3_errors, s3_probe
from lumiliod.storage.s3_bucket import Bucket, TakenError

WHOLE_BYTES = 8 << 20
"""Sent in one request at most, and the least size of a part; four of them are in memory."""

MAX_S3_BYTES = 5 << 30
"""The largest object S3 copies in one part (Amazon S3 User Guide, "Amazon S3 multipart upload limits").

A larger one could only be completed under its own name, where the client sends no condition: it might replace what
another writer has stored meanwhile. So it is refused before a byte is sent.
"""

_PARTS = 9_000  # S3 takes 10,000
_PARTS_AT_ONCE = 2


def put_new(bucket: Bucket, fd: int, path: RepoPath, honoured: s3_probe.Honoured) -> bool:
    """Store the open file ``fd`` as ``path``; returns and raises as a backend's ``put_new``."""
    size = os.fstat(fd).st_size
    if size > MAX_S3_BYTES and bucket.opened.scheme == "s3":
        message = f"{shown(path)} has {size} bytes; a bucket of S3 takes 5 GiB ({MAX_S3_BYTES} bytes) a file at most"
        raise Refused(message, code="too_large")
    if size > WHOLE_BYTES or not honoured.put:
        with suppress(NotFound):
            return _is_there(bucket, fd, size, path)
    try:
        if size <= WHOLE_BYTES:
            with bucket.reaching("store", path, writing=True):
                mode: Literal["create", "overwrite"] = "create" if honoured.put else "overwrite"
                obstore.put(bucket.opened.store, bucket.key(path), _read(fd, 0, size), mode=mode)
        else:
            _put_large(bucket, fd, size, path, honoured)
        stored = bucket.head(path, writing=True)["size"]
    except NotFound as error:
        raise s3_errors.senseless(f"{shown(path)} was taken and is not there") from error
    except TakenError as error:
        try:
            return _is_there(bucket, fd, size, path)
        except NotFound:  # S3 answers 409 while another writer is at it
            message = f"{shown(path)} is just being written by somebody else"
            raise Unavailable(message, code="unstable", after_s=s3_errors.UNSTABLE_AFTER_S) from error
    if stored != size:
        raise s3_errors.senseless(f"{shown(path)} has {stored} bytes instead of {size}")
    return True


def _put_large(bucket: Bucket, fd: int, size: int, path: RepoPath, honoured: s3_probe.Honoured) -> None:
    store, temp = bucket.opened.store, s3_probe.temporary_key(bucket)
    part = max(WHOLE_BYTES, -(-size // _PARTS))
    try:
        with bucket.reaching("store", path, writing=True):
            obstore.put(
                store, temp, _blocks(fd, size), use_multipart=True, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
            )
            taken = obstore.head(store, temp)["size"]
            if taken != size:
                raise s3_errors.senseless(f"{taken} bytes of {size} of {shown(path)} arrived")
            if not honoured.copy and _exists(bucket, path):
                raise TakenError
            obstore.copy(store, temp, bucket.key(path), overwrite=not honoured.copy)
    finally:
        with suppress(exceptions.BaseError, FileNotFoundError):
            obstore.delete(store, temp)


def _is_there(bucket: Bucket, fd: int, size: int, path: RepoPath) -> bool:
    """Return False when ``path`` holds the bytes of the source; an ETag is never believed to say so.

    Raises:
        Conflict: it holds others (``name_taken``). NotFound: nothing is there.
    """
    found = bucket.head(path, writing=True)
    same = found["size"] == size
    for start in range(0, size, WHOLE_BYTES):
        if same:
            end = min(start + WHOLE_BYTES, size)
            same = bucket.read(path, found, start, end, writing=True) == _read(fd, start, end)
    if not same:
        raise Conflict(f"{shown(path)} holds other bytes", code="name_taken", path=shown(path))
    return False


def _exists(bucket: Bucket, path: RepoPath) -> bool:
    try:
        bucket.head(path, writing=True)
    except NotFound:
        return False
    return True


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    for start in range(0, size, durable.BLOCK_BYTES):
        yield _read(fd, start, min(start + durable.BLOCK_BYTES, size))


def _read(fd: int, start: int, end: int) -> bytes:
    """Return all bytes of a range of the source.

    Raises:
        Conflict: it is shorter now (``unstable``).
    """
    durable.check_cancelled()
    data = bytearray()
    with durable.translated("read", "the source"):
        while len(data) < end - start:
            block = os.pread(fd, end - start - len(data), start + len(data))
            if not block:
                raise Conflict("the source changed while it was stored", code="unstable")
            data += block
    return bytes(data)
