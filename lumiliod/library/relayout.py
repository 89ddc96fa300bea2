"""Re-layouts as people ask for them: what one would do, begin, look, undo."""

import os
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import trio

from lumiliod import plugins
from lumiliod.contract.relayout import (
    MoveTrouble,
    NameCollision,
    PlannedMove,
    Relayout,
    RelayoutPlan,
    RelayoutRequest,
    RelayoutTicket,
    Resolution,
    UndoPlan,
)
from lumiliod.db import jobs as db_jobs
from lumiliod.db import relayout as db_relayout
from lumiliod.db import relayout_journal as journal
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.relayout_journal import NewMove, Trouble
from lumiliod.domain.errors import Conflict, NotFound, Shape
from lumiliod.domain.ids import path_from_bytes, shown, uuid7
from lumiliod.domain.jobs import JobFilter
from lumiliod.library import task_control
from lumiliod.pipeline import kinds
from lumiliod.pipeline.arrangement import Arrangement, Collision, arrange
from lumiliod.pipeline.relayout import arranged_by
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import relayout as storage
from lumiliod.storage import repository
from lumiliod.storage.layout import GROUP as LAYOUTS
from lumiliod.storage.layout import Layout
from lumiliod.storage.layout import named as layout_named

EXAMPLES = 20
TROUBLES = 100


async def plan(rt: Runtime, ref: str, wanted: RelayoutRequest) -> RelayoutPlan:
    """Tell what bringing a repository's inbox into a layout would do; nothing is changed.

    Raises:
        NotFound, Unavailable: no such repository, or it is offline. Shape: no such layout (``bad_storage_strategy``).
    """
    opened, layout = await _opened(rt, ref), _layout(wanted.to)
    found, staying = await rt.db.call(_arranged, opened, layout)
    with reaching(rt.repositories, opened):
        needed, free = await trio.to_thread.run_sync(_room, opened, dict(found.folders), limiter=rt.disk)
    merged = sum(one.merged for one in found.collisions)
    return RelayoutPlan(
        repository=rt.repositories.name(opened.id),
        from_strategy=opened.repository.marker.storage_strategy,
        to_strategy=wanted.to,
        moves=len(found.moves),
        sidecars=found.sidecars,
        size_bytes=found.size_bytes,
        examples=[_example(move) for move in found.moves[:EXAMPLES]],
        renamed=len(found.collisions) - merged,
        merged=merged,
        collisions=[
            NameCollision(
                from_path=shown(one.from_path),
                wanted=shown(one.wanted),
                to_path=shown(one.to_path),
                resolution=_resolution(one),
            )
            for one in found.collisions[:EXAMPLES]
        ],
        staying=dict(found.staying),
        user_area=staying[0],
        user_area_bytes=staying[1],
        in_trash=staying[2],
        needed_bytes=needed,
        free_bytes=free,
    )


async def begin(rt: Runtime, ref: str, wanted: RelayoutRequest) -> RelayoutTicket:
    """Begin to bring an inbox into a layout, or go on with that; new uploads go by it from now on.

    Raises:
        NotFound, Unavailable: no such repository, or it is offline. Shape: no such layout (``bad_storage_strategy``).
        Conflict: another re-layout is not at its end (``relayout_open``), or all is as it shall be (``already_so``).
    """
    opened, layout = await _opened(rt, ref), _layout(wanted.to)
    last = await rt.db.call(db_relayout.latest, opened.id)
    if last is not None and last.state in db_relayout.OPEN:
        if last.state != "running" or last.to_strategy != wanted.to:
            raise _is_open(opened, last)
        if wanted.verify and not last.verify:
            # one that runs reads nothing: another job goes on
            await task_control.cancel(rt, JobFilter(kind=kinds.RELAYOUT.kind, repository_id=opened.id))
        ticket = await rt.jobs.call(_go_on, opened, last, "running", wanted.verify)
    else:
        ticket = await rt.jobs.call(_begin, opened, layout, wanted)
    # the job does it, too; from here on it need not have begun
    await arranged_by(rt, opened, wanted.to)
    return ticket


async def plan_undo(rt: Runtime, ref: str) -> UndoPlan:
    """Tell what undoing the last re-layout would do; nothing is changed.

    Raises:
        NotFound: no such repository, or nothing to undo (``relayout_not_found``). Unavailable: it is offline.
    """
    opened = await _opened(rt, ref)
    last = await _undoable(rt, opened)
    ways = await rt.db.call(journal.ways_back, last.id)
    moving = [way for way in ways if way.stays is None]
    return UndoPlan(
        repository=rt.repositories.name(opened.id),
        from_strategy=last.to_strategy,
        to_strategy=last.from_strategy,
        moves=len(moving),
        merged=sum(way.merged for way in moving),
        size_bytes=sum(way.size_bytes for way in moving),
        examples=[
            PlannedMove(from_path=shown(path_from_bytes(way.to_path)), to_path=shown(path_from_bytes(way.from_path)))
            for way in moving[:EXAMPLES]
        ],
        staying=Counter(way.stays for way in ways if way.stays is not None),
    )


