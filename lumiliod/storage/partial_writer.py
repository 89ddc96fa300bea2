"""One request's part of a partial upload: written, hashed, proven by its checksum, made durable."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Protocol

import msgspec
from blake3 import blake3

from lumiliod.domain.errors import Conflict, NotFound, Refused, Shape, Unavailable
from lumiliod.domain.ids import UploadId
from lumiliod.domain.text import size_text
from lumiliod.storage import durable, local
from lumiliod.storage.appending import Appender
from lumiliod.storage.partial import (
    Partial,
    Terms,
    believed,
    boot_id,
    bytes_path,
    find,
    ids,
    locked,
    read_terms,
    stage,
    write_terms,
)
from lumiliod.storage.pump import check_quota, check_room
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.staging import PARTIAL, Staged
from lumiliod.storage.uncached import uncached_digest

FLUSH_BYTES, FLUSH_S = 64 << 20, 2.0
"""So much is lost at most of a request that a power failure cuts: bytes of a slow one, seconds of a quick one."""

TOUCH_PERIOD = timedelta(hours=1)
"""How old, at most, what is noted of the last byte is while bytes arrive."""


class Hash(Protocol):
    """What :mod:`hashlib` and :mod:`blake3` have in common."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take in more."""
        ...

    def digest(self) -> bytes:
        """Return the hash of everything so far."""
        ...


CHECKSUMS: dict[str, Callable[[], Hash]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "blake3": blake3,
}
"""By their names in tus; every server has to know sha1."""


