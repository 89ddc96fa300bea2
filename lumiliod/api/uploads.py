"""Uploads: bodies stream into the library part by part; what cannot be kept is refused with its reason."""

from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse
from werkzeug.http import parse_options_header

from lumiliod.api.errors import failure
from lumiliod.api.exchange import Exchange
from lumiliod.api.multipart import Multipart, Part
from lumiliod.api.routes import Operation, answer, describes, parse_query, read_body, streams
from lumiliod.contract.assets import BatchTicket, UploadFailure, UploadTicket
from lumiliod.contract.uploads import DigestsKnown, DigestsWanted
from lumiliod.domain.errors import LumilioError, Shape
from lumiliod.domain.ids import is_digest, path_from_bytes, shown
from lumiliod.library import quota, upload
from lumiliod.runtime import Runtime

MAX_BATCH_FILES = 10_000
MAX_BATCH_PARTS = MAX_BATCH_FILES + 100
"""All parts of a batch together: fields take no room, but time."""

MAX_FORM_FRAMES_BYTES = 1 << 16
MAX_BATCH_FRAMES_BYTES = MAX_BATCH_FILES * 400
"""What may surround the files of a form: the rest of its length is files, and counts against the quota at once."""

_BINARY = {"type": "string", "format": "binary"}
_HEADERS = {"X-Content-Hash": "BLAKE3-256 of the file in hex; an upload that differs is refused."}


class UploadQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of an upload; ``filename`` names a body that is the file itself."""

    repository: str | None = None
    filename: str | None = None


class BatchQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a batch."""

    repository: str | None = None


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of uploads."""
    room = Blueprint("uploads", __name__)

    @streams(
        room,
        "POST",
        "/assets",
        Operation(
            answers={202: UploadTicket},
            accepts={
                "multipart/form-data": _form({"repository": {"type": "string"}, "file": _BINARY}),
                "application/octet-stream": _BINARY,
            },
            query=UploadQuery,
            headers={**_HEADERS, "X-Filename": "Percent-encoded file name of a body that is the file itself."},
        ),
    )
    async def one(exchange: Exchange) -> None:
        """Upload one original: a form with the part `file`, or the bytes themselves.

        In a form `repository` comes before `file`; one after it that names another repository is 400
        `repository_after_file`, a second file 400 `too_many_files`, and then nothing of the form is kept.
        """
        query = parse_query(exchange.query, UploadQuery)
        expected = _expected_digest(exchange.headers.get("X-Content-Hash"))
        if _media_type(exchange) == "multipart/form-data":
            ticket = await _receive_form(rt, exchange, query.repository, expected)
        else:
            ticket = await upload.receive(
                rt,
                repository=query.repository,
                filename=_filename_of_body(exchange, query),
                body=exchange.body,
                expected_digest=expected,
                announced_bytes=exchange.announced_bytes,
            )
        headers = {"Content-Type": "application/json", "Location": f"/api/v1/tasks/{ticket.task_id}"}
        await exchange.reply(202, headers, msgspec.json.encode(ticket))

    @streams(
        room,
        "POST",
        "/assets/batch",
        Operation(
            answers={202: BatchTicket},
            accepts={
                "multipart/form-data": {
                    "type": "object",
                    "properties": {"repository": {"type": "string"}},
                    "additionalProperties": _BINARY,
                }
            },
            query=BatchQuery,
        ),
    )
    async def many(exchange: Exchange) -> None:
        """Upload several originals; a part's name may be its digest. Each has its own result.

        `repository` comes before the files; one after them that names another repository is a failure
        `repository_after_file`, and so is every file that follows it.
        """
        query = parse_query(exchange.query, BatchQuery)
        ticket = await _receive_batch(rt, exchange, query.repository)
        await exchange.reply(202, {"Content-Type": "application/json"}, msgspec.json.encode(ticket))

    @room.post("/assets/check")
    @describes(Operation(answers={200: DigestsKnown}, body=DigestsWanted))
    async def check() -> TrioResponse:
        """Tell which originals the library has already, by their digests: those need not be sent.

        What is `in_trash` is known, too, but not kept: it is purged in its time, unless it is restored or sent again.
        """
        return answer(await upload.check(rt, (await read_body(DigestsWanted)).digests))

    return room


async def _receive_form(rt: Runtime, exchange: Exchange, repository: str | None, expected: str | None) -> UploadTicket:
    """Receive the one file of a form."""
    form = Multipart(exchange.body, exchange.headers.get("Content-Type", ""))
    least = (exchange.announced_bytes or 0) - MAX_FORM_FRAMES_BYTES
    while part := await form.next_part():
        if part.filename is None:
            if part.name == "repository" and repository is None:
                repository = await part.text()
        elif part.name == "file" and part.filename:
            return await upload.receive(
                rt,
                repository=repository,
                filename=upload.checked_name(part.filename),
                body=_OnlyFile(rt, form, part, repository),
                expected_digest=expected,
                announced_bytes=None,
                least_bytes=least,
            )
    raise Shape("The form has no part named `file` with a file name.", code="no_file")


class _OnlyFile:
    """The bytes of a form's file, which end only when the form does, with nothing wrong in its rest.

    So whoever takes them learns of a second file before it accepts the first.
    """

    def __init__(self, rt: Runtime, form: Multipart, part: Part, repository: str | None) -> None:
        self._rt = rt
        self._form = form
        self._part = part
        self._repository = repository

    async def read_into(self, view: memoryview) -> int:
        """Read as the part does; see whether its end is the form's."""
        size_bytes = await self._part.read_into(view)
        if size_bytes:
            return size_bytes
        while part := await self._form.next_part():
            if part.filename:
                raise Shape("One form carries one file; use /assets/batch for several.", code="too_many_files")
            if part.name == "repository":
                _check_same(self._rt, self._repository, await part.text())
        return 0


