"""Jobs: list and show. A task is a job by another name."""

from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Cursor, Limit, Operation, answer, describes, read_query
from lumiliod.contract.jobs import Job, JobPage
from lumiliod.library import tasks
from lumiliod.runtime import Runtime


class JobsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of the job list."""

    state: str | None = None
    kind: str | None = None
    queue: str | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of jobs."""
    room = Blueprint("jobs", __name__)

    @room.get("/jobs")
    @describes(Operation(answers={200: JobPage}, query=JobsQuery))
    async def page() -> TrioResponse:
        """List jobs, newest first."""
        query = read_query(JobsQuery)
        return answer(
            await tasks.page(
                rt, state=query.state, kind=query.kind, queue=query.queue, limit=query.limit, cursor=query.cursor
            )
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

    return room
