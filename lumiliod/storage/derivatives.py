"""Derivatives on disk: where they lie, and how a finished one gets there. All calls block; callers thread them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import AssetId
from lumiliod.storage import durable
from lumiliod.storage.repository import Repository


def thumbnail_path(repo: Repository, asset_id: AssetId, size: int, extension: str) -> str:
    """Return the absolute path of a thumbnail; ``size`` is its long side in pixels.

    Folders go by the last two digits of the id: those of a UUIDv7 are random, its first are time.
    """
    return os.path.join(repo.lumilio, _relative(asset_id, size, extension))


def put(repo: Repository, asset_id: AssetId, size: int, source: str, extension: str) -> str:
    """Move a finished thumbnail from :func:`scratch` into place; an older one gives way.

    It is not forced to the disk: a derivative can be made again, and whoever reads one compares its
    size with its row, so that one lost with the power is noticed and re-made.

    Returns:
        Its path relative to ``.lumilio``.

    Raises:
        NotFound: ``source`` is missing. Refused: no room. Retryable: the disk does not take it now.
    """
    relative = _relative(asset_id, size, extension)
    target = os.path.join(repo.lumilio, relative)
    with durable.translated("store", relative, writing=True):
        try:
            os.rename(source, target)  # noqa: PTH104
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103
            os.rename(source, target)  # noqa: PTH104
    return relative


@contextmanager
def scratch(repo: Repository) -> Iterator[str]:
    """Give a private folder on the repository's file system, removed afterwards with all it holds."""
    with durable.translated("make a folder in", repo.temp, writing=True):
        path, fd = _owned_folder(repo.temp)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def sweep_scratch(repo: Repository) -> list[str]:
    """Remove what dead owners left in ``temp``; return the names removed."""
    removed: list[str] = []
    with durable.translated("sweep", repo.temp, writing=True):
        for name in sorted(os.listdir(repo.temp)):
            path = os.path.join(repo.temp, name)
            if os.path.islink(path):  # noqa: PTH114
                durable.unlink(path)
                removed.append(name)
                continue
            with durable.owned_by_nobody(path) as fd:
                if fd is None:
                    continue
                if os.path.isdir(path):  # noqa: PTH112
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    durable.unlink(path)
                removed.append(name)
    return removed


def _relative(asset_id: AssetId, size: int, extension: str) -> str:
    suffix = extension.removeprefix(".").lower()
    if size <= 0 or not suffix.isalnum():
        raise Shape(f"no thumbnail has {size} px and the extension {extension!r}", code="bad_derivative")
    return os.path.join("assets", "thumbnails", str(size), asset_id.hex[-2:], f"{asset_id}.{suffix}")


def _owned_folder(parent: str) -> tuple[str, int]:
    """Make a folder with an flock held; a sweeper may come between making and locking."""
    while True:
        path = tempfile.mkdtemp(prefix="scratch-", dir=parent)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink and os.path.isdir(path):  # noqa: PTH112
            return path, fd
        os.close(fd)