def _check_same(rt: Runtime, used: str | None, named: str) -> None:
    """Refuse a repository that is named after a file went to another.

    Raises:
        Shape: ``repository_after_file``.
    """
    if named == used:
        return
    known = rt.repositories
    with suppress(LumilioError):
        if known.row(named).id == (known.row(used).id if used else known.only().id):
            return
    raise Shape("`repository` comes after the file, which went to another.", code="repository_after_file")


async def _receive_batch(rt: Runtime, exchange: Exchange, repository: str | None) -> BatchTicket:
    """Receive every file of a form; a refused one does not stop the others.

    Raises:
        LumilioError: no file was accepted; the reason is the first one's.
    """
    if _media_type(exchange) != "multipart/form-data":
        raise Shape("A batch is a multipart/form-data body.", code="bad_multipart")
    if (least := (exchange.announced_bytes or 0) - MAX_BATCH_FRAMES_BYTES) > 0:
        await quota.check(rt, rt.owner_id, least)
    form = Multipart(exchange.body, exchange.headers.get("Content-Type", ""))
    accepted: list[UploadTicket] = []
    tasks: dict[str, UUID] = {}
    failed: list[UploadFailure] = []
    first: LumilioError | None = None
    misplaced: Shape | None = None
    parts = 0
    while part := await form.next_part():
        parts += 1
        if parts > MAX_BATCH_PARTS:
            over = Shape(f"A batch holds at most {MAX_BATCH_PARTS} parts.", code="too_many_parts")
            first = first or over
            failed.append(
                UploadFailure(filename=shown(part.filename or part.name), code=over.code, detail=over.message)
            )
            break
        if not part.filename:
            if part.name == "repository" and (accepted or failed):
                if misplaced is not None:
                    continue  # it was told
                try:
                    _check_same(rt, repository, await part.text())
                except Shape as error:
                    first = first or error
                    misplaced = error
                    failed.append(UploadFailure(filename=part.name, code=error.code, detail=error.message))
            elif part.name == "repository" and repository is None:
                repository = await part.text()
            continue
        try:
            if misplaced is not None:
                raise misplaced
            if len(accepted) + len(failed) >= MAX_BATCH_FILES:
                raise Shape(f"A batch holds at most {MAX_BATCH_FILES} files.", code="too_many_files")
            digest = part.name.lower()
            ticket = await upload.receive(
                rt,
                repository=repository,
                filename=upload.checked_name(part.filename),
                body=part,
                expected_digest=digest if is_digest(digest) else None,
                announced_bytes=None,
            )
        except LumilioError as error:
            if error.code in ("truncated_upload", "bad_multipart"):
                raise  # the body itself is broken; nothing can follow
            first = first or error
            problem = failure(error).problem
            failed.append(
                UploadFailure(filename=shown(part.filename), code=error.code, detail=problem.detail or problem.title)
            )
            if error.code == "too_many_files":
                break
        else:
            twin = tasks.setdefault(ticket.digest, ticket.task_id)
            accepted.append(ticket if twin == ticket.task_id else msgspec.structs.replace(ticket, same_as=twin))
    if not accepted:
        raise first or Shape("The form has no part with a file name.", code="no_file")
    return BatchTicket(accepted=accepted, failed=failed)


def _filename_of_body(exchange: Exchange, query: UploadQuery) -> str:
    """Return the name of a file that is itself the body."""
    if query.filename is not None:
        return upload.checked_name(query.filename)
    if "X-Filename" in exchange.headers:
        return upload.checked_name(path_from_bytes(unquote_to_bytes(exchange.headers["X-Filename"])))
    name = parse_options_header(exchange.headers.get("Content-Disposition"))[1].get("filename")
    if name is None:
        raise Shape("A body that is not a form needs `?filename=` or `X-Filename`.", code="no_filename")
    return upload.checked_name(name)


def _expected_digest(header: str | None) -> str | None:
    if header is None:
        return None
    digest = header.strip().lower()
    if not is_digest(digest):
        raise Shape("`X-Content-Hash` must be 64 hex digits of BLAKE3.", code="bad_digest")
    return digest


def _media_type(exchange: Exchange) -> str:
    return parse_options_header(exchange.headers.get("Content-Type"))[0].lower()


def _form(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["file"], "properties": properties}
