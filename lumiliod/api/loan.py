"""A connection's socket, lent to whoever reads a large body: its bytes need no parser.

h11 hands every piece of a body on as bytes of its own, after two copies. In a body whose length is known
there is nothing to parse, so its reader is told afterwards how much went past it. That is not in h11's
interface: where its inside is not as expected, nothing is ever lent, and bodies go the usual way.
"""

from typing import Any, cast

import h11
import trio


class SocketLoan:
    """The socket while a body is read from it; ``over`` is set when it is given back."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.over = trio.Event()
        self.taken_bytes = 0
        self._socket = sock
        self._size_bytes = 0

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
            except (OSError, trio.ClosedResourceError):
                return 0
        self.taken_bytes += count
        return count

    def end(self) -> None:
        """Give the socket back; it does not matter how often."""
        self.over.set()


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
