"""Look at jobs."""

from collections.abc import Sequence
from uuid import UUID

from lumiliod.contract.jobs import Backfilled, CauseList, Job, JobPage, JobSort
from lumiliod.db import job_admin, job_pages
from lumiliod.db.job_admin import CauseRow, JobRow
from lumiliod.db.job_pages import Place
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


async def page(
    rt: Runtime,
    wanted: JobFilter,
    *,
    limit: int,
    cursor: str | None = None,
    sort: JobSort = "-created",
    last: bool = False,
) -> JobPage:
    """Return jobs that ``wanted`` names in the order of ``sort``: one page, the first, the ``last`` or a cursor's.

    Raises:
        Shape: a bad limit or cursor; jobs that have ended (``bad_sort``) are sorted by age alone.
    """
    by, is_falling = sort.removeprefix("-"), sort.startswith("-")
    if by != "created" and wanted.state in (JobState.COMPLETED, JobState.CANCELLED):
        raise Shape("jobs that have ended are sorted by `created` or `-created` alone", code="bad_sort")
    after, back = _place(cursor, by) if cursor else (None, last)
    count = convert.limited(limit) + 1
    found, about = await rt.db.call(_page, wanted, by, after, count, is_falling is not back)
    has_more, found = len(found) == count, found[: count - 1]
    if back:
        found.reverse()
    first, final = (_cursor(found[0], back=True), _cursor(found[-1], back=False)) if found else (None, None)
    return JobPage(
        items=[convert.job(row, about.get(row.id)) for row, _ in found],
        next_cursor=final if (cursor is not None if back else has_more) else None,
        prev_cursor=first if (has_more if back else cursor is not None) else None,
    )


async def show(rt: Runtime, job_id: UUID) -> Job:
    """Return one job, open or finished.

    Raises:
        NotFound: there is none with this id, or it ended too long ago.
    """
    row, about = await rt.db.call(_show, JobId(job_id))
    if row is None:
        raise NotFound(f"there is no job {job_id}", code="job_not_found")
    return convert.job(row, about)


async def causes(rt: Runtime, kind: str | None) -> CauseList:
    """Return why jobs failed that wait for another attempt or for a person, the most frequent reason first."""
    return CauseList(items=[convert.cause(row) for row in await rt.db.call(_causes, kind)])


async def backfill(rt: Runtime, kind: str | None) -> Backfilled:
    """Enqueue the work of ``kind``, or of every kind, that is not done and that no job does.

    Raises:
        NotFound: there is no such kind, or it cannot tell what it lacks.
    """
    return Backfilled(added=await adopt.missing(rt, kind))


def _place(cursor: str, by: str) -> tuple[Place, bool]:
    """Return where a cursor points, and whether it looks back."""
    found = convert.from_cursor(cursor, tuple[UUID, str | None, bool])
    if (found[1] is None) is not (by == "created"):
        raise Shape("this cursor is of another order", code="bad_cursor")
    return Place(found[0], found[1]), found[2]


def _cursor(found: tuple[JobRow, str | None], *, back: bool) -> str:
    row, rank = found
    return convert.cursor(row.id, rank, back)


def _page(
    conn: Connection, wanted: JobFilter, by: str, after: Place | None, count: int, falling: bool
) -> tuple[list[tuple[JobRow, str | None]], dict[JobId, str]]:
    found: list[tuple[JobRow, str | None]]
    if by != "created":
        found = [*job_pages.ranked(conn, wanted, by, after=after, count=count, back=falling)]
    elif falling:
        found = [(row, None) for row in job_pages.page(conn, wanted, before=after.id if after else None, count=count)]
    else:
        found = [(row, None) for row in job_pages.oldest(conn, wanted, after=after.id if after else None, count=count)]
    return found, job_pages.about(conn, [row for row, _ in found])


def _show(conn: Connection, job_id: JobId) -> tuple[JobRow | None, str | None]:
    row = job_admin.show(conn, job_id)
    return row, job_pages.about(conn, [row]).get(row.id) if row else None


def _causes(conn: Connection, kind: str | None) -> list[CauseRow]:
    return job_admin.causes(conn, kind=kind)
