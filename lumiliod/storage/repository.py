"""Repositories on disk: create, open, check and repair one. All calls block; callers thread them."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import uuid4

from lumiliod.domain import derivatives
from lumiliod.domain.errors import Conflict, Forbidden, LumilioError, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import RepoPath, RepositoryId, shown
from lumiliod.domain.repositories import LayoutName, Marker, checked_name
from lumiliod.storage import durable, roots
from lumiliod.storage import marker as markers

FOLDERS: tuple[str, ...] = (
    *derivatives.FOLDERS.values(),
    "staging/incoming",
    "staging/failed",
    "temp",
    "trash",
    "logs",
    "backups",
)
"""Folders of ``.lumilio``."""

OFFLINE_AFTER_S = 60.0
"""When it makes sense to look for an offline repository again."""

DAMAGED_AFTER_S = 60.0
"""When it makes sense to look again at one that a person has to mend."""

_EMPTY = "the folder is empty, as when its disk is not mounted"
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Repository:
    """An open library root: absolute path, marker, and the device it lay on when it was opened."""

    root: str
    marker: Marker
    device: int

    @property
    def id(self) -> RepositoryId:
        """The identity in the marker."""
        return self.marker.id

    @property
    def name(self) -> str:
        """What people call it."""
        return self.marker.name

    @property
    def lumilio(self) -> str:
        """Our folder, ``.lumilio``."""
        return os.path.join(self.root, ".lumilio")

    @property
    def inbox(self) -> str:
        """Where uploads are committed."""
        return os.path.join(self.root, "inbox")

    @property
    def incoming(self) -> str:
        """Where uploads are staged."""
        return os.path.join(self.lumilio, "staging", "incoming")

    @property
    def failed(self) -> str:
        """Where staged files lie that could not be ingested."""
        return os.path.join(self.lumilio, "staging", "failed")

    @property
    def temp(self) -> str:
        """Where work in progress lies; nothing here is needed after its owner is gone."""
        return os.path.join(self.lumilio, "temp")

    @property
    def trash(self) -> str:
        """Where removed originals wait."""
        return os.path.join(self.lumilio, "trash")

    def absolute(self, path: RepoPath) -> str:
        """Return the absolute path of ``path``."""
        return os.path.join(self.root, path)


def create(
    root: str,
    name: str,
    *,
    storage_strategy: LayoutName = "date",
    created_at: datetime | None = None,
    known_roots: Sequence[str] = (),
    forbidden: Sequence[str] = (),
) -> Repository:
    """Make the folder ``root`` a repository. Its marker comes last: what was interrupted can be done again.

    Args:
        root: an existing folder.
        name: what people call it; it is a part of URLs, so it holds no slash.
        storage_strategy: which layout arranges the inbox.
        created_at: now by default.
        known_roots: roots of other repositories, also of those that are offline.
        forbidden: folders that stay the daemon's own; no repository lies in one.

    Raises:
        Conflict: it is one already (``exists``).
        NotFound: there is no such folder (``root_missing``).
        Forbidden: we may not write there (``root_not_writable``).
        Shape: the path is not absolute UTF-8, forbidden or on a pseudo file system (``bad_root``), no
            folder (``root_not_a_folder``), inside another repository, around a known one or directly
            above one (``nested_root``); a bad name or strategy.
    """
    root = roots.checked(root, known_roots, forbidden)
    name = checked_name(name)
    if not storage_strategy.replace("_", "").replace("-", "").isalnum() or storage_strategy != storage_strategy.lower():
        raise Shape(f"{storage_strategy!r} is no storage strategy", code="bad_storage_strategy")
    marker = Marker(
        id=RepositoryId(uuid4()),
        name=name,
        created_at=created_at or datetime.now(UTC),
        storage_strategy=storage_strategy,
    )
    repo = Repository(root, marker, os.stat(root).st_dev)  # noqa: PTH116
    try:
        _refuse_links(repo)
        _make_folders(repo)
        temp = os.path.join(repo.temp, f"marker-{secrets.token_hex(8)}")
        durable.write_file(os.path.join(root, markers.NAME), markers.encode(marker), temp=temp, replace=False)
    except FileExistsError as error:
        raise Conflict(f"{shown(root)} is a repository already", code="exists") from error
    except OSError as error:
        if error.errno in _NOT_WRITABLE or error.errno == errno.ENOENT:  # what /proc and the like answer
            raise Forbidden(f"cannot write in {shown(root)}: {error.strerror}", code="root_not_writable") from error
        raise durable.as_ours(error, "create a repository in", root, writing=True) from error
    return repo


def open_repository(root: str) -> Repository:
    """Open the repository at ``root`` and repair what is missing of our folders, where we may write.

    Raises:
        NotFound: no marker is there (``not_a_repository``).
        Permanent: the marker is invalid (``marker_invalid``).
        Unavailable: a link stands for one of our folders (``repository_damaged``).
        Forbidden: we may not read it (``root_not_readable``).
    """
    root = os.path.abspath(root)  # noqa: PTH100  byte names
    marker, _ = _read_marker(root)
    with durable.translated("open", root):
        repo = Repository(root, marker, os.stat(root).st_dev)  # noqa: PTH116
        _refuse_links(repo)
    repair(repo)
    return repo


def reopen(root: str, id: RepositoryId, name: str) -> Repository:  # noqa: A002  the word of the room
    """Open the repository that is known to lie at ``root``, an absolute path without links; never another one.

    Raises:
        Unavailable: something else, or nothing, lies there; the code says what, the message what a person can do:
            ``root_is_link``, ``root_missing``, ``root_empty``, ``not_a_repository``, ``another_repository``, or
            ``repository_moved`` when it lies beside its old place. Others as :func:`open_repository`.
    """
    real = os.path.realpath(root)
    if real != root and os.path.lexists(real):
        what = f"{shown(root)} is reached by a symbolic link now: lumilio repos relocate {name} {shown(real)}"
        raise _away(what, "root_is_link")
    try:
        found = peek(root)
    except NotFound as error:
        raise _gone(root, id, name) from error
    if found.id != id:
        raise _away(f"another repository lies at {shown(root)}: {found.name}", "another_repository")
    return open_repository(root)


def peek(root: str) -> Marker:
    """Read the marker at ``root``; nothing is opened or repaired.

    Raises:
        NotFound: none is there (``not_a_repository``). Permanent: it is invalid (``marker_invalid``).
        Forbidden: we may not read it (``root_not_readable``).
    """
    return _read_marker(root)[0]


def lies_at(root: str, id: RepositoryId) -> bool:  # noqa: A002
    """Tell whether the repository ``id`` lies at ``root``.

    Raises:
        LumilioError: that cannot be told, as the folder cannot be read.
    """
    try:
        return peek(root).id == id
    except NotFound:
        return False


def renew(root: str, name: str, created_at: datetime | None = None) -> Repository:
    """Give the copy of a repository at ``root`` an identity of its own.

    What lay in its ``.lumilio`` belongs to the other: it is kept beside it, under a name that scans leave out, and
    nothing of it is used. Its originals stay where they are, and so do its settings. The marker comes last: a crash
    before that leaves a copy, and doing it again ends the same.

    Raises:
        NotFound, Permanent, Forbidden: as :func:`peek`.
        Unavailable: the disk does not take it now.
    """
    root = os.path.abspath(root)  # noqa: PTH100
    old, kept = _read_marker(root)
    marker = replace(old, id=RepositoryId(uuid4()), name=checked_name(name), created_at=created_at or datetime.now(UTC))
    repo = Repository(root, marker, os.stat(root).st_dev)  # noqa: PTH116
    _refuse_links(repo)
    with durable.translated("make a repository of", root, writing=True):
        with suppress(FileNotFoundError):
            os.rename(repo.lumilio, os.path.join(root, f".lumilio-{old.id}-{secrets.token_hex(8)}"))  # noqa: PTH104
            durable.fsync_folder(root)
        _make_folders(repo)
        temp = os.path.join(repo.temp, f"marker-{secrets.token_hex(8)}")
        durable.write_file(os.path.join(root, markers.NAME), markers.encode(marker, kept), temp=temp)
    return repo


def save(repo: Repository, marker: Marker) -> Repository:
    """Write changed settings to the marker, keeping keys we do not know; the identity cannot change.

    Raises:
        Shape: the id differs (``id_changed``). Unavailable: the disk does not take it now.
    """
    if marker.id != repo.id:
        raise Shape("a repository's id never changes", code="id_changed")
    _, kept = _read_marker(repo.root)
    temp = os.path.join(repo.temp, f"marker-{secrets.token_hex(8)}")
    with durable.translated("write", markers.NAME, writing=True):
        durable.write_file(os.path.join(repo.root, markers.NAME), markers.encode(marker, kept), temp=temp)
    return replace(repo, marker=marker)


def validate(repo: Repository) -> list[str]:
    """Return what is wrong with a repository's folders, for people; empty when all is well."""
    problems: list[str] = []
    for path in _folder_paths(repo):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            problems.append(f"{_relative(repo, path)} is missing")
            continue
        except OSError as error:
            problems.append(f"{_relative(repo, path)} cannot be read: {error.strerror}")
            continue
        if not stat.S_ISDIR(found.st_mode):
            problems.append(f"{_relative(repo, path)} is not a folder")
        elif path == repo.lumilio and stat.S_IMODE(found.st_mode) != 0o700:
            problems.append(f".lumilio has mode {stat.S_IMODE(found.st_mode):04o} instead of 0700")
        elif not os.access(path, os.W_OK | os.X_OK):
            problems.append(f"{_relative(repo, path)} is not writable")
    return problems


