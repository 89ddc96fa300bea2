"""Out of the trash: a file goes back to its place, or beside what has that by now. All calls block.

Each call is durable when it returns, and doing it again after a crash ends the same.
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import islice

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.domain.naming import candidates
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import durable, local, trash_note
from lumiliod.storage.check import DISK_ERRNOS
from lumiliod.storage.originals import NAMES
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.trash_folder import digest_of, look, open_named, opened_folder
from lumiliod.storage.trash_move import move
from lumiliod.storage.trash_note import Note
from lumiliod.storage.uncached import uncached_digest


def take_back(
    repo: Repository, note: Note, known: FileStat, naming: DuplicateNames, taken: Collection[RepoPath] = ()
) -> tuple[RepoPath, FileStat]:
    """Move a file from the trash to its old place, or beside what has that by now.

    Args:
        repo: where both are.
        note: what it is; its ``place`` comes first. The note stays: see :func:`trash_note.forget`.
        known: its state in the trash on record. It is read in any case: only bytes of the note's digest are moved.
        naming: what to call it where its name is taken; ``overwrite`` is as ``rename``: nothing gives way.
        taken: names that are passed over, whatever lies there.

    Returns:
        Where it lies now, and its state.

    Raises:
        NotFound: it is neither in the trash nor where it belongs (``file_missing``).
        Permanent: other bytes lie in the trash under its name (``changed``), no plain file (``unreadable``), or the
            disk does not give them back (``io_error``).
        Conflict: every name is taken (``name_taken``).
        Unavailable: the repository is offline, or the disk does not take it now.
    """
    check_identity(repo)
    digest = Digest(note.digest)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("restore", note.place, writing=True))
        trash = opened.enter_context(opened_folder(repo))
        try:
            fd = open_named(str(note.id), trash)
        except FileNotFoundError:
            return _found_again(repo, note, known, naming, taken)
        opened.callback(os.close, fd)
        _check_read(fd, note)
        for home in _homes(note):
            for path in candidates(home, naming, digest):
                if path in taken:
                    continue
                try:
                    found = _back_to(repo, path, fd, (str(note.id), trash), digest)
                except (Conflict, Permanent, NotADirectoryError) as error:
                    if isinstance(error, Permanent | Conflict) and error.code not in {"unreadable", "folder_taken"}:
                        raise
                    break  # its folder is none any more
                if found is not None:
                    return path, found
    raise Conflict(f"every name for {shown(note.place)} is taken", code="name_taken")


def names(note: Note, naming: DuplicateNames) -> Iterator[RepoPath]:
    """Yield the places that :func:`take_back` may try, so many of each home as are compared with what is on record."""
    for home in _homes(note):
        yield from islice(candidates(home, naming, Digest(note.digest)), NAMES)


def _back_to(repo: Repository, path: RepoPath, fd: int, source: tuple[str, int], digest: Digest) -> FileStat | None:
    """Move a file of the trash to ``path``; None when that name is taken."""
    *folders, name = trash_note.parts(repo, path)
    # hidden, and named so that doing it again finds it
    temp = os.path.join(repo.root, *folders, f".lumilio-{source[0]}.part")

    def attempt(target: int) -> FileStat | None:
        taken = look(name, target)
        if taken is not None and not _is_copy(fd, taken, name, target, digest):
            return None
        if taken is not None:
            os.unlink(source[0], dir_fd=source[1])
            durable.fsync_folder_fd(target)
            durable.fsync_folder_fd(source[1])
        else:
            durable.unlink(temp)
            try:
                move(fd, source, (name, target), digest, temp)
            except FileExistsError:
                return None
        return local.stat_of(os.stat(name, dir_fd=target, follow_symlinks=False))

    return local.in_folder(repo.root, folders, attempt)


def _is_copy(fd: int, taken: os.stat_result, name: str, folder: int, digest: Digest) -> bool:
    """Tell whether a name is taken by the very file, or by the copy a crash left on another file system."""
    ours = os.fstat(fd)
    if (taken.st_dev, taken.st_ino) == (ours.st_dev, ours.st_ino):
        return True
    is_alike = stat.S_ISREG(taken.st_mode) and taken.st_size == ours.st_size and taken.st_mtime_ns == ours.st_mtime_ns
    return taken.st_dev != ours.st_dev and is_alike and digest_of(name, folder) == digest


def _found_again(
    repo: Repository, note: Note, known: FileStat, naming: DuplicateNames, taken: Collection[RepoPath]
) -> tuple[RepoPath, FileStat]:
    """Return where an interrupted :func:`take_back` has put a file: under one of the names it would have tried."""
    for home in _homes(note):
        for path in candidates(home, naming, Digest(note.digest)):
            if path in taken:
                continue
            *folders, name = trash_note.parts(repo, path)
            try:
                with local.folder_below(repo.root, folders) as folder:
                    there = look(name, folder)
                    if there is None or there.st_size != known.size_bytes or not stat.S_ISREG(there.st_mode):
                        continue
                    if digest_of(name, folder) == note.digest:
                        durable.fsync_folder_fd(folder)
                        return path, local.stat_of(there)
            except (FileNotFoundError, NotADirectoryError, Permanent):
                break
    raise NotFound(f"{shown(note.place)} is not in the trash any more", code="file_missing")


def _homes(note: Note) -> Iterator[RepoPath]:
    """Yield where a file may go back to: its old place, and the inbox where that folder is none any more."""
    yield note.place
    yield RepoPath(f"inbox/{note.place.rpartition('/')[2]}")


def _check_read(fd: int, note: Note) -> None:
    """Read a file from the disk itself: bits may have rotted, in months, under the same size and time."""
    try:
        found = uncached_digest(fd)
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        raise Permanent(f"the disk does not give back {note.id}: {error.strerror}", code="io_error") from error
    if found != (note.digest, note.size_bytes):
        raise Permanent(f"other bytes lie under the name of {shown(note.place)}", code="changed")
