"""A daemon that is restarted closes connections in use: what only asks is asked again, all else is not."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lumiliod.client import Client, Unreachable

ANSWER = (
    b'{"status": "ok", "version": "1", "started_at": "2026-01-01T00:00:00Z", "uptime_s": 1, "loop_lag_ms": 0,'
    b' "services": []}'
)


class Closing:
    """A server that closes so many connections instead of answering the request that came by them."""

    def __init__(self, listener: socket.socket, closes: int) -> None:
        self.asked = 0
        self._listener, self._closes = listener, closes

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                # who only knocks sends nothing
                while head := connection.recv(65536):
                    self.asked += 1
                    if self.asked <= self._closes or not head.startswith(b"GET"):
                        break
                    length = f"content-length: {len(ANSWER)}\r\n".encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + ANSWER)


@pytest.fixture
def path(short_dir: Path) -> Iterator[Path]:
    path = short_dir / "closing.sock"
    yield path
    path.unlink(missing_ok=True)


def served(path: Path, closes: int) -> tuple[Closing, socket.socket, threading.Thread]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    server = Closing(listener, closes)
    thread = threading.Thread(target=server.run)
    thread.start()
    return server, listener, thread


@pytest.mark.parametrize(("closes", "is_answered"), [(0, True), (1, True), (2, False)])
def test_what_only_asks(path: Path, closes: int, is_answered: bool) -> None:
    server, listener, thread = served(path, closes)
    try:
        with Client(str(path)) as client:
            if is_answered:
                assert client.health().status == "ok"
            else:
                with pytest.raises(Unreachable):
                    client.health()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
    assert server.asked == min(closes + 1, 2)


def test_what_changes_something_is_sent_once(path: Path) -> None:
    server, listener, thread = served(path, 1)
    try:
        with Client(str(path)) as client, pytest.raises(Unreachable):
            client.scan("photos")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
    assert server.asked == 1


@pytest.mark.parametrize("way", ["ask", "follow"])
def test_who_waits_for_an_answer_is_let_go_when_the_client_is_closed(path: Path, way: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    client = Client(str(path))
    failed: list[Exception] = []

    def wait() -> None:
        try:
            client.health() if way == "ask" else list(client.feed.follow())
        except Unreachable as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with listener:
        listener.accept()[0].close()  # it only knocked
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(65536).startswith(b"GET ")
            if way == "follow":
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: alive\n\n")
            client.close()
            waiting.join(30)
            assert not waiting.is_alive()
            assert failed
            assert connection.recv(65536) == b""  # nothing is left open, and nothing is asked again
    with pytest.raises(Unreachable, match="closed"):
        client.health()
