"""How much each person may keep."""

from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, answer, describes, read_body
from lumiliod.contract.uploads import Quota, QuotaChange
from lumiliod.library import quota
from lumiliod.runtime import Runtime


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of quotas."""
    room = Blueprint("quota", __name__)

    @room.get("/users/<name>/quota")
    @describes(Operation(answers={200: Quota}))
    async def show(name: str) -> TrioResponse:
        """Tell how much a person may keep, and keeps."""
        return answer(await quota.show(rt, name))

    @room.put("/users/<name>/quota")
    @describes(Operation(answers={200: Quota}, body=QuotaChange))
    async def change(name: str) -> TrioResponse:
        """Say how much a person may keep; what is there stays."""
        return answer(await quota.change(rt, name, (await read_body(QuotaChange)).limit_bytes))

    return room
