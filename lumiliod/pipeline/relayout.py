"""Re-layout: bring an inbox into another layout by moves that are on record before they are made, and back.

The marker first, so that new uploads go by the new layout; then, file by file, a rename that replaces nothing and the
rows of file and move in one transaction, which holds the asset meanwhile: nobody else moves it or finds it away. Killed
between the two, the file is found where it went, by this job or by a scan. At last what was placed by the old
layout while this ran, and empty folders.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Literal
from uuid import UUID

import msgspec
import trio

from lumiliod.db import job_admin, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db import relayout as db_relayout
from lumiliod.db import relayout_journal as journal
from lumiliod.db import relayout_records as records
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.relayout import Relayout
from lumiliod.db.relayout_journal import Move
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import RepoPath
from lumiliod.domain.naming import candidates
from lumiliod.domain.repositories import Marker
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.pipeline.arrangement import MOVABLE, arrange, following
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import relayout as storage
from lumiliod.storage import repository
from lumiliod.storage.layout import named as layout_named
from lumiliod.storage.relayout import How, Look
from lumiliod.storage.relayout_copy import Copy

log = logging.getLogger(__name__)

PAGE = 500
NAMES = 50
"""Names that are compared with records; beyond them only the disk says what is taken."""

PAUSE_S, PAUSES = 0.25, 20
"""What is in use is tried again after a while, so often."""

IN_USE_AFTER_S = 10.0
CLOSE_TIMEOUT_S = 5.0

MERGED = "the same bytes were there: one file is kept"

Fate = Literal["done", "later", "in_use"]


class Args(msgspec.Struct):
    """The re-layout to do, or to undo, as its row says."""

    relayout: UUID


@dataclass(frozen=True, slots=True)
class _Waits:
    """A move that has to wait, and why."""

    seq: int
    code: str
    message: str


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``relayout``."""

    async def run(running: Running) -> None:
        work = await rt.db.call(db_relayout.get, running.decoded(Args).relayout)
        if work is None or work.state not in db_relayout.OPEN:
            return
        await rt.db.call(db_relayout.set_job, work.id, running.job.id)
        opened = rt.repositories.get(work.repository_id)
        try:
            with reaching(rt.repositories, opened):
                await relay(rt, opened, running, work)
        except trio.Cancelled:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await rt.db.call(db_relayout.halt)
            raise

    return Kind(
        kinds.RELAYOUT.kind,
        kinds.RELAYOUT.queue,
        each(run),
        limit_s=30 * 86_400,
        missing=kinds.missing_relayouts,
    )


async def relay(rt: Runtime, opened: Opened, running: Running, work: Relayout) -> None:
    """Make, or undo, every move of a re-layout that is left.

    Raises:
        Unavailable: the repository is away, its disk takes nothing now, or a file stays in use; what was moved is.
    """
    is_undo = work.state == "undoing"
    opened = await arranged_by(rt, opened, work.from_strategy if is_undo else work.to_strategy)
    tries = 0
    while True:
        moved, put_off = await _pass(rt, opened, running, work)
        if not put_off:
            if is_undo or not await rt.db.call(_sweep, opened, work):
                break
        elif moved:
            tries = 0
        elif tries < PAUSES:
            tries += 1
            await trio.sleep(PAUSE_S)
        else:
            await _give_up(rt, work, put_off)
    left = await rt.db.call(journal.folders, work.id, "undone" if is_undo else "done")
    for folder in sorted(left, key=lambda path: path.count("/"), reverse=True):
        await trio.to_thread.run_sync(storage.forget_empty, opened.repository, folder, limiter=rt.disk)
    await running.complete(partial(_conclude, work))


async def arranged_by(rt: Runtime, opened: Opened, strategy: str) -> Opened:
    """Have a repository's uploads go by the layout ``strategy`` from now on; return it as it is then.

    Raises:
        ConfigError: there is no such layout. Unavailable: the marker cannot be written now.
    """
    async with rt.adding:
        opened = rt.repositories.get(opened.id)
        marker = opened.repository.marker
        if marker.storage_strategy == strategy:
            return opened
        layout_named(strategy)
        return await _resettled(rt, opened, replace(marker, storage_strategy=strategy))


