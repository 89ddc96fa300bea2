"""Pages of a bucket in the byte order of paths, out of two listings; memory for one answer of each."""

import heapq
import itertools
from collections.abc import Iterator

import obstore

from lumiliod.domain.ids import RepoPath, path_bytes
from lumiliod.storage import s3_keys
from lumiliod.storage.backend import Entry
from lumiliod.storage.s3_bucket import Bucket, stat_of


def page(bucket: Bucket, after: RepoPath | None, limit: int) -> list[Entry]:
    """Return up to ``limit`` files whose path follows ``after``; what nobody could have stored is left out."""
    start = b"" if after is None else path_bytes(after)
    with bucket.reaching("list", bucket.location):
        both = heapq.merge(_plain(bucket, after), _odd(bucket, after), key=_raw)
        follows = itertools.dropwhile(lambda entry: _raw(entry) <= start, both)
        return list(itertools.islice(follows, limit))


def _plain(bucket: Bucket, after: RepoPath | None) -> Iterator[Entry]:
    """Give the files whose path is their key, from about ``after`` on, skipping what is ours."""
    prefix = bucket.opened.prefix
    offset = None if after is None else s3_keys.offset_of(prefix, after)
    for key, entry in _entries(bucket, "", offset):
        if key.startswith(prefix + s3_keys.OURS):
            break
        if entry is not None:
            yield entry
    else:
        return
    for _, entry in _entries(bucket, "", prefix + s3_keys.AFTER_OURS):
        if entry is not None:
            yield entry


def _odd(bucket: Bucket, after: RepoPath | None) -> Iterator[Entry]:
    """Give the files whose path is no key."""
    offset = None if after is None else s3_keys.bytes_offset_of(bucket.opened.prefix, after)
    for _, entry in _entries(bucket, s3_keys.BYTES, offset):
        if entry is not None:
            yield entry


def _entries(bucket: Bucket, below: str, offset: str | None) -> Iterator[tuple[str, Entry | None]]:
    prefix = bucket.opened.prefix
    pages = obstore.list(bucket.opened.store, f"{prefix}{below}".rstrip("/") or None, offset=offset, chunk_size=1000)
    for found in itertools.chain.from_iterable(pages):
        path = s3_keys.path_of(prefix, found["path"])
        yield found["path"], None if path is None else Entry(path, stat_of(found))


def _raw(entry: Entry) -> bytes:
    return path_bytes(entry.path)
