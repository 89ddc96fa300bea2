"""One request and its answer at the level of ASGI, for the routes that move whole files."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope
from werkzeug.datastructures import Headers
from werkzeug.sansio.utils import get_content_length

from lumiliod.api.body import RequestBody
from lumiliod.api.tally import Tally
from lumiliod.domain.ids import uuid7

DRAIN_BYTES = 1 << 20
"""Unread body bytes worth reading to keep a connection, and to let a client notice an early answer."""

DRAIN_S = 2.0


REQUEST_ID = "X-Request-ID"

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def request_id(told: str | None) -> str:
    """Return the id that a client gave its request, or a new one where it gave none, or one that is none."""
    return told if told is not None and _REQUEST_ID.fullmatch(told) else uuid7().hex


class Exchange:
    r"""A request being answered.

    ``arguments`` are the values of the route's placeholders, ``query`` the decoded query string;
    bytes in it that are not UTF-8 appear as ``\xff``.
    """

    def __init__(
        self,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        arguments: Mapping[str, Any],
        tally: Tally | None = None,
    ) -> None:
        self.method = scope["method"]
        self.headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
        self.arguments = arguments
        self.tally = tally or Tally()
        self.open_connections: Callable[[], int] = scope["state"].get("connections", lambda: 0)
        query_string = scope["query_string"].decode("latin-1")
        self.query = parse_qsl(query_string, keep_blank_values=True, errors="backslashreplace")
        self.body = RequestBody(receive, scope["state"].get("lend"))
        self.receive = receive
        self.has_begun = False
        self.is_over = False
        """Whether the client has gone, as far as :meth:`gone` knows."""
        self._stopping = scope["state"].get("stopping")
        self._send = send
        self.id = request_id(self.headers.get(REQUEST_ID))
        """What the log calls this request, and its answer."""

    @property
    def announced_bytes(self) -> int | None:
        """The body's length as the client announced it, None when it did not."""
        return get_content_length(
            http_content_length=self.headers.get("Content-Length"),
            http_transfer_encoding=self.headers.get("Transfer-Encoding"),
        )

    @property
    def has_body(self) -> bool:
        """Whether the request carries a body at all (RFC 9112 §6)."""
        return "Content-Length" in self.headers or "Transfer-Encoding" in self.headers

    async def send(self, message: ASGISendEvent) -> None:
        """Pass on an ASGI message, noting when the answer begins."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.tally.answered(self.method, message["status"])
            message["headers"] = [*message["headers"], (REQUEST_ID.lower().encode(), self.id.encode())]
        await self._send(message)

    async def gone(self) -> None:
        """Wait until the client has gone; what it still sends is forgotten."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.is_over = True

    async def stopping(self) -> None:
        """Wait until the server stops: what would go on without an end ends now."""
        if self._stopping is None:
            await trio.sleep_forever()
        await self._stopping.wait()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the answer."""
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        """Send a piece of the answer's body; nothing may follow the ``last``."""
        await self.send({"type": "http.response.body", "body": chunk, "more_body": not last})

    async def reply(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """Send a whole answer, whether or not the request's body was read to its end.

        A little that is left unread is read first and the connection lives on; otherwise the
        client is told to close, and some more is read so that it sees the answer instead of a reset.
        """
        announced = self.announced_bytes
        is_short = announced is not None and announced - self.body.received_bytes <= DRAIN_BYTES
        keep = self.body.is_whole or not self.has_body
        if is_short and not keep:
            with trio.move_on_after(DRAIN_S):
                keep = await self.body.drain(DRAIN_BYTES)
        # RFC 9110 §8.6: an answer without content says nothing of its length
        length = {} if status == 204 else {"Content-Length": str(len(content))}
        if keep:
            await self.begin(status, {**headers, **length})
            await self.write(content, last=True)
            return
        await self.begin(status, {**headers, **length, "Connection": "close"})
        await self.write(content)
        with trio.move_on_after(DRAIN_S):
            await self.body.drain(32 * DRAIN_BYTES)
        await self.write(b"", last=True)
