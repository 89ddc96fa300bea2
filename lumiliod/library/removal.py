"""Removing a repository from the library: what is known of it goes, what lies on its disk stays."""

from functools import partial

import trio

from lumiliod.contract.repositories import RemovalPlan, Removed
from lumiliod.db import jobs as db_jobs
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import Conflict, LumilioError
from lumiliod.domain.ids import RepositoryId, shown
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
        staged=await _staged(rt, row),
    )


async def remove(rt: Runtime, ref: str, forget: str | None) -> Removed:
    """Remove a repository from the library; one with assets only where ``forget`` is its name.

    Raises:
        NotFound: no such repository.
        Conflict: it has assets (``repository_not_empty``), or ``forget`` is another name (``name_mismatch``); nothing
            was done.
    """
    async with rt.adding:
        row = rt.repositories.row(ref)
        planned = await plan(rt, ref)
        if forget is not None and forget != row.name:
            raise Conflict(f"the repository is called {row.name}, not {forget}", code="name_mismatch")
        if forget is None and planned.forgotten + planned.kept:
            count = planned.forgotten + planned.kept
            message = f"{row.name} has {count} assets: say its name to have what is known of them forgotten"
            raise Conflict(message, code="repository_not_empty", assets=count, forgotten=planned.forgotten)
        await task_control.cancel(rt, JobFilter(repository_id=row.id))
        await rt.jobs.call(partial(_remove, row.id))
        rt.repositories.forget(row.id)
        rt.repositories.announce()
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    return Removed(plan=planned)


def _remove(repository_id: RepositoryId, conn: Connection) -> None:
    bare = db_repositories.remove(conn, repository_id)
    db_jobs.enqueue(conn, [kinds.about(kinds.THUMBNAILS, *one) for one in bare])


async def _staged(rt: Runtime, row: RepositoryRow) -> int | None:
    if not rt.repositories.is_open(row.id):
        return None
    repo = rt.repositories.get(row.id).repository
    try:
        return len(await trio.to_thread.run_sync(staging.waiting, repo, limiter=rt.disk))
    except LumilioError:
        return None
