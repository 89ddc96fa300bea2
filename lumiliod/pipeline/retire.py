"""Move the files of removed assets into the trash, and of restored ones back.

Rows that say so, then the files, then rows that say where they lie. Killed anywhere, doing it again
finds what was moved; the rows that a crash left are found by a query. A scan in between meets files
that belong to the trash, and leaves them alone.
"""

from dataclasses import replace
from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod.db import files, trash
from lumiliod.db.pool import Connection
from lumiliod.db.trash import Comeback
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import AssetId, RepoPath, UserId
from lumiliod.domain.trash import TrashFile, TrashItem, TrashState, Why
from lumiliod.jobs.engine import Effect, Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import heal, kinds
from lumiliod.pipeline import trash as removal
from lumiliod.pipeline.mirror import BackendOf
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import mirrors, repository, trash_entry, trash_note, trash_return
from lumiliod.storage import trash as storage
from lumiliod.storage.trash_move import UNSTABLE_AFTER_S
from lumiliod.storage.trash_note import Note


class Args(msgspec.Struct):
    """The asset whose files are to be moved."""

    asset: UUID


def setup(rt: Runtime, backend_of: BackendOf = mirrors.opened) -> Kind:
    """Bind the job kind ``retire``."""

    async def run(running: Running) -> None:
        await move(rt, running, backend_of)

    return Kind(kinds.RETIRE.kind, kinds.RETIRE.queue, each(run), limit_s=86_400, missing=kinds.missing_retire)


async def move(rt: Runtime, running: Running, backend_of: BackendOf) -> None:
    """Move the files of one asset where its row says; nothing when that is done."""
    asset_id = AssetId(running.decoded(Args).asset)
    found = await rt.db.call(trash.item, asset_id)
    if found is None:
        await running.complete()
        return
    async with rt.digests.holding(found.digest):
        await running.complete(await moved(rt, asset_id, backend_of))


async def moved(rt: Runtime, asset_id: AssetId, backend_of: BackendOf = mirrors.opened) -> Effect:
    """Move the files of an asset where its row says; return what is to be written then.

    Raises:
        Unavailable: a repository is offline, or a disk does not take it now.
        Conflict: no name is free for a file that is to go back.
    """
    found = await rt.db.call(trash.item, asset_id)
    match found:
        case TrashItem(state=TrashState.RETIRING):
            return await _retire(rt, found)
        case TrashItem(state=TrashState.RESTORING):
            return await _restore(rt, found, backend_of)
        case _:
            return partial(_nothing, asset_id)


async def make_way(rt: Runtime, opened: Opened, path: RepoPath, owner_id: UserId) -> None:
    """Put the asset whose only file is at ``path`` into the trash, and that file, so that the name is free.

    What the library does not know there, a file that is not as on record, and one of several with the
    same bytes keep the name: nothing of them could be brought back as it was.

    Raises:
        Unavailable: the disk does not take it now.
    """
    leaving = await rt.db.call(trash.leaving, opened.id, path)
    if leaving is None:
        found = await rt.db.call(trash.replaceable, opened.id, path, owner_id)
        if found is None:
            return
        asset_id, known = found
        there = await trio.to_thread.run_sync(_stat_at, opened, path, limiter=rt.disk)
        if there != known:
            return
        if not await rt.db.call(_replace, asset_id, owner_id):
            return
        leaving = asset_id
    await rt.jobs.call(await moved(rt, leaving))


def note_of(found: TrashItem, file: TrashFile) -> Note:
    """Return what is written beside a file in the trash."""
    return Note(
        id=file.id,
        repository_id=file.repository_id,
        asset_id=found.asset_id,
        owner_id=found.owner_id,
        digest=found.digest,
        size_bytes=file.stat.size_bytes,
        original_filename=found.original_filename,
        mime_type=found.mime_type,
        why=found.why,
        deleted_at=found.deleted_at,
        deleted_by=found.deleted_by,
        **trash_note.paths(file.path),  # type: ignore[arg-type]  # the two fields that say where it was
    )


