"""The trash: remove assets, look, restore, purge."""

from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, PageQuery, answer, describes, read_body, read_query
from lumiliod.contract.trash import (
    PurgeRequest,
    RemoveRequest,
    RestoreRequest,
    StrayList,
    StrayRestored,
    TrashChanged,
    TrashItem,
    TrashPage,
)
from lumiliod.library import trash
from lumiliod.runtime import Runtime


class RemoveQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of removing one asset; with ``delete_file`` its files in the user area go, too."""

    delete_file: bool = False


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of the trash."""
    room = Blueprint("trash", __name__)
    _add_looks(rt, room)
    _add_acts(rt, room)
    return room


def _add_looks(rt: Runtime, room: Blueprint) -> None:
    @room.get("/trash")
    @describes(Operation(answers={200: TrashPage}, query=PageQuery))
    async def page() -> TrioResponse:
        """List what is in the trash, the latest first, with what it holds in all."""
        query = read_query(PageQuery)
        return answer(await trash.page(rt, limit=query.limit, cursor=query.cursor))

    @room.get("/trash/<uuid:asset_id>")
    @describes(Operation(answers={200: TrashItem}))
    async def show(asset_id: UUID) -> TrioResponse:
        """Show one asset of the trash."""
        return answer(await trash.show(rt, asset_id))

    @room.get("/trash/untracked")
    @describes(Operation(answers={200: StrayList}))
    async def untracked() -> TrioResponse:
        """List what no row knows in the trash of every repository, as after a database was restored."""
        return answer(await trash.untracked_files(rt))


def _add_acts(rt: Runtime, room: Blueprint) -> None:
    @room.delete("/assets/<uuid:asset_id>")
    @describes(Operation(answers={202: TrashItem}, query=RemoveQuery))
    async def remove_one(asset_id: UUID) -> TrioResponse:
        """Put an asset into the trash; it leaves the library at once, its file soon. Doing it again changes nothing."""
        delete_file = read_query(RemoveQuery).delete_file
        return answer(await trash.remove_one(rt, asset_id, delete_file=delete_file), 202)

    @room.post("/trash")
    @describes(Operation(answers={202: TrashChanged}, body=RemoveRequest))
    async def remove() -> TrioResponse:
        """Put assets into the trash: those named, or all that a query finds."""
        return answer(await trash.remove(rt, await read_body(RemoveRequest)), 202)

    @room.post("/trash/restore")
    @describes(Operation(answers={202: TrashChanged}, body=RestoreRequest))
    async def restore() -> TrioResponse:
        """Take assets out of the trash with all they had; those with files there come when these are back."""
        return answer(await trash.restore(rt, await read_body(RestoreRequest)), 202)

    @room.post("/trash/purge")
    @describes(Operation(answers={202: TrashChanged}, body=PurgeRequest))
    async def purge() -> TrioResponse:
        """Remove assets of the trash for good, once each file is verified; the task says what was refused."""
        return answer(await trash.purge(rt, await read_body(PurgeRequest)), 202)

    @room.post("/trash/untracked/<repository>/<uuid:stray_id>/restore")
    @describes(Operation(answers={200: StrayRestored}))
    async def restore_untracked(repository: str, stray_id: UUID) -> TrioResponse:
        """Put a file back that no row knows, where its note says it was."""
        return answer(await trash.restore_untracked(rt, repository, stray_id))
