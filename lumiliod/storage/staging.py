"""Staging: bytes of strangers on their way in. What is acknowledged survives; what is not leaves no trace.

A staged file is two files in ``incoming/``: ``<uuid>`` with the bytes and ``<uuid>.json``, written
last, which commits it. While bytes arrive their file is locked, so that :func:`sweep` can tell a
dead writer from a slow one.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import msgspec
import trio
from blake3 import blake3

from lumiliod.domain.errors import NotFound, Refused, Shape
from lumiliod.domain.ids import Digest, UploadId, UserId, canonical_id, is_digest, uuid7
from lumiliod.domain.naming import text_name
from lumiliod.domain.text import size_text
from lumiliod.storage import durable, small_json
from lumiliod.storage.appending import Appender
from lumiliod.storage.one_by_one import each
from lumiliod.storage.pump import Source, check_quota, check_room, in_thread, pump
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.small_json import DigestText, Moment, SizeBytes

CLEANUP_TIMEOUT_S = 30.0
MARK_MAX_BYTES = 1 << 16

PARTIAL = ".upload"
"""Ends the name of what is still arriving in several requests; see :mod:`lumiliod.storage.partial`."""


class _Mark(msgspec.Struct, frozen=True):
    """Content of ``<uuid>.json``."""

    filename: str
    digest: DigestText
    size_bytes: SizeBytes
    received_at: Moment
    owner_id: UUID | None = None


class Reason(msgspec.Struct, frozen=True):
    """Content of ``<uuid>.reason.json``: what was received, and why it was refused."""

    filename: str
    digest: str
    size_bytes: int
    owner_id: UUID | None
    code: str
    message: str
    at: datetime
    received_at: datetime | None = None


@dataclass(frozen=True)
class Staged:
    """A complete staged file; ``filename`` is what the sender called it, as text."""

    id: UploadId
    path: str
    digest: Digest
    size_bytes: int
    filename: str
    received_at: datetime
    owner_id: UserId | None


async def write(
    repo: Repository,
    filename: str,
    source: Source,
    *,
    owner_id: UserId | None = None,
    max_bytes: int | None,
    quota_bytes: int | None = None,
    min_free_bytes: int,
    announced_bytes: int | None = None,
    expected_digest: Digest | None = None,
) -> Staged:
    """Stage the bytes of ``source`` durably, hashing on the way, in constant memory.

    Bytes are written in blocks, one while the next arrives. When this returns, the bytes
    survive power loss; when it raises or is cancelled, nothing is left.

    Args:
        repo: where to.
        filename: what the sender calls it.
        source: the bytes; its own errors pass through.
        owner_id: whose it will be.
        max_bytes: largest size taken; None for no limit.
        quota_bytes: how many more its owner may keep; None for any number.
        min_free_bytes: what stays free on the disk.
        announced_bytes: the size the sender promised.
        expected_digest: the digest the sender promised.

    Raises:
        Refused: larger than allowed (``too_large``, ``quota_exceeded``). Unavailable: no room (``no_space``).
        Shape: not the bytes promised (``truncated_upload``, ``length_mismatch``, ``digest_mismatch``),
            or none (``empty_file``).
        Retryable: the disk does not take it now.
    """
    writer = _Writer(repo, max_bytes, min_free_bytes, announced_bytes, quota_bytes)
    mark_name = text_name(filename)
    try:
        await in_thread(writer.open)
        await pump(writer, source)
        writer.check_complete(expected_digest)
        return await in_thread(writer.commit, mark_name, owner_id)
    except BaseException:
        with trio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
            await in_thread(writer.discard)
        raise


def load(repo: Repository, id: UploadId) -> Staged | None:  # noqa: A002  the word of the room
    """Return a complete staged file, or None.

    Raises:
        Unavailable: the disk fails, which says nothing of the file.
    """
    path = _data(repo, id)
    with durable.translated("read", path):
        found = _read_mark(f"{path}.json")
        try:
            os.lstat(path)
        except FileNotFoundError:
            found = None
    if found is None:
        return None
    return Staged(
        id=id,
        path=path,
        digest=Digest(found.digest),
        size_bytes=found.size_bytes,
        filename=found.filename,
        received_at=found.received_at,
        owner_id=None if found.owner_id is None else UserId(found.owner_id),
    )


def mark(staged: Staged) -> None:
    """Make durable bytes a staged file. Blocks."""
    content = _Mark(staged.filename, staged.digest, staged.size_bytes, staged.received_at, staged.owner_id)
    with durable.translated("stage", staged.path, writing=True):
        durable.write_file(f"{staged.path}.json", msgspec.json.encode(content))


def waiting(repo: Repository) -> list[Staged]:
    """Return every complete staged file, oldest first."""
    with durable.translated("read", repo.incoming):
        staged = [load(repo, id_) for id_ in ids(repo.incoming, ".json")]
    return sorted((found for found in staged if found is not None), key=lambda found: (found.received_at, found.id))


def sweep(repo: Repository) -> list[str]:
    """Remove what interrupted writers left in ``incoming``; return the names removed.

    Complete files stay, and so do partial ones whose writer lives. A file whose mark cannot be
    read was acknowledged once: it is kept in ``failed``.
    """
    removed: list[str] = []

    def sweep_one(id_: UUID) -> None:
        path = _data(repo, UploadId(id_))
        with durable.owned_by_nobody(path) as fd:
            if fd is None:
                return
            if os.path.lexists(f"{path}{PARTIAL}.json"):
                return  # the last step of one that came in several requests: it is finished, not swept
            # Looked for under the lock: the writer may have finished since the folder was read.
            if os.path.lexists(f"{path}.json"):
                if _read_mark(f"{path}.json") is None:
                    set_aside(repo, UploadId(id_), "mark_unreadable", "what was received with the file cannot be read")
                return
            durable.unlink(path)
            removed.append(str(id_))

    def sweep_mark(suffix: str, id_: UUID) -> None:
        path, kept = _data(repo, UploadId(id_)), os.path.join(repo.failed, str(id_))
        with durable.owned_by_nobody(kept) as fd:
            if fd is None and os.path.lexists(kept):
                return  # it is on its way back: bytes follow their mark
            # looked for afterwards: what is in neither folder was not on its way between them
            if not os.path.lexists(path) and durable.unlink(f"{path}{suffix}"):
                removed.append(f"{id_}{suffix}")

    with durable.translated("sweep", repo.incoming, writing=True):
        each("sweep", ids(repo.incoming), sweep_one)
        for suffix in (".json", ".json.tmp"):
            each("sweep", ids(repo.incoming, suffix), partial(sweep_mark, suffix))
    return removed


def forget(repo: Repository, id: UploadId) -> None:  # noqa: A002
    """Remove a staged file, if it is there. The mark goes first: bytes without one are swept."""
    with durable.translated("forget", str(id), writing=True):
        durable.unlink(f"{_data(repo, id)}.json")
        durable.unlink(_data(repo, id))


def fail(repo: Repository, id: UploadId, code: str, message: str) -> None:  # noqa: A002
    """Move a staged file to ``failed`` with its reason; doing it again changes nothing.

    Order: reason, bytes, mark; a crash between is healed by doing it again, or by :func:`sweep`. The lock of the bytes,
    which goes with them, keeps it and :func:`take_back` out of each other's way, in other processes, too.

    Raises:
        NotFound: it is neither staged nor failed (``not_staged``).
    """
    path, kept = _data(repo, id), os.path.join(repo.failed, str(id))
    with durable.translated("set aside", str(id), writing=True):
        with durable.holding(path) as is_staged:
            if is_staged:
                set_aside(repo, id, code, message)
                return
        with durable.holding(kept) as is_kept:
            if not is_kept and not os.path.lexists(path):
                raise NotFound(f"no upload {id} is staged", code="not_staged")
            if is_kept and not os.path.lexists(path):
                durable.unlink(f"{path}.json")


def set_aside(repo: Repository, id: UploadId, code: str, message: str) -> None:  # noqa: A002
    """Move a staged file to ``failed`` as :func:`fail` does; the caller holds the lock of its bytes. Raises OSError."""
    path, kept = _data(repo, id), os.path.join(repo.failed, str(id))
    found = _read_mark(f"{path}.json")
    reason = Reason(
        filename=found.filename if found else "",
        digest=found.digest if found else "",
        size_bytes=os.lstat(path).st_size,
        owner_id=found.owner_id if found else None,
        code=code,
        message=text_name(message),
        at=datetime.now(UTC),
        received_at=found.received_at if found else None,
    )
    Path(repo.failed).mkdir(0o700, exist_ok=True)
    durable.write_file(f"{kept}.reason.json", msgspec.json.encode(reason))
    os.rename(path, kept)  # noqa: PTH104
    durable.fsync_folder(repo.failed)
    durable.unlink(f"{path}.json")
    durable.fsync_folder(repo.incoming)


def take_back(repo: Repository, id: UploadId) -> Staged | None:  # noqa: A002
    """Stage a file again that was set aside; None when there is none, or nobody knows what was received with it.

    Order: mark, bytes, reason; a crash between is healed by doing it again, or by :func:`sweep`.
    """
    path, kept = _data(repo, id), os.path.join(repo.failed, str(id))
    with durable.translated("stage", str(id), writing=True), durable.holding(kept) as is_kept:
        reason = read_reason(repo, id) if is_kept else None
        if reason is None or not is_digest(reason.digest):
            return None
        found = Staged(
            id=id,
            path=path,
            digest=Digest(reason.digest),
            size_bytes=reason.size_bytes,
            filename=reason.filename,
            received_at=reason.received_at or reason.at,
            owner_id=None if reason.owner_id is None else UserId(reason.owner_id),
        )
        mark(found)
        durable.rename_new(kept, path)
        durable.fsync_folder(repo.incoming)
        durable.unlink(f"{kept}.reason.json")
        durable.fsync_folder(repo.failed)
    return found


def read_reason(repo: Repository, id: UploadId) -> Reason | None:  # noqa: A002
    """Return why an upload was refused; None when nobody knows."""
    path = os.path.join(repo.failed, f"{id}.reason.json")
    return small_json.read(path, Reason, max_bytes=MARK_MAX_BYTES)


class _Writer:
    """One upload being written; every method but the checks blocks."""

    def __init__(
        self,
        repo: Repository,
        max_bytes: int | None,
        min_free_bytes: int,
        announced: int | None,
        quota_bytes: int | None,
    ) -> None:
        self._repo = repo
        self._max_bytes = max_bytes
        self._quota_bytes = quota_bytes
        self._min_free_bytes = min_free_bytes
        self._announced = announced
        self._id = UploadId(uuid7())
        self._path = _data(repo, self._id)
        self._fd: int | None = None
        self._hasher = blake3()
        self._received = 0
        self._written = 0
        self._appender: Appender | None = None

    def open(self) -> None:
        """Check what was announced and that the disk is there, then create the locked file."""
        announced = self._announced or 0
        if self._max_bytes is not None and announced > self._max_bytes:
            raise self._too_large(announced)
        check_identity(self._repo)
        with durable.translated("stage an upload in", self._repo.incoming, writing=True):
            check_room(self._repo, announced, self._min_free_bytes)
            self._fd, _ = durable.create_owned(self._repo.incoming, str(self._id), mode=0o644)
            self._appender = Appender(self._fd)

    def count(self, size_bytes: int) -> None:
        """Count arriving bytes against the limits."""
        self._received += size_bytes
        if self._max_bytes is not None and self._received > self._max_bytes:
            raise self._too_large(self._received)
        check_quota(self._received, self._quota_bytes)
        if self._announced is not None and self._received > self._announced:
            raise Shape(f"more bytes arrived than the {self._announced} announced", code="length_mismatch")

    def write(self, block: memoryview) -> None:
        """Write one block."""
        assert self._appender is not None
        with durable.translated("stage", self._path, writing=True):
            check_room(self._repo, len(block), self._min_free_bytes)
            self._appender.write(block)
            self._written += len(block)

    def hash(self, block: memoryview) -> None:
        """Hash one block."""
        self._hasher.update(block)

    def check_complete(self, expected: Digest | None) -> None:
        """Compare what arrived with what was promised."""
        if self._announced is not None and self._received < self._announced:
            message = f"{self._received} of {self._announced} announced bytes arrived"
            raise Shape(message, code="truncated_upload", received_bytes=self._received)
        if not self._received:
            raise Shape("the file is empty", code="empty_file")
        assert self._written == self._received
        digest = self._hasher.hexdigest()
        if expected is not None and digest != expected.lower():
            raise Shape("the bytes that arrived have another digest", code="digest_mismatch", digest=digest)

    def commit(self, filename: str, owner_id: UserId | None) -> Staged:
        """Make the bytes durable, then write the mark; from then on the file is staged."""
        assert self._fd is not None
        staged = Staged(
            id=self._id,
            path=self._path,
            digest=Digest(self._hasher.hexdigest()),
            size_bytes=self._written,
            filename=filename,
            received_at=datetime.now(UTC),
            owner_id=owner_id,
        )
        with durable.translated("stage", self._path, writing=True):
            os.fsync(self._fd)
        mark(staged)
        self._close()
        return staged

    def discard(self) -> None:
        """Remove every trace; the lock goes last."""
        if self._fd is None:
            return
        for suffix in (".json", ".json.tmp", ""):
            with suppress(OSError):  # a failing disk: sweep does it later
                durable.unlink(f"{self._path}{suffix}")
        self._close()

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _too_large(self, size_bytes: int) -> Refused:
        message = f"the file is larger than the {size_text(self._max_bytes or 0)} that are taken here"
        return Refused(message, code="too_large", size_bytes=size_bytes)


def _data(repo: Repository, id_: UploadId) -> str:
    return os.path.join(repo.incoming, str(id_))


def ids(folder: str, suffix: str = "") -> list[UploadId]:
    """Return the ids of files that are named ``<uuid><suffix>``, sorted."""
    found: list[UploadId] = []
    for name in sorted(os.listdir(folder)):
        stem = name.removesuffix(suffix)
        id_ = canonical_id(stem)
        if stem + suffix == name and id_ is not None:
            found.append(UploadId(id_))
    return found


def _read_mark(path: str) -> _Mark | None:
    return small_json.read(path, _Mark, max_bytes=MARK_MAX_BYTES)
