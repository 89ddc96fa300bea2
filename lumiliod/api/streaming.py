"""Films in pieces for players of HLS (RFC 8216)."""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import trio
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import NoQuery, Operation, describes, parse_query, read_query, streams
from lumiliod.api.sending import cancel_when_gone, send_file
from lumiliod.domain.assets import ServedFile
from lumiliod.library import streaming
from lumiliod.runtime import Runtime

PLAYLIST = "application/vnd.apple.mpegurl"
_REVALIDATE = "private, no-cache"
_A_WHILE = "private, max-age=86400"


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of streaming."""
    room = Blueprint("streaming", __name__)

    @room.get("/assets/<uuid:asset_id>/video/hls/master.m3u8")
    @describes(Operation(answers={200: PLAYLIST}))
    async def master(asset_id: UUID) -> TrioResponse:
        """List the sizes that a film is streamed in; 404 `video_missing` when it is none."""
        return _playlist(await streaming.master(rt, asset_id))

    @room.get("/assets/<uuid:asset_id>/video/hls/<int:rendition>/index.m3u8")
    @describes(Operation(answers={200: PLAYLIST}))
    async def index(asset_id: UUID, rendition: int) -> TrioResponse:
        """List the segments of one size; 404 `rendition_missing` when there is none."""
        return _playlist(await streaming.index(rt, asset_id, rendition))

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/video/hls/<int:rendition>/init.mp4",
        Operation(answers={200: "video/mp4", 206: "video/mp4", 304: None}),
    )
    async def beginning(exchange: Exchange) -> None:
        """Send what the segments of one size have in common."""
        told = exchange.arguments
        await _send(exchange, partial(streaming.beginning, rt, told["asset_id"], told["rendition"]))

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/video/hls/<int:rendition>/<int:number>.m4s",
        Operation(answers={200: "video/mp4", 206: "video/mp4", 304: None}),
    )
    async def segment(exchange: Exchange) -> None:
        """Send a segment, which is made if need be; 404 `segment_missing` when the film is shorter."""
        told = exchange.arguments
        await _send(exchange, partial(streaming.piece, rt, told["asset_id"], told["rendition"], told["number"]))

    return room


def _playlist(text: str) -> TrioResponse:
    read_query(NoQuery)
    return TrioResponse(text, headers={"Cache-Control": _REVALIDATE}, content_type=PLAYLIST)


async def _send(exchange: Exchange, opening: Callable[[], Awaitable[ServedFile]]) -> None:
    """Send a file once it is there; who goes away before does not wait for it any more."""
    parse_query(exchange.query, NoQuery)
    file: ServedFile | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_gone, exchange, nursery.cancel_scope)
        file = await opening()
        nursery.cancel_scope.cancel()
    if file is not None:
        await send_file(exchange, file, cache_control=_A_WHILE)
