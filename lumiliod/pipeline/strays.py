"""Files in the trash that no row knows, as after a database was restored: found and offered, never removed."""

import logging
from dataclasses import dataclass
from uuid import UUID

import trio

from lumiliod.db import files, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import BAD_DATA, LumilioError, NotFound, Permanent
from lumiliod.domain.ids import RepoPath
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import repository, trash_note, trash_return
from lumiliod.storage import trash as storage
from lumiliod.storage.trash_note import Note

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stray:
    """Something in a repository's trash that no row knows.

    ``size_bytes`` is None for a note without a file, ``note`` for a file that nothing believable is known
    of, ``id`` for a name that is not ours.
    """

    name: str
    id: UUID | None
    size_bytes: int | None
    note: Note | None


async def found(rt: Runtime, opened: Opened) -> list[Stray]:
    """Return what no row knows in a repository's trash, by name.

    Raises:
        Unavailable: the repository is offline.
    """
    with reaching(rt.repositories, opened):
        sizes, others = await trio.to_thread.run_sync(_listed, opened, limiter=rt.disk)
    unknown = await rt.db.call(trash.unknown, opened.id, list(sizes))
    notes = await trio.to_thread.run_sync(_notes, opened, sorted(unknown), limiter=rt.disk)
    strays = [Stray(str(id_), id_, sizes[id_], note) for id_, note in notes.items()]
    return sorted([*strays, *(Stray(name, None, None, None) for name in others)], key=lambda stray: stray.name)


async def tell(rt: Runtime, opened: Opened) -> None:
    """Log how much no row knows in a repository's trash; what cannot be looked at now is passed over."""
    try:
        count = len(await found(rt, opened))
    except LumilioError as error:
        log.warning("the trash cannot be looked at", extra={"repository": str(opened.id), "code": error.code})
        return
    except BAD_DATA as error:
        extra = {"repository": str(opened.id), "code": "bad_data", "reason": str(error)}
        log.warning("the trash cannot be looked at", extra=extra)
        return
    if count:
        log.warning("the trash holds what no row knows", extra={"repository": str(opened.id), "files": count})


async def put_back(rt: Runtime, opened: Opened, id: UUID) -> RepoPath:  # noqa: A002  the word of the room
    """Move a file that no row knows to where its note says it was, and have it looked at; return where it lies.

    Raises:
        NotFound: no such file (``stray_not_found``).
        Permanent: its note is missing or not to be believed (``note_invalid``), or its bytes are others (``changed``).
        Unavailable: the repository is offline, or the disk does not take it now.
    """
    stray = next((one for one in await found(rt, opened) if one.id == id), None)
    if stray is None or stray.size_bytes is None:
        raise NotFound(f"no file {id} lies in the trash without a row", code="stray_not_found")
    if stray.note is None:
        raise Permanent(f"what the file {id} was is not known", code="note_invalid")
    names = list(trash_return.names(stray.note, opened.repository.marker.local_settings.handle_duplicate_filenames))
    taken = await rt.db.call(files.taken, opened.id, None, names)
    with reaching(rt.repositories, opened):
        path, stat = await trio.to_thread.run_sync(_take_back, opened, stray.note, taken, limiter=rt.disk)
    await rt.jobs.call(_look_at, opened, path, stat)
    await trio.to_thread.run_sync(trash_note.forget, opened.repository, id, limiter=rt.disk)
    return path


def _listed(opened: Opened) -> tuple[dict[UUID, int | None], list[str]]:
    repository.check_identity(opened.repository)
    return storage.ids(opened.repository)


def _notes(opened: Opened, ids: list[UUID]) -> dict[UUID, Note | None]:
    return {id_: trash_note.read(opened.repository, id_) for id_ in ids}


def _take_back(opened: Opened, note: Note, taken: set[RepoPath]) -> tuple[RepoPath, FileStat]:
    repo = opened.repository
    # nothing is on record, so it is read: only the bytes its note tells of go back
    unknown = FileStat(note.size_bytes, 0, 0)
    return trash_return.take_back(repo, note, unknown, repo.marker.local_settings.handle_duplicate_filenames, taken)


def _look_at(conn: Connection, opened: Opened, path: RepoPath, stat: FileStat) -> None:
    record = trash.adopt(conn, opened.id, path, stat)
    db_jobs.enqueue(conn, [kinds.ingest_file(record, opened.id)])
