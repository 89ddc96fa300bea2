import contextlib
import logging
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from lumiliod.api import connection
from lumiliod.api.server import most_connections, serve
from lumiliod.domain.errors import ConfigError

from .wire import Client, serving


async def reply(send: ASGISendCallable, body: bytes = b"ok", status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def hello(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await reply(send)


async def test_the_socket_has_its_mode_and_goes_away(socket_path: str) -> None:
    old = os.umask(0o077)
    try:
        async with serving(hello, socket_path, mode=0o660):
            assert stat.S_IMODE(Path(socket_path).stat().st_mode) == 0o660
    finally:
        os.umask(old)
    assert not Path(socket_path).exists()


async def test_a_missing_folder_is_made(tmp_path: Path, socket_path: str) -> None:
    path = str(Path(socket_path).parent / "run" / "s")
    async with serving(hello, path) as server:
        assert (await server.ask("GET", "/")).body == b"ok"


async def test_a_stale_socket_is_replaced(socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(socket_path)
    async with serving(hello, socket_path) as server:
        assert (await server.ask("GET", "/")).status == 200


async def test_a_living_socket_is_respected(socket_path: str) -> None:
    async with serving(hello, socket_path) as server:
        with pytest.raises(ConfigError) as caught:
            await serve(hello, socket_path, mode=0o660, stop=trio.Event(), grace_s=0)
        assert caught.value.code == "socket_in_use"
        assert (await server.ask("GET", "/")).status == 200


async def test_a_file_in_the_way_is_kept(socket_path: str) -> None:
    Path(socket_path).write_text("mine")
    with pytest.raises(ConfigError):
        await serve(hello, socket_path, mode=0o660, stop=trio.Event(), grace_s=0)
    assert Path(socket_path).read_text() == "mine"


async def test_a_path_too_long_is_told(socket_path: str) -> None:
    with pytest.raises(ConfigError, match="107"):
        await serve(hello, socket_path + "x" * 108, mode=0o660, stop=trio.Event(), grace_s=0)


async def test_a_folder_without_access_is_told() -> None:
    with pytest.raises(ConfigError, match="Cannot listen"):
        await serve(hello, "/proc/no/s", mode=0o660, stop=trio.Event(), grace_s=0)


async def test_peer_credentials(socket_path: str) -> None:
    peers: list[Any] = []

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        peers.append(scope["state"]["peer"])
        await reply(send)

    async with serving(app, socket_path) as server:
        await server.ask("GET", "/")
    assert peers == [(os.getpid(), os.getuid(), os.getgid())]


async def test_an_idle_connection_does_not_hold_up_the_end(socket_path: str) -> None:
    async with serving(hello, socket_path, grace_s=30) as server:
        stream = await server.connect()
        await Client(stream).ask("GET", "/")
        untouched = await server.connect()
        begun = await server.connect()
        await begun.send_all(b"GET / HTTP/1.1\r\nHo")
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        server.stop.set()
        await server.ended.wait()
        assert trio.current_time() - started < 10
        for client in (stream, untouched, begun):
            assert await client.receive_some(1) == b""
            await client.aclose()


async def test_who_asked_before_it_could_know_is_answered(socket_path: str) -> None:
    """The server stops while requests lie in the socket, unread, and while somebody has only connected."""
    async with serving(hello, socket_path, grace_s=30) as server:
        used = await server.connect()
        assert (await Client(used).ask("GET", "/")).status == 200
        fresh, silent = await server.connect(), await server.connect()
        await trio.testing.wait_all_tasks_blocked()
        # nothing runs between the request and the stop
        assert used.socket._sock.send(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n") > 0  # type: ignore[attr-defined]
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        await fresh.send_all(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n")
        for stream in (used, fresh):
            received = b""
            while data := await stream.receive_some(1000):
                received += data
            assert received.startswith(b"HTTP/1.1 200")
        assert await silent.receive_some(1) == b""
        await server.ended.wait()
        for stream in (used, fresh, silent):
            await stream.aclose()


async def test_a_stalled_reader_is_cut_after_the_grace(socket_path: str) -> None:
    writing = trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        writing.set()
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    async with serving(app, socket_path, grace_s=0.2) as server:
        stream = await server.connect()
        await Client(stream).send("GET", "/")
        await writing.wait()
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        server.stop.set()
        await server.ended.wait()
        assert trio.current_time() - started < 10
        await stream.aclose()


async def test_a_running_request_ends_within_the_grace(socket_path: str) -> None:
    begun, go = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        begun.set()
        await go.wait()
        await reply(send, b"late")

    async with serving(app, socket_path, grace_s=30) as server:
        stream = await server.connect()
        await Client(stream).send("GET", "/")
        await begun.wait()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match=r"refused|No such file"):
            await trio.open_unix_socket(socket_path)
        go.set()
        received = b""
        while data := await stream.receive_some(1000):
            received += data
        assert received.endswith(b"late")
        await server.ended.wait()
        await stream.aclose()


async def test_pipelined_requests_are_answered_in_order(socket_path: str) -> None:
    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await reply(send, scope["path"].encode())  # type: ignore[typeddict-item]

    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(b"".join(b"GET /%d HTTP/1.1\r\nHost: l\r\n\r\n" % n for n in range(5)))
        received = b""
        while received.count(b"HTTP/1.1 200") < 5 or not received.endswith(b"/4"):
            received += await stream.receive_some(1000)
        assert [received.index(b"\r\n\r\n/%d" % n) for n in range(5)] == sorted(
            received.index(b"\r\n\r\n/%d" % n) for n in range(5)
        )
        await stream.aclose()


async def test_a_pipelining_client_does_not_hold_up_the_end(socket_path: str) -> None:
    begun = trio.Event()
    go = trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        begun.set()
        await go.wait()
        await reply(send)

    async with serving(app, socket_path, grace_s=30) as server:
        stream = await server.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n" * 3)
        await begun.wait()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        go.set()
        await server.ended.wait()
        assert trio.current_time() - started < 10
        await stream.aclose()


async def test_an_early_answer_to_a_long_body_arrives(socket_path: str) -> None:
    """With upstream's queue the application waits for itself here, for ever."""

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await reply(send, b"no", 413)

    async with serving(app, socket_path) as server:
        stream = await server.connect()
        head = b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 100000000\r\n\r\n"
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(head + bytes(100_000_000))
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 413")
        await stream.aclose()


async def test_a_client_that_leaves_is_noticed(socket_path: str) -> None:
    seen = trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        seen.set()

    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await Client(stream).send("GET", "/")
        await stream.aclose()
        await seen.wait()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: l\r\nX: " + b"x" * 100_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\nHost: l\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nHost: l\r\n\r\n", 501, "not_implemented"),
        (b"GET / HTTP/1.1\r\nHost: l\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
        (
            b"GET / HTTP/1.1\r\nHost: l\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            501,
            "not_implemented",
        ),
    ],
)
async def test_what_is_not_http_is_a_problem(socket_path: str, sent: bytes, status: int, code: str) -> None:
    async with serving(hello, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(sent)
        received = b""
        while data := await stream.receive_some(10_000):
            received += data
        assert received.startswith(b"HTTP/1.1 %d" % status)
        assert received.count(b"HTTP/1.1 ") == 1
        assert b"application/problem+json" in received
        assert f'"code":"{code}"'.encode() in received
        await stream.aclose()


async def test_a_garbage_chunk_of_a_head_request_is_told_without_a_body(
    socket_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        while (await receive())["type"] == "http.request":
            pass

    async with serving(app, socket_path) as server:
        stream = await server.connect()
        await stream.send_all(b"HEAD / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: l\r\n\r\nnonsense\r\n")
        answer = b""
        while data := await stream.receive_some(10_000):
            answer += data
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.endswith(b"\r\n\r\n")
        await stream.aclose()
    assert "a connection failed" not in caplog.text


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("good", [b"", b"3\r\nabc\r\n"])
async def test_a_garbage_chunk_is_a_problem(socket_path: str, good: bytes, at_once: bool) -> None:
    arrived = trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        arrived.set()
        while (await receive())["type"] == "http.request":
            pass
        await reply(send, b"late", 400)

    async with serving(app, socket_path) as server:
        stream = await server.connect()
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: l\r\n\r\n" + good
        garbage = b"nonsense\r\n" + b"x" * 1000
        await stream.send_all(head + garbage if at_once else head)
        if not at_once:
            await arrived.wait()
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(garbage)
        answer = b""
        while data := await stream.receive_some(10_000):
            answer += data
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b'"code":"bad_request"' in answer
        await stream.aclose()


async def test_a_head_has_a_time_limit(socket_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    async with serving(hello, socket_path) as server:
        idle, kept, begun, second = [await server.connect() for _ in range(4)]
        started = trio.current_time()
        await Client(kept).ask("GET", "/")
        await Client(second).ask("GET", "/")
        async with trio.open_nursery() as nursery:
            for stream, already in ((begun, b""), (second, b"GET / HTTP/1.1\r\nHost: l\r\n\r\n")):
                nursery.start_soon(dribble, stream, already)
        assert 0.25 < trio.current_time() - started < 10
        for stream in (idle, kept):
            assert (await Client(stream).ask("GET", "/")).status == 200
        for stream in (idle, kept, begun, second):
            await stream.aclose()


async def dribble(stream: trio.SocketStream, already: bytes) -> None:
    """Send a head byte by byte until the server has enough of it."""
    try:
        await stream.send_all(already + b"GET / HTTP/1.1\r\nX: ")
        while True:
            await stream.send_all(b"x")
            with trio.move_on_after(0.05):
                while await stream.receive_some(1000):
                    pass
                return
    except trio.BrokenResourceError:
        return


async def test_the_oldest_idle_connection_gives_way(socket_path: str) -> None:
    async with serving(hello, socket_path, max_connections=2) as server:
        streams = [await server.connect() for _ in range(2)]
        clients = [Client(stream) for stream in streams]
        for client in (clients[1], clients[0]):
            assert (await client.ask("GET", "/")).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert (await server.ask("GET", "/")).status == 200
        assert await streams[1].receive_some(1) == b""
        assert (await clients[0].ask("GET", "/")).status == 200
        for stream in streams:
            await stream.aclose()


async def test_more_than_can_be_served_wait_their_turn(socket_path: str) -> None:
    began, go = 0, trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        nonlocal began
        began += 1
        await go.wait()
        await reply(send)

    async with serving(app, socket_path, max_connections=3) as server, trio.open_nursery() as nursery:
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await server.ask("GET", "/")).status)

        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert (began, answers) == (3, [])
        go.set()
        with trio.fail_after(10):
            while len(answers) < 10:
                await trio.sleep(0.01)
    assert answers == [200] * 10


async def test_a_server_that_waits_for_room_stops(socket_path: str) -> None:
    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await trio.sleep_forever()

    async with serving(app, socket_path, grace_s=0.1, max_connections=1) as server:
        streams = [await server.connect() for _ in range(3)]
        for stream in streams:
            await Client(stream).send("GET", "/")
        await trio.testing.wait_all_tasks_blocked()
        server.stop.set()
        await server.ended.wait()
        for stream in streams:
            await stream.aclose()


async def test_no_descriptor_left_is_told_once_and_passes(socket_path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(hello, socket_path):
        client = trio.socket.socket(trio.socket.AF_UNIX)
        filler: list[int] = []
        old = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, old[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    filler.append(os.dup(0))
            await client.connect(socket_path)
            await trio.sleep(0.5)
        finally:
            for fd in filler:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, old)
        stream = trio.SocketStream(client)
        assert (await Client(stream).ask("GET", "/")).status == 200
        await stream.aclose()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert told[0].exc_info is None


def test_the_limit_lies_below_that_of_descriptors() -> None:
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, old[1]))
        assert 8 <= most_connections() < 128
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
    assert most_connections() <= 512


async def test_a_failing_application_answers_500_and_the_next_is_served(
    socket_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("secret")

    async with serving(app, socket_path) as server:
        for _ in range(2):
            answer = await server.ask("GET", "/")
            assert answer.status == 500
            assert b"secret" not in answer.body
    assert len(caplog.records) >= 2


async def test_an_upgrade_is_ignored(socket_path: str) -> None:
    async with serving(hello, socket_path) as server:
        headers = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQ")]
        assert (await server.ask("GET", "/", headers)).status == 200


def test_a_socket_of_systemd_is_served_and_kept(socket_path: str) -> None:
    """Activation as systemd does it: descriptor 3, LISTEN_PID of the very process."""
    program = """
import os, sys, trio
from lumiliod.api import connection
from lumiliod.api.server import most_connections, serve
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})
async def main():
    # twice: a service that is started again finds its socket as it was
    for _ in range(2):
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve(app, "/nowhere/s", mode=0o660, stop=stop, grace_s=1, task_status=task_status))
            assert "LISTEN_FDS" not in os.environ and not os.get_inheritable(3)
            print("ready", flush=True)
            await trio.to_thread.run_sync(sys.stdin.readline)
            stop.set()
os.environ["LISTEN_PID"] = str(os.getpid())
trio.run(main)
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path)
        listener.listen()
        fd = listener.fileno()

        def pass_on() -> None:
            os.dup2(fd, 3)

        child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(3,),
            preexec_fn=pass_on,
            env={**os.environ, "LISTEN_FDS": "1"},
        )
        with child:
            assert child.stdout is not None
            assert child.stdin is not None
            for _ in range(2):
                assert child.stdout.readline() == b"ready\n"
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(socket_path)
                    client.sendall(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n")
                    assert client.recv(1000).startswith(b"HTTP/1.1 200")
                child.stdin.write(b"\n")
                child.stdin.flush()
            assert child.wait(10) == 0
    assert Path(socket_path).exists()
