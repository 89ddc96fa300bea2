"""What an object store keeps of its promises, and what uploads that died left behind.

A store that does not know ``If-None-Match`` ignores it and replaces what is there, without a word. So it is
tried out before anything is entrusted to it, with keys of our own.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import obstore
from obstore import exceptions

from lumiliod.storage import s3_errors, s3_keys
from lumiliod.storage.s3_bucket import Bucket

STALE = timedelta(days=7)
"""Age at which what an upload left behind is removed: longer than any upload takes."""

_SWEPT = 1000
_TEMP = f"{s3_keys.OURS}temp"


@dataclass(frozen=True, slots=True)
class Honoured:
    """Which writes leave alone what is there: whole objects, and copies (by which large files come into place)."""

    put: bool
    copy: bool


def temporary_key(bucket: Bucket) -> str:
    """Return a fresh key for bytes that are not where they belong yet."""
    return f"{bucket.opened.prefix}{_TEMP}/{secrets.token_hex(16)}"


def honoured(bucket: Bucket) -> Honoured:
    """Find out what the store keeps, and sweep; a handful of small requests.

    Raises:
        LumilioError: the store cannot be reached or written to, as :mod:`~lumiliod.storage.s3_errors` says.
    """
    store, key = bucket.opened.store, temporary_key(bucket)
    with bucket.reaching("write below", bucket.location, writing=True):
        try:
            put = _refused(lambda: obstore.put(store, key, b"1", mode="create")) or _refused(
                lambda: obstore.put(store, key, b"2", mode="create")
            )
            obstore.put(store, key, b"3")
            copy = _refused(lambda: obstore.copy(store, key, key, overwrite=False))
            now = obstore.head(store, key)["last_modified"]
        finally:
            with suppress(exceptions.BaseError, FileNotFoundError):
                obstore.delete(store, key)
        sweep(bucket, now)
    return Honoured(put=put, copy=copy)


def sweep(bucket: Bucket, now: datetime) -> None:
    """Remove what is :data:`STALE` at ``now``, by the store's clock, of the first thousand keys."""
    stale: list[str] = []
    for page in obstore.list(bucket.opened.store, f"{bucket.opened.prefix}{_TEMP}", chunk_size=_SWEPT):
        stale += [found["path"] for found in page if now - found["last_modified"] > STALE]
        break
    for key in stale:
        with suppress(FileNotFoundError):
            obstore.delete(bucket.opened.store, key)


def _refused(write: Callable[[], object]) -> bool:
    """Tell whether a write gave way to what is there; a server that knows no such writes answers 4xx or 501."""
    try:
        write()
    except exceptions.AlreadyExistsError:
        return True
    except exceptions.NotSupportedError:
        return False
    except exceptions.GenericError as error:
        status = s3_errors.status_of(error)
        if (400 <= status < 500 and status != 429) or status == 501:
            return False
        raise
    return False
