"""Large bodies past the parser of HTTP: the socket is lent, and whatever comes after a body is not touched."""

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import h11
import pytest
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from lumiliod.api import connection
from lumiliod.api.connection import MIN_LOAN_BYTES
from lumiliod.api.exchange import Exchange
from lumiliod.api.loan import BURST_FROM_BYTES, SocketLoan, left_bytes, pass_over
from lumiliod.domain.errors import LumilioError
from lumiliod.testing.sources import read_all
from tests.api.wire import Client, Running, serving

MIB = 1 << 20
BODY = random.Random(0).randbytes(5 * MIB + 17)
Answer = Callable[[Exchange], Awaitable[dict[str, object]]]


class App:
    """Answers with what ``answer`` says of a request; errors are told, too."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.lent: list[bool] = []
        self.failed: list[str] = []
        self.ended = trio.Event()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        exchange = Exchange(cast(HTTPScope, scope), receive, send, {})
        try:
            told = await self._answer(exchange)
            self.lent.append(exchange.body.was_lent)
            await exchange.reply(200, {}, json.dumps(told).encode())
        except LumilioError as error:
            self.failed.append(error.code)
            await exchange.reply(400 if error.code == "truncated_upload" else 500, {}, error.code.encode())
        finally:
            self.ended.set()


async def whole(exchange: Exchange) -> dict[str, object]:
    content = await read_all(exchange.body)
    return {"size": len(content), "same": content == BODY, "received": exchange.body.received_bytes}


def head(size_bytes: int, *more: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: l", f"Content-Length: {size_bytes}", *more, "", ""]).encode()


@pytest.mark.parametrize("piece", [1000, 70_000, MIB, 10 * MIB])
async def test_a_large_body_is_read_from_the_socket_and_no_further(socket_path: str, piece: int) -> None:
    app = App(whole)
    async with serving(app, socket_path) as server:
        stream = await server.connect()
        client = Client(stream)
        raw = head(len(BODY)) + BODY
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                # the second request lies in the same piece as the end of the first one's body
                both = raw + head(3) + b"abc"
                for at in range(0, len(both), piece):
                    await stream.send_all(both[at : at + piece])

            nursery.start_soon(send)
            client.connection.send(h11.Request(method="POST", target="/", headers=[("Host", "l")]))
            client.connection.send(h11.EndOfMessage())
            first = await client.receive()
            client.connection.start_next_cycle()
            client.connection.send(h11.Request(method="POST", target="/", headers=[("Host", "l")]))
            client.connection.send(h11.EndOfMessage())
            second = await client.receive()
        await stream.aclose()
    assert first.json == {"size": len(BODY), "same": True, "received": len(BODY)}
    assert second.json == {"size": 3, "same": False, "received": 3}
    assert app.lent == [True, False]


async def ask(server: Running, raw: bytes) -> bytes:
    stream = await server.connect()
    await stream.send_all(raw)
    answer = b""
    while not answer.endswith(b"}"):
        data = await stream.receive_some(10_000)
        assert data, answer
        answer += data
    await stream.aclose()
    return answer


async def test_a_small_body_and_one_of_unknown_length_are_not(socket_path: str) -> None:
    app = App(whole)
    async with serving(app, socket_path) as server:
        await ask(server, head(10) + b"0123456789")
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:MIB], BODY[MIB:])) + b"0\r\n\r\n"
        answer = await ask(server, b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert b'"same": true' in answer
    assert app.lent == [False, False]


async def test_without_a_known_parser_bodies_go_the_usual_way(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "left_bytes", lambda _: 0)
    app = App(whole)
    async with serving(app, socket_path) as server:
        assert b'"same": true' in await ask(server, head(len(BODY)) + BODY)
    assert app.lent == [False]


@pytest.mark.parametrize("sent", [0, MIB, len(BODY) - 1])
@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_leaves_has_sent_no_body(socket_path: str, sent: int, half: bool) -> None:
    app = App(whole)
    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(head(len(BODY)) + BODY[:sent])
        if half:
            await stream.send_eof()
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 400")
        else:
            await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await app.ended.wait()
        assert app.failed == ["truncated_upload"]
        assert (await ask(server, head(1) + b"x")).startswith(b"HTTP/1.1 200")


async def test_a_body_that_is_refused_half_way(socket_path: str) -> None:
    """What is left of it is not worth reading: the answer says that the connection ends, and it does."""

    async def half(exchange: Exchange) -> dict[str, object]:
        room = memoryview(bytearray(MIB))
        await exchange.body.read_into(room)
        await exchange.body.read_into(room)
        return {"received": exchange.body.received_bytes}

    app = App(half)
    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(head(100 * len(BODY)) + BODY)
        answer = b""
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(BODY)

            nursery.start_soon(send)
            with suppress(trio.BrokenResourceError):  # what it sent and nobody read resets the connection
                while data := await stream.receive_some(10_000):
                    answer += data
        assert b"connection: close" in answer.lower()
        await stream.aclose()
        assert b'{"received": ' in answer


async def test_a_rest_that_is_short_is_read_and_the_connection_lives(socket_path: str) -> None:
    async def most(exchange: Exchange) -> dict[str, object]:
        room = memoryview(bytearray(MIB))
        while exchange.body.received_bytes < len(BODY) - 100_000:
            await exchange.body.read_into(room[: min(MIB, len(BODY) - 90_000 - exchange.body.received_bytes)])
        return {}

    app = App(most)
    async with serving(app, socket_path) as server:
        stream = await server.connect()
        client = Client(stream)
        assert (await client.ask("POST", "/", body=BODY)).headers.get("connection") != "close"
        assert (await client.ask("POST", "/", body=BODY)).status == 200
        await stream.aclose()
    assert app.lent == [True, True]


async def test_a_stalled_body_does_not_hold_up_the_end(socket_path: str) -> None:
    app = App(whole)
    async with serving(app, socket_path, grace_s=0.1) as server:
        stream = await server.connect()
        await stream.send_all(head(len(BODY)) + BODY[: 2 * MIB])
        await trio.testing.wait_all_tasks_blocked()
        server.stop.set()
        await server.ended.wait()
        await stream.aclose()


async def test_a_client_that_asks_first_is_told_to_go_on(socket_path: str) -> None:
    app = App(whole)
    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(head(len(BODY), "Expect: 100-continue"))
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 100")
        await stream.send_all(BODY)
        answer = b""
        while not answer.endswith(b"}"):
            answer += await stream.receive_some(10_000)
        assert b'"same": true' in answer
        await stream.aclose()
    assert app.lent == [True]


def test_what_is_left_of_a_body_is_known_of_plain_lengths_only() -> None:
    def after(raw: bytes) -> h11.Connection:
        found = h11.Connection(h11.SERVER)
        found.receive_data(raw)
        while found.next_event() is not h11.NEED_DATA and found.their_state is not h11.DONE:
            pass
        return found

    begun = after(head(2 * MIN_LOAN_BYTES) + b"x" * 10)
    assert left_bytes(begun) == 2 * MIN_LOAN_BYTES - 10
    pass_over(begun, 2 * MIN_LOAN_BYTES - 12)
    assert left_bytes(begun) == 2
    begun.receive_data(b"yz")
    assert isinstance(begun.next_event(), h11.Data)
    assert isinstance(begun.next_event(), h11.EndOfMessage)
    assert left_bytes(after(b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")) == 0
    assert left_bytes(after(b"POST / HTTP/1.1\r\nHost: l\r\n\r\n")) == 0
    assert left_bytes(h11.Connection(h11.SERVER)) == 0
    assert left_bytes(object()) == 0


async def test_a_loan_gives_no_more_than_it_was_lent() -> None:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        loan = SocketLoan(ours)
        loan.begin(5)
        await theirs.send(b"123456789")
        room = memoryview(bytearray(100))
        assert await loan.read_into(room) == 5
        assert (bytes(room[:5]), loan.left_bytes) == (b"12345", 0)
        assert await loan.read_into(room) == 0
        loan.end()
        assert await ours.recv(100) == b"6789"


async def test_bytes_that_keep_coming_fill_all_the_room_at_once() -> None:
    content = random.Random(1).randbytes(3 * MIB)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        loan = SocketLoan(ours)
        loan.begin(len(content))
        taken, reads = bytearray(), 0
        room = memoryview(bytearray(MIB))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.SocketStream(theirs).send_all, content)
            while loan.left_bytes:
                count = await loan.read_into(room)
                taken += room[:count]
                reads += 1
        loan.end()
        assert taken == content
        assert reads < len(content) // (200 << 10), "a socket holds no more than that"


@pytest.mark.parametrize("sent", [BURST_FROM_BYTES - 1, BURST_FROM_BYTES, 150_000])
async def test_a_sender_that_pauses_or_goes_is_not_waited_for(sent: int) -> None:
    ours, theirs = trio.socket.socketpair()
    with ours:
        with theirs:
            loan = SocketLoan(ours)
            loan.begin(MIB)
            await theirs.send(bytes(sent))
            room = memoryview(bytearray(MIB))
            with trio.fail_after(5):
                taken = await loan.read_into(room)
                while taken < sent:
                    taken += await loan.read_into(room)
            assert (taken, loan.taken_bytes) == (sent, sent)
        assert await loan.read_into(room) == 0
        loan.end()


async def test_bytes_taken_while_it_is_cancelled_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a body begins where that ends, whoever gave its reading up."""
    monkeypatch.setattr("lumiliod.api.loan.BURST_GAP_MS", 300)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        loan = SocketLoan(ours)
        loan.begin(MIB)
        await theirs.send(bytes(BURST_FROM_BYTES))
        with trio.move_on_after(0.05) as scope:
            await loan.read_into(memoryview(bytearray(MIB)))
        assert scope.cancel_called
        assert loan.taken_bytes == BURST_FROM_BYTES
        loan.end()
