"""Jobs: list, show, watch, retry, cancel, discard. A task is a job by another name."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.events import send_events
from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import (
    Cursor,
    Limit,
    NoQuery,
    Operation,
    answer,
    describes,
    parse_query,
    read_body,
    read_query,
    streams,
)
from lumiliod.contract.events import MEDIA_TYPE
from lumiliod.contract.jobs import (
    Backfilled,
    BackfillRequest,
    CauseList,
    Job,
    JobPage,
    JobsChanged,
    JobSelection,
    JobSort,
)
from lumiliod.contract.live import LiveJobs, Trouble
from lumiliod.domain.jobs import JobFilter
from lumiliod.library import live, task_control, tasks
from lumiliod.runtime import Runtime


class JobsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of the job list; ``repository`` is a name or an id, ``last`` asks for the last page."""

    state: str | None = None
    kind: str | None = None
    queue: str | None = None
    cause: str | None = None
    repository: str | None = None
    asset: UUID | None = None
    tag: str | None = None
    sort: JobSort = "-created"
    last: bool = False
    limit: Limit = 50
    cursor: Cursor | None = None


class CausesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of the causes of failures."""

    kind: str | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of jobs."""
    room = Blueprint("jobs", __name__)
    _add_looks(rt, room)
    _add_acts(rt, room)
    _add_streams(rt, room)
    return room


def _add_looks(rt: Runtime, room: Blueprint) -> None:
    @room.get("/jobs")
    @describes(Operation(answers={200: JobPage}, query=JobsQuery))
    async def page() -> TrioResponse:
        """List jobs, newest first or as `sort` says; all but `created` leave out those that have ended."""
        query = read_query(JobsQuery)
        wanted = tasks.chosen(
            rt,
            kind=query.kind,
            queue=query.queue,
            state=query.state,
            cause=query.cause,
            repository=query.repository,
            asset=query.asset,
            tag=query.tag,
        )
        return answer(
            await tasks.page(rt, wanted, limit=query.limit, cursor=query.cursor, sort=query.sort, last=query.last)
        )

    @room.get("/jobs/<uuid:job_id>")
    @describes(Operation(answers={200: Job}))
    async def show(job_id: UUID) -> TrioResponse:
        """Show one job."""
        return answer(await tasks.show(rt, job_id))

    @room.get("/tasks/<uuid:job_id>")
    @describes(Operation(answers={200: Job}))
    async def task(job_id: UUID) -> TrioResponse:
        """Show what became of an accepted upload or scan."""
        return answer(await tasks.show(rt, job_id))

    @room.get("/jobs/causes")
    @describes(Operation(answers={200: CauseList}, query=CausesQuery))
    async def causes() -> TrioResponse:
        """Group what failed, and waits for another attempt or for a person, by why."""
        return answer(await tasks.causes(rt, read_query(CausesQuery).kind))


def _add_acts(rt: Runtime, room: Blueprint) -> None:
    async def selected(act: Callable[..., Awaitable[JobsChanged]]) -> TrioResponse:
        body = await read_body(JobSelection)
        wanted = tasks.chosen(
            rt,
            ids=body.ids,
            kind=body.kind,
            queue=body.queue,
            state=body.state,
            cause=body.cause,
            repository=body.repository,
            asset=body.asset,
            tag=body.tag,
            older_s=body.older_s,
        )
        return answer(await act(rt, wanted, everything=body.all, dry_run=body.dry_run))

    @room.post("/jobs/retry")
    @describes(Operation(answers={200: JobsChanged}, body=JobSelection))
    async def retry() -> TrioResponse:
        """Let failed, scheduled and discarded jobs begin anew; cancelled ones when ids or that state are given."""
        return await selected(task_control.retry)

    @room.post("/jobs/cancel")
    @describes(Operation(answers={200: JobsChanged}, body=JobSelection))
    async def cancel() -> TrioResponse:
        """End jobs whatever their state, those that run at once, and what waits for them."""
        return await selected(task_control.cancel)

    @room.post("/jobs/discard")
    @describes(Operation(answers={200: JobsChanged}, body=JobSelection))
    async def discard() -> TrioResponse:
        """Give up jobs that wait; they are kept among the failures."""
        return await selected(task_control.discard)

    @room.post("/jobs/<uuid:job_id>/retry")
    @describes(Operation(answers={200: JobsChanged}))
    async def retry_one(job_id: UUID) -> TrioResponse:
        """Let one job begin anew."""
        return answer(await task_control.retry(rt, JobFilter(ids=(job_id,))))

    @room.post("/jobs/<uuid:job_id>/cancel")
    @describes(Operation(answers={200: JobsChanged}))
    async def cancel_one(job_id: UUID) -> TrioResponse:
        """End one job, and what waits for it."""
        return answer(await task_control.cancel(rt, JobFilter(ids=(job_id,))))

    @room.post("/jobs/<uuid:job_id>/discard")
    @describes(Operation(answers={200: JobsChanged}))
    async def discard_one(job_id: UUID) -> TrioResponse:
        """Give up one job that waits."""
        return answer(await task_control.discard(rt, JobFilter(ids=(job_id,))))

    @room.post("/jobs/backfill")
    @describes(Operation(answers={200: Backfilled}, body=BackfillRequest))
    async def backfill() -> TrioResponse:
        """Enqueue the work that is not done and that no job does."""
        return answer(await tasks.backfill(rt, (await read_body(BackfillRequest)).kind))


def _add_streams(rt: Runtime, room: Blueprint) -> None:
    watchers = live.Watchers()
    everything = live.of_everything(rt, watchers)

    @streams(
        room,
        "GET",
        "/jobs/live",
        Operation(answers={200: MEDIA_TYPE}, events={"jobs": LiveJobs, "trouble": Trouble}),
    )
    async def watch(exchange: Exchange) -> None:
        """Tell what runs and what waits, again whenever that changes, about once a second."""
        parse_query(exchange.query, NoQuery)
        await send_events(exchange, everything)

    @streams(
        room,
        "GET",
        "/jobs/<uuid:job_id>/live",
        Operation(answers={200: MEDIA_TYPE}, events={"job": Job, "end": Job, "trouble": Trouble}),
    )
    async def watch_one(exchange: Exchange) -> None:
        """Tell how one job is whenever that changes; `end` is the last, when it has ended."""
        parse_query(exchange.query, NoQuery)
        job = await tasks.show(rt, exchange.arguments["job_id"])
        await send_events(exchange, live.of_job(rt, job.id, watchers))
