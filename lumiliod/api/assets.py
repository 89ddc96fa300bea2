"""Assets: list, show, find, and send their originals and thumbnails."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import (
    MAX_PAGE,
    Cursor,
    Limit,
    NoQuery,
    Operation,
    answer,
    describes,
    parse_query,
    read_body,
    read_query,
    streams,
)
from lumiliod.api.sending import send_file
from lumiliod.contract.assets import (
    AssetDetail,
    AssetPage,
    LikeChange,
    NearDuplicates,
    RatingChange,
    SearchPage,
    SearchRequest,
)
from lumiliod.domain.assets import ServedFile
from lumiliod.domain.errors import Shape
from lumiliod.library import browse, derived, motion, opinions, search
from lumiliod.runtime import Runtime

DISTANCE, MAX_DISTANCE = 8, 16
"""Bits in which hashes of variants of one picture differ at most, as measured; and where chance begins."""
_REVALIDATE = "private, no-cache"
_FOR_EVER = "private, max-age=31536000, immutable"


class ListQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of the list of assets: whether of a stack `all` are listed, or the cover alone (`collapsed`).

    A collapsed page may be shorter than its limit; it is the last only without a cursor.
    """

    limit: Limit = 50
    cursor: Cursor | None = None
    stacks: Literal["all", "collapsed"] = "all"


class SearchQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a search; ``q`` uses the one query grammar."""

    q: str = ""
    limit: Limit = 50
    cursor: Cursor | None = None


class NearQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of near-duplicates: in how many of 64 bits their hashes may differ."""

    distance: Annotated[int, msgspec.Meta(ge=0, le=MAX_DISTANCE)] = DISTANCE
    limit: Limit = 50


class ThumbnailQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a thumbnail: its long side in pixels, and its version."""

    size: int = 300
    version: str | None = None


class VersionQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a derivative: asked for by ``version`` it may be kept for ever, while that is the one it has.

    Its ``ETag`` ends with it.
    """

    version: str | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of assets."""
    room = Blueprint("assets", __name__)

    @room.get("/assets")
    @describes(Operation(answers={200: AssetPage}, query=ListQuery))
    async def page() -> TrioResponse:
        """List assets, newest first."""
        query = read_query(ListQuery)
        is_collapsed = query.stacks == "collapsed"
        return answer(await browse.page(rt, limit=query.limit, cursor=query.cursor, collapsed=is_collapsed))

    @room.get("/assets/<uuid:asset_id>")
    @describes(Operation(answers={200: AssetDetail}))
    async def show(asset_id: UUID) -> TrioResponse:
        """Show one asset with everything its file says of itself, its stack and its companions, and why they are."""
        return answer(await browse.show(rt, asset_id))

    @room.put("/assets/<uuid:asset_id>/rating")
    @describes(Operation(answers={200: AssetDetail}, body=RatingChange))
    async def rate(asset_id: UUID) -> TrioResponse:
        """Give one asset 0 to 5 stars, or none."""
        return answer(await opinions.rate(rt, asset_id, (await read_body(RatingChange)).rating))

    @room.put("/assets/<uuid:asset_id>/like")
    @describes(Operation(answers={200: AssetDetail}, body=LikeChange))
    async def like(asset_id: UUID) -> TrioResponse:
        """Say whether one asset is liked."""
        return answer(await opinions.like(rt, asset_id, (await read_body(LikeChange)).liked))

    @room.get("/assets/<uuid:asset_id>/near-duplicates")
    @describes(Operation(answers={200: NearDuplicates}, query=NearQuery))
    async def near_duplicates(asset_id: UUID) -> TrioResponse:
        """List assets that look like one, the nearest first."""
        query = read_query(NearQuery)
        return answer(await browse.near_duplicates(rt, asset_id, query.distance, query.limit))

    @streams(room, "GET", "/assets/<uuid:asset_id>/original", Operation(answers={200: "*/*", 206: "*/*", 304: None}))
    async def original(exchange: Exchange) -> None:
        """Send the original's bytes, or a range of them."""
        parse_query(exchange.query, NoQuery)
        file = await browse.original(rt, exchange.arguments["asset_id"])
        await send_file(exchange, file, cache_control=_REVALIDATE)

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/motion",
        Operation(answers={200: "video/*", 206: "video/*", 304: None}),
    )
    async def moving(exchange: Exchange) -> None:
        """Send the film of a motion photo or live photo; 404 `motion_missing`, 503 `motion_pending` when not read."""
        parse_query(exchange.query, NoQuery)
        file = await motion.film(rt, exchange.arguments["asset_id"])
        await send_file(exchange, file, cache_control=_REVALIDATE)

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/thumbnail",
        Operation(answers={200: "image/*", 206: "image/*", 304: None}, query=ThumbnailQuery),
    )
    async def thumbnail(exchange: Exchange) -> None:
        """Send a thumbnail; 404 `thumbnail_missing` when there is none, 503 `thumbnail_pending` when not yet."""
        query = parse_query(exchange.query, ThumbnailQuery)
        file = await derived.thumbnail(rt, exchange.arguments["asset_id"], query.size)
        await _send_derivative(exchange, file, query.version)

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/photo/web",
        Operation(answers={200: "image/*", 206: "image/*", 304: None}, query=VersionQuery),
    )
    async def web_photo(exchange: Exchange) -> None:
        """Send a photo in full size as every browser shows it; 404 `photo_missing`, 503 `photo_pending` when not yet.

        What browsers do not show, RAW above all, is developed when somebody asks for it.
        """
        await _send_made(exchange, partial(derived.web_photo, rt))

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/video/web",
        Operation(answers={200: "video/*", 206: "video/*", 304: None}, query=VersionQuery),
    )
    async def web_video(exchange: Exchange) -> None:
        """Send a film as every browser plays it; 404 `video_missing` or 503 `video_pending` when it is not there."""
        await _send_made(exchange, partial(derived.web_video, rt))

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/video/filmstrip",
        Operation(answers={200: "image/jpeg", 206: "image/jpeg", 304: None}, query=VersionQuery),
    )
    async def filmstrip(exchange: Exchange) -> None:
        """Send small frames of a film in one picture; where each lies, and its time, says `filmstrip.vtt`."""
        await _send_made(exchange, partial(derived.filmstrip, rt))

    @room.get("/assets/<uuid:asset_id>/video/filmstrip.vtt")
    @describes(Operation(answers={200: "text/vtt"}))
    async def filmstrip_places(asset_id: UUID) -> TrioResponse:
        """Say in WebVTT, as players read it, which part of the filmstrip shows which seconds."""
        return TrioResponse(await derived.filmstrip_places(rt, asset_id), mimetype="text/vtt")

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/audio/web",
        Operation(answers={200: "audio/*", 206: "audio/*", 304: None}, query=VersionQuery),
    )
    async def web_audio(exchange: Exchange) -> None:
        """Send a sound as every browser plays it; 404 `audio_missing` or 503 `audio_pending` when it is not there."""
        await _send_made(exchange, partial(derived.web_audio, rt))

    @streams(
        room,
        "GET",
        "/assets/<uuid:asset_id>/audio/waveform",
        Operation(
            answers={200: "application/octet-stream", 206: "application/octet-stream", 304: None}, query=VersionQuery
        ),
    )
    async def waveform(exchange: Exchange) -> None:
        """Send the shape of a sound in the binary format of the BBC's audiowaveform, which web players read."""
        await _send_made(exchange, partial(derived.waveform, rt))

    @room.post("/assets/search")
    @describes(Operation(answers={200: SearchPage}, body=SearchRequest))
    async def find() -> TrioResponse:
        """Find assets by the query grammar."""
        return answer(await search.search(rt, _checked(await read_body(SearchRequest))))

    @room.post("/assets/filter")
    @describes(Operation(answers={200: SearchPage}, body=SearchRequest))
    async def narrow() -> TrioResponse:
        """Find assets by the query grammar; another name of `/assets/search`."""
        return answer(await search.search(rt, _checked(await read_body(SearchRequest))))

    @room.get("/search")
    @describes(Operation(answers={200: SearchPage}, query=SearchQuery))
    async def find_by_url() -> TrioResponse:
        """Find assets by the query grammar, given in the URL."""
        query = read_query(SearchQuery)
        return answer(await search.search(rt, SearchRequest(query=query.q, limit=query.limit, cursor=query.cursor)))

    return room


async def _send_made(exchange: Exchange, opened: Callable[[UUID], Awaitable[ServedFile]]) -> None:
    """Send what is made of the asset in the path, as ``opened`` opens it."""
    query = parse_query(exchange.query, VersionQuery)
    await _send_derivative(exchange, await opened(exchange.arguments["asset_id"]), query.version)


async def _send_derivative(exchange: Exchange, file: ServedFile, version: str | None) -> None:
    """Send what was made of an original; by its version it never changes, else whoever has it asks again."""
    is_fixed = version is not None and version == file.version
    await send_file(exchange, file, cache_control=_FOR_EVER if is_fixed else _REVALIDATE)


def _checked(wanted: SearchRequest) -> SearchRequest:
    if not 1 <= wanted.limit <= MAX_PAGE:
        raise Shape(f"The request body is not right: `limit` must be 1 to {MAX_PAGE} - at `$.limit`.")
    return wanted