def repair(repo: Repository) -> list[str]:
    """Make missing folders and set the mode of ``.lumilio``; return what was done, for people.

    Where we may not write nothing is done and nothing raised: :func:`validate` tells.
    """
    try:
        return _make_folders(repo)
    except OSError as error:
        if error.errno in _NOT_WRITABLE or error.errno in {errno.EEXIST, errno.ENOTDIR}:
            return []
        raise durable.as_ours(error, "repair", repo.root) from error


def check_identity(repo: Repository) -> None:
    """Make sure that the root is still the repository that was opened, so that absence means absence.

    Raises:
        Unavailable: it is missing, unmounted, unreadable or another repository (``repository_offline``; ``reason``
            says which).
    """
    try:
        found = os.stat(repo.root)  # noqa: PTH116
    except OSError as error:
        raise _offline(repo, f"the folder cannot be reached: {error.strerror}", "root_missing") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _offline(repo, "it is not a folder any more", "root_not_a_folder")
    if found.st_dev != repo.device:
        raise _offline(repo, "another device is mounted there", "another_device")
    try:
        found_id = _identity(_raw_marker(repo.root))
    except LumilioError as error:
        reason = "root_empty" if _is_empty(repo.root) else error.code
        raise _offline(repo, _EMPTY if reason == "root_empty" else error.message, reason) from error
    if found_id != repo.id:
        raise _offline(repo, "another repository lies there", "another_repository")


