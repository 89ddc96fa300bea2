"""Pieces of films for streaming, kept as long as there is room for them: the least recently used give way.

They lie in ``.lumilio/cache/films``, a folder an asset, and no row knows them. All calls block; callers thread them.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from lumiliod.domain.errors import Permanent
from lumiliod.domain.ids import AssetId
from lumiliod.storage import durable, local
from lumiliod.storage.repository import Repository, check_identity

FOLDER = ("cache", "films")
"""Below ``.lumilio``."""


class _Kept(NamedTuple):
    used_ns: int
    size_bytes: int
    asset: str
    name: str


def opened(repo: Repository, asset_id: AssetId, name: str) -> BinaryIO | None:
    """Open what is kept of an asset by a name, and note that it was used; None where it is not kept.

    Raises:
        Unavailable: the disk fails.
    """
    with durable.translated("read", name), suppress(FileNotFoundError, NotADirectoryError, Permanent):
        file = os.fdopen(local.open_below(repo.root, _path(asset_id, name)), "rb", buffering=0)
        os.utime(file.fileno())
        return file
    return None


def put(repo: Repository, asset_id: AssetId, name: str, source: str, budget_bytes: int) -> None:
    """Move a finished file into place, on the disk; until all fit into ``budget_bytes`` others go, this one never.

    Raises:
        Unavailable: no room, the disk does not take it now, or the repository is away.
    """
    check_identity(repo)
    with durable.translated("store", name, writing=True):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)  # its row would tell that the power cut it short; it has none
        finally:
            os.close(descriptor)
        parts = [".lumilio", *FOLDER, str(asset_id)]
        local.in_folder(repo.root, parts, lambda folder: os.rename(source, name, dst_dir_fd=folder))
        _make_room(repo, budget_bytes, (str(asset_id), name))


def sizes(repo: Repository) -> dict[str, tuple[int, int]]:
    """Return how many files are kept of each asset, by the name of its folder, and their bytes.

    Raises:
        Unavailable: the disk fails.
    """
    found: dict[str, tuple[int, int]] = {}
    with durable.translated("read", "the pieces of films"):
        for one in _all(repo):
            files, size_bytes = found.get(one.asset, (0, 0))
            found[one.asset] = files + 1, size_bytes + one.size_bytes
    return found


def forget(repo: Repository, asset_id: AssetId) -> None:
    """Remove what is kept of an asset.

    Raises:
        Unavailable: the disk does not take it now.
    """
    with (
        durable.translated("remove", str(asset_id), writing=True),
        suppress(FileNotFoundError, NotADirectoryError, Permanent),  # nothing is kept, or what is there is not ours
        local.folder_below(repo.root, [".lumilio", *FOLDER]) as folder,
    ):
        shutil.rmtree(str(asset_id), dir_fd=folder)


def _make_room(repo: Repository, budget_bytes: int, spared: tuple[str, str]) -> None:
    kept = list(_all(repo))
    too_many = sum(one.size_bytes for one in kept) - budget_bytes
    with local.folder_below(repo.root, [".lumilio", *FOLDER]) as folder:
        for one in sorted(kept):
            if too_many <= 0:
                break
            if (one.asset, one.name) != spared:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(one.asset, one.name), dir_fd=folder)
                with suppress(OSError):  # others are left of it
                    os.rmdir(one.asset, dir_fd=folder)
                too_many -= one.size_bytes


def _all(repo: Repository) -> Iterator[_Kept]:
    with suppress(FileNotFoundError), os.scandir(os.path.join(repo.lumilio, *FOLDER)) as folders:
        for folder in folders:
            if not folder.is_dir(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError), os.scandir(folder.path) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield _Kept(found.st_mtime_ns, found.st_size, folder.name, entry.name)


def _path(asset_id: AssetId, name: str) -> str:
    return "/".join([".lumilio", *FOLDER, str(asset_id), name])