class PartialWriter:
    """One request's bytes on their way into an upload; every method but ``count`` blocks.

    Use it as a context manager: whatever happens, what was written until then counts.

    Args:
        repo: where the upload is.
        id: which one.
        hasher: the hash of the bytes that are there, if that is known.
        checksum: the algorithm and the expected value of this request's bytes; they count only together.
        max_bytes: the largest upload taken, None for no limit.
        quota_bytes: how many its owner may keep, None for any number.
        min_free_bytes: what stays free on the disk.
    """

    def __init__(
        self,
        repo: Repository,
        id: UploadId,  # noqa: A002
        *,
        hasher: "blake3 | None" = None,
        checksum: tuple[str, bytes] | None = None,
        max_bytes: int | None = None,
        quota_bytes: int | None = None,
        min_free_bytes: int = 0,
    ) -> None:
        self.id = id
        self._hasher = hasher
        self._repo = repo
        self._path = bytes_path(repo, id)
        self._checksum = checksum
        self._check = CHECKSUMS[checksum[0]]() if checksum else None
        self._max_bytes = max_bytes
        self._quota_bytes = quota_bytes
        self._min_free_bytes = min_free_bytes
        self._fd: int | None = None
        self._terms: Terms | None = None
        self._noted: Terms | None = None
        self._flush_failed = False
        self._appender: Appender | None = None
        self._from = self._to = self._counted = self._hashed = self._flushed = 0
        self._flushed_at = time.monotonic()

    def __enter__(self) -> "PartialWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """How many bytes are there."""
        return self._to

    @property
    def hasher(self) -> "blake3 | None":
        """The hash of the bytes that are there, if that is known: what the disk did not take is not among them."""
        return self._hasher if self._hashed == self._to else None

    @property
    def terms(self) -> Terms:
        """What was said of the upload."""
        assert self._terms is not None
        return self._terms

    def begin(self, offset: int, size_bytes: int | None = None) -> None:
        """Take hold of the upload, whose next byte is to be the one at ``offset``.

        Args:
            offset: where the sender goes on.
            size_bytes: the whole size, when it is told only now.

        Raises:
            NotFound: there is no such upload (``upload_not_found``).
            Conflict: another request writes it (``upload_locked``), or goes on elsewhere (``wrong_offset``).
            Shape: the size was told before, and differently (``bad_length``).
        """
        check_identity(self._repo)
        with durable.translated("stage", self._path, writing=True):
            terms = read_terms(self._repo, self.id)
            if terms is None:
                raise NotFound(f"there is no upload {self.id}", code="upload_not_found")
            if terms.digest is not None:
                raise Conflict("this upload is complete", code="wrong_offset", offset=terms.size_bytes)
            try:
                self._fd = locked(self._path)
            except FileNotFoundError as error:
                terms = read_terms(self._repo, self.id)
                if terms is None:
                    raise NotFound(f"there is no upload {self.id}", code="upload_not_found") from error
                raise Conflict("this upload is complete", code="wrong_offset", offset=terms.size_bytes) from error
            # what the one before wrote last is only known now
            terms = read_terms(self._repo, self.id)
            if terms is None:
                raise NotFound(f"there is no upload {self.id}", code="upload_not_found")
            if terms.digest is not None:
                raise Conflict("this upload is complete", code="wrong_offset", offset=terms.size_bytes)
            self._noted = terms
            there = believed(terms, os.fstat(self._fd).st_size)
            os.ftruncate(self._fd, there)
            if offset != there:
                raise Conflict(f"the next byte is the one at {there}", code="wrong_offset", offset=there)
            if size_bytes is not None and terms.size_bytes not in {None, size_bytes}:
                raise Shape(f"the size was told to be {terms.size_bytes}", code="bad_length")
            if size_bytes is not None and size_bytes < there:
                raise Shape(f"{there} bytes are here already", code="bad_length")
            os.lseek(self._fd, there, os.SEEK_SET)
            if not there:
                self._hasher = blake3()
            self._from = self._to = self._counted = self._hashed = self._flushed = there
            self._appender = Appender(self._fd, there)
            self._keep(
                terms,
                size_bytes=terms.size_bytes if size_bytes is None else size_bytes,
                flushed_bytes=min(terms.flushed_bytes, there),
                unproven_from=there if self._check else None,
            )

    def count(self, size_bytes: int) -> None:
        """Count arriving bytes against the limits."""
        self._counted += size_bytes
        if self._max_bytes is not None and self._counted > self._max_bytes:
            message = f"the file is larger than the {size_text(self._max_bytes)} that are taken here"
            raise Refused(message, code="too_large")
        check_quota(self._counted, self._quota_bytes)
        if self.terms.size_bytes is not None and self._counted > self.terms.size_bytes:
            raise Shape(f"more bytes arrived than the {self.terms.size_bytes} announced", code="length_mismatch")

    def write(self, block: bytes | memoryview) -> None:
        """Write one block."""
        assert self._appender is not None
        with durable.translated("stage", self._path, writing=True):
            check_room(self._repo, len(block), self._min_free_bytes)
            self._appender.write(block)
            self._to += len(block)
            if datetime.now(UTC) - self.terms.touched_at > TOUCH_PERIOD:
                self._keep(self.terms)
            if self._is_flush_due() and self._check is None:
                self._flush()

    def hash(self, block: bytes | memoryview) -> None:
        """Hash one block, whether it is written yet or not."""
        if self._hasher is not None:
            self._hasher.update(block)
        if self._check is not None:
            self._check.update(block)
        self._hashed += len(block)

    def _is_flush_due(self) -> bool:
        return self._to - self._flushed >= FLUSH_BYTES and time.monotonic() - self._flushed_at >= FLUSH_S

    def prove(self) -> None:
        """Compare this request's bytes with their checksum.

        Raises:
            Shape: they have another (``checksum_mismatch``); they are gone.
        """
        if self._check is None or self._checksum is None:
            return
        assert self._hashed == self._to
        is_proven = self._check.digest() == self._checksum[1]
        if not is_proven:
            assert self._fd is not None
            with durable.translated("stage", self._path, writing=True):
                os.ftruncate(self._fd, self._from)
            self._to, self._hasher = self._from, None
        # only now: bytes that could not be cut off are not believed
        self._terms = msgspec.structs.replace(self.terms, unproven_from=None)
        if not is_proven:
            raise Shape("the bytes that arrived have another checksum", code="checksum_mismatch")

    def settle(self) -> Partial:
        """Make what was written durable and note it; then it counts even when the power fails.

        After a flush that failed only what had been flushed before it counts.

        Raises:
            Unavailable: it does not get to the disk.
        """
        with durable.translated("stage", self._path, writing=True):
            if not self._flush_failed:
                self._flush()
        return Partial(self.id, self.terms, self._to)

    def complete(self) -> Staged:
        """Make a whole upload a staged file.

        Raises:
            Shape: not the bytes promised (``digest_mismatch``), or none (``empty_file``).
            Unavailable: the disk does not take them, or gives others back (``io_error``).
        """
        assert self._fd is not None
        terms = self.terms
        assert self._to == terms.size_bytes
        if not self._to:
            raise Shape("the file is empty", code="empty_file")
        with durable.translated("stage", self._path, writing=True):
            self._force(os.fsync)
            digest = self._whole_digest()
            if terms.promised is not None and digest != terms.promised:
                raise Shape("the bytes that arrived have another digest", code="digest_mismatch", digest=digest)
            self._keep(terms, flushed_bytes=self._to, digest=digest, touched_at=datetime.now(UTC))
            return stage(self._repo, self.id, self.terms)

    def close(self) -> None:
        """Let go; what was written and not proven is not believed."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _flush(self) -> None:
        self._force(os.fdatasync)
        self._flushed, self._flushed_at = self._to, time.monotonic()
        self._keep(self.terms, flushed_bytes=self._to)

    def _force(self, sync: Callable[[int], None]) -> None:
        """Have the disk take what was written; where it does not, that is not here any more.

        Linux tells of bytes that could not be written once, and takes their pages for clean: whoever asks again hears
        that all is well (https://wiki.postgresql.org/wiki/Fsync_Errors). So it is never asked again.
        """
        assert self._fd is not None
        try:
            sync(self._fd)
        except OSError:
            self._give_back(self.terms.flushed_bytes)
            raise

    def _give_back(self, trusted_bytes: int) -> None:
        """Forget all but the first bytes, whatever of that the disk still takes."""
        assert self._fd is not None
        self._flush_failed = True
        self._to, self._hasher = min(self._to, trusted_bytes), None
        try:
            # of no boot: should the file keep its size, only what was flushed counts
            self._keep(self.terms, flushed_bytes=self._to, boot_id="", flush_failed=True)
        finally:
            os.ftruncate(self._fd, self._to)

    def _whole_digest(self) -> str:
        """Return the digest of all bytes; read from the disk itself when a flush of this upload ever failed.

        Raises:
            Unavailable: the disk gives other bytes back than were written (``io_error``).
        """
        assert self._fd is not None
        if not self.terms.flush_failed:
            return self.hasher.hexdigest() if self.hasher is not None else local.digest_open(self._fd)
        digest, size_bytes = uncached_digest(self._fd)
        if size_bytes != self._to or (self.hasher is not None and digest != self.hasher.hexdigest()):
            self._give_back(0)
            raise Unavailable("the disk gives other bytes back than were written", code="io_error", after_s=10)
        return digest

    def _keep(self, terms: Terms, **changes: object) -> None:
        # a request that brings nothing keeps no upload alive
        touched_at = datetime.now(UTC) if self._to > self._from else terms.touched_at
        known: dict[str, object] = {"boot_id": boot_id(), "touched_at": touched_at, **changes}
        self._terms = msgspec.structs.replace(terms, **known)
        if self._terms != self._noted:
            write_terms(self._repo, self.id, self._terms)
            self._noted = self._terms


