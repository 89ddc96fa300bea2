"""A connection's socket, lent to whoever reads a large body: its bytes need no parser.

h11 hands every piece of a body on as bytes of its own, after two copies. In a body whose length is known
there is nothing to parse, so its reader is told afterwards how much went past it. That is not in h11's
interface: where its inside is not as expected, nothing is ever lent, and bodies go the usual way.
"""

import os
import select
import socket
import time
from contextlib import suppress
from typing import Any, cast

import h11
import trio

BURST_FROM_BYTES = 64 << 10
"""What has to have arrived at once for more to be waited for in a thread: who sends that much has more."""

BURST_GAP_MS, BURST_S = 5, 0.1
"""How long a burst waits for the next bytes, and how long it lasts at most."""

_THREADS = trio.CapacityLimiter(8)


class SocketLoan:
    """The socket while a body is read from it; ``over`` is set when it is given back.

    A socket holds some 200 KB. To wait for each of these in the event loop takes longer than to copy them; so while
    bytes keep coming a thread reads on, until there is no more room or nothing has come for some milliseconds.
    """

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.over = trio.Event()
        self.taken_bytes = 0
        self._socket = sock
        self._size_bytes = 0
        self._own: socket.socket | None = None

    def begin(self, size_bytes: int) -> None:
        """Allow that many bytes to be taken."""
        self._size_bytes = size_bytes
        if not size_bytes:
            self.end()

    @property
    def left_bytes(self) -> int:
        """How much of the body is still to come."""
        return 0 if self.over.is_set() else self._size_bytes - self.taken_bytes

    async def read_into(self, view: memoryview) -> int:
        """Read some bytes of the body; 0 when the client has gone, or the loan is over."""
        with view[: self.left_bytes] as room:
            if not room:
                await trio.lowlevel.checkpoint()
                return 0
            try:
                count = await self._socket.recv_into(room)
                if BURST_FROM_BYTES <= count < len(room):
                    with room[count:] as rest:
                        count += await self._burst(rest)
            except (OSError, trio.ClosedResourceError):
                return 0
        self.taken_bytes += count
        return count

    def end(self) -> None:
        """Give the socket back; it does not matter how often."""
        self.over.set()
        if self._own is not None:
            self._own.close()
            self._own = None

    async def _burst(self, room: memoryview) -> int:
        """Read on in a thread, by a descriptor of our own: whoever closes the other does not wait for us."""
        if self._own is None:
            try:
                self._own = socket.socket(fileno=os.dup(self._socket.fileno()))
            except OSError:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return 0
        count = 0
        # whoever cancels this waits for it: bytes that were taken are counted
        with trio.CancelScope(shield=True):
            if _THREADS.available_tokens >= 1:
                count = await trio.to_thread.run_sync(_read_on, self._own, room, limiter=_THREADS)
        return count


def _read_on(sock: socket.socket, room: memoryview) -> int:
    """Read until ``room`` is full, or nothing more comes; return how many bytes. What goes wrong is met again later."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    taken, ends_at = 0, time.monotonic() + BURST_S
    with suppress(OSError):
        while taken < len(room) and time.monotonic() < ends_at:
            try:
                count = sock.recv_into(room[taken:])
            except BlockingIOError:
                if not poll.poll(BURST_GAP_MS):
                    break
                continue
            if not count:
                break
            taken += count
    return taken


def left_bytes(connection: object) -> int:
    """Return how much h11 expects of a body of known length, 0 for all others or when that cannot be told."""
    if not isinstance(connection, h11.Connection) or connection.their_state is not h11.SEND_BODY:
        return 0
    reader = getattr(connection, "_reader", None)
    left = getattr(reader, "_remaining", None)
    is_known = type(reader).__name__ == "ContentLengthReader" and not connection.trailing_data[0]
    return left if is_known and isinstance(left, int) else 0


def pass_over(connection: object, size_bytes: int) -> None:
    """Tell h11 that bytes of a body went past it; no more than :func:`left_bytes` said."""
    if size_bytes:
        reader = cast(Any, connection)._reader
        reader._remaining -= size_bytes
