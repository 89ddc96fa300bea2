"""Integrity: coverage, verifying, findings, the fix plan, mirrors."""

from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Cursor, Limit, Operation, PageQuery, answer, describes, read_body, read_query
from lumiliod.contract.integrity import (
    AppliedList,
    FindingPage,
    Ignored,
    IgnoreRequest,
    Integrity,
    Mirror,
    MirrorList,
    MirrorTicket,
    NewMirror,
    Plan,
    PlanApproval,
    VerifyRequest,
    VerifyTicket,
)
from lumiliod.library import integrity, plan
from lumiliod.runtime import Runtime


class FindingsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of findings; ``repository`` is a name or an id."""

    state: str | None = None
    kind: str | None = None
    repository: str | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of integrity and of mirrors."""
    room = Blueprint("integrity", __name__)

    @room.get("/integrity")
    @describes(Operation(answers={200: Integrity}))
    async def show() -> TrioResponse:
        """Show how much was read and found good, what is wrong, and how many copies there are."""
        return answer(await integrity.overview(rt))

    @room.post("/integrity/verify")
    @describes(Operation(answers={202: VerifyTicket}, body=VerifyRequest))
    async def verify() -> TrioResponse:
        """Read an asset, a repository or everything now; it is a job of its own."""
        ticket = await integrity.verify(rt, await read_body(VerifyRequest))
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})

    @room.get("/integrity/findings")
    @describes(Operation(answers={200: FindingPage}, query=FindingsQuery))
    async def findings() -> TrioResponse:
        """List what is wrong, or was, the newest first."""
        query = read_query(FindingsQuery)
        found = await integrity.findings(
            rt,
            state=query.state,
            kind=query.kind,
            repository=query.repository,
            cursor=query.cursor,
            limit=query.limit,
        )
        return answer(found)

    @room.post("/integrity/findings/ignore")
    @describes(Operation(answers={200: Ignored}, body=IgnoreRequest))
    async def ignore() -> TrioResponse:
        """Have findings trouble nobody any more, or again."""
        wanted = await read_body(IgnoreRequest)
        return answer(await integrity.ignore(rt, wanted.ids, undo=wanted.undo))

    @room.get("/integrity/plan")
    @describes(Operation(answers={200: Plan}, query=PageQuery))
    async def show_plan() -> TrioResponse:
        """Tell what would be done about each open finding, the oldest first."""
        query = read_query(PageQuery)
        return answer(await plan.plan(rt, cursor=query.cursor, limit=query.limit))

    @room.post("/integrity/plan/apply")
    @describes(Operation(answers={200: AppliedList}, body=PlanApproval))
    async def apply() -> TrioResponse:
        """Do what is approved, finding by finding."""
        return answer(await plan.apply(rt, await read_body(PlanApproval)))

    @room.get("/mirrors")
    @describes(Operation(answers={200: MirrorList}))
    async def mirrors() -> TrioResponse:
        """List all mirrors, by repository, and whether each is there now."""
        return answer(await integrity.mirrors(rt))

    @room.post("/mirrors")
    @describes(Operation(answers={201: Mirror}, body=NewMirror))
    async def add_mirror() -> TrioResponse:
        """Add a second place for a repository's originals and begin to fill it."""
        return answer(await integrity.add_mirror(rt, await read_body(NewMirror)), 201)

    @room.delete("/mirrors/<uuid:mirror_id>")
    @describes(Operation(answers={200: MirrorList}))
    async def remove_mirror(mirror_id: UUID) -> TrioResponse:
        """Forget a mirror; what lies there stays."""
        await integrity.remove_mirror(rt, mirror_id)
        return answer(await integrity.mirrors(rt))

    @room.post("/mirrors/<uuid:mirror_id>/fill")
    @describes(Operation(answers={202: MirrorTicket}))
    async def fill_mirror(mirror_id: UUID) -> TrioResponse:
        """Bring a mirror up to date now; it is a job of its own."""
        ticket = await integrity.fill_mirror(rt, mirror_id)
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})

    return room