async def _retire(rt: Runtime, found: TrashItem) -> Effect:
    kept: list[tuple[UUID, FileStat]] = []
    lost: list[UUID] = []
    for file in found.files:
        opened = rt.repositories.get(file.repository_id)
        with reaching(rt.repositories, opened):
            why: NotFound | Permanent
            try:
                stat = await trio.to_thread.run_sync(
                    trash_entry.put, opened.repository, note_of(found, file), file.stat, limiter=rt.disk
                )
                kept.append((file.id, stat))
                continue
            except (NotFound, Permanent) as error:
                why = error
            # a root that went away in the middle says nothing of the file
            await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
            if await trio.to_thread.run_sync(_is_kept, opened, file.id, limiter=rt.disk):
                message = f"{file.id} came into the trash while it was looked for"
                raise Unavailable(message, code="unstable", after_s=UNSTABLE_AFTER_S) from why
            lost.append(file.id)
    return partial(_retired, found.asset_id, kept, lost)


def _retired(asset_id: AssetId, kept: list[tuple[UUID, FileStat]], lost: list[UUID], conn: Connection) -> Result:
    if trash.retired(conn, asset_id, kept, lost) is Comeback.BACK:
        removal.understand_again(conn, asset_id)
    removal.go_on(conn, asset_id)
    return {"asset_id": str(asset_id), "trashed": len(kept), "lost": len(lost)}


async def _restore(rt: Runtime, found: TrashItem, backend_of: BackendOf) -> Effect:
    placed: list[tuple[TrashFile, RepoPath, FileStat]] = []
    problem: LumilioError = NotFound("no file of it is there", code="file_missing")
    for file in found.files:
        opened = rt.repositories.get(file.repository_id)
        with reaching(rt.repositories, opened):
            try:
                placed.append((file, *await _taken_back(rt, opened, found, file, backend_of)))
            except (NotFound, Permanent) as error:
                await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
                problem = error
    if placed or found.hidden:
        return partial(_restored, found, placed)
    return partial(_refused, found.asset_id, problem)


async def _taken_back(
    rt: Runtime, opened: Opened, found: TrashItem, file: TrashFile, backend_of: BackendOf
) -> tuple[RepoPath, FileStat]:
    """Move a file back; one that is damaged or gone is healed first, from whatever copy there is.

    Raises:
        NotFound, Permanent: it is not there, or its bytes are others, and so is every copy.
    """
    naming = opened.repository.marker.local_settings.handle_duplicate_filenames
    names = list(trash_return.names(note_of(found, file), naming))
    taken = await rt.db.call(files.taken, opened.id, found.asset_id, names)
    try:
        return await trio.to_thread.run_sync(_take_back, opened, found, file, taken, limiter=rt.disk)
    except (NotFound, Permanent) as error:
        problem = error
    # a root that went away in the middle says nothing of the file
    await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
    stat = await heal.mended(rt, opened, file.id, backend_of)
    if stat is None:
        raise problem
    mended = replace(file, stat=stat)
    return await trio.to_thread.run_sync(_take_back, opened, found, mended, taken, limiter=rt.disk)


def _take_back(opened: Opened, found: TrashItem, file: TrashFile, taken: set[RepoPath]) -> tuple[RepoPath, FileStat]:
    repo, note = opened.repository, note_of(found, file)
    naming = repo.marker.local_settings.handle_duplicate_filenames
    path, stat = trash_return.take_back(repo, note, file.stat, naming, taken)
    trash_note.forget(repo, file.id)
    return path, stat


def _restored(found: TrashItem, placed: list[tuple[TrashFile, RepoPath, FileStat]], conn: Connection) -> Result:
    if trash.restored(conn, found, placed):
        removal.understand_again(conn, found.asset_id)
    removal.go_on(conn, found.asset_id)
    return {"asset_id": str(found.asset_id), "restored": len(placed)}


def _refused(asset_id: AssetId, problem: LumilioError, conn: Connection) -> Result:
    trash.refuse(conn, asset_id, f"{problem.code}: {problem.message}", TrashState.RESTORING)
    removal.go_on(conn, asset_id)
    return {"asset_id": str(asset_id), "code": problem.code, "reason": problem.message}


def _replace(conn: Connection, asset_id: AssetId, by: UserId) -> bool:
    # without a job: whoever needs the name moves the file now; a crash in between is found by a query
    return asset_id in trash.remove(conn, [asset_id], why=Why.REPLACED, by=by).removed


def _stat_at(opened: Opened, path: RepoPath) -> FileStat | None:
    try:
        return opened.backend.stat(path)
    except (NotFound, Permanent):
        return None


def _is_kept(opened: Opened, id_: UUID) -> bool:
    return storage.stat_of(opened.repository, id_) is not None


def _nothing(asset_id: AssetId, conn: Connection) -> Result | None:
    removal.go_on(conn, asset_id)
    return None
