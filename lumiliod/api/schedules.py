"""Periodic jobs: list, show, change, run now."""

from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, answer, describes, read_body
from lumiliod.contract.schedules import RunTicket, Schedule, ScheduleChange, ScheduleList
from lumiliod.library import schedules
from lumiliod.runtime import Runtime


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of periodic jobs; a name holds anything but a slash."""
    room = Blueprint("schedules", __name__)

    @room.get("/schedules")
    @describes(Operation(answers={200: ScheduleList}))
    async def list_all() -> TrioResponse:
        """List all periodic jobs, by name."""
        return answer(await schedules.list_all(rt))

    @room.get("/schedules/<name>")
    @describes(Operation(answers={200: Schedule}))
    async def show(name: str) -> TrioResponse:
        """Show one periodic job."""
        return answer(await schedules.show(rt, name))

    @room.patch("/schedules/<name>")
    @describes(Operation(answers={200: Schedule}, body=ScheduleChange))
    async def change(name: str) -> TrioResponse:
        """Pause a periodic job, let it go on, or change when it runs."""
        return answer(await schedules.change(rt, name, await read_body(ScheduleChange)))

    @room.post("/schedules/<name>/run")
    @describes(Operation(answers={202: RunTicket}))
    async def run(name: str) -> TrioResponse:
        """Run a periodic job now, besides its times."""
        ticket = await schedules.run(rt, name)
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})

    return room