def whole_parts(repo: Repository, parts: Sequence[UploadId]) -> list[Partial]:
    """Return the parts of an upload, in their order. Blocks.

    Raises:
        NotFound: there is no such part. Conflict: one is not whole (``part_incomplete``).
    """
    found: list[Partial] = []
    for part in parts:
        one = find(repo, part)
        if one is None or not one.terms.is_part:
            raise NotFound(f"there is no part {part}", code="upload_not_found")
        if not one.is_whole:
            raise _incomplete(one)
        found.append(one)
    return found


def joined_from(repo: Repository, parts: Sequence[str]) -> Partial | None:
    """Return the upload that was put together of these others, in their order; None when there is none. Blocks."""
    wanted = tuple(parts)
    with durable.translated("look at", repo.incoming):
        for id_ in list(ids(repo, f"{PARTIAL}.json")):
            terms = read_terms(repo, id_)
            if terms is not None and terms.parts == wanted:
                return find(repo, id_)
    return None


def join(
    repo: Repository,
    target: UploadId,
    parts: Sequence[UploadId],
    *,
    max_bytes: int | None = None,
    min_free_bytes: int = 0,
) -> tuple[Partial, blake3 | None]:
    """Fill an empty upload with the bytes of others, in their order; return it and its hash, if known. Blocks.

    Raises:
        NotFound: there is no such part. Conflict: one is not whole (``part_incomplete``).
        Refused: larger than allowed. Permanent: no plain file (``unreadable``). Unavailable: no room.
    """
    found = whole_parts(repo, parts)
    with PartialWriter(repo, target, max_bytes=max_bytes, min_free_bytes=min_free_bytes) as writer:
        writer.begin(0, sum(one.offset for one in found))
        for one in found:
            with durable.translated("read", str(one.id)):
                fd = local.open_plain(bytes_path(repo, one.id))
            with os.fdopen(fd, "rb") as file:
                if os.fstat(fd).st_size != one.offset:
                    raise _incomplete(one)
                for block in _blocks(file, one.id):
                    writer.count(len(block))
                    writer.write(block)
                    writer.hash(block)
        return writer.settle(), writer.hasher


def _blocks(file: BinaryIO, id_: UploadId) -> Iterator[bytes]:
    while True:
        durable.check_cancelled()
        with durable.translated("read", str(id_)):
            block = file.read(durable.BLOCK_BYTES)
        if not block:
            return
        yield block


def _incomplete(part: Partial) -> Conflict:
    return Conflict(f"the part {part.id} is not complete", code="part_incomplete")
