"""Keeping in step with the disk, as people look at it and ask for it: what ran, what is to run, what it would do."""

import os
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec
import trio

from lumiliod.contract.jobs import Progress
from lumiliod.contract.sync import (
    HeldDeletions,
    LiveSync,
    OpenSync,
    PlanEntry,
    RepositorySync,
    SyncOperation,
    SyncOperationPage,
    SyncOverview,
    SyncPlan,
    SyncPlanPage,
    SyncRequest,
    SyncTicket,
)
from lumiliod.db import plans
from lumiliod.db import sync as db_sync
from lumiliod.db.held import HeldRow
from lumiliod.db.plans import PlanRow
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import RepositoryRow
from lumiliod.db.sync import OpenScan, OperationRow
from lumiliod.domain.errors import Conflict, NotFound, Shape
from lumiliod.domain.ids import JobId, RepoPath, RepositoryId, path_bytes, path_from_bytes, shown
from lumiliod.domain.sync import SyncStatus, SyncType, covers, unquoted
from lumiliod.library import convert, held
from lumiliod.library.live import Live, Told, Watchers
from lumiliod.library.repositories import watch
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import repository as storage

LIVE_RUNS = 20
"""How many runs are told to those who watch."""

ACTIONS = ("added", "updated", "moved", "returned", "retired")

_Seen = tuple[dict[RepositoryId, OperationRow], list[OpenScan], list[tuple[HeldRow, list[str]]]]


async def overview(rt: Runtime) -> SyncOverview:
    """Return how every repository is kept in step, by name."""
    seen = await rt.db.call(_seen, None)
    return SyncOverview(items=[_repository(rt, row, seen) for row in rt.repositories.rows()])


async def show(rt: Runtime, ref: str) -> RepositorySync:
    """Return how one repository is kept in step.

    Raises:
        NotFound: there is none.
    """
    row = rt.repositories.row(ref)
    return _repository(rt, row, await rt.db.call(_seen, row.id))


async def history(
    rt: Runtime, *, repository: str | None, type_: str | None, status: str | None, cursor: str | None, limit: int
) -> SyncOperationPage:
    """Return runs, the newest first; of one repository, type or status where these are given.

    Raises:
        NotFound: no such repository. Shape: no such type or status; a bad limit or cursor.
    """
    if type_ is not None and type_ not in set(SyncType):
        raise Shape(f"type is one of {', '.join(SyncType)}", code="bad_type")
    if status is not None and status not in set(SyncStatus):
        raise Shape(f"status is one of {', '.join(SyncStatus)}", code="bad_status")
    only = rt.repositories.row(repository).id if repository is not None else None
    before = convert.from_cursor(cursor, tuple[UUID])[0] if cursor else None
    count = convert.limited(limit) + 1
    wanted = None if type_ is None else SyncType(type_)
    rows = await rt.db.call(_page, only, wanted, None if status is None else SyncStatus(status), before, count)
    following = convert.cursor(rows[limit - 1].id) if len(rows) > limit else None
    return SyncOperationPage(items=[wire_operation(rt, row) for row in rows[:limit]], next_cursor=following)


async def operation(rt: Runtime, operation_id: UUID) -> SyncOperation:
    """Return one run.

    Raises:
        NotFound: there is none, or it is no longer kept (``sync_operation_not_found``).
    """
    row = await rt.db.call(db_sync.one, operation_id)
    if row is None:
        raise NotFound(f"there is no run {operation_id}", code="sync_operation_not_found")
    return wire_operation(rt, row)


async def run(rt: Runtime, ref: str, wanted: SyncRequest) -> SyncTicket:
    """Ask for a scan of everything or of a folder, or for the plan of one.

    Raises:
        NotFound: no such repository, or neither the disk nor the library knows the folder (``folder_not_found``).
        Unavailable: it is offline.
        Shape: the folder is no path inside a repository (``bad_path``).
        Conflict: a plan, while a scan of the repository waits or runs (``scan_under_way``).
    """
    row = rt.repositories.row(ref)
    folder = unquoted(wanted.folder)
    opened = rt.repositories.get(row.id)
    if folder:
        await _check_folder(rt, opened, folder)
    if wanted.plan:
        task_id = await rt.jobs.call(_plan, opened.id, row.name, folder)
    else:
        job = kinds.scan_folder(opened.id, folder) if folder else kinds.scan_again(opened.id)
        task_id = await rt.jobs.call(kinds.enqueue_one, job)
    return SyncTicket(task_id=task_id, repository=row.name)


async def plan(rt: Runtime, plan_id: UUID, *, action: str | None, cursor: str | None, limit: int) -> SyncPlanPage:
    """Return what a scan would do, a page at a time in the order of the paths' bytes.

    Raises:
        NotFound: there is no such plan, or another has taken its place (``plan_not_found``).
        Shape: no such action; a bad limit or cursor.
    """
    if action is not None and action not in ACTIONS:
        raise Shape(f"action is one of {', '.join(ACTIONS)}", code="bad_action")
    after = convert.from_cursor(cursor, tuple[bytes])[0] if cursor else b""
    row, entries = await rt.db.call(_plan_page, plan_id, action, after, convert.limited(limit) + 1)
    if row is None:
        raise NotFound("there is no such plan, or another has taken its place", code="plan_not_found")
    items = [
        PlanEntry(
            action=entry.action,  # type: ignore[arg-type]  # a CHECK says which there are
            path=shown(path_from_bytes(entry.path)),
            from_path=None if entry.from_path is None else shown(path_from_bytes(entry.from_path)),
            size_bytes=entry.size_bytes,
        )
        for entry in entries[:limit]
    ]
    following = convert.cursor(entries[limit - 1].path) if len(entries) > limit else None
    return SyncPlanPage(plan=_wire_plan(rt, row), items=items, next_cursor=following)


