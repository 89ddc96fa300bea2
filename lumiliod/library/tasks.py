"""Look at jobs."""

from uuid import UUID

from lumiliod.contract.jobs import Job, JobPage
from lumiliod.db import job_admin
from lumiliod.db.job_admin import JobRow
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import JobFilter, JobState
from lumiliod.library import convert
from lumiliod.runtime import Runtime


async def page(
    rt: Runtime, *, state: str | None, kind: str | None, queue: str | None, limit: int, cursor: str | None
) -> JobPage:
    """Return jobs, newest first.

    Raises:
        Shape: an unknown state, a bad limit or cursor.
    """
    if state is not None and state not in set(JobState):
        raise Shape(f"state is one of {', '.join(JobState)}", code="bad_state")
    before = convert.from_cursor(cursor, tuple[UUID])[0] if cursor else None
    rows = await rt.db.call(_page, state, kind, queue, before, convert.limited(limit) + 1)
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


def _page(
    conn: Connection, state: str | None, kind: str | None, queue: str | None, before: UUID | None, count: int
) -> list[JobRow]:
    wanted = JobFilter(state=JobState(state) if state else None, kind=kind, queue=queue)
    return job_admin.page(conn, wanted, before=before, count=count)
