import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from lumiliod.api import app as api
from lumiliod.api import exchange, uploads
from lumiliod.api.routes import operation_of
from lumiliod.contract.assets import UploadTicket
from lumiliod.contract.problems import Problem
from lumiliod.contract.status import Health
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import (
    ConfigError,
    Conflict,
    Forbidden,
    LumilioError,
    NotFound,
    Permanent,
    Refused,
    Retryable,
    Shape,
    Unavailable,
)
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.library import browse, repositories, search, upload
from lumiliod.runtime import HealthBoard, Repositories, Runtime
from lumiliod.storage.pump import Source

from .wire import Client, Reply, Running, serving

TASK = UUID("01890000-0000-7000-8000-000000000001")


def runtime() -> Runtime:
    """A daemon with nothing but its health."""
    board = HealthBoard()
    board.set("jobs", "ready")
    return cast(Runtime, SimpleNamespace(health=board))


HOME = UUID("01890000-0000-7000-8000-0000000000a0")


def with_repositories() -> Runtime:
    """A daemon that knows two repositories."""
    known = Repositories()
    for number, name in enumerate(("home", "other")):
        id_ = RepositoryId(UUID(int=HOME.int + number))
        row = RepositoryRow(id_, name, f"/{name}", "date", RepositoryStatus.OFFLINE, None, datetime.now(UTC))
        known.put(row, None)
    return cast(Runtime, SimpleNamespace(health=HealthBoard(), repositories=known))


@asynccontextmanager
async def running(path: str, rt: Runtime | None = None) -> AsyncIterator[Running]:
    async with serving(api.create(rt or runtime()), path) as server:
        yield server