async def undo(rt: Runtime, ref: str) -> RelayoutTicket:
    """Bring every file of the last re-layout back to where it was, and the layout of before.

    Raises:
        NotFound: no such repository, or nothing to undo (``relayout_not_found``). Unavailable: it is offline.
    """
    opened = await _opened(rt, ref)
    last = await _undoable(rt, opened)
    if last.state == "running":
        await task_control.cancel(rt, JobFilter(kind=kinds.RELAYOUT.kind, repository_id=opened.id))
    ticket = await rt.jobs.call(_go_on, opened, last, "undoing")
    await arranged_by(rt, opened, last.from_strategy)
    return ticket


async def show(rt: Runtime, ref: str) -> Relayout:
    """Return the last re-layout of a repository that was not undone; else its last.

    Raises:
        NotFound: no such repository, or it had none (``relayout_not_found``).
    """
    row = rt.repositories.row(ref)
    await rt.db.call(db_relayout.halt)
    last = await rt.db.call(db_relayout.latest, row.id)
    if last is None:
        raise NotFound(f"{row.name} had no re-layout", code="relayout_not_found")
    counts, troubles = await rt.db.call(_read, last.id)
    return Relayout(
        id=last.id,
        repository=row.name,
        from_strategy=last.from_strategy,
        to_strategy=last.to_strategy,
        state=last.state,
        halted=last.halted,
        task_id=last.job_id,
        created_at=last.created_at,
        finished_at=last.finished_at,
        pending=counts.pending,
        done=counts.done,
        undone=counts.undone,
        skipped=counts.skipped,
        merged=counts.merged,
        troubles=[
            MoveTrouble(
                from_path=shown(path_from_bytes(one.from_path)),
                to_path=shown(path_from_bytes(one.to_path)),
                state=one.state,
                reason=one.reason,
            )
            for one in troubles
        ],
    )


async def _undoable(rt: Runtime, opened: Opened) -> db_relayout.Relayout:
    last = await rt.db.call(db_relayout.latest, opened.id)
    if last is None or last.state == "undone":
        raise NotFound(f"there is no re-layout of {opened.repository.name} to undo", code="relayout_not_found")
    return last


async def _opened(rt: Runtime, ref: str) -> Opened:
    opened = rt.repositories.get(rt.repositories.row(ref).id)
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
    return opened


def _layout(name: str) -> Layout:
    if name not in plugins.names(LAYOUTS):
        raise Shape(f"a layout is one of {', '.join(plugins.names(LAYOUTS))}", code="bad_storage_strategy")
    return layout_named(name)


def _arranged(conn: Connection, opened: Opened, layout: Layout) -> tuple[Arrangement, tuple[int, int, int]]:
    found = arrange(opened.repository, layout, db_relayout.inbox(conn, opened.id))
    return found, db_relayout.staying(conn, opened.id)


def _begin(conn: Connection, opened: Opened, layout: Layout, wanted: RelayoutRequest) -> RelayoutTicket:
    """Write the whole journal and the job in one transaction."""
    db_repositories.take_time(conn)
    found, _ = _arranged(conn, opened, layout)
    before = opened.repository.marker.storage_strategy
    if before == wanted.to and not found.moves:
        # it would take the place of the one that can be undone
        message = f"{opened.repository.name} goes by {wanted.to} already, and so does every file of its inbox"
        raise Conflict(message, code="already_so")
    relayout_id = uuid7()
    job = kinds.rearrange(relayout_id, opened.id)
    row = db_relayout.NewRelayout(relayout_id, opened.id, before, wanted.to, job.id, verify=wanted.verify)
    journal.insert(conn, row, found.moves)
    db_relayout.set_strategy(conn, opened.id, wanted.to)
    db_jobs.enqueue(conn, [job])
    return RelayoutTicket(relayout_id=relayout_id, task_id=job.id, moves=len(found.moves))


def _go_on(
    conn: Connection, opened: Opened, last: db_relayout.Relayout, state: db_relayout.State, verify: bool = False
) -> RelayoutTicket:
    job = kinds.rearrange(last.id, opened.id)
    task = kinds.enqueue_one(conn, job)
    db_relayout.go_on(conn, last.id, state, task, verify=verify)
    db_relayout.set_strategy(conn, opened.id, last.from_strategy if state == "undoing" else last.to_strategy)
    counts = journal.counts(conn, last.id)
    moves = counts.pending + counts.done if state == "undoing" else counts.pending
    return RelayoutTicket(relayout_id=last.id, task_id=task, moves=moves)


def _read(conn: Connection, relayout_id: UUID) -> tuple[journal.Counts, Sequence[Trouble]]:
    return journal.counts(conn, relayout_id), journal.troubles(conn, relayout_id, TROUBLES)


def _room(opened: Opened, folders: dict[str, int]) -> tuple[int, int]:
    """Return the bytes a re-layout needs, and those that are free."""
    repository.check_identity(opened.repository)
    found = os.statvfs(opened.repository.inbox)
    return storage.bytes_elsewhere(opened.repository, folders), found.f_bavail * found.f_frsize


def _example(move: NewMove) -> PlannedMove:
    return PlannedMove(from_path=shown(move.from_path), to_path=shown(move.to_path))


def _resolution(collision: Collision) -> Resolution:
    return "merged" if collision.merged else "renamed"


def _is_open(opened: Opened, last: db_relayout.Relayout) -> Conflict:
    doing = "is undone" if last.state == "undoing" else f"to {last.to_strategy} is under way"
    return Conflict(
        f"a re-layout of {opened.repository.name} {doing}: let it end, or undo it",
        code="relayout_open",
        state=last.state,
        to_strategy=last.to_strategy,
    )
