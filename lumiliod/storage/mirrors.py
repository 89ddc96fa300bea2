"""Mirrors: second copies of originals in another backend, named by their bytes. All calls block; callers thread them.

::

    lumilio-mirror/<mirror>.json                what this is; without it the place counts as away
    originals/aa/bb/<digest>                    the bytes, never replaced by others
    manifests/<repository>/<manifest>.jsonl     a line per original: digest, size, asset, where it lay, its name

So a rename costs nothing here, and whoever finds a mirror can read it without Lumilio.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from uuid import UUID

import msgspec

from lumiliod.domain.errors import ConfigError, Conflict, LumilioError, NotFound, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, RepositoryId, shown
from lumiliod.storage import backend as backends
from lumiliod.storage import durable, secrets, small_json
from lumiliod.storage.backend import Backend
from lumiliod.storage.local import TEMP, LocalBackend
from lumiliod.storage.repository import Repository, check_identity

AWAY_AFTER_S = 60.0
MARK_MAX_BYTES = 1 << 16


class Mark(msgspec.Struct, frozen=True):
    """Content of ``lumilio-mirror/<mirror>.json``."""

    mirror: UUID
    repository: UUID
    repository_name: str
    about: str = "Second copies of a Lumilio library's originals: see manifests/ for which file is which."


class ManifestLine(msgspec.Struct, frozen=True):
    r"""One original of a manifest. In ``path``, bytes that are not UTF-8 appear as ``\xff``."""

    digest: str
    size_bytes: int
    asset_id: UUID | None
    path: str | None
    filename: str | None


def opened(location: str, options: Mapping[str, str]) -> Backend:
    """Return the backend of a mirror, which need not be reachable now.

    A folder's copies have bytes of their own: a hard link to an original would rot with it.

    Raises:
        ConfigError: nothing here understands the location or its options, in which secrets are resolved already.
    """
    if location.startswith("/") and not options:
        return LocalBackend(location, hard_links=False)
    return backends.at(location, options)


def checked_location(location: str, options: Mapping[str, str], roots: Iterable[str], secrets_dir: str) -> str:
    """Return a location in its normal form if a mirror may lie there, with secrets from ``secrets_dir``.

    Raises:
        Shape: it is inside or around a repository (``nested_root``), or nothing here understands it (``bad_location``),
            or a secret it needs cannot be read (``secret_unreadable``).
        NotFound: there is no such folder (``root_missing``); none is made, a disk may have to be mounted there.
    """
    if location.startswith("/"):
        location = os.path.normpath(location)
        real = os.path.realpath(location)
        for root in map(os.path.realpath, roots):
            if os.path.commonpath([real, root]) in {real, root}:
                raise Shape(
                    f"{shown(location)} and the repository {shown(root)} lie in one another", code="nested_root"
                )
        if not os.path.isdir(real):  # noqa: PTH112
            raise NotFound(f"there is no folder {shown(location)}", code="root_missing")
    try:
        opened(location, secrets.resolved(options, secrets_dir, os.environ))
    except ConfigError as error:
        code = error.code if error.code == "secret_unreadable" else "bad_location"
        raise Shape(error.message, code=code) from error
    return location


def declared_location(repo: Repository) -> str | None:
    """Return where a repository's marker wants copies (``create_backups``, ``backup_path``); None if nowhere.

    Without a path, or with one that is not absolute, that is ``.lumilio/backups/mirror``: anywhere else in the
    repository copies would be taken for files of the person.
    """
    settings = repo.marker.local_settings
    if not settings.create_backups:
        return None
    if settings.backup_path.startswith("/"):
        return os.path.normpath(settings.backup_path)
    return own_location(repo)


def own_location(repo: Repository) -> str:
    """Return where a mirror lies inside its repository's own folder."""
    return os.path.join(repo.lumilio, "backups", "mirror")


def original_path(digest: Digest) -> RepoPath:
    """Return where an original's copy lies."""
    return RepoPath(f"originals/{digest[:2]}/{digest[2:4]}/{digest}")


def manifest_path(repository_id: RepositoryId, manifest_id: UUID) -> RepoPath:
    """Return where a manifest lies."""
    return RepoPath(f"manifests/{repository_id}/{manifest_id}.jsonl")


def introduce(backend: Backend, mark: Mark, repo: Repository) -> None:
    """Put the mark that tells this mirror from an empty mount point; doing it again changes nothing.

    Raises:
        Unavailable: its folder is not there, and not ours to make (``mirror_offline``), or the store is away.
    """
    if isinstance(backend, LocalBackend) and not os.path.isdir(backend.root):  # noqa: PTH112
        if backend.root != own_location(repo):
            raise away("there is no such folder")
        check_identity(repo)
        with durable.translated("make", backend.root, writing=True):
            os.makedirs(backend.root, exist_ok=True)  # noqa: PTH103
    with _spooled(msgspec.json.encode(mark)) as path:
        try:
            backend.put_new(path, _mark_path(mark.mirror))
        except Conflict as error:
            # whose it is says check_there: other words, such as an older name of the repository, are no matter
            if error.code != "name_taken":
                raise


def check_there(backend: Backend, mirror_id: UUID) -> None:
    """Make sure that a mirror is there, so that absence means absence.

    Raises:
        Unavailable: it cannot be reached, or its mark is not there (``mirror_offline``).
    """
    try:
        with backend.open(_mark_path(mirror_id)) as file:
            mark = small_json.decode(file.read(MARK_MAX_BYTES), Mark)
    except NotFound as error:
        raise away("its mark is not there") from error
    except OSError as error:
        raise away(error.strerror or str(error)) from error
    except LumilioError as error:
        raise away(error.message) from error
    if mark is None:
        raise away("its mark cannot be read")
    if mark.mirror != mirror_id:
        raise away("another mirror lies there")


def sweep(backend: Backend) -> int:
    """Remove what copies that were cut off left in a folder; return how many. Whoever copies there now is let be.

    Raises:
        Unavailable: the disk does not take it now.
    """
    removed = 0
    if not isinstance(backend, LocalBackend):
        return removed
    folder = os.path.join(backend.root, *TEMP)
    with suppress(NotFound), durable.translated("sweep", folder, writing=True):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if not name.startswith("copy-") or os.path.isdir(path):  # noqa: PTH112
                continue
            with durable.owned_by_nobody(path) as fd:
                if fd is not None:
                    removed += durable.unlink(path)
    return removed


def put_manifest(backend: Backend, path: RepoPath, lines: Iterable[ManifestLine]) -> None:
    """Store a manifest: JSON, a line each."""
    with _spooled(b"".join(msgspec.json.encode(line) + b"\n" for line in lines)) as source:
        backend.put_new(source, path)


def away(why: str) -> Unavailable:
    """Return what is raised where a mirror cannot be reached."""
    return Unavailable(f"the mirror is away: {why}", code="mirror_offline", after_s=AWAY_AFTER_S)


def _mark_path(mirror_id: UUID) -> RepoPath:
    return RepoPath(f"lumilio-mirror/{mirror_id}.json")


@contextmanager
def _spooled(data: bytes) -> Iterator[str]:
    """Give small data as a file of this host, which is what backends store from."""
    with tempfile.NamedTemporaryFile(prefix="lumilio-", delete=True) as file:
        file.write(data)
        file.flush()
        yield file.name
