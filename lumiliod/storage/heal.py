"""Healing: good bytes take the place of bad ones, which are kept. All calls block; callers thread them.

Good bytes are staged and read back; then the bad file is moved to ``.lumilio/quarantine``, beside a JSON
of why, and the staged one to its name. Both renames replace nothing. Killed anywhere, doing it again ends
the same: what is good already is left alone, what was staged is staged anew, and what has been moved
aside stays there.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO
from uuid import UUID

import msgspec
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, Forbidden, NotFound, Permanent, Retryable, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.storage import durable, local
from lumiliod.storage.check import recorded
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.uncached import uncached_digest

QUARANTINE = (".lumilio", "quarantine")

_TEMP = (".lumilio", "temp")


class Why(msgspec.Struct, frozen=True):
    """Why a file was moved aside: content of ``<finding>.json``; ``digest`` is what it should have had."""

    finding: UUID
    kind: str
    detail: str
    path: str
    asset_id: UUID | None
    digest: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where good bytes are to be and what they are; ``found`` is the bad file's state, None when there is none."""

    path: RepoPath
    digest: Digest
    size_bytes: int
    mtime_ns: int
    found: FileStat | None


def why(finding: UUID, kind: str, detail: str, path: RepoPath, *, asset_id: UUID | None, digest: Digest | None) -> Why:
    """Make the reason that is kept beside a file moved aside."""
    return Why(finding, kind, detail, shown(path), asset_id, digest, datetime.now(UTC))


def restore(repo: Repository, place: Place, open_good: Callable[[], BinaryIO], reason: Why) -> FileStat:
    """Put good bytes in the place of bad or missing ones; return the state of the file that is there then.

    Args:
        repo: where the place is.
        place: what shall be there, and what is now.
        open_good: opens another copy, which is verified while it is read; may be called twice.
        reason: kept beside the bad file.

    Raises:
        Permanent: the other copy is no good one (``copy_damaged``): nothing was touched.
        Conflict: the file is not the one that was found bad (``file_changed``), or one appeared (``name_taken``).
        Forbidden: we may not write there (``folder_not_writable``).
        Retryable: another process is at it (``heal_running``).
        Unavailable: a disk, room on it or the other copy is away.
    """
    check_identity(repo)
    *folders, name = place.path.split("/")
    try:
        with durable.translated("heal", place.path, writing=True):
            return local.in_folder(
                repo.root, folders, lambda folder: _restored(repo, folder, name, place, open_good, reason)
            )
    except Unavailable as error:
        if error.code == "not_writable":
            raise Forbidden(error.message, code="folder_not_writable") from error
        raise


def _restored(
    repo: Repository, folder: int, name: str, place: Place, open_good: Callable[[], BinaryIO], reason: Why
) -> FileStat:
    if (good := _good(folder, name, place.digest)) is not None:
        return good
    try:
        return _swap(repo, folder, name, place, open_good, reason, beside=False)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    # another file system is mounted here: what is moved stays in this folder
    return _swap(repo, folder, name, place, open_good, reason, beside=True)


def set_aside(repo: Repository, path: RepoPath, found: FileStat, reason: Why) -> None:
    """Move a file that nobody knows to the quarantine, beside a JSON of why; one that is gone is no error.

    Raises:
        Conflict: it is not the file that was found (``file_changed``).
        Unavailable: as :func:`restore`.
    """
    check_identity(repo)
    *folders, name = path.split("/")
    try:
        with (
            durable.translated("set aside", path, writing=True),
            local.folder_below(repo.root, folders) as folder,
        ):
            _move_aside(repo, folder, name, found, reason, beside=False)
    except NotFound:
        check_identity(repo)


