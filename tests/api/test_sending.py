import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.api.errors import failure
from lumiliod.api.exchange import Exchange
from lumiliod.api.sending import Span, Unsatisfiable, disposition_of, send_file, span_of
from lumiliod.domain.assets import ServedFile

from .wire import Client, Running, serving

MODIFIED = datetime(2024, 5, 1, 12, 30, 15, 250_000, UTC)
DATE = format_datetime(MODIFIED, usegmt=True)
BYTES = bytes(range(256)) * 16


@asynccontextmanager
async def sending(path: Path, socket_path: str, *, etag_is_weak: bool = False) -> AsyncIterator[Running]:
    size = path.stat().st_size

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        exchange = Exchange(cast(HTTPScope, scope), receive, send, {})
        file = ServedFile(path.open("rb"), size, MODIFIED, "image/jpeg", 'Ä "b".jpg', "abc", etag_is_weak)
        try:
            await send_file(exchange, file, cache_control="private, no-cache")
        except Exception as error:
            failed = failure(error)
            await exchange.reply(failed.problem.status, failed.headers, failed.body)
        assert file.opened.closed

    async with serving(app, socket_path) as server:
        yield server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture"
    path.write_bytes(BYTES)
    return path


async def test_the_whole_file(picture: Path, socket_path: str) -> None:
    async with sending(picture, socket_path) as server:
        reply = await server.ask("GET", "/")
        assert (reply.status, reply.body) == (200, BYTES)
        assert reply.headers["etag"] == '"abc"'
        assert reply.headers["last-modified"] == DATE
        assert reply.headers["content-type"] == "image/jpeg"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["content-disposition"].startswith("inline; filename=")
        head = await server.ask("HEAD", "/", [("Range", "bytes=0-1")])
        assert (head.status, head.body) == (200, b"")
    own = {"date": "", "x-request-id": ""}
    assert {**head.headers, **own} == {**reply.headers, **own}


@pytest.mark.parametrize(
    ("header", "status", "span"),
    [
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=0-99", 206, (0, 100)),
        ("bytes=100-", 206, (100, 4096)),
        ("bytes=4095-4095", 206, (4095, 4096)),
        ("bytes=4000-9999999", 206, (4000, 4096)),
        ("bytes=-1", 206, (4095, 4096)),
        ("Bytes = 1 - 2", 206, (1, 3)),
        ("bytes=0-4095", 200, (0, 4096)),
        ("bytes=-5000", 200, (0, 4096)),
        ("bytes=4096-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=2-1", 200, (0, 4096)),
        ("bytes=0-1,3-4", 200, (0, 4096)),
        ("bytes=", 200, (0, 4096)),
        ("bytes=-", 200, (0, 4096)),
        ("bytes=a-b", 200, (0, 4096)),
        ("bytes=" + "9" * 30 + "-", 200, (0, 4096)),
        ("items=0-1", 200, (0, 4096)),
    ],
)
async def test_ranges(picture: Path, socket_path: str, header: str, status: int, span: tuple[int, int] | None) -> None:
    async with sending(picture, socket_path) as server:
        stream = await server.connect()
        async with stream:
            client = Client(stream)
            sent = header.encode().decode("latin-1")
            reply = await client.ask("GET", "/", [("Range", sent)])
            assert reply.status == status
            if span is None:
                assert reply.headers["content-range"] == "bytes */4096"
                assert reply.json["code"] == "range_not_satisfiable"
            else:
                assert reply.body == BYTES[slice(*span)]
                if status == 206:
                    assert reply.headers["content-range"] == f"bytes {span[0]}-{span[1] - 1}/4096"
            assert (await client.ask("HEAD", "/")).status == 200  # the connection lives on


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc", "x"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": "Wed, 01 May 2024 12:30:14 GMT"}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"Range": "bytes=0-1", "If-Range": '"abc"'}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": 'W/"abc"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": DATE}, 206),
        ({"Range": "bytes=0-1", "If-Range": "Wed, 01 May 2024 12:30:14 GMT"}, 200),
        ({"Range": "bytes=0-1", "If-None-Match": '"abc"'}, 304),
    ],
)
async def test_conditions(picture: Path, socket_path: str, headers: dict[str, str], status: int) -> None:
    async with sending(picture, socket_path) as server:
        for method in ("GET", "HEAD"):
            reply = await server.ask(method, "/", headers.items())
            assert reply.status == (200 if method == "HEAD" and status == 206 else status)
            assert reply.headers["etag"] == '"abc"'
            assert reply.headers["cache-control"] == "private, no-cache"


async def test_an_empty_file(tmp_path: Path, socket_path: str) -> None:
    (tmp_path / "empty").touch()
    async with sending(tmp_path / "empty", socket_path) as server:
        assert (await server.ask("GET", "/")).status == 200
        assert (await server.ask("GET", "/", [("Range", "bytes=0-")])).status == 416


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),
        ({"Range": "bytes=0-1"}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"abc"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": 'W/"abc"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": DATE}, 200),
    ],
)
async def test_nothing_is_resumed_by_a_weak_validator(
    picture: Path, socket_path: str, headers: dict[str, str], status: int
) -> None:
    async with sending(picture, socket_path, etag_is_weak=True) as server:
        reply = await server.ask("GET", "/", headers.items())
        assert (reply.status, reply.headers["etag"]) == (status, 'W/"abc"')


async def test_a_file_that_shrinks_is_never_a_whole_answer(tmp_path: Path, socket_path: str) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    async with sending(path, socket_path) as server:
        stream = await server.connect()
        client = Client(stream)
        await client.send("GET", "/")
        await stream.receive_some(1)
        os.truncate(path, 1 << 20)
        received = 1
        while data := await stream.receive_some(1 << 20):
            received += len(data)
        assert received < 32 << 20
        await stream.aclose()


async def test_sending_stops_when_the_reader_leaves(tmp_path: Path, socket_path: str) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    async with sending(path, socket_path) as server:
        stream = await server.connect()
        await Client(stream).send("GET", "/")
        await stream.receive_some(1)
        await stream.aclose()
        for _ in range(500):
            if not is_open(path):
                return
            await trio.sleep(0.01)
        raise AssertionError("the file is still being sent")


def is_open(path: Path) -> bool:
    return any(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in os.listdir("/proc/self/fd"))


@given(st.text(max_size=20), st.integers(0, 100))
def test_no_range_header_is_too_strange(header: str, size: int) -> None:
    try:
        span = span_of(header, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.stop <= size


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 150))
def test_a_range_is_what_a_slice_is(first: int, last: int, size: int) -> None:
    try:
        span = span_of(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert first >= size
    else:
        expected = None if last < first else Span(first, min(last + 1, size))
        assert span == expected


@given(st.text())
def test_a_disposition_is_always_a_valid_header(name: str) -> None:
    value = disposition_of(name)
    assert value.isascii()
    assert value.isprintable()


def test_only_ascii_digits_are_digits() -> None:
    assert span_of("bytes=١-٢", 100) is None


def test_a_name_of_any_bytes_has_a_disposition() -> None:
    assert disposition_of("caf\udce9.jpg").endswith("''caf%5Cxe9.jpg")