async def _resettled(rt: Runtime, opened: Opened, marker: Marker) -> Opened:
    """Write a repository's marker and go by it at once; the caller holds ``rt.adding``.

    Raises:
        Unavailable: the repository is away, or the marker cannot be written now.
    """
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
        saved = await trio.to_thread.run_sync(repository.save, opened.repository, marker, limiter=rt.disk)
    settled = replace(opened, repository=saved, layout=layout_named(marker.storage_strategy))
    row = rt.repositories.row(str(opened.id))
    rt.repositories.put(replace(row, storage_strategy=marker.storage_strategy), settled)
    # workers go by the marker, too
    await rt.db.call(db_repositories.tell)
    return settled


def names_of(opened: Opened, seen: Move) -> Iterator[RepoPath]:
    """Yield where a file may go, best first: as planned, then what the policy makes of the layout's name."""
    naming = "rename" if seen.digest is None else opened.repository.marker.local_settings.handle_duplicate_filenames
    if seen.digest is not None:
        yield from chain([seen.to_path], candidates(seen.wanted, naming, seen.digest))
    else:
        folder, slash, name = seen.to_path.rpartition("/")
        stem, dot, extension = name.rpartition(".")
        yield seen.to_path
        yield from (RepoPath(f"{folder}{slash}{stem} ({number}){dot}{extension}") for number in range(1, 1000))


async def _pass(rt: Runtime, opened: Opened, running: Running, work: Relayout) -> tuple[int, list[_Waits]]:
    """Go once over the moves that are left; return how many ended, and those that have to wait."""
    counts = await rt.db.call(journal.counts, work.id)
    is_undo = work.state == "undoing"
    total, ended, put_off = counts.total, 0, list[_Waits]()
    before = counts.undone + counts.skipped if is_undo else counts.total - counts.pending
    at = counts.total + 1 if is_undo else 0
    ask = journal.behind if is_undo else journal.ahead
    while page := await rt.db.call(ask, work.id, at, PAGE):
        for seq in page:
            waits = await _step(rt, opened, work, seq)
            if waits is None:
                ended += 1
            else:
                put_off.append(waits)
            await running.progress(before + ended, total, "files", opened.repository.name)
        at = page[-1]
    return ended, put_off


async def _give_up(rt: Runtime, work: Relayout, put_off: list[_Waits]) -> None:
    """Leave what cannot be moved where it is, with the reason; wait longer for what is only in use.

    Raises:
        Unavailable: something is (``in_use``).
    """
    for waits in put_off:
        if waits.code != "in_use":
            await rt.db.call(_skip, work, waits.seq, f"{waits.code}: {waits.message}")
    busy = [waits for waits in put_off if waits.code == "in_use"]
    if busy:
        raise Unavailable(f"{len(busy)} files are in use, and are moved then", code="in_use", after_s=IN_USE_AFTER_S)


async def _step(rt: Runtime, opened: Opened, work: Relayout, seq: int) -> _Waits | None:
    """Make or undo one move; return it when it has to wait."""
    seen = await rt.db.call(journal.move, work.id, seq)
    async with AsyncExitStack() as held:
        if seen.digest is not None:
            await held.enter_async_context(rt.digests.holding(seen.digest))
            seen = await rt.db.call(journal.move, work.id, seq)
        try:
            fate: Fate = "later"
            looked = await _looked(rt, opened, work, seen)
            copy = await held.enter_async_context(_copy(rt, opened, seen, looked))
            # whole or not at all: a cancellation waits for the milliseconds this takes
            with trio.CancelScope(shield=True):
                fate = await rt.db.call(_make, opened, work, seen, looked, copy)
        except (NotFound, Permanent, Shape) as error:
            await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
            await rt.db.call(_settle_without, opened, work, seen, f"{error.code}: {error.message}")
            return None
        except (Conflict, Unavailable) as error:
            if isinstance(error, Unavailable) and error.code != "unstable":
                raise
            return _Waits(seq, error.code, error.message)
    return None if fate == "done" else _Waits(seq, fate, "somebody is at work on it")


