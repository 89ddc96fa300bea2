"""Derivatives as a whole: how they are, to make them anew, to prune them."""

from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, answer, describes, read_body
from lumiliod.contract.derivatives import DerivativeStatus, PruneTicket, RebuildRequest, Rebuilt
from lumiliod.library import derivatives
from lumiliod.runtime import Runtime


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of derivatives."""
    room = Blueprint("derivatives", __name__)

    @room.get("/derivatives")
    @describes(Operation(answers={200: DerivativeStatus}))
    async def status() -> TrioResponse:
        """Show how many derivatives there are of each kind, how large, and what is to be made."""
        return answer(await derivatives.status(rt))

    @room.post("/derivatives/rebuild")
    @describes(Operation(answers={202: Rebuilt}, body=RebuildRequest))
    async def rebuild() -> TrioResponse:
        """Have derivatives made anew: of assets, of a repository, or all."""
        return answer(await derivatives.rebuild(rt, await read_body(RebuildRequest)), 202)

    @room.post("/derivatives/prune")
    @describes(Operation(answers={202: PruneTicket}))
    async def prune() -> TrioResponse:
        """Have derivatives removed that nobody needs; it is a job of its own."""
        ticket = await derivatives.prune(rt)
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})

    return room