@contextmanager
def exclusive(repo: Repository) -> Iterator[None]:
    """Own the repository's staging for as long as the block runs: one daemon per repository.

    Raises:
        Conflict: another process owns it (``repository_in_use``). Unavailable: the disk is read-only.
    """
    path = os.path.join(repo.lumilio, "lock")
    with durable.translated("lock", path, writing=True):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with durable.translated("lock", path, writing=True):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                message = f"repository {repo.name} is in use by process {holder}"
                raise Conflict(message, code="repository_in_use", pid=holder) from error
        with suppress(OSError):  # who it is helps people; a disk that is full keeps nobody from serving what it has
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _refuse_links(repo: Repository) -> None:
    """Refuse links and files in place of our folders: what is written there would land elsewhere."""
    for path in _folder_paths(repo):
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                what = f"{_relative(repo, path)} of {shown(repo.root)} is not a folder"
                raise Unavailable(what, code="repository_damaged", after_s=DAMAGED_AFTER_S)


def _make_folders(repo: Repository) -> list[str]:
    done: list[str] = []
    changed: dict[str, None] = {}
    for path in _folder_paths(repo):
        try:
            os.mkdir(path, 0o700 if path == repo.lumilio else 0o777)  # noqa: PTH102
        except FileExistsError:
            continue
        changed[os.path.dirname(path)] = None
        done.append(f"made {_relative(repo, path)}")
    if stat.S_IMODE(os.lstat(repo.lumilio).st_mode) != 0o700:
        os.chmod(repo.lumilio, 0o700)  # noqa: PTH101
        done.append("set mode 0700 on .lumilio")
    for folder in changed:
        durable.fsync_folder(folder)
    return done


