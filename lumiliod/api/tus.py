"""Resumable uploads by tus 1.0: https://tus.io/protocols/resumable-upload.

Extensions: creation, creation-with-upload, creation-defer-length, expiration, checksum, termination,
concatenation. ``Upload-Metadata`` names the file (``filename``), and may name the ``repository`` and the file's
BLAKE3-256 (``digest``, in hex). A complete upload answers with the task that makes it an asset
(``Lumilio-Task``). Every error is a problem document, as everywhere.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import format_datetime
from functools import wraps

import msgspec
import trio
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse
from werkzeug.http import parse_options_header

from lumiliod.api.body import RequestBody
from lumiliod.api.errors import MEDIA_TYPE, failure, problem
from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import NoQuery, Operation, answer, describes, parse_query, read_query, streams
from lumiliod.contract.problems import Problem
from lumiliod.contract.uploads import UploadList
from lumiliod.domain.errors import LumilioError, Shape
from lumiliod.domain.ids import UploadId
from lumiliod.library import upload_refusals
from lumiliod.library.concatenation import Concatenation
from lumiliod.library.resumable import CHECKSUM_NAMES, Progress, Uploads
from lumiliod.library.under_way import under_way
from lumiliod.library.upload_metadata import upload_id
from lumiliod.runtime import Runtime

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
)
PATH = "/api/v1/uploads"

_BYTES = "application/offset+octet-stream"
_STATUS = {"upload_locked": 423, "checksum_mismatch": 460}
"""What tus, or its reference server (423), calls errors that HTTP has no other status for."""

_HEADERS = {
    "Tus-Resumable": VERSION,
    "Upload-Offset": "Where these bytes belong; what is answered is where the next ones do.",
    "Upload-Length": "How large the file is.",
    "Upload-Checksum": "Algorithm and base64 value of these bytes.",
}
_BINARY = {_BYTES: {"type": "string", "format": "binary"}}


class TerminationQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of giving an upload up: with ``refused`` one whose bytes are kept as refused goes, too."""

    refused: bool = False


