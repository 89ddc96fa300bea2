"""Into the trash: a file leaves its place, with its note written first. All calls block.

Each call is durable when it returns, and doing it again after a crash ends the same.
"""

import os
import stat
from contextlib import ExitStack

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Permanent, Unavailable
from lumiliod.domain.ids import Digest, shown
from lumiliod.storage import durable, local, trash_note
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.trash_folder import digest_of, look, open_named, opened_folder
from lumiliod.storage.trash_move import drop, give_back, move, unstable
from lumiliod.storage.trash_note import Note


def put(repo: Repository, note: Note, known: FileStat) -> FileStat:
    """Move a file from its place into the trash.

    Args:
        repo: where both are.
        note: what it is; it is written first.
        known: its state on record. One that differs is read: only bytes of the note's digest are moved.

    Returns:
        Its state in the trash.

    Raises:
        NotFound: it is neither at its place nor in the trash (``file_missing``).
        Permanent: other bytes are at its place, or no plain file; they stay (``changed``, ``unreadable``).
        Unavailable: the repository is offline, or the disk does not take it now.
    """
    check_identity(repo)
    *folders, name = trash_note.parts(repo, note.place)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("move to the trash", note.place, writing=True))
        trash = opened.enter_context(opened_folder(repo))
        try:
            source = opened.enter_context(local.folder_below(repo.root, folders))
            if look(_aside(note), source) is not None:  # a crash left it
                give_back(_aside(note), name, source, Digest(note.digest))
            fd = open_named(name, source)
        except (FileNotFoundError, NotADirectoryError, Permanent):
            # looked at only now: somebody may be at the same work, and have moved it before we came
            kept = look(str(note.id), trash)
            if kept is None:
                raise
            return _settled(trash, kept, known)
        opened.callback(os.close, fd)
        try:
            return _brought(repo, note, fd, (name, source), trash, known)
        except FileNotFoundError as error:
            kept = look(str(note.id), trash)
            if kept is None or kept.st_size != known.size_bytes:
                raise unstable(name) from error
            return _settled(trash, kept, known)


def _brought(repo: Repository, note: Note, fd: int, source: tuple[str, int], trash: int, known: FileStat) -> FileStat:
    """Move the open file ``fd`` into the trash, or find it there. FileNotFoundError: somebody has just moved it."""
    kept = look(str(note.id), trash)
    if kept is not None:
        seen = os.fstat(fd)
        if not _is_leftover(seen, kept, known):
            return _settled(trash, kept, known)
        if digest_of(str(note.id), trash) == note.digest:
            drop(fd, source, local.stat_of(seen), Digest(note.digest), _aside(note))
            durable.fsync_folder_fd(source[1])
            return _settled(trash, kept, known)
        # a crash where a name can only be claimed before it is renamed to: our own empty file
        if kept.st_size:
            raise Unavailable(f"{note.id} holds other bytes in the trash", code="repository_damaged", after_s=60)
        os.unlink(str(note.id), dir_fd=trash)
    checked = local.stat_of(os.fstat(fd))
    _check_bytes(fd, note, known)
    trash_note.write(repo, note)
    os.fsync(fd)
    move(fd, source, (str(note.id), trash), Digest(note.digest), os.path.join(repo.temp, ""), _aside(note))
    return _settled(trash, os.stat(str(note.id), dir_fd=trash, follow_symlinks=False), checked)


def _aside(note: Note) -> str:
    """Return the name a file has for a moment before it is unlinked: hidden, and the same when it is done again."""
    return f".lumilio-{note.id}.gone"


def _check_bytes(fd: int, note: Note, known: FileStat) -> None:
    found = local.stat_of(os.fstat(fd))
    if found != known and (found.size_bytes != known.size_bytes or local.digest_open(fd) != note.digest):
        raise Permanent(f"other bytes lie under the name of {shown(note.place)}", code="changed")


def _settled(folder: int, kept: os.stat_result, checked: FileStat) -> FileStat:
    """Return the state on record of a file that is in the trash now, durably: what was checked, under its inode there.

    So one that somebody still writes to differs from its record.
    """
    if not stat.S_ISREG(kept.st_mode):
        raise Permanent("what lies in the trash is not a plain file", code="unreadable")
    durable.fsync_folder_fd(folder)
    return FileStat(checked.size_bytes, checked.mtime_ns, kept.st_ino)


def _is_leftover(placed: os.stat_result, kept: os.stat_result, known: FileStat) -> bool:
    """Tell whether what is still at its place is the file in the trash, linked or copied and not yet unlinked."""
    return (placed.st_dev, placed.st_ino) == (kept.st_dev, kept.st_ino) or local.stat_of(placed) == known