def is_problem(reply: Reply, status: int, code: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    told = msgspec.json.decode(reply.body, type=Problem)
    assert (told.status, told.code) == (status, code)


class Sink:
    """A library that takes every upload and remembers it; a file named ``bad…`` is refused at its end."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.calls: list[dict[str, Any]] = []
        self.began = trio.Event()
        self.ended = trio.Event()
        self.cancelled = False

    async def receive(self, rt: Runtime, *, body: Source, filename: str, **rest: Any) -> UploadTicket:
        self.calls.append({"filename": filename, **rest})
        if filename.startswith("early"):
            raise Refused("larger than allowed", code="too_large")
        if filename == "nowhere":
            raise NotFound("no such repository", code="repository_not_found")
        data = b""
        room = memoryview(bytearray(1 << 20))
        try:
            while count := await body.read_into(room):
                self.began.set()
                data += room[:count]
        except BaseException:
            self.cancelled = True
            raise
        finally:
            self.ended.set()
        if filename.startswith("bad"):
            raise Shape("not the bytes promised", code="digest_mismatch")
        self.taken.append((filename, data))
        digest = hashlib.sha256(data).hexdigest()
        return UploadTicket(task_id=TASK, status="queued", filename=filename, digest=digest, size_bytes=len(data))


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    sink = Sink()
    monkeypatch.setattr(upload, "receive", sink.receive)
    return sink


async def test_health(socket_path: str) -> None:
    rt = runtime()
    async with running(socket_path, rt) as server:
        reply = await server.ask("GET", "/api/v1/health")
        assert msgspec.json.decode(reply.body, type=Health).status == "ok"
        assert (await server.ask("GET", "/api/v1/health/live")).json == {"status": "ok"}
        assert (await server.ask("GET", "/api/v1/health/ready")).status == 200
        rt.health.set("database", "starting", "the server warms up")
        reply = await server.ask("GET", "/api/v1/health/ready")
        is_problem(reply, 503, "not_ready")
        assert "the server warms up" in reply.json["detail"]
        assert reply.headers["retry-after"] == "1"
        assert (await server.ask("GET", "/api/v1/health/live")).status == 200


async def test_what_is_wrong_is_a_problem(socket_path: str, caplog: pytest.LogCaptureFixture) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    async with running(socket_path) as server:
        is_problem(await server.ask("GET", "/"), 404, "not_found")
        is_problem(await server.ask("GET", "/api/v1/nothing"), 404, "not_found")
        is_problem(await server.ask("GET", "/api/v1/assets/7"), 404, "not_found")
        is_problem(await server.ask("GET", "/api/v1/assets/7/original"), 404, "not_found")
        is_problem(await server.ask("GET", "/api/v1/repositories/a%00b/"), 500, "internal")
        reply = await server.ask("DELETE", "/api/v1/assets")
        is_problem(reply, 405, "method_not_allowed")
        assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
        reply = await server.ask("POST", f"/api/v1/assets/{nobody}/original")
        is_problem(reply, 405, "method_not_allowed")
        assert "POST" not in reply.headers["allow"]
        is_problem(await server.ask("GET", "/api/v1/assets?limit=0"), 400, "bad_request")
        is_problem(await server.ask("GET", "/api/v1/assets?limit=9999"), 400, "bad_request")
        is_problem(await server.ask("GET", "/api/v1/assets?limit=1&limit=2"), 400, "bad_request")
        is_problem(await server.ask("GET", "/api/v1/assets?cursor=%00"), 400, "bad_request")
        is_problem(await server.ask("GET", "/api/v1/jobs?stat=dead"), 400, "bad_request")
        is_problem(await server.ask("GET", f"/api/v1/assets/{nobody}/thumbnail?size=x"), 400, "bad_request")
        for body in (b'{"path": 7}', b"{", b"[]", b'{"path": "a", "x": 1}', b"\xff", b'{"path": "\\u0000"}', b""):
            reply = await server.ask("POST", "/api/v1/repositories", body=body)
            is_problem(reply, 400, "bad_request")
        assert "$.path" in (await server.ask("POST", "/api/v1/repositories", body=b'{"path": 7}')).json["detail"]
        is_problem(await server.ask("POST", "/api/v1/assets/search", body=b'{"limit": 0}'), 400, "bad_request")
        caplog.clear()
        reply = await server.ask("GET", "/api/v1/status")  # this daemon has no database
        is_problem(reply, 500, "internal")
        assert b"AttributeError" not in reply.body
        assert b"Namespace" not in reply.body
        assert [record.exc_info is not None for record in caplog.records] == [True]
        is_problem(await server.ask("GET", f"/api/v1/assets/{nobody}/original"), 500, "internal")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Shape("x"), 400),
        (Forbidden("x"), 403),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (Refused("x"), 413),
        (Unavailable("x", code="no_space"), 507),
        (Permanent("x", code="corrupt"), 422),
        (Retryable("x", after_s=1.2), 503),
        (ConfigError("x"), 500),
        (NotFound("caf\udce9", path="caf\udce9", when=UUID(int=1)), 404),
        (ExceptionGroup("one", [Conflict("x")]), 409),
    ],
)
async def test_every_error_has_its_status(
    socket_path: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_args: object, **_kwargs: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    monkeypatch.setattr(repositories, "list_all", fail)
    monkeypatch.setattr(browse, "original", fail)
    code = error.code if isinstance(error, LumilioError) else "conflict"
    async with running(socket_path) as server:
        for path in ("repositories", f"assets/{UUID(int=0)}/original"):
            reply = await server.ask("GET", f"/api/v1/{path}")
            is_problem(reply, status, code)
            waits = {503: "2", 507: "1"}
            assert reply.headers.get("retry-after") == waits.get(status)


async def test_a_large_json_body_is_refused(socket_path: str) -> None:
    async with running(socket_path) as server:
        reply = await server.ask("POST", "/api/v1/repositories", body=b" " * (2 << 20))
        is_problem(reply, 413, "too_large")


async def test_a_client_that_leaves_cancels_its_request(socket_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began, cancelled = trio.Event(), trio.Event()

    async def slow(*_args: object, **_kwargs: object) -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    monkeypatch.setattr(search, "search", slow)
    async with running(socket_path) as server:
        stream = await server.connect()
        await Client(stream).send("GET", "/api/v1/search?q=x")
        await began.wait()
        await stream.aclose()
        await cancelled.wait()


async def test_connections_are_reused_and_closed_on_request(socket_path: str) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        client = Client(stream)
        for _ in range(5):
            assert (await client.ask("GET", "/api/v1/health/live")).status == 200
        await client.ask("GET", "/api/v1/health/live", [("Connection", "close")])
        with trio.fail_after(10):
            assert await stream.receive_some(1) == b""
        await stream.aclose()


async def test_a_kept_connection_does_not_hold_up_the_end(socket_path: str) -> None:
    """Upstream cancels itself inside the last send, and such a connection stays for the whole grace."""
    async with serving(api.create(runtime()), socket_path, grace_s=30) as server:
        stream = await server.connect()
        await Client(stream).ask("GET", "/api/v1/health/live")
        started = trio.current_time()
        server.stop.set()
        await server.ended.wait()
        assert trio.current_time() - started < 10
        await stream.aclose()


# uploads


def form_of(*parts: tuple[str, str | None, bytes]) -> bytes:
    out = b""
    for name, filename, data in parts:
        extra = "" if filename is None else f'; filename="{filename}"'
        out += f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
    return out + b"--b--\r\n"


FORM = [("Content-Type", "multipart/form-data; boundary=b")]


async def test_a_form(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        body = form_of(("repository", None, b"home"), ("file", "ü.jpg", b"bytes"))
        reply = await server.ask("POST", "/api/v1/assets", [*FORM, ("X-Content-Hash", "AB" * 32)], body)
        assert reply.status == 202
        assert msgspec.json.decode(reply.body, type=UploadTicket).size_bytes == 5
        assert reply.headers["location"] == f"/api/v1/tasks/{TASK}"
    assert sink.taken == [("ü.jpg", b"bytes")]
    assert sink.calls[0]["repository"] == "home"
    assert sink.calls[0]["expected_digest"] == "ab" * 32


@pytest.mark.parametrize(
    ("target", "headers", "name"),
    [
        ("?filename=a%20b.jpg&repository=r", [], "a b.jpg"),
        ("?filename=%E2%82%AC%0A.jpg", [("Content-Type", "image/jpeg")], "€\n.jpg"),
        ("?filename=caf%E9.jpg", [], "caf\\xe9.jpg"),
        ("", [("X-Filename", "a%22%2F..%2Fb%FF.jpg")], "b\\xff.jpg"),
        ("", [("Content-Disposition", "attachment; filename*=UTF-8''%c3%bc.jpg")], "ü.jpg"),
        ("?filename=C%3A%5Cphotos%5Cx.jpg", [], "x.jpg"),
    ],
)
async def test_a_body_that_is_the_file(
    socket_path: str, sink: Sink, target: str, headers: list[tuple[str, str]], name: str
) -> None:
    async with running(socket_path) as server:
        assert (await server.ask("POST", f"/api/v1/assets{target}", headers, b"bytes")).status == 202
    assert sink.taken == [(name, b"bytes")]
    assert sink.calls[0]["announced_bytes"] == 5


async def test_a_chunked_body(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        headers = [("Transfer-Encoding", "chunked"), ("X-Filename", "a.jpg")]
        assert (await server.ask("POST", "/api/v1/assets", headers, b"z" * 300_000)).status == 202
        reply = await server.ask("POST", "/api/v1/assets", [*headers[:1], *FORM], form_of(("file", "b", b"1")))
        assert reply.status == 202
    assert sink.taken == [("a.jpg", b"z" * 300_000), ("b", b"1")]
    assert sink.calls[0]["announced_bytes"] is None


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ([("Content-Type", "multipart/form-data")], b"x", 400, "bad_multipart"),
        (FORM, form_of(), 400, "no_file"),
        (FORM, form_of(("repository", None, b"x")), 400, "no_file"),
        (FORM, form_of(("file", "", b"")), 400, "no_file"),
        (FORM, form_of(("other", "a.jpg", b"1")), 400, "no_file"),
        (FORM, form_of(("file", "a", b"1"), ("file", "b", b"1")), 400, "too_many_files"),
        (FORM, form_of(("file", "..", b"1")), 400, "bad_filename"),
        (FORM, form_of(("file", "a", b"1"))[:-8], 400, "truncated_upload"),
        (FORM, form_of(("file", "early", b"1" * 100_000)), 413, "too_large"),
        (FORM, form_of(("file", "nowhere", b"1")), 404, "repository_not_found"),
        ([], b"x", 400, "no_filename"),
        ([("X-Filename", "a%00b")], b"x", 400, "bad_filename"),
        ([("X-Filename", "a"), ("X-Content-Hash", "12")], b"x", 400, "bad_digest"),
        ([("X-Filename", "bad")], b"x", 400, "digest_mismatch"),
    ],
)
async def test_a_refused_upload_is_a_problem_and_the_connection_lives(
    socket_path: str, sink: Sink, headers: list[tuple[str, str]], body: bytes, status: int, code: str
) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        client = Client(stream)
        is_problem(await client.ask("POST", "/api/v1/assets", headers, body), status, code)
        assert (await client.ask("GET", "/api/v1/health/live")).status == 200
        await stream.aclose()


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([("file", "a", b"1"), ("file", "b", b"2")], "too_many_files"),
        ([("file", "a", b"1"), ("other", "b", b"2")], "too_many_files"),
        ([("file", "a", b"1"), ("repository", None, b"other")], "repository_after_file"),
        (
            [("repository", None, b"home"), ("file", "a", b"1"), ("repository", None, b"nowhere")],
            "repository_after_file",
        ),
    ],
)
async def test_what_follows_the_file_is_refused_before_it_is_queued(
    socket_path: str, sink: Sink, parts: list[tuple[str, str | None, bytes]], code: str
) -> None:
    async with running(socket_path, with_repositories()) as server:
        is_problem(await server.ask("POST", "/api/v1/assets?repository=home", FORM, form_of(*parts)), 400, code)
    assert sink.taken == []


async def test_a_form_cut_short_after_its_file_is_never_taken(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        body = form_of(("file", "a", b"1")).removesuffix(b"--\r\n") + b"\r\n"
        is_problem(await server.ask("POST", "/api/v1/assets", FORM, body), 400, "truncated_upload")
    assert sink.taken == []


async def test_the_same_repository_may_be_named_after_the_file(socket_path: str, sink: Sink) -> None:
    async with running(socket_path, with_repositories()) as server:
        for again in (b"home", str(HOME).encode()):
            body = form_of(
                ("repository", None, b"home"), ("file", "a", b"1"), ("repository", None, again), ("x", None, b"")
            )
            assert (await server.ask("POST", "/api/v1/assets", FORM, body)).status == 202
            body = form_of(("x", "a", b"1"), ("repository", None, again), ("y", "b", b"2"))
            reply = await server.ask("POST", "/api/v1/assets/batch?repository=home", FORM, body)
            assert len(reply.json["accepted"]) == 2
            assert reply.json["failed"] == []


async def test_a_batch_says_that_its_repository_came_too_late(socket_path: str, sink: Sink) -> None:
    async with running(socket_path, with_repositories()) as server:
        body = form_of(
            ("repository", None, b"home"), ("x", "a", b"1"), ("repository", None, b"other"), ("y", "b", b"2")
        )
        reply = await server.ask("POST", "/api/v1/assets/batch", FORM, body)
        assert [ticket["filename"] for ticket in reply.json["accepted"]] == ["a"]
        assert [(f["filename"], f["code"]) for f in reply.json["failed"]] == [
            ("repository", "repository_after_file"),
            ("b", "repository_after_file"),
        ]
    assert [name for name, _ in sink.taken] == ["a"]


async def test_an_upload_refused_early_is_told_before_all_of_it_is_sent(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        head = b"POST /api/v1/assets HTTP/1.1\r\nHost: l\r\nX-Filename: early\r\nContent-Length: 10000000000\r\n\r\n"
        await stream.send_all(head + bytes(100_000))
        received = b""
        while b"\r\n\r\n{" not in received:
            received += await stream.receive_some(10_000)
        assert received.startswith(b"HTTP/1.1 413")
        assert b"\r\nconnection: close\r\n" in received.lower()
        await stream.aclose()


@pytest.mark.parametrize("is_form", [True, False])
async def test_an_upload_cut_short_is_never_taken(socket_path: str, sink: Sink, is_form: bool) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        headers = b"Content-Type: multipart/form-data; boundary=b\r\n" if is_form else b"X-Filename: a\r\n"
        body = form_of(("file", "a", b"1" * 100_000))[:50_000] if is_form else b"1" * 50_000
        await stream.send_all(
            b"POST /api/v1/assets HTTP/1.1\r\nHost: l\r\nContent-Length: 100138\r\n" + headers + b"\r\n" + body
        )
        await sink.began.wait()
        await stream.aclose()
        await sink.ended.wait()
        assert sink.cancelled
        assert (await server.ask("GET", "/api/v1/health/live")).status == 200
    assert sink.taken == []


async def test_a_half_closed_upload_is_never_taken(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        await stream.send_all(
            b"POST /api/v1/assets HTTP/1.1\r\nHost: l\r\nX-Filename: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
        )
        await stream.send_eof()
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 400")
        await stream.aclose()
    assert sink.taken == []


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("good", [b"", b"3\r\nabc\r\n"])
@pytest.mark.parametrize(
    "route",
    ["POST /api/v1/assets", "POST /api/v1/repositories", "POST /api/v1/assets/batch"],
)
async def test_a_garbage_chunk_is_a_problem(
    socket_path: str, sink: Sink, route: str, good: bytes, at_once: bool
) -> None:
    async with running(socket_path) as server:
        stream = await server.connect()
        headers = "Host: l\r\nX-Filename: a\r\nTransfer-Encoding: chunked"
        if route.endswith("batch"):
            headers += "\r\nContent-Type: multipart/form-data; boundary=b"
        head = f"{route} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + good
        garbage = b"nonsense\r\n" + b"x" * 1000
        await stream.send_all(head + garbage if at_once else head)
        if not at_once:
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(garbage)
        answer = b""
        while data := await stream.receive_some(10_000):
            answer += data
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"application/problem+json" in answer
        await stream.aclose()
    assert sink.taken == []


async def test_a_broken_body_cuts_no_answer_off(socket_path: str, monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """The order in which the reader and the application run is by chance: every one must do."""
    monkeypatch.setattr(exchange, "DRAIN_S", 0.05)
    async with running(socket_path) as server:
        for _ in range(20):
            stream = await server.connect()
            await stream.send_all(
                b"POST /api/v1/assets HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
            )
            answer = b""
            while data := await stream.receive_some(10_000):
                answer += data
            assert answer.startswith(b"HTTP/1.1 400")
            assert answer.endswith(b"}")
            await stream.aclose()


async def test_a_batch(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        body = form_of(("CD" * 32, "a.jpg", b"1"), ("x", "bad.jpg", b"22"), ("y", "c.jpg", b"333"), ("n", None, b""))
        reply = await server.ask("POST", "/api/v1/assets/batch?repository=home", FORM, body)
        assert reply.status == 202
        assert [ticket["filename"] for ticket in reply.json["accepted"]] == ["a.jpg", "c.jpg"]
        assert [(f["filename"], f["code"]) for f in reply.json["failed"]] == [("bad.jpg", "digest_mismatch")]
        assert [call["expected_digest"] for call in sink.calls] == ["cd" * 32, None, None]
        assert {call["repository"] for call in sink.calls} == {"home"}
        reply = await server.ask("POST", "/api/v1/assets/batch", FORM, form_of(("x", "early", b"1"), ("x", "bad", b"")))
        is_problem(reply, 413, "too_large")
        is_problem(await server.ask("POST", "/api/v1/assets/batch", FORM, form_of()), 400, "no_file")
        is_problem(await server.ask("POST", "/api/v1/assets/batch", [], b"x"), 400, "bad_multipart")


async def test_a_batch_has_an_end(socket_path: str, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BATCH_PARTS", 6)
    async with running(socket_path, with_repositories()) as server:
        late = [("repository", None, b"other")] * 20
        body = form_of(("repository", None, b"home"), ("x", "a.jpg", b"1"), *late)
        reply = await server.ask("POST", "/api/v1/assets/batch", FORM, body)
        codes = [failure["code"] for failure in reply.json["failed"]]
        assert (reply.status, len(reply.json["accepted"])) == (202, 1)
        assert codes == ["repository_after_file", "too_many_parts"]
        fields = form_of(*[("note", None, b"")] * 7)
        is_problem(await server.ask("POST", "/api/v1/assets/batch", FORM, fields), 400, "too_many_parts")
    assert [name for name, _ in sink.taken] == ["a.jpg"]


async def test_a_batch_of_many(socket_path: str, sink: Sink) -> None:
    async with running(socket_path) as server:
        body = form_of(*(("x", f"{n}.jpg", b"%d" % n) for n in range(2000)))
        reply = await server.ask("POST", "/api/v1/assets/batch", FORM, body)
        assert len(reply.json["accepted"]) == 2000
    assert sink.taken == [(f"{n}.jpg", b"%d" % n) for n in range(2000)]


UPLOADING = """
import sys
import trio
from types import SimpleNamespace
from lumiliod.api import app, server
from lumiliod.contract.assets import UploadTicket
from lumiliod.library import upload

def rss_kb(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])