@asynccontextmanager
async def _copy(rt: Runtime, opened: Opened, seen: Move, looked: Look | None) -> AsyncIterator[Copy | None]:
    """Have the copy that a move needs, before anybody waits for its rows.

    Raises:
        Unavailable, Conflict, Permanent: as :func:`storage.prepare` does.
    """
    copy: Copy | None = None
    if looked is not None:
        prepare = partial(storage.prepare, opened.repository, looked, seen.digest)
        copy = await trio.to_thread.run_sync(prepare, limiter=rt.disk)
    try:
        yield copy
    finally:
        if copy is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(copy.forget, limiter=rt.disk)


async def _looked(rt: Runtime, opened: Opened, work: Relayout, seen: Move) -> Look | None:
    """Find what is to be done with a file; None when nothing is.

    Raises:
        NotFound, Permanent, Shape: it stays where it is. Conflict: its name is taken. Unavailable: not now.
    """
    record = seen.record
    if seen.state not in (("pending", "done") if work.state == "undoing" else ("pending",)):
        return None
    if seen.state == "done" and seen.merged:
        assert seen.digest is not None
        back = partial(storage.look_back, opened.repository, seen.to_path, seen.from_path, seen.digest)
        return await trio.to_thread.run_sync(back, limiter=rt.disk)
    if record is None:
        if work.state == "running" and await _look_anew(rt, opened, seen):
            raise Conflict("its record was gone: it is being looked at anew", code="in_doubt")
        raise NotFound("its record is gone", code="record_gone")
    if record.outcome == "pending":
        raise Conflict("it is being looked at anew", code="in_doubt")
    if record.asset_id != seen.asset_id or (seen.digest is not None and record.outcome not in MOVABLE):
        raise Permanent("it is not the file it was", code="changed")
    if work.state == "undoing":
        return await _looked_back(rt, opened, seen, record)
    if record.path != seen.from_path:
        raise Permanent("somebody has moved it", code="moved_elsewhere")
    names = await rt.db.call(_free_names, opened, work, seen)
    look = partial(storage.look, opened.repository, seen.from_path, names, record.stat, seen.digest, verify=work.verify)
    return await trio.to_thread.run_sync(look, limiter=rt.disk)


async def _looked_back(rt: Runtime, opened: Opened, seen: Move, record: journal.Record) -> Look | None:
    repo, source = opened.repository, seen.to_path
    if seen.state == "pending" or record.path == seen.from_path:
        where = partial(storage.find, repo, seen.from_path, names_of(opened, seen), record.stat, seen.digest)
        source = await trio.to_thread.run_sync(where, limiter=rt.disk)
    elif record.path != seen.to_path:
        raise Permanent("somebody has moved it", code="moved_elsewhere")
    if source == seen.from_path:
        return Look(How.ARRIVED, source, source, record.stat)
    look = partial(storage.look, repo, source, [seen.from_path], record.stat, seen.digest)
    return await trio.to_thread.run_sync(look, limiter=rt.disk)


def _free_names(conn: Connection, opened: Opened, work: Relayout, seen: Move) -> list[RepoPath]:
    """Return where a file may go; a sidecar where its original went."""
    if seen.owner_id is not None:
        owner = journal.where_owner_went(conn, work.id, seen.owner_id)
        if owner is None or owner[2] != "done":
            raise Permanent("its original stays where it is", code="owner_stays")
        planned = replace(seen, to_path=following(owner[0], owner[1], seen.from_path))
        names = list(names_of(opened, planned))
    else:
        names = list(names_of(opened, seen))
    taken = records.taken(conn, opened.id, seen, names[:NAMES])
    return [name for name in names if name not in taken]


def _make(conn: Connection, opened: Opened, work: Relayout, seen: Move, looked: Look | None, copy: Copy | None) -> Fate:
    """Move a file and write where it lies; whatever fails leaves no row, and the file is found by the next look."""
    state, record = records.hold(conn, work, seen)
    if looked is None or state != seen.state:
        return "done"
    if record != seen.record:
        return "later"
    if seen.asset_id is not None and records.is_in_use(conn, seen.asset_id):
        return "in_use"
    stat = storage.carry_out(opened.repository, looked, seen.digest, copy)
    if work.state == "undoing":
        _write_back(conn, opened, work, seen, looked, stat)
    else:
        _write(conn, opened, work, seen, looked, stat)
    return "done"


