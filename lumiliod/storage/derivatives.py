"""Derivatives on disk: how a finished one gets to its place, and how it goes. All calls block; callers thread them."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from lumiliod.domain.errors import Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import shown
from lumiliod.storage import durable, local
from lumiliod.storage.repository import DAMAGED_AFTER_S, Repository, check_identity, repair


def put(repo: Repository, source: str, place: str) -> None:
    """Move a finished derivative from :func:`scratch` to its place, relative to ``.lumilio``; one there gives way.

    It is not forced to the disk: a derivative can be made again, and whoever reads one compares its
    size with its row, so that one lost with the power is noticed and re-made.

    Raises:
        NotFound: ``source`` is missing. Unavailable: no room, the disk does not take it now, or a link
            stands where a folder of ours belongs (``repository_damaged``).
    """
    *folders, name = place.split("/")
    with durable.translated("store", place, writing=True), _our_folder(repo, *folders) as folder:
        os.rename(source, name, dst_dir_fd=folder)


def put_bytes(repo: Repository, data: bytes, place: str) -> None:
    """Write a derivative to its place; as :func:`put`, and as little forced to the disk.

    Raises:
        Unavailable: as :func:`put`.
    """
    *folders, name = place.split("/")
    with (
        durable.translated("store", place, writing=True),
        _our_folder(repo, "temp") as temp,
        _our_folder(repo, *folders) as folder,
    ):
        scratch, fd = _owned_file(temp)
        try:
            durable.write_all(fd, data)
            os.rename(scratch, name, src_dir_fd=temp, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(scratch, dir_fd=temp)
            raise
        finally:
            os.close(fd)


def remove(repo: Repository, path: str) -> None:
    """Unlink a derivative, if it is there; ``path`` is relative to ``.lumilio``.

    Raises:
        Shape: no derivative can lie there (``bad_path``).
        Unavailable: the disk does not take it now.
    """
    *folders, name = path.split("/")
    is_plain = all(part not in {"", ".", ".."} for part in (*folders, name)) and "\0" not in path
    if not is_plain or folders[:1] != ["assets"]:
        raise Shape(f"no derivative lies at {shown(path)!r}", code="bad_path")
    try:
        with (
            durable.translated("remove", path, writing=True),
            local.folder_below(repo.root, (".lumilio", *folders)) as folder,
        ):
            os.unlink(name, dir_fd=folder)
    except (NotFound, Permanent):  # gone, or a link: what is behind that is not ours
        return


@contextmanager
def scratch(repo: Repository) -> Iterator[str]:
    """Give a private folder on the repository's file system, removed afterwards with all it holds.

    Raises:
        Unavailable: as :func:`put`.
    """
    with ExitStack() as opened:
        with durable.translated("make a folder in", repo.temp, writing=True):
            temp = opened.enter_context(_our_folder(repo, "temp"))
            name, fd = _owned_folder(temp)
        opened.callback(os.close, fd)
        opened.callback(shutil.rmtree, name, ignore_errors=True, dir_fd=temp)
        yield os.path.join(repo.temp, name)


def sweep_scratch(repo: Repository) -> list[str]:
    """Remove what dead owners left in ``temp``; return the names removed."""
    removed: list[str] = []
    with durable.translated("sweep", repo.temp, writing=True), _our_folder(repo, "temp") as temp:
        for name in sorted(os.listdir(temp)):
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


@contextmanager
def _our_folder(repo: Repository, *parts: str) -> Iterator[int]:
    """Open a folder below ``.lumilio``, following no link; a lost one is made again.

    Raises:
        Unavailable: something else lies there (``repository_damaged``), or the whole repository is
            away (``repository_offline``): nothing is made where a disk should be mounted.
    """
    below = (".lumilio", *parts)
    with ExitStack() as opened:
        try:
            try:
                folder = opened.enter_context(local.folder_below(repo.root, below))
            except FileNotFoundError:
                check_identity(repo)
                if not _made_in_its_place(repo, below):
                    repair(repo)
                folder = opened.enter_context(local.folder_below(repo.root, below, create=True))
        except (Permanent, Conflict, NotADirectoryError) as error:
            message = f"{os.path.join(*below)} of {shown(repo.root)} is not a folder"
            raise Unavailable(message, code="repository_damaged", after_s=DAMAGED_AFTER_S) from error
        yield folder


def _made_in_its_place(repo: Repository, below: Sequence[str]) -> bool:
    """Make a folder where the one that it belongs into is there; it is as little forced to the disk as its files are.

    A library has hundreds of them, and each would wait for the disk.
    """
    *above, name = below
    try:
        with local.folder_below(repo.root, above) as folder, suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _owned_folder(parent: int) -> tuple[str, int]:
    """Make a folder with an flock held; a sweeper may come between making and locking."""
    while True:
        name = f"scratch-{secrets.token_hex(8)}"
        os.mkdir(name, 0o700, dir_fd=parent)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return name, fd
        os.close(fd)


def _owned_file(parent: int) -> tuple[str, int]:
    """Make a file to write to with an flock held; a sweeper may come between making and locking."""
    while True:
        name = f"scratch-{secrets.token_hex(8)}"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return name, fd
        os.close(fd)
