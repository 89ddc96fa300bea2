"""The trash of a repository: originals in ``.lumilio/trash/<id>``, each with its note. All calls block.

Files come by way of ``trash_entry`` and go back by way of ``trash_return``; each call is durable when it returns, and
doing it again after a crash ends the same. Nothing but :func:`remove` unlinks a file whose bytes are not safe
elsewhere.
"""

import os
import stat
from dataclasses import replace
from typing import BinaryIO
from uuid import UUID

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import NotFound, Permanent
from lumiliod.domain.ids import canonical_id, shown
from lumiliod.storage import durable, local, trash_note
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.trash_folder import digest_of, look, open_named, opened_folder
from lumiliod.storage.trash_note import Note


def verify(repo: Repository, note: Note, known: FileStat) -> FileStat:
    """Make sure that a file in the trash is the one on record, by its size and digest; return its state now.

    Another inode than on record is what a backup restored to another disk has; the bytes decide.

    Raises:
        NotFound: it is not there (``file_missing``).
        Permanent: it is no plain file (``unreadable``), another one (``changed``), or has other bytes
            (``digest_mismatch``).
        Unavailable: the repository is offline, or the disk fails.
    """
    check_identity(repo)
    with durable.translated("verify", str(note.id)), opened_folder(repo) as trash:
        found = _check_same(note, trash, known)
        if found == known.inode and digest_of(str(note.id), trash) != note.digest:
            raise Permanent(f"{note.id} in the trash has another digest", code="digest_mismatch")
    return replace(known, inode=found)


def remove(repo: Repository, note: Note, known: FileStat) -> int:
    """Unlink a verified file of the trash, and its note; return the bytes this freed, 0 when it was gone.

    Raises:
        Permanent: what lies there is not what was verified (``changed``, ``unreadable``); it stays.
        Unavailable: as :func:`verify`.
    """
    check_identity(repo)
    freed = 0
    with durable.translated("remove", str(note.id), writing=True), opened_folder(repo) as trash:
        try:
            _check_same(note, trash, known)
        except NotFound:
            pass
        else:
            os.unlink(str(note.id), dir_fd=trash)
            freed = known.size_bytes
        trash_note.forget(repo, note.id)
    return freed


def ids(repo: Repository) -> tuple[dict[UUID, int | None], list[str]]:
    """Return what lies in the trash: the ids with their sizes in bytes, None for a note without a file; other names."""
    found: dict[UUID, int | None] = {}
    others: list[str] = []
    with durable.translated("list", repo.trash), opened_folder(repo) as trash:
        for name in sorted(os.listdir(trash)):
            note = name.removesuffix(".tmp") if name.endswith(".json.tmp") else name
            id_ = canonical_id(note.removesuffix(".json"))
            kept = look(name, trash)
            if kept is None:
                continue
            if id_ is None or not stat.S_ISREG(kept.st_mode):
                others.append(shown(name))
            elif note.endswith(".json"):
                found.setdefault(id_)
            else:
                found[id_] = kept.st_size
    return found, others


def path_of(repo: Repository, id: UUID) -> str:  # noqa: A002
    """Return the absolute path a file has in the trash."""
    return os.path.join(repo.trash, str(id))


def open_file(repo: Repository, id: UUID) -> BinaryIO:  # noqa: A002
    """Open a file in the trash for reading; the caller closes it.

    Raises:
        NotFound: it is not there (``file_missing``). Permanent: no plain file (``unreadable``).
        Unavailable: the repository is offline, or the disk fails.
    """
    check_identity(repo)
    with durable.translated("read", str(id)), opened_folder(repo) as trash:
        return os.fdopen(open_named(str(id), trash), "rb")


def stat_of(repo: Repository, id: UUID) -> FileStat | None:  # noqa: A002
    """Return the state of a plain file in the trash; None when there is none."""
    with durable.translated("look at", str(id)), opened_folder(repo) as trash:
        kept = look(str(id), trash)
    return local.stat_of(kept) if kept is not None and stat.S_ISREG(kept.st_mode) else None


def _check_same(note: Note, folder: int, known: FileStat) -> int:
    """Make sure that a file in the trash is the one on record, or another with the very bytes; return its inode."""
    name = str(note.id)
    kept = look(name, folder)
    if kept is None:
        raise NotFound(f"{name} is not in the trash", code="file_missing")
    if not stat.S_ISREG(kept.st_mode):
        raise Permanent(f"{name} in the trash is not a plain file", code="unreadable")
    is_same = (kept.st_size, kept.st_ino) == (known.size_bytes, known.inode)
    if not is_same and (kept.st_size != known.size_bytes or digest_of(name, folder) != note.digest):
        raise Permanent(f"{name} in the trash is another file than the one on record", code="changed")
    return kept.st_ino