def _write(conn: Connection, opened: Opened, work: Relayout, seen: Move, looked: Look, stat: FileStat) -> None:
    merged = looked.keeps_another
    if not (merged and records.merge(conn, opened.id, seen.record_id, looked.target)):
        _put(conn, opened, seen, looked, stat)
    reason = MERGED if merged else None
    journal.end_move(conn, work.id, seen, "done", to_path=looked.target, merged=merged, reason=reason)


def _write_back(conn: Connection, opened: Opened, work: Relayout, seen: Move, looked: Look, stat: FileStat) -> None:
    if seen.record is None:
        if not records.add_record(conn, opened.id, seen, looked.target, stat):
            raise Permanent("its asset is gone", code="asset_gone")
    elif seen.record.path != looked.target:
        _put(conn, opened, seen, looked, stat)
    journal.end_move(conn, work.id, seen, "undone", merged=seen.merged)


def _put(conn: Connection, opened: Opened, seen: Move, looked: Look, stat: FileStat) -> None:
    displaced = records.put(conn, opened.id, seen.record_id, looked.target, stat)
    if displaced is not None:
        trash.file_left(conn, displaced)


async def _look_anew(rt: Runtime, opened: Opened, seen: Move) -> bool:
    """Give a file its record again that has lost it, as to a scan that took it for missing; False when it is away."""
    try:
        stat = await trio.to_thread.run_sync(opened.backend.stat, seen.from_path, limiter=rt.disk)
    except (NotFound, Permanent):
        return False
    return await rt.jobs.call(_adopt, opened, seen, stat)


def _adopt(conn: Connection, opened: Opened, seen: Move, stat: FileStat) -> bool:
    if seen.asset_id is None or trash.states(conn, [seen.asset_id]):
        return False
    if not records.adopt(conn, opened.id, seen, stat):
        return False
    db_jobs.enqueue(conn, [kinds.ingest_file(seen.record_id, opened.id)])
    return True


def _settle_without(conn: Connection, opened: Opened, work: Relayout, seen: Move, reason: str) -> None:
    """End a move whose file was not there to be moved: it has arrived and a scan was quicker, or it stays."""
    state, _ = records.hold(conn, work, seen)
    if state != seen.state:
        return
    if seen.asset_id is not None:
        is_undo = work.state == "undoing"
        names = [seen.from_path] if is_undo else list(islice(names_of(opened, seen), NAMES))
        arrived = records.of_asset_at(conn, opened.id, seen.asset_id, names)
        if arrived is not None and (seen.record is None or seen.record.path == arrived[1]):
            record_id, path = arrived
            to_path = None if is_undo else path
            journal.end_move(conn, work.id, seen, "undone" if is_undo else "done", to_path=to_path, record_id=record_id)
            return
        if seen.record is None and trash.states(conn, [seen.asset_id]):
            reason = "in_trash: its asset is in the trash"
    journal.end_move(conn, work.id, seen, "skipped", reason=reason, merged=seen.merged)


def _skip(conn: Connection, work: Relayout, seq: int, reason: str) -> None:
    seen = journal.move(conn, work.id, seq)
    journal.end_move(conn, work.id, seen, "skipped", reason=reason, merged=seen.merged)


def _sweep(conn: Connection, opened: Opened, work: Relayout) -> int:
    """Plan moves for what came by the old layout while this ran; return how many."""
    files = db_relayout.inbox(conn, opened.id)
    found = arrange(opened.repository, opened.layout, files, leave=journal.planned(conn, work.id))
    return journal.add_moves(conn, work.id, found.moves)


def _conclude(work: Relayout, conn: Connection) -> Result:
    is_undo = work.state == "undoing"
    db_relayout.finish(conn, work)
    # who read a file's old name just before it was moved may look again
    job_admin.retry(conn, journal.misled(conn, work.id))
    counts = journal.counts(conn, work.id)
    return {
        "relayout_id": str(work.id),
        "moved": counts.undone if is_undo else counts.done,
        "merged": counts.merged,
        "skipped": counts.skipped,
    }
