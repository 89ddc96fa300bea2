"""Repositories: add, look at, scan."""

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Cursor, Limit, Operation, answer, describes, read_body, read_query
from lumiliod.contract.repositories import FilePage, NewRepository, Repository, RepositoryList, ScanTicket
from lumiliod.library import repositories
from lumiliod.runtime import Runtime


class FilesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a repository's files."""

    outcome: str | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of repositories; ``ref`` is a name or an id."""
    room = Blueprint("repositories", __name__)

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

    return room
