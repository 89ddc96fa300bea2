"""A HTTP proxy in front of a server on this host that breaks what a rule tells it to break."""

import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lumiliod.testing.faults import flipped

_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>As the rule says.</Message></Error>"


class Break(StrEnum):
    """What happens to one request."""

    BUSY = "busy"
    """503 SlowDown; the server never hears of it."""
    DENIED = "denied"
    """403 AccessDenied."""
    RESET = "reset"
    """The connection is reset before the server hears of it."""
    LOST = "lost"
    """The server does it; the connection is reset before the answer."""
    CUT = "cut"
    """The connection ends in the middle of the answer's body."""
    SHORT = "short"
    """The answer's body ends in the middle, and its headers say that this is all."""
    FLIPPED = "flipped"
    """One bit of the answer's body is another."""
    HELD = "held"
    """No answer until :attr:`Proxy.release`, then a reset; the server never hears of it."""
    LIE = "lie"
    """200, and the server never hears of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; ``number`` counts those before it."""

    method: str
    target: str
    number: int


Rule = Callable[[Asked], Break | None]


@dataclass(slots=True)
class Proxy:
    """A running proxy; ``rule`` may be set at any time and is asked by one thread at a time.

    ``unforwarded`` names request headers, in lower case, that the server does not get to see.
    """

    url: str
    rule: Rule = lambda asked: None
    unforwarded: frozenset[str] = frozenset()
    asked: list[Asked] = field(default_factory=list)
    broken: list[tuple[Asked, Break]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, method: str, target: str) -> Break | None:
        """Note a request and ask the rule."""
        with self._lock:
            asked = Asked(method, target, len(self.asked))
            self.asked.append(asked)
            decided = self.rule(asked)
            if decided is not None:
                self.broken.append((asked, decided))
            return decided


@contextmanager
def running(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy in front of ``host:port`` on a free port of this host, until the block ends."""

    class Handler(_Handler):
        upstream = (host, port)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.block_on_close = False  # a client may keep a connection it never uses
        proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
        Handler.proxy = proxy
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.release.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    upstream: tuple[str, int]

    def answer(self) -> None:
        """Take one request, then close: each gets a connection of its own."""
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        decided = self.proxy.decide(self.command, self.path)
        match decided:
            case Break.BUSY:
                self._refuse(503, "SlowDown")
            case Break.DENIED:
                self._refuse(403, "AccessDenied")
            case Break.LIE:
                self._send(200, [("ETag", '"0123456789abcdef0123456789abcdef"')], b"")
            case Break.HELD:
                self.proxy.release.wait()
                self._reset()
            case Break.RESET:
                self._reset()
            case _:
                self._relay(decided, *self._forward(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _relay(self, decided: Break | None, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        match decided:
            case Break.LOST:
                self._reset()
            case Break.CUT:
                self._send(status, headers, content, sent=len(content) // 2)
                self._reset()
            case Break.SHORT:
                self._send(status, headers, content[: len(content) // 2])
            case Break.FLIPPED:
                self._send(status, headers, flipped(content))
            case _:
                self._send(status, headers, content)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, [("Content-Type", "application/xml")], _ERROR.format(code).encode())

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.upstream)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in self.proxy.unforwarded | {"connection"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value if self.command == "HEAD" else length
            elif name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[:sent])
        self.wfile.flush()

    def _reset(self) -> None:
        """Close so that the client sees a reset: SO_LINGER of 0 seconds, see socket(7)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
