"""Partial uploads: bytes that arrive in several requests, with anything happening in between.

One is two files in ``incoming/``: ``<uuid>.upload`` with the bytes, made first, and ``<uuid>.upload.json`` with
what was said of it, without which it is none. How many of those are good is never guessed: what a living system wrote
is in its page cache, whoever was killed; after the machine itself went down only what had been flushed
counts. When all are there they become a staged file like any other, in three steps that may each be
repeated: the terms say ``digest``, the bytes take the name of a staged file, its mark is written.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from lumiliod.domain.errors import Conflict, Permanent, Retryable
from lumiliod.domain.ids import Digest, UploadId, UserId, canonical_id, uuid7
from lumiliod.domain.naming import text_name
from lumiliod.storage import durable, small_json, staging
from lumiliod.storage.pump import check_room
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.small_json import DigestText, Moment, SizeBytes
from lumiliod.storage.staging import PARTIAL, Staged

MAX_AGE = timedelta(hours=24)
"""How long nothing may arrive before an upload is given up."""

UPLOADS_MAX = 1000
"""How many may be under way in a repository: each keeps room from others, for a day."""

FULL_AFTER_S = 60.0
TERMS_MAX_BYTES = 1 << 18
YEAR_MAX = 9000


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an upload, and how far it is to be believed; content of ``<uuid>.upload.json``.

    ``size_bytes`` is None until it is told; ``concat`` is how the sender named ``parts``. ``flushed_bytes`` survive a
    power failure, of the rest only those written since ``boot_id`` count; from ``unproven_from`` on nothing does: their
    checksum has not been seen.
    ``digest`` is set when all bytes are there. ``flush_failed``: once they did not go to the disk, so that the bytes
    are read from there before they are believed.
    """

    filename: str
    size_bytes: SizeBytes | None
    metadata: str
    created_at: Moment
    touched_at: Moment
    boot_id: str
    owner_id: UUID | None = None
    promised: DigestText | None = None
    is_part: bool = False
    parts: tuple[str, ...] | None = None
    concat: str | None = None
    flushed_bytes: SizeBytes = 0
    unproven_from: SizeBytes | None = None
    digest: DigestText | None = None
    flush_failed: bool = False

    def __post_init__(self) -> None:
        """Make sure that what is said fits together.

        Raises:
            ValueError: it does not.
        """
        if self.digest is not None and self.size_bytes is None:
            raise ValueError("a digest without a size")
        if self.touched_at.year > YEAR_MAX:
            raise ValueError("a time that cannot be reckoned with")

    @property
    def expires_at(self) -> datetime:
        """When it is given up unless more arrives."""
        return self.touched_at + MAX_AGE


class Partial(msgspec.Struct, frozen=True):
    """An upload and how many of its bytes are here."""

    id: UploadId
    terms: Terms
    offset: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.offset == self.terms.size_bytes

    @property
    def is_unfinished(self) -> bool:
        """Whether it is whole, and shall be an original, and the steps to that have not begun."""
        return self.is_whole and not self.terms.is_part and self.terms.digest is None


