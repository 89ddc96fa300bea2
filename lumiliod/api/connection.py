"""One HTTP/1.1 connection: Hypercorn's protocol on our own transport.

Hypercorn's own ``TCPServer`` shields every send (a client that stops reading holds up shutdown),
hands its application a queue that blocks for ever when the application answers before it read the
body, and forgets pipelined requests when it stops. This one keeps the protocol and replaces the rest.
"""

import fcntl
import logging
import sys
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import cast

import h11
import msgspec
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    Scope,
    TaskGroup,
)

from lumiliod.api.body import LENT, Lent
from lumiliod.api.errors import problem
from lumiliod.api.exchange import DRAIN_S
from lumiliod.api.loan import SocketLoan, left_bytes, pass_over
from lumiliod.api.sockets import peer_of

MAX_RECV_BYTES = 1 << 20
"""Bytes asked of the socket at once: 1 MiB costs a third of the CPU that 64 KiB does."""

MIN_LOAN_BYTES = 1 << 20
"""A body's rest for which standing aside is worth it."""

HEAD_S = 20.0
"""How long the head of a request may take from its first byte."""

FIRST_REQUEST_S = 1.0
"""How long a stopping server waits for a request that has begun, or for the first of who has just connected."""

ANSWER_S = 2 * DRAIN_S
"""How long an answer may take to end that began before the request's body turned out to be broken."""

_CODES = {431: "headers_too_large", 501: "not_implemented"}
_MESSAGES = {501: "The request asks for something this server does not do."}

_log = logging.getLogger(__name__)

_Send = Callable[[ASGISendEvent | None], Awaitable[None]]
_Deliver = Callable[[ASGIReceiveEvent], Awaitable[None]]
_Call = tuple[Scope, trio.MemoryReceiveChannel[ASGIReceiveEvent], _Send]