View = Callable[[Exchange], Awaitable[None]]


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of resumable uploads."""
    room = Blueprint("tus", __name__)
    uploads = Uploads(rt)
    concatenation = Concatenation(rt, uploads)

    @room.route("/uploads", methods=["OPTIONS"])
    @describes(Operation(answers={204: None}))
    async def abilities() -> TrioResponse:
        """Tell which version and extensions of tus are spoken here."""
        headers = {
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(EXTENSIONS),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUM_NAMES),
        }
        if uploads.max_bytes is not None:
            headers["Tus-Max-Size"] = str(uploads.max_bytes)
        await trio.lowlevel.checkpoint()
        response = TrioResponse(b"", 204, headers)
        # RFC 9110 §8.6: an answer without content says nothing of its length
        response.headers.remove("Content-Length")
        return response

    @streams(
        room,
        "POST",
        "/uploads",
        Operation(answers={201: None}, accepts=_BINARY, headers={**_HEADERS, "Upload-Metadata": "See tus."}),
    )
    @_spoken
    async def create(exchange: Exchange) -> None:
        """Begin an upload, with its first bytes or without; or put one together of parts."""
        parse_query(exchange.query, NoQuery)
        concat = exchange.headers.get("Upload-Concat", "")
        if concat.startswith("final;"):
            parts = [_id_of(place) for place in concat.removeprefix("final;").split()]
            said = exchange.headers.get("Upload-Metadata", "")
            begun = await concatenation.join(parts, metadata=said, concat=concat)
        else:
            if concat not in ("", "partial"):
                raise Shape("`Upload-Concat` is `partial` or `final;` and places.", code="bad_concat")
            body, checksum = _body(exchange), _checksum(exchange)
            begun = await uploads.begin(
                size_bytes=_length(exchange),
                metadata=exchange.headers.get("Upload-Metadata", ""),
                is_part=concat == "partial",
            )
            if body is not None:
                try:
                    begun = await uploads.append(begun.id, body, 0, checksum=checksum)
                except BaseException:
                    # its sender is never told where it is
                    with trio.CancelScope(shield=True), suppress(LumilioError):
                        await uploads.abandon(begun.id)
                    raise
        await _answer(exchange, 201, begun, {"Location": f"{PATH}/{begun.id}"})

    @room.get("/uploads")
    @describes(Operation(answers={200: UploadList}))
    async def under_way_now() -> TrioResponse:
        """List the uploads that are not complete, and those that were refused.

        The former keep room from others until they expire, the latter until they are removed, or retried with success.
        """
        read_query(NoQuery)
        offline = [row.name for row in rt.repositories.offline()]
        return answer(UploadList(items=await under_way(rt), refused=await upload_refusals.refused(rt), offline=offline))

    @streams(room, "HEAD", "/uploads/<upload>", Operation(answers={200: None}, headers={"Tus-Resumable": VERSION}))
    @_spoken
    async def look(exchange: Exchange) -> None:
        """Tell how far an upload is."""
        await _look(uploads, exchange)

    @streams(room, "PATCH", "/uploads/<upload>", Operation(answers={204: None}, accepts=_BINARY, headers=_HEADERS))
    @_spoken
    async def append(exchange: Exchange) -> None:
        """Send more bytes of an upload; after the last one it is queued."""
        await _append(uploads, exchange)

    @streams(
        room,
        "DELETE",
        "/uploads/<upload>",
        Operation(answers={204: None}, query=TerminationQuery, headers={"Tus-Resumable": VERSION}),
    )
    @_spoken
    async def terminate(exchange: Exchange) -> None:
        """Give an upload up that is not complete; its bytes are forgotten.

        One that was refused is kept for a person to decide, and goes with its failed job only by `refused=true`.
        """
        await _terminate(rt, uploads, exchange)

    @streams(
        room,
        "POST",
        "/uploads/<upload>",
        Operation(
            answers={200: None, 204: None},
            accepts=_BINARY,
            headers={**_HEADERS, "X-HTTP-Method-Override": "HEAD, PATCH or DELETE."},
        ),
    )
    @_spoken
    async def overridden(exchange: Exchange) -> None:
        """Do as `X-HTTP-Method-Override` says, for clients that can send no HEAD, PATCH or DELETE."""
        match exchange.headers.get("X-HTTP-Method-Override", "").upper():
            case "HEAD":
                await _look(uploads, exchange)
            case "PATCH":
                await _append(uploads, exchange)
            case "DELETE":
                await _terminate(rt, uploads, exchange)
            case _:
                raise Shape("`X-HTTP-Method-Override` is HEAD, PATCH or DELETE.", code="bad_override")

    return room


async def _look(uploads: Uploads, exchange: Exchange) -> None:
    found = await uploads.look(upload_id(exchange.arguments["upload"]))
    headers = {"Cache-Control": "no-store"}
    if found.metadata:
        headers["Upload-Metadata"] = found.metadata
    if found.size_bytes is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(found.size_bytes)
    if found.is_part:
        headers["Upload-Concat"] = "partial"
    elif found.concat is not None:
        headers["Upload-Concat"] = found.concat
    await _answer(exchange, 200, found, headers)


async def _terminate(rt: Runtime, uploads: Uploads, exchange: Exchange) -> None:
    wanted = parse_query(exchange.query, TerminationQuery)
    id_ = upload_id(exchange.arguments["upload"])
    if not wanted.refused:
        await upload_refusals.check_not_kept(rt, id_)
        await uploads.remove(id_)
    elif not await upload_refusals.remove(rt, id_):
        await uploads.remove(id_)
    await exchange.reply(204, {"Tus-Resumable": VERSION}, b"")


async def _append(uploads: Uploads, exchange: Exchange) -> None:
    parse_query(exchange.query, NoQuery)
    body = _body(exchange)
    if body is None and _media_type(exchange) != _BYTES:
        await _refuse(exchange, problem(415, "unsupported_media_type", f"The body's type is `{_BYTES}`."))
        return
    offset = _number(exchange, "Upload-Offset")
    if offset is None:
        raise Shape("`Upload-Offset` is missing.", code="bad_offset")
    done = await uploads.append(
        upload_id(exchange.arguments["upload"]),
        body,
        offset,
        size_bytes=_number(exchange, "Upload-Length"),
        checksum=_checksum(exchange),
    )
    await _answer(exchange, 204, done, {})


def _spoken(view: View) -> View:
    """Answer only who speaks this version of tus, and errors in its words."""

    @wraps(view)
    async def spoken(exchange: Exchange) -> None:
        if exchange.headers.get("Tus-Resumable") != VERSION:
            headers = {"Tus-Version": VERSION}
            await _refuse(exchange, problem(412, "tus_version", f"`Tus-Resumable` has to be {VERSION}."), headers)
            return
        try:
            await view(exchange)
        except Exception as error:
            if exchange.has_begun:
                raise
            failed = failure(error)
            status = _STATUS.get(failed.problem.code, failed.problem.status)
            told = msgspec.structs.replace(failed.problem, status=status)
            await _refuse(exchange, told, failed.headers)

    return spoken


async def _answer(exchange: Exchange, status: int, upload: Progress, headers: Mapping[str, str]) -> None:
    told = {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
        **headers,
    }
    if upload.job_id is not None:
        told["Lumilio-Task"] = f"/api/v1/tasks/{upload.job_id}"
    await exchange.reply(status, told, b"")


async def _refuse(exchange: Exchange, why: Problem, headers: Mapping[str, str] | None = None) -> None:
    content = msgspec.json.encode(why, enc_hook=str)
    told = {"Tus-Resumable": VERSION, "Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **(headers or {})}
    await exchange.reply(why.status, told, content)


def _body(exchange: Exchange) -> RequestBody | None:
    return exchange.body if exchange.has_body and _media_type(exchange) == _BYTES else None


def _media_type(exchange: Exchange) -> str:
    return parse_options_header(exchange.headers.get("Content-Type"))[0].lower()


def _length(exchange: Exchange) -> int | None:
    length = _number(exchange, "Upload-Length")
    deferred = exchange.headers.get("Upload-Defer-Length")
    if (length is None) == (deferred is None) or deferred not in (None, "1"):
        raise Shape("Either `Upload-Length` or `Upload-Defer-Length: 1` is needed.", code="bad_length")
    return length


def _number(exchange: Exchange, name: str) -> int | None:
    text = exchange.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Shape(f"`{name}` is a number of bytes.", code="bad_offset" if name == "Upload-Offset" else "bad_length")
    return int(text)


def _checksum(exchange: Exchange) -> tuple[str, bytes] | None:
    text = exchange.headers.get("Upload-Checksum")
    if text is None:
        return None
    name, _, value = text.partition(" ")
    if name not in CHECKSUM_NAMES:
        raise Shape(f"`Upload-Checksum` is one of {', '.join(CHECKSUM_NAMES)}.", code="bad_checksum")
    try:
        return name, base64.b64decode(value.strip(), validate=True)
    except binascii.Error as error:
        raise Shape("`Upload-Checksum` has no base64 value.", code="bad_checksum") from error


def _id_of(place: str) -> UploadId:
    return upload_id(place.rstrip("/").rpartition("/")[2])
