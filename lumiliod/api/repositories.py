"""Repositories: add, look at, scan, change, move about, remove, lay out anew."""

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Cursor, Limit, Operation, answer, describes, read_body, read_query
from lumiliod.contract.relayout import Relayout, RelayoutPlan, RelayoutRequest, RelayoutTicket, UndoPlan
from lumiliod.contract.repositories import (
    Attached,
    Attachment,
    FilePage,
    NewRepository,
    Relocation,
    RemovalPlan,
    Removed,
    Repository,
    RepositoryChange,
    RepositoryList,
    ScanTicket,
)
from lumiliod.library import relayout, relocation, removal, repositories
from lumiliod.runtime import Runtime


class FilesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a repository's files."""

    outcome: str | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class RemoveQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of removing a repository; one with assets or uploads only where ``forget`` is its name."""

    forget: str | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of repositories; ``ref`` is a name or an id."""
    room = Blueprint("repositories", __name__)
    _add_looks(rt, room)
    _add_life(rt, room)
    _add_relayout(rt, room)
    return room


def _add_looks(rt: Runtime, room: Blueprint) -> None:
    @room.get("/repositories")
    @describes(Operation(answers={200: RepositoryList}))
    async def list_all() -> TrioResponse:
        """List all repositories, by name."""
        return answer(await repositories.list_all(rt))

    @room.post("/repositories")
    @describes(Operation(answers={201: Repository}, body=NewRepository))
    async def add() -> TrioResponse:
        """Create a repository at a path, or open the one that is there."""
        added = await repositories.add(rt, await read_body(NewRepository))
        return answer(added, 201, {"Location": f"/api/v1/repositories/{added.id}"})

    @room.get("/repositories/<ref>")
    @describes(Operation(answers={200: Repository}))
    async def show(ref: str) -> TrioResponse:
        """Show one repository."""
        return answer(await repositories.show(rt, ref))

    @room.get("/repositories/<ref>/files")
    @describes(Operation(answers={200: FilePage}, query=FilesQuery))
    async def files(ref: str) -> TrioResponse:
        """List the files of a repository and what became of each, by path."""
        query = read_query(FilesQuery)
        return answer(await repositories.files(rt, ref, outcome=query.outcome, cursor=query.cursor, limit=query.limit))

    @room.post("/repositories/<ref>/scan")
    @describes(Operation(answers={202: ScanTicket}))
    async def scan(ref: str) -> TrioResponse:
        """Ask for a full scan; it is a job of its own."""
        ticket = await repositories.scan(rt, ref)
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})


def _add_life(rt: Runtime, room: Blueprint) -> None:
    @room.patch("/repositories/<ref>")
    @describes(Operation(answers={200: Repository}, body=RepositoryChange))
    async def change(ref: str) -> TrioResponse:
        """Change a repository's settings; they hold at once."""
        return answer(await repositories.change(rt, ref, await read_body(RepositoryChange)))

    @room.post("/repositories/<ref>/relocate")
    @describes(Operation(answers={202: Attached}, body=Relocation))
    async def relocate(ref: str) -> TrioResponse:
        """Go on with a repository whose folder lies elsewhere now; nothing is done again but one scan."""
        return answer(await relocation.relocate(rt, ref, await read_body(Relocation)), 202)

    @room.post("/repositories/attach")
    @describes(Operation(answers={202: Attached}, body=Attachment))
    async def attach() -> TrioResponse:
        """Take a detached repository back, or a copy of one as a repository of its own."""
        return answer(await relocation.attach(rt, await read_body(Attachment)), 202)

    @room.post("/repositories/<ref>/detach")
    @describes(Operation(answers={200: Repository}))
    async def detach(ref: str) -> TrioResponse:
        """Put a repository away: its assets stay, nothing looks for it, its files are not touched."""
        await relocation.detach(rt, ref)
        return answer(await repositories.show(rt, ref))

    @room.get("/repositories/<ref>/removal")
    @describes(Operation(answers={200: RemovalPlan}))
    async def plan_removal(ref: str) -> TrioResponse:
        """Tell what removing a repository from the library would do."""
        return answer(await removal.plan(rt, ref))

    @room.delete("/repositories/<ref>")
    @describes(Operation(answers={200: Removed}, query=RemoveQuery))
    async def remove(ref: str) -> TrioResponse:
        """Remove a repository from the library; nothing on its disk is touched."""
        return answer(await removal.remove(rt, ref, read_query(RemoveQuery).forget))


def _add_relayout(rt: Runtime, room: Blueprint) -> None:
    @room.get("/repositories/<ref>/relayout")
    @describes(Operation(answers={200: Relayout}))
    async def show_relayout(ref: str) -> TrioResponse:
        """Show how far the last re-layout is."""
        return answer(await relayout.show(rt, ref))

    @room.post("/repositories/<ref>/relayout/plan")
    @describes(Operation(answers={200: RelayoutPlan}, body=RelayoutRequest))
    async def plan_relayout(ref: str) -> TrioResponse:
        """Tell what bringing the inbox into a layout would do; nothing is changed."""
        return answer(await relayout.plan(rt, ref, await read_body(RelayoutRequest)))

    @room.post("/repositories/<ref>/relayout")
    @describes(Operation(answers={202: RelayoutTicket}, body=RelayoutRequest))
    async def begin_relayout(ref: str) -> TrioResponse:
        """Bring the inbox into a layout; new uploads go by it at once, and a job moves what is there."""
        ticket = await relayout.begin(rt, ref, await read_body(RelayoutRequest))
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})

    @room.get("/repositories/<ref>/relayout/undo")
    @describes(Operation(answers={200: UndoPlan}))
    async def plan_undo(ref: str) -> TrioResponse:
        """Tell what undoing the last re-layout would do; nothing is changed."""
        return answer(await relayout.plan_undo(rt, ref))

    @room.post("/repositories/<ref>/relayout/undo")
    @describes(Operation(answers={202: RelayoutTicket}))
    async def undo_relayout(ref: str) -> TrioResponse:
        """Bring every file of the last re-layout back to where it was, and the layout of before."""
        ticket = await relayout.undo(rt, ref)
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})