def _folder_paths(repo: Repository) -> list[str]:
    """Return our folders, every parent before its children."""
    paths = [repo.lumilio, repo.inbox]
    for folder in FOLDERS:
        path = repo.lumilio
        for part in folder.split("/"):
            path = os.path.join(path, part)
            if path not in paths:
                paths.append(path)
    return paths


def _read_marker(root: str) -> tuple[Marker, dict[str, Any]]:
    return markers.decode(_raw_marker(root))


def _raw_marker(root: str) -> bytes:
    path = os.path.join(root, markers.NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            raw = os.read(fd, markers.MAX_BYTES + 1)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{shown(root)} is not a repository", code="not_a_repository") from error
    except IsADirectoryError as error:
        raise Permanent(f"{shown(path)} is a folder", code="marker_invalid", key="") from error
    except PermissionError as error:
        raise Forbidden(f"cannot read {shown(path)}: {error.strerror}", code="root_not_readable") from error
    except OSError as error:
        raise durable.as_ours(error, "read", path) from error
    if len(raw) > markers.MAX_BYTES:
        raise Permanent(f"{shown(path)} is larger than a marker can be", code="marker_invalid", key="")
    return raw


@lru_cache(maxsize=64)
def _identity(raw: bytes) -> RepositoryId:
    """Return whose marker this is; asked before every file, of the same few bytes."""
    return markers.decode(raw)[0].id


def _relative(repo: Repository, path: str) -> str:
    return os.path.relpath(path, repo.root)


def _offline(repo: Repository, why: str, reason: str) -> Unavailable:
    return Unavailable(
        f"repository {repo.name} is offline: {why}",
        code="repository_offline",
        after_s=OFFLINE_AFTER_S,
        repository_id=str(repo.id),
        reason=reason,
    )


def _gone(root: str, id_: RepositoryId, name: str) -> Unavailable:
    """Say why nothing lies where a repository should."""
    moved = roots.beside(root, lambda folder: _is_marked(folder, id_))
    if moved is not None:
        what = f"it is not at {shown(root)} but at {shown(moved)}: lumilio repos relocate {name} {shown(moved)}"
        return _away(what, "repository_moved")
    if not os.path.lexists(root):
        return _away(f"there is no folder {shown(root)}", "root_missing")
    if _is_empty(root):
        return _away(f"{shown(root)}: {_EMPTY}", "root_empty")
    return _away(f"{shown(root)} is not a repository any more", "not_a_repository")


def _away(message: str, code: str) -> Unavailable:
    return Unavailable(message, code=code, after_s=OFFLINE_AFTER_S)


def _is_marked(root: str, id_: RepositoryId) -> bool:
    try:
        return lies_at(root, id_)
    except LumilioError:
        return False


def _is_empty(root: str) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except OSError:
        return False
