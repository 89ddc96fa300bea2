"""Queues: list, pause, resume, set. Workers: list."""

from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, answer, describes, read_body
from lumiliod.contract.queues import QueueChange, QueueList, WorkerList
from lumiliod.library import queues
from lumiliod.runtime import Runtime


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of queues and workers; the queue `*` or `all` stands for every queue."""
    room = Blueprint("queues", __name__)

    @room.get("/queues")
    @describes(Operation(answers={200: QueueList}))
    async def list_all() -> TrioResponse:
        """List all queues, by name."""
        return answer(await queues.list_all(rt))

    @room.patch("/queues/<name>")
    @describes(Operation(answers={200: QueueList}, body=QueueChange))
    async def change(name: str) -> TrioResponse:
        """Change how many jobs of a queue run at once and its quiet hours; `*` is every queue."""
        return answer(await queues.change(rt, name, await read_body(QueueChange)))

    @room.post("/queues/<name>/pause")
    @describes(Operation(answers={200: QueueList}))
    async def pause(name: str) -> TrioResponse:
        """Let nothing of a queue begin, what runs goes on; `*` is every queue."""
        return answer(await queues.pause(rt, name))

    @room.post("/queues/<name>/resume")
    @describes(Operation(answers={200: QueueList}))
    async def resume(name: str) -> TrioResponse:
        """Let a paused queue go on; `*` is what was said of every queue at once."""
        return answer(await queues.resume(rt, name))

    @room.get("/workers")
    @describes(Operation(answers={200: WorkerList}))
    async def workers() -> TrioResponse:
        """List the processes that do jobs, the oldest first."""
        return answer(await queues.list_workers(rt))

    return room
