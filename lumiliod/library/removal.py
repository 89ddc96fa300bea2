"""Removing a repository from the library: what is known of it goes, what lies on its disk stays."""

import trio

from lumiliod.contract.repositories import RemovalPlan, Removed
from lumiliod.db import jobs as db_jobs
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import Removal, RepositoryRow
from lumiliod.domain.errors import Conflict, LumilioError
from lumiliod.domain.ids import shown
from lumiliod.domain.jobs import JobFilter
from lumiliod.library import task_control
from lumiliod.pipeline import kinds, schedules
from lumiliod.runtime import Runtime
from lumiliod.storage import staging


async def plan(rt: Runtime, ref: str) -> RemovalPlan:
    """Tell what removing a repository would do; nothing is changed.

    Raises:
        NotFound: no such repository.
    """
    row = rt.repositories.row(ref)
    # before the assets: an upload is forgotten after it has become one
    staged = await trio.to_thread.run_sync(_staged, rt, row, limiter=rt.disk)
    found = await rt.db.call(db_repositories.removal, row.id)
    return RemovalPlan(
        repository=row.name,
        path=shown(row.root),
        forgotten=found.forgotten,
        kept=found.kept,
        trashed=found.trashed,
        files=found.files,
        size_bytes=found.size_bytes,
        derivatives=found.derivatives,
        derivative_bytes=found.derivative_bytes,
        mirrors=found.mirrors,
        jobs=found.jobs,
        staged=staged,
    )


async def remove(rt: Runtime, ref: str, forget: str | None) -> Removed:
    """Remove a repository from the library; one with assets or uploads only where ``forget`` is its name.

    Raises:
        NotFound: no such repository.
        Conflict: it has assets, or uploads that are to become some, or its disk is away so that nobody knows
            (``repository_not_empty``); or ``forget`` is another name (``name_mismatch``). Nothing was done.
    """
    async with rt.adding:
        row = rt.repositories.row(ref)
        planned = await plan(rt, ref)
        if forget is not None:
            if forget != row.name:
                raise Conflict(f"the repository is called {row.name}, not {forget}", code="name_mismatch")
            await task_control.cancel(rt, JobFilter(repository_id=row.id))
        await rt.jobs.call(_remove, rt, row, forget is not None)
        rt.repositories.forget(row.id)
        rt.repositories.announce()
    if forget is None:
        # what may still be refused has kept its jobs until here
        await task_control.cancel(rt, JobFilter(repository_id=row.id))
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    return Removed(plan=planned)


def _remove(conn: Connection, rt: Runtime, row: RepositoryRow, is_forgotten: bool) -> None:
    if not is_forgotten:
        db_repositories.lock(conn, row.id)
        _refuse_full(row, _staged(rt, row), db_repositories.removal(conn, row.id))
    bare = db_repositories.remove(conn, row.id)
    db_jobs.enqueue(conn, [kinds.about(kinds.THUMBNAILS, *one) for one in bare])


def _refuse_full(row: RepositoryRow, staged: int | None, found: Removal) -> None:
    count = found.forgotten + found.kept
    if staged is None:
        there = "may have uploads that wait: its disk is away"
    elif count or staged:
        some = [f"{count} assets"] * bool(count) + [f"{staged} uploads that wait"] * bool(staged)
        there = f"has {' and '.join(some)}"
    else:
        return
    message = f"{row.name} {there}; say its name to have what is known of it forgotten"
    raise Conflict(message, code="repository_not_empty", assets=count, forgotten=found.forgotten, staged=staged)


def _staged(rt: Runtime, row: RepositoryRow) -> int | None:
    """Count the uploads that wait in a repository; None when its disk is away. Blocks."""
    if not rt.repositories.is_open(row.id):
        return None
    try:
        return len(staging.waiting(rt.repositories.get(row.id).repository))
    except LumilioError:
        return None