def create(
    repo: Repository,
    filename: str,
    *,
    size_bytes: int | None,
    metadata: str = "",
    owner_id: UserId | None = None,
    promised: Digest | None = None,
    is_part: bool = False,
    parts: Sequence[str] | None = None,
    concat: str | None = None,
    min_free_bytes: int = 0,
) -> Partial:
    """Begin an upload; those nobody went on with give way. Blocks.

    Args:
        repo: where to.
        filename: what the sender calls it.
        size_bytes: how large it will be, None when that is told later.
        metadata: what the sender wants to be told again, as it is.
        owner_id: whose it will be.
        promised: the digest the sender promised.
        is_part: whether it only becomes an original together with others.
        parts: as what it was put together of.
        concat: how the sender named those.
        min_free_bytes: what stays free on the disk, with all other uploads at their end.

    Raises:
        Unavailable: no room (``no_space``), or the repository is offline.
        Retryable: too many are under way (``too_many_uploads``); one that is put together of parts is always taken, as
            they are gone afterwards.
    """
    check_identity(repo)
    now = datetime.now(UTC)
    terms = Terms(
        filename=text_name(filename),
        size_bytes=size_bytes,
        metadata=metadata,
        created_at=now,
        touched_at=now,
        boot_id=boot_id(),
        owner_id=owner_id,
        promised=promised,
        is_part=is_part,
        parts=None if parts is None else tuple(parts),
        concat=concat,
    )
    id_ = UploadId(uuid7())
    with durable.translated("stage an upload in", repo.incoming, writing=True):
        under_way = [one for one in arriving(repo) if not (is_over(one, now) and removed(repo, one.id))]
        if parts is None and len(under_way) >= UPLOADS_MAX:
            message = f"{UPLOADS_MAX} uploads are under way: finish one, or give one up"
            raise Retryable(message, code="too_many_uploads", after_s=FULL_AFTER_S)
        awaited = sum((one.terms.size_bytes or one.offset) - one.offset for one in under_way)
        check_room(repo, size_bytes or 0, min_free_bytes, reserved_bytes=awaited)
        os.close(os.open(bytes_path(repo, id_), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        write_terms(repo, id_, terms)
    return Partial(id_, terms, 0)


def find(repo: Repository, id: UploadId) -> Partial | None:  # noqa: A002  the word of the room
    """Return an upload as it is now, None when there is none. Blocks."""
    path = bytes_path(repo, id)
    with durable.translated("look at", str(id)):
        terms = read_terms(repo, id)
        if terms is None:
            return None
        if terms.digest is not None:
            return Partial(id, terms, terms.size_bytes or 0)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return Partial(id, terms, 0)
    return Partial(id, terms, believed(terms, found.st_size) if stat.S_ISREG(found.st_mode) else 0)


def arriving(repo: Repository) -> Iterator[Partial]:
    """Yield the uploads that have bytes to come, or to be staged: those of a day may be many more. Blocks."""
    for id_ in list(ids(repo, PARTIAL)):
        one = find(repo, id_)
        if one is not None:
            yield one


def remove(repo: Repository, id: UploadId, *, if_complete: bool = True) -> None:  # noqa: A002
    """Forget an upload and the bytes that are not a staged file yet. Blocks.

    Args:
        repo: where it is.
        id: which one.
        if_complete: whether one is forgotten, too, that is an original, or becomes one all the same.

    Raises:
        Conflict: somebody is writing it (``upload_locked``); it is complete (``upload_complete``).
    """
    path = bytes_path(repo, id)
    with durable.translated("remove", str(id), writing=True):
        try:
            fd = locked(path)
        except FileNotFoundError:
            fd = None
        try:
            terms = None if if_complete else read_terms(repo, id)
            if terms is not None and terms.digest is not None:
                raise Conflict("all bytes of this upload are here: it becomes an original", code="upload_complete")
            for suffix in ("", ".json", ".json.tmp"):
                durable.unlink(f"{path}{suffix}")
        finally:
            if fd is not None:
                os.close(fd)
        durable.fsync_folder(repo.incoming)


def stage(repo: Repository, id_: UploadId, terms: Terms) -> Staged:
    """Take the steps from complete bytes to a staged file; each may have been taken before.

    Raises:
        Conflict: the terms do not say that it is complete (``upload_incomplete``), or another file has its name
            (``name_taken``).
        Permanent: as many bytes as the terms say are not there (``upload_damaged``).
    """
    path = os.path.join(repo.incoming, str(id_))
    if terms.digest is None or terms.size_bytes is None:
        raise Conflict(f"the upload {id_} is not complete", code="upload_incomplete")
    _check_there(f"{path}{PARTIAL}" if os.path.lexists(f"{path}{PARTIAL}") else path, terms.size_bytes)
    if os.path.lexists(f"{path}{PARTIAL}"):
        try:
            durable.rename_new(f"{path}{PARTIAL}", path)
        except FileExistsError as error:
            raise Conflict(f"a file named {id_} is staged already", code="name_taken") from error
        durable.fsync_folder(repo.incoming)
    staged = Staged(
        id=id_,
        path=path,
        digest=Digest(terms.digest),
        size_bytes=terms.size_bytes,
        filename=terms.filename,
        received_at=terms.touched_at,
        owner_id=None if terms.owner_id is None else UserId(terms.owner_id),
    )
    staging.mark(staged)
    return staged


def _check_there(path: str, size_bytes: int) -> None:
    """Make sure, before anybody is told of it, that a complete upload is there.

    Raises:
        Permanent: it is not (``upload_damaged``).
    """
    try:
        there = os.lstat(path)
    except FileNotFoundError as error:
        raise Permanent("the bytes of this upload are gone", code="upload_damaged") from error
    if not stat.S_ISREG(there.st_mode) or there.st_size != size_bytes:
        message = f"{there.st_size} bytes of this upload are there instead of {size_bytes}"
        raise Permanent(message, code="upload_damaged")


def believed(terms: Terms, size_bytes: int) -> int:
    """Return how many of the bytes that are there are those that were sent."""
    limits = [size_bytes, size_bytes if terms.size_bytes is None else terms.size_bytes]
    if terms.boot_id != boot_id():
        limits.append(terms.flushed_bytes)
    if terms.unproven_from is not None:
        limits.append(terms.unproven_from)
    return min(limits)


def is_over(one: Partial, now: datetime) -> bool:
    """Tell whether nobody went on with an upload; what is whole is left to be staged."""
    return one.terms.expires_at <= now and one.terms.digest is None and not one.is_unfinished


def removed(repo: Repository, id_: UploadId) -> bool:
    """Forget an upload unless somebody writes it; tell whether it is gone."""
    try:
        remove(repo, id_)
    except Conflict:
        return False
    return True


def ids(repo: Repository, suffix: str) -> Iterator[UploadId]:
    """Yield the uploads that have a file whose name ends like this, oldest first."""
    for name in sorted(os.listdir(repo.incoming)):
        stem = name.removesuffix(suffix)
        id_ = canonical_id(stem)
        if stem != name and id_ is not None:
            yield UploadId(id_)


def locked(path: str) -> int:
    """Open the bytes of an upload as the only one who writes them; closing gives them free.

    Raises:
        FileNotFoundError: nothing has this name, or no longer: it was removed, or staged, before it was locked.
        Conflict: somebody else writes them (``upload_locked``).
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Conflict("another request writes this upload", code="upload_locked") from error
    try:
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def bytes_path(repo: Repository, id_: UploadId) -> str:
    """Return where the bytes of an upload lie until all are there."""
    return os.path.join(repo.incoming, f"{id_}{PARTIAL}")


def write_terms(repo: Repository, id_: UploadId, terms: Terms) -> None:
    """Write durably what was said of an upload."""
    durable.write_file(f"{bytes_path(repo, id_)}.json", msgspec.json.encode(terms))


def read_terms(repo: Repository, id_: UploadId) -> Terms | None:
    """Return what was said of an upload; None when there is none, or nothing that can be believed."""
    return small_json.read(f"{bytes_path(repo, id_)}.json", Terms, max_bytes=TERMS_MAX_BYTES)


def boot_id() -> str:
    """Return what the kernel calls this boot (random(4)); page caches live as long."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