def live(rt: Runtime, watchers: Watchers) -> Live:
    """Watch the newest runs: each beginning and each end is told."""

    async def look() -> Told:
        rows = await rt.db.call(_page, None, None, None, None, LIVE_RUNS)
        return Told("runs", LiveSync(items=[wire_operation(rt, row) for row in rows]))

    return Live(look, watchers=watchers)


async def _check_folder(rt: Runtime, opened: Opened, folder: RepoPath) -> None:
    with reaching(rt.repositories, opened):
        is_there = await trio.to_thread.run_sync(_is_folder, opened, folder, limiter=rt.disk)
    if not is_there and not await rt.db.call(db_sync.is_known, opened.id, folder):
        raise NotFound(f"there is no folder {shown(folder)[:200]!r} in it", code="folder_not_found")


def _is_folder(opened: Opened, folder: RepoPath) -> bool:
    storage.check_identity(opened.repository)
    return os.path.isdir(os.path.join(os.fsencode(opened.repository.root), path_bytes(folder)))  # noqa: PTH112


def _plan(conn: Connection, repository_id: RepositoryId, name: str, folder: RepoPath) -> JobId:
    scans = db_sync.open_scans(conn)
    if any(one.repository_id == repository_id and one.kind == kinds.SCAN.kind for one in scans):
        raise Conflict(f"a scan of {name} waits or runs; ask again when it has ended", code="scan_under_way")
    return kinds.enqueue_one(conn, kinds.plan(repository_id, folder))


def _seen(conn: Connection, only: RepositoryId | None) -> _Seen:
    return db_sync.last_of_everything(conn), db_sync.open_scans(conn), held.with_examples(conn, only)


def _page(
    conn: Connection,
    repository_id: RepositoryId | None,
    type_: SyncType | None,
    status: SyncStatus | None,
    before: UUID | None,
    count: int,
) -> list[OperationRow]:
    return db_sync.page(conn, repository_id=repository_id, type_=type_, status=status, before=before, count=count)


def _plan_page(
    conn: Connection, plan_id: UUID, action: str | None, after: bytes, count: int
) -> tuple[PlanRow | None, list[plans.EntryRow]]:
    return plans.plan(conn, plan_id), list(plans.entries(conn, plan_id, action, after, count))


def _repository(rt: Runtime, row: RepositoryRow, seen: _Seen) -> RepositorySync:
    last, scans, holding = seen
    kept: list[HeldDeletions] = [held.wire(rt, one, paths) for one, paths in holding if one.repository_id == row.id]
    return RepositorySync(
        repository=row.name,
        repository_id=row.id,
        status=row.status,
        status_reason=row.status_reason,
        watch=watch(rt, row),
        last=wire_operation(rt, last[row.id]) if row.id in last else None,
        open=[_open(scan) for scan in scans if scan.repository_id == row.id],
        held=kept[0] if kept else None,
    )


def _open(scan: OpenScan) -> OpenSync:
    one = (scan.args.get("folder", ""), scan.args.get("deep", True))
    parts = [
        (path_from_bytes(unquote_to_bytes(str(folder))), bool(is_deep))
        for folder, is_deep in scan.args.get("folders") or [one]
    ]
    scope, folder = covers(parts)
    return OpenSync(
        task_id=scan.id,
        is_plan=scan.kind == kinds.PLAN.kind,
        state=scan.state,
        type=str(scan.args.get("why", SyncType.MANUAL)),
        scope=scope,
        folder=shown(folder),
        progress=msgspec.convert(scan.progress, Progress | None),
    )


def wire_operation(rt: Runtime, row: OperationRow) -> SyncOperation:
    """Return a run as it is told."""
    fields: dict[str, Any] = {
        name: getattr(row, name) for name in SyncOperation.__struct_fields__ if hasattr(row, name)
    }
    fields["repository"] = rt.repositories.name(row.repository_id)
    fields["folder"] = shown(path_from_bytes(row.folder))
    fields["task_id"] = row.job_id
    took = row.finished_at - row.started_at if row.finished_at is not None else None
    fields["duration_s"] = None if took is None else round(took.total_seconds(), 3)
    return SyncOperation(**fields)


def _wire_plan(rt: Runtime, row: PlanRow) -> SyncPlan:
    fields: dict[str, Any] = {name: getattr(row, name) for name in SyncPlan.__struct_fields__ if hasattr(row, name)}
    fields["repository"] = rt.repositories.name(row.repository_id)
    fields["folder"] = shown(path_from_bytes(row.folder))
    return SyncPlan(**fields)