class _Http11(H11Protocol):
    """Hypercorn's HTTP/1.1 without upgrades, and with our shape of error."""

    _has_refused = False

    @property
    def is_answering(self) -> bool:
        """Whether the application has begun an answer, which the client's broken body must not cut off."""
        has_begun = self.connection.our_state in (h11.SEND_BODY, h11.DONE, h11.MUST_CLOSE)
        return has_begun and self.stream is not None and not self._has_refused

    @property
    def left_bytes(self) -> int:
        """How much is still to come of the body that is being read, if that is known; else 0."""
        return left_bytes(self.connection)

    async def passed(self, size_bytes: int) -> None:
        """Go on behind bytes of a body that were taken from the socket by somebody else."""
        pass_over(self.connection, size_bytes)
        await self._handle_events()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore offers of HTTP/2: on a local socket it only adds states."""
        await trio.lowlevel.checkpoint()

    async def _create_stream(self, request: h11.Request) -> None:
        """Refuse WebSockets before anything is upgraded."""
        headers = [(name.lower(), value.lower()) for name, value in request.headers]
        connection = [token.strip() for name, value in headers if name == b"connection" for token in value.split(b",")]
        if b"upgrade" in connection and (b"upgrade", b"websocket") in headers:
            await self._send_error_response(501)
            await self.send(Closed())
        else:
            await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        """Refuse a request that is not HTTP with problem details."""
        self._has_refused = True
        code = _CODES.get(status_code, "bad_request")
        message = _MESSAGES.get(status_code, "The request is not valid HTTP/1.1.")
        body = msgspec.json.encode(problem(status_code, code, message))
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        # in one piece: the application may try to answer, too
        answer = (h11.Response(status_code=status_code, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        data = b""
        with suppress(h11.LocalProtocolError):  # the answer to HEAD has no body
            for part in answer:
                data += self.connection.send(part) or b""
        await self.send(RawData(data))


def _waiting_bytes(stream: trio.SocketStream) -> int:
    """Return how much waits in a socket to be read; nothing where it is closed."""
    fd = stream.socket.fileno()
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder) if fd >= 0 else 0


async def _put(channel: trio.MemorySendChannel[ASGIReceiveEvent], message: ASGIReceiveEvent) -> None:
    """Send, unless nobody wants to hear it any more."""
    try:
        await channel.send(message)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.lowlevel.checkpoint()


class Connection:
    """Serve the requests of one client, one after the other, until it or the server has had enough.

    The kernel's word on who connected is in ``scope["state"]["peer"]``, and in ``["stopping"]`` the event
    that the server stops. ``on_idle`` is called whenever an answer is complete, ``open_connections`` counts them.
    """

    def __init__(
        self,
        app: ASGIFramework,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        on_idle: Callable[[], None],
        open_connections: Callable[[], int],
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._writing = trio.Lock()
        self._reading = trio.CancelScope(deadline=trio.current_time() + config.keep_alive_timeout)
        self._on_idle = on_idle
        self._has_head_begun = False
        self._has_asked = False
        self.has_ended = False
        self.idle_since: float | None = trio.current_time()
        """Since when no request runs; None while one does."""
        self._calls, self._called = trio.open_memory_channel[_Call](1)
        self._receiving = trio.CancelScope()
        self._messages: trio.MemorySendChannel[ASGIReceiveEvent] | None = None
        self._loan: SocketLoan | None = None
        state = {
            "peer": peer_of(stream.socket),
            "stopping": context.terminated,
            "lend": self.lend,
            "connections": open_connections,
        }
        self._protocol = _Http11(
            ASGIWrapper(app),
            config,
            context,
            cast(TaskGroup, self),
            ConnectionState(state),
            False,
            None,
            None,
            self._on_event,
        )

    async def run(self) -> None:
        """Serve until the connection ends; whatever goes wrong ends this connection only."""
        await trio.lowlevel.checkpoint()
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._close_idle_on_stop)
                async with trio.open_nursery() as working:
                    working.start_soon(self._answer)
                    await self._read()
                watching.cancel_scope.cancel()
        except Exception:
            _log.exception("a connection failed")
        finally:
            self.has_ended = True
            self._stream.socket.close()

    def end(self) -> None:
        """End the connection now; whatever waits to read from it wakes up."""
        self.has_ended = True
        self._reading.cancel()
        self._stream.socket.close()

    def lend(self) -> None:
        """Let the running request read the rest of its body from the socket, if that is worth it and can be.

        The reader stands aside when it has handed on what it has, and says so among the messages.
        """
        if self._loan is None:
            self._loan = SocketLoan(self._stream.socket)
            self._receiving.cancel()

    async def spawn_app(self, app: AppWrapper, config: Config, scope: Scope, send: _Send) -> _Deliver:
        """Queue one request for :meth:`_answer` and return how its body is delivered (Hypercorn's ``TaskGroup``)."""
        put, take = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)
        self._messages = put

        def deliver(message: ASGIReceiveEvent) -> Awaitable[None]:
            if message["type"] == "http.disconnect":
                put.close()  # receive() says so from now on; a message would wait for room in a full queue
            return _put(put, message)

        await self._calls.send((scope, take, send))
        return deliver

    async def _answer(self) -> None:
        """Run the application for each request in turn."""
        async for scope, messages, send in self._called:

            async def receive(
                messages: trio.MemoryReceiveChannel[ASGIReceiveEvent] = messages,
            ) -> ASGIReceiveEvent:
                try:
                    return await messages.receive()
                except trio.EndOfChannel:
                    await trio.lowlevel.checkpoint()
                    return {"type": "http.disconnect"}

            with messages:  # a body nobody reads must not hold up the reader
                try:
                    await self._app(scope, receive, send)
                except Exception:
                    _log.exception("a request failed after its answer began")
                finally:
                    if self._loan is not None:
                        self._loan.end()
            await send(None)

    async def _read(self) -> None:
        """Feed the protocol until the client closes, stays idle too long, or :meth:`end` is called."""
        with self._calls:
            with self._reading:
                try:
                    while (data := await self._receive()) != b"":
                        if data is not None:
                            await self._protocol.handle(RawData(data))
                        self._limit_head()
                    await self._protocol.handle(RawData(b""))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
            await self._protocol.handle(Closed())

    async def _receive(self) -> bytes | None:
        """Return the next bytes, nothing at the end; None when others took bytes meanwhile."""
        if self._loan is None:
            with trio.CancelScope() as self._receiving:
                return bytes(await self._stream.receive_some(MAX_RECV_BYTES))
        loan = self._loan
        if loan is not None and self._messages is not None:
            left_bytes = self._protocol.left_bytes
            loan.begin(left_bytes if left_bytes >= MIN_LOAN_BYTES else 0)
            await _put(self._messages, cast(ASGIReceiveEvent, Lent(type=LENT, loan=loan)))
            await loan.over.wait()
            self._loan = None
            await self._protocol.passed(loan.taken_bytes)
        return None

    def _limit_head(self) -> None:
        """Bound the time of a head that has begun; more of its bytes do not prolong it."""
        if self.idle_since is None or self._has_head_begun:
            return
        if self._protocol.connection.trailing_data[0]:
            self._has_head_begun = True
            self._reading.deadline = min(self._reading.deadline, trio.current_time() + HEAD_S)

    async def _on_event(self, event: Event) -> None:
        """Do what the protocol asks: write, close, or note that a request began or ended."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            if self._protocol.is_answering:
                with trio.move_on_after(ANSWER_S):
                    await trio.sleep_forever()  # the end of the answer ends the connection
            self.end()
            await self._protocol.handle(Closed())
        else:
            assert isinstance(event, Updated)
            now = trio.current_time()
            self._has_asked = True
            self.idle_since = now if event.idle else None
            self._reading.deadline = now + self._config.keep_alive_timeout if event.idle else inf
            self._has_head_begun = False
            if event.idle:
                self._limit_head()  # of a pipelined request that is not whole
                self._on_idle()
            await trio.lowlevel.checkpoint()

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.end()
                await self._protocol.handle(Closed())
            except trio.Cancelled:
                self.end()  # half a message may be on the wire; nothing can follow it
                raise

    async def _close_idle_on_stop(self) -> None:
        """When the server stops, close at once unless a request runs or comes; the protocol closes after that one."""
        await self._context.terminated.wait()
        if self._has_head_begun or not (self._has_asked or _waiting_bytes(self._stream)):
            await trio.sleep(FIRST_REQUEST_S)
        if self.idle_since is not None and not _waiting_bytes(self._stream):
            self.end()
