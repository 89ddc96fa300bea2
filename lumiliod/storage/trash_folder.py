"""The folder of a repository's trash, and what has a name in a folder that is open. All calls block."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lumiliod.domain.errors import Conflict, Permanent, Unavailable
from lumiliod.domain.ids import shown
from lumiliod.storage import local
from lumiliod.storage.repository import DAMAGED_AFTER_S, Repository


@contextmanager
def opened_folder(repo: Repository) -> Iterator[int]:
    """Open the trash, following no link; a lost one is made again.

    Raises:
        Unavailable: something else lies there (``repository_damaged``).
    """
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(local.folder_below(repo.root, (".lumilio", "trash"), create=True))
        except (Permanent, Conflict) as error:
            message = f".lumilio/trash of {shown(repo.root)} is not a folder"
            raise Unavailable(message, code="repository_damaged", after_s=DAMAGED_AFTER_S) from error
        yield folder


def open_named(name: str, folder: int) -> int:
    """Open a plain file. A link in its place is no failure of the disk."""
    try:
        return local.open_plain(name, folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Permanent(f"{shown(name)} is a symbolic link", code="unreadable") from error
        raise


def look(name: str, folder: int) -> os.stat_result | None:
    """Return the state of what has a name, following no link; None when nothing has it."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def digest_of(name: str, folder: int) -> str:
    """Return the digest of a plain file."""
    fd = local.open_plain(name, folder)
    try:
        return local.digest_open(fd)
    finally:
        os.close(fd)
