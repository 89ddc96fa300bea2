"""Backend ``s3``: Amazon S3 and what speaks its language, Google Cloud Storage (``gs``) and Azure (``az``), by URL.

Times are those of the store. ETags tell one state of an object from another, and nothing more. A bucket that
keeps versions keeps what is removed, which is its owner's decision.
"""

import io
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import BinaryIO

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import ConfigError, NotFound, Shape
from lumiliod.domain.ids import RepoPath

try:
    import obstore
except ModuleNotFoundError as error:
    raise ConfigError(
        "backend 's3' needs obstore: install lumilio with its extra 's3'", code="extra_missing"
    ) from error

from lumiliod.storage import durable, local, s3_client, s3_errors, s3_listing, s3_probe, s3_upload
from lumiliod.storage.backend import Entry
from lumiliod.storage.ranged import Ranged
from lumiliod.storage.s3_bucket import Bucket, stat_of

MAX_EXPIRY_S = 7 * 86_400
"""Signature Version 4 allows no longer."""


class S3Backend:
    """Objects below a prefix of a bucket, which is nobody else's.

    ``atomic_no_replace`` is believed until the first :meth:`put_new`, which finds it out.

    Args:
        location: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        options: see :func:`~lumiliod.storage.s3_client.opened`.

    Raises:
        ConfigError: the location or an option is wrong.
    """

    local = False
    flaky = True

    def __init__(self, location: str, options: Mapping[str, str] | None = None) -> None:
        self.atomic_no_replace = True
        self.bucket = Bucket(location, s3_client.opened(location, options or {}))
        self._honoured: s3_probe.Honoured | None = None
        self._lock = threading.Lock()

    def open(self, path: RepoPath) -> BinaryIO:
        """Open a stored file, read in ranges; see :class:`~lumiliod.storage.backend.Backend`.

        Reading raises ``Unavailable(unstable)`` once the object is another than it was at opening, and
        ``NotFound(file_missing)`` once it is gone.
        """
        found = self.bucket.head(path)

        def fetch(start: int, end: int) -> bytes:
            return self.bucket.read(path, found, start, end)

        return io.BufferedReader(Ranged(found["size"], fetch))

    def stat(self, path: RepoPath) -> FileStat:
        """Return size and time; see :class:`~lumiliod.storage.backend.Backend`."""
        return stat_of(self.bucket.head(path))

    def put_new(self, source: str, target: RepoPath) -> bool:
        """Store ``source`` as ``target``; see :class:`~lumiliod.storage.backend.Backend`.

        Where an answer was lost and the request repeated, False is told of bytes that were stored just now.

        Raises:
            Refused: more than S3 can copy (``too_large``).
        """
        self.bucket.key(target)
        with durable.translated("read", source):
            fd = local.open_plain(source)
        try:
            return s3_upload.put_new(self.bucket, fd, target, self._promises())
        finally:
            os.close(fd)

    def list(self, after: RepoPath | None, limit: int) -> list[Entry]:
        """Return a page in byte order; see :class:`~lumiliod.storage.backend.Backend`.

        A request for every thousand keys and two more; Azure lists from the beginning each time.
        """
        return s3_listing.page(self.bucket, after, limit)

    def remove(self, path: RepoPath) -> None:
        """Remove a stored file; see :class:`~lumiliod.storage.backend.Backend`."""
        key = self.bucket.key(path)
        with suppress(NotFound), self.bucket.reaching("remove", path, writing=True):
            obstore.delete(self.bucket.opened.store, key)

    def presign(self, path: RepoPath, expires_s: int) -> str:
        """Return a URL to read one file; see :class:`~lumiliod.storage.backend.Presigned`.

        Raises:
            Shape: not between a second and :data:`MAX_EXPIRY_S` (``bad_expiry``).
        """
        if not 0 < expires_s <= MAX_EXPIRY_S:
            raise Shape(f"a URL is valid for 1 to {MAX_EXPIRY_S} seconds", code="bad_expiry")
        key = self.bucket.key(path)
        with s3_errors.translated("sign", path):
            return obstore.sign(self.bucket.opened.store, "GET", key, timedelta(seconds=expires_s))

    def _promises(self) -> s3_probe.Honoured:
        with self._lock:
            if self._honoured is None:
                self._honoured = s3_probe.honoured(self.bucket)
                self.atomic_no_replace = self._honoured.put and self._honoured.copy
            return self._honoured
