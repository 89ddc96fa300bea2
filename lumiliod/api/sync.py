"""Keeping in step with the disk: what ran, runs and plans on demand, deletions that wait for a person."""

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
    PageQuery,
    answer,
    describes,
    parse_query,
    read_body,
    read_query,
    streams,
)
from lumiliod.contract.events import MEDIA_TYPE
from lumiliod.contract.live import Trouble
from lumiliod.contract.repositories import ScanTicket
from lumiliod.contract.sync import (
    Decision,
    HeldDeletions,
    HeldFilePage,
    HeldList,
    LiveSync,
    RepositorySync,
    SyncOperation,
    SyncOperationPage,
    SyncOverview,
    SyncPlanPage,
    SyncRequest,
    SyncTicket,
)
from lumiliod.library import held, sync
from lumiliod.library.live import Watchers
from lumiliod.runtime import Runtime


class OperationsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of runs; ``repository`` is a name or an id."""

    repository: str | None = None
    type: str | None = None
    status: str | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class PlanQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a plan's entries."""

    action: str | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of runs, plans and held deletions."""
    room = Blueprint("sync", __name__)
    _add_looks(rt, room)
    _add_acts(rt, room)
    _add_held(rt, room)
    return room


def _add_looks(rt: Runtime, room: Blueprint) -> None:
    @room.get("/sync")
    @describes(Operation(answers={200: SyncOverview}))
    async def overview() -> TrioResponse:
        """Show how every repository is kept in step with its disk, by name."""
        return answer(await sync.overview(rt))

    @room.get("/repositories/<ref>/sync")
    @describes(Operation(answers={200: RepositorySync}))
    async def show(ref: str) -> TrioResponse:
        """Show how one repository is kept in step with its disk."""
        return answer(await sync.show(rt, ref))

    @room.get("/sync/operations")
    @describes(Operation(answers={200: SyncOperationPage}, query=OperationsQuery))
    async def operations() -> TrioResponse:
        """List runs, the newest first."""
        query = read_query(OperationsQuery)
        found = await sync.history(
            rt,
            repository=query.repository,
            type_=query.type,
            status=query.status,
            cursor=query.cursor,
            limit=query.limit,
        )
        return answer(found)

    @room.get("/sync/operations/<uuid:operation_id>")
    @describes(Operation(answers={200: SyncOperation}))
    async def operation(operation_id: UUID) -> TrioResponse:
        """Show one run."""
        return answer(await sync.operation(rt, operation_id))

    @room.get("/sync/plans/<uuid:plan_id>")
    @describes(Operation(answers={200: SyncPlanPage}, query=PlanQuery))
    async def plan(plan_id: UUID) -> TrioResponse:
        """Tell what a scan would do, by path; the id is that of the job that made the plan."""
        query = read_query(PlanQuery)
        return answer(await sync.plan(rt, plan_id, action=query.action, cursor=query.cursor, limit=query.limit))

    runs = sync.live(rt, Watchers())

    @streams(
        room,
        "GET",
        "/sync/live",
        Operation(answers={200: MEDIA_TYPE}, events={"runs": LiveSync, "trouble": Trouble}),
    )
    async def watch(exchange: Exchange) -> None:
        """Tell the newest runs, again whenever one begins or ends."""
        parse_query(exchange.query, NoQuery)
        await send_events(exchange, runs)


def _add_acts(rt: Runtime, room: Blueprint) -> None:
    @room.post("/repositories/<ref>/sync")
    @describes(Operation(answers={202: SyncTicket}, body=SyncRequest))
    async def run(ref: str) -> TrioResponse:
        """Ask for a scan of everything or of a folder, or for a plan of what it would do; it is a job of its own."""
        ticket = await sync.run(rt, ref, await read_body(SyncRequest))
        return answer(ticket, 202, {"Location": f"/api/v1/tasks/{ticket.task_id}"})


def _add_held(rt: Runtime, room: Blueprint) -> None:
    async def approved(ref: str) -> TrioResponse:
        task_id = await held.approve(rt, ref, (await read_body(Decision)).plan_id)
        return answer(ScanTicket(task_id=task_id), 202, {"Location": f"/api/v1/tasks/{task_id}"})

    @room.get("/sync/held")
    @describes(Operation(answers={200: HeldList}))
    async def held_deletions() -> TrioResponse:
        """List the repositories of which more is missing than is believed, the longest held first."""
        return answer(await held.list_all(rt))

    @room.get("/repositories/<ref>/held")
    @describes(Operation(answers={200: HeldFilePage}, query=PageQuery))
    async def held_files(ref: str) -> TrioResponse:
        """List the paths of a repository whose deletion is held."""
        query = read_query(PageQuery)
        return answer(await held.files(rt, ref, cursor=query.cursor, limit=query.limit))

    @room.post("/repositories/<ref>/held/approve")
    @describes(Operation(answers={202: ScanTicket}, body=Decision))
    async def approve(ref: str) -> TrioResponse:
        """Believe that what is held is missing: a scan marks what has not come back, unless clearly more is gone."""
        return await approved(ref)

    @room.post("/repositories/<ref>/approve-deletions")
    @describes(Operation(answers={202: ScanTicket}, body=Decision))
    async def approve_deletions(ref: str) -> TrioResponse:
        """Do the same as `held/approve`."""
        return await approved(ref)

    @room.post("/repositories/<ref>/held/reject")
    @describes(Operation(answers={200: HeldDeletions}, body=Decision))
    async def reject(ref: str) -> TrioResponse:
        """Keep the records of what is held as they are, and ask no more until more is missing."""
        return answer(await held.reject(rt, ref, (await read_body(Decision)).plan_id))