def grown():
    return str(rss_kb("VmHWM") - idle)

async def receive(rt, *, body, filename, **rest):
    size = 0
    room = memoryview(bytearray(1 << 20))
    while count := await body.read_into(room):
        await trio.sleep(0.001)  # a disk slower than the sender
        size += count
    return UploadTicket(task_id=None, status="queued", filename=filename, digest=grown(), size_bytes=size)

async def main():
    global idle
    upload.receive = receive
    idle = rss_kb("VmRSS")
    stop = trio.Event()
    front = app.create(SimpleNamespace())
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.serve(
            front, sys.argv[1], mode=0o600, stop=stop, grace_s=1, task_status=task_status))
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        stop.set()
trio.run(main)
"""


@pytest.fixture
def uploading(socket_path: str) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", UPLOADING, socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield socket_path
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("kind", ["form", "body", "chunked"])
async def test_an_upload_needs_little_memory(uploading: str, kind: str) -> None:
    """Growth of the server's memory, in KiB, while it takes a body as fast as it can be sent."""
    size = int(os.environ.get("LUMILIO_TEST_UPLOAD_MB", "64")) << 20
    stream = await trio.open_unix_socket(uploading)
    before, after = (form_of(("file", "a", b"|")).split(b"|")) if kind == "form" else (b"", b"")
    head = FORM[0] if kind == "form" else ("X-Filename", "a")
    length = "Transfer-Encoding: chunked" if kind == "chunked" else f"Content-Length: {size + len(before + after)}"
    await stream.send_all(
        f"POST /api/v1/assets HTTP/1.1\r\nHost: l\r\n{head[0]}: {head[1]}\r\n{length}\r\n\r\n".encode() + before
    )
    block = bytes(1 << 20)
    for _ in range(size >> 20):
        await stream.send_all(b"100000\r\n" + block + b"\r\n" if kind == "chunked" else block)
    await stream.send_all(after if kind != "chunked" else b"0\r\n\r\n")
    received = b""
    while b"\r\n\r\n{" not in received or not received.endswith(b"}"):
        data = await stream.receive_some(10_000)
        assert data, received
        received += data
    await stream.aclose()
    ticket = json.loads(received.partition(b"\r\n\r\n")[2])
    assert ticket["size_bytes"] == size
    assert int(ticket["digest"]) < 40 * 1024