def _swap(
    repo: Repository,
    folder: int,
    name: str,
    place: Place,
    open_good: Callable[[], BinaryIO],
    reason: Why,
    *,
    beside: bool,
) -> FileStat:
    staged = f".lumilio-heal-{reason.finding}.part"
    with ExitStack() as opened:
        temp = folder if beside else opened.enter_context(local.folder_below(repo.root, _TEMP, create=True))
        fd = opened.enter_context(_claimed(temp, staged))
        _stage(fd, open_good, place)
        _dress(fd, folder, name, place.mtime_ns)
        _move_aside(repo, folder, name, place.found, reason, beside=beside)
        try:
            durable.rename_new(staged, name, source_fd=temp, target_fd=folder)
        except FileExistsError as error:
            raise Conflict(f"a file appeared at {shown(place.path)}", code="name_taken") from error
        durable.fsync_folder_fd(folder)
        return local.stat_of(os.fstat(fd))


@contextmanager
def _claimed(folder: int, name: str) -> Iterator[int]:
    """Make a staged file anew, with an flock held, and give its descriptor; what is not renamed is removed.

    Raises:
        Retryable: another process holds it (``heal_running``).
    """
    with suppress(FileNotFoundError):
        left = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        except BlockingIOError as error:
            raise Retryable("another process is healing this file", code="heal_running", after_s=10) from error
        finally:
            os.close(left)
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield fd
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


def _stage(fd: int, open_good: Callable[[], BinaryIO], place: Place) -> None:
    """Copy good bytes into a staged file and read them back from the disk."""
    hasher, total = blake3(), 0
    with durable.translated("read another copy of", place.path), open_good() as source:
        while total <= place.size_bytes and (block := source.read(durable.BLOCK_BYTES)):
            durable.check_cancelled()
            hasher.update(block)
            total += len(block)
            with durable.translated("heal", place.path, writing=True):
                durable.write_all(fd, block)
    if (hasher.hexdigest(), total) != (place.digest, place.size_bytes):
        raise Permanent("the other copy is damaged, too", code="copy_damaged")
    os.fsync(fd)
    if uncached_digest(fd) != (place.digest, place.size_bytes):
        raise Unavailable("the disk does not give back what was written", code="io_error", after_s=60)


def _dress(fd: int, folder: int, name: str, mtime_ns: int) -> None:
    """Give a staged file the time of the record, and mode and owner of the bad file, as far as we may."""
    mode = 0o644
    with suppress(FileNotFoundError):
        bad = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(bad.st_mode):
            mode = stat.S_IMODE(bad.st_mode)
            with suppress(PermissionError):
                os.fchown(fd, bad.st_uid, bad.st_gid)
    os.fchmod(fd, mode)
    os.utime(fd, ns=(mtime_ns, mtime_ns))
    os.fsync(fd)


def _move_aside(repo: Repository, folder: int, name: str, found: FileStat | None, reason: Why, *, beside: bool) -> None:
    """Move the file that was found to the quarantine; one that was moved before, or never was, is no error."""
    try:
        now = local.stat_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return
    if found is None or recorded(now) != recorded(found):
        raise Conflict(f"{reason.path} is not the file that was found", code="file_changed")
    with local.folder_below(repo.root, QUARANTINE, create=True) as quarantine:
        json = os.path.join(repo.root, *QUARANTINE, f"{reason.finding}.json")
        durable.write_file(json, msgspec.json.encode(reason), mode=0o600)
        aside = f".lumilio-bad-{reason.finding}" if beside else f"{reason.finding}.bad"
        kept = folder if beside else quarantine
        try:
            durable.rename_new(name, aside, source_fd=folder, target_fd=kept)
        except FileExistsError as error:
            there = os.stat(aside, dir_fd=kept, follow_symlinks=False)
            if not os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), there):
                raise Conflict(f"{shown(aside)} is in the quarantine already", code="name_taken") from error
            os.unlink(name, dir_fd=folder)  # a power failure has left both names of the rename
        durable.fsync_folder_fd(quarantine)
        durable.fsync_folder_fd(folder)


def _good(folder: int, name: str, digest: Digest) -> FileStat | None:
    """Return the state of a file that is good already; None of any other."""
    try:
        fd = local.open_plain(name, folder)
    except (OSError, Permanent):
        return None
    try:
        return local.stat_of(os.fstat(fd)) if uncached_digest(fd)[0] == digest else None
    except OSError:
        return None  # what cannot be read is not good
    finally:
        os.close(fd)
