"""Look at jobs."""

from collections.abc import Sequence
from uuid import UUID

from lumiliod.contract.jobs import Backfilled, CauseList, Job, JobPage
from lumiliod.db import job_admin
from lumiliod.db.job_admin import CauseRow, JobRow
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import JobFilter, JobState
from lumiliod.library import convert
from lumiliod.pipeline import adopt
from lumiliod.runtime import Runtime


def chosen(
    rt: Runtime,
    *,
    ids: Sequence[UUID] | None = None,
    kind: str | None = None,
    queue: str | None = None,
    state: str | None = None,
    cause: str | None = None,
    repository: str | None = None,
    asset: UUID | None = None,
    tag: str | None = None,
    older_s: float | None = None,
) -> JobFilter:
    """Return which jobs a person means; ``repository`` is a name or an id.

    Raises:
        Shape: an unknown state.
        NotFound: no such repository.
    """
    if state is not None and state not in set(JobState):
        raise Shape(f"state is one of {', '.join(JobState)}", code="bad_state")
    return JobFilter(
        ids=None if ids is None else tuple(ids),
        kind=kind,
        queue=queue,
        state=JobState(state) if state is not None else None,
        cause=cause,
        repository_id=rt.repositories.row(repository).id if repository is not None else None,
        asset_id=asset,
        tag=tag,
        older_s=older_s,
    )


async def page(rt: Runtime, wanted: JobFilter, *, limit: int, cursor: str | None) -> JobPage:
    """Return the jobs that ``wanted`` names, newest first.

    Raises:
        Shape: a bad limit or cursor.
    """
    before = convert.from_cursor(cursor, tuple[UUID])[0] if cursor else None
    rows = await rt.db.call(_page, wanted, before, convert.limited(limit) + 1)
    next_cursor = convert.cursor(rows[limit - 1].id) if len(rows) > limit else None
    return JobPage(items=[convert.job(row) for row in rows[:limit]], next_cursor=next_cursor)


async def show(rt: Runtime, job_id: UUID) -> Job:
    """Return one job, open or finished.

    Raises:
        NotFound: there is none with this id, or it ended too long ago.
    """
    row = await rt.db.call(job_admin.show, JobId(job_id))
    if row is None:
        raise NotFound(f"there is no job {job_id}", code="job_not_found")
    return convert.job(row)


async def causes(rt: Runtime, kind: str | None) -> CauseList:
    """Return why jobs failed that wait for another attempt or for a person, the most frequent reason first."""
    return CauseList(items=[convert.cause(row) for row in await rt.db.call(_causes, kind)])


async def backfill(rt: Runtime, kind: str | None) -> Backfilled:
    """Enqueue the work of ``kind``, or of every kind, that is not done and that no job does.

    Raises:
        NotFound: there is no such kind, or it cannot tell what it lacks.
    """
    return Backfilled(added=await adopt.missing(rt, kind))


def _page(conn: Connection, wanted: JobFilter, before: UUID | None, count: int) -> list[JobRow]:
    return job_admin.page(conn, wanted, before=before, count=count)


def _causes(conn: Connection, kind: str | None) -> list[CauseRow]:
    return job_admin.causes(conn, kind=kind)