# the description


@pytest.fixture
def quart() -> QuartTrio:
    return api.quart_app(runtime())


async def test_every_route_is_described(socket_path: str, quart: QuartTrio) -> None:
    async with running(socket_path) as server:
        reply = await server.ask("GET", "/api/v1/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    told = reply.json
    assert told["openapi"] == "3.1.0"
    routes = 0
    for rule in quart.url_map.iter_rules():
        view = quart.view_functions[rule.endpoint]
        path = told["paths"][re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = path[method.lower()]
            routes += 1
            assert operation["summary"]
            assert set(operation["responses"]) == {*map(str, operation_of(view).answers), "default"}
            problem = operation["responses"]["default"]["content"]["application/problem+json"]
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == rule.arguments
    assert routes == sum(len(methods) for methods in told["paths"].values())
    assert len({op["operationId"] for methods in told["paths"].values() for op in methods.values()}) == routes
    for reference in re.findall(r'"#/components/schemas/(\w+)"', reply.body.decode()):
        assert reference in told["components"]["schemas"]
    assert routes >= 22


async def test_the_page_needs_nothing_from_outside(socket_path: str) -> None:
    async with running(socket_path) as server:
        reply = await server.ask("GET", "/api/v1/docs")
    page = reply.body.decode()
    assert reply.headers["content-type"].startswith("text/html")
    assert "POST" in page
    assert "/api/v1/assets/{asset_id}/thumbnail" in page
    assert not re.search(r"(src|href)=\"?(https?:|//)|<script|@import|url\(", page)
