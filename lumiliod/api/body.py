"""The body of a request, read as it arrives."""

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol, TypedDict, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent

from lumiliod.domain.errors import Shape

DIRECT_BYTES = 256 << 10
"""From this much room on, it is worth asking the connection for its socket."""

PIECE_BYTES = 64 << 10
"""What is read from a lent socket at once by whoever wants bytes of their own."""

LENT: Literal["lumilio.lent"] = "lumilio.lent"

Lend = Callable[[], None]
"""Asks the connection to stand aside; a :class:`Lent` message comes, after all that arrived before, if it does."""


class Loan(Protocol):
    """A connection's socket, lent to read the rest of a body."""

    @property
    def left_bytes(self) -> int:
        """How much of the body is still to come."""
        ...

    async def read_into(self, view: memoryview) -> int:
        """Read some bytes of the body; 0 when the client has gone."""
        ...

    def end(self) -> None:
        """Give the socket back; it does not matter how often."""
        ...


class Lent(TypedDict):
    """Says, among a request's messages, that the rest of its body is to be read from the socket."""

    type: Literal["lumilio.lent"]
    loan: Loan


class RequestBody:
    """The bytes of a request as they arrive; ending early is an error, never an end.

    Iterating gives pieces of up to 1 MiB. :meth:`read_into` is for much of it: where the connection lends its
    socket, bytes go from the kernel to where they are wanted, past the parser of HTTP, which has nothing to say
    in the middle of a body.

    Raises:
        Shape: ``truncated_upload`` when the client went away before the body was whole.
    """

    def __init__(self, receive: ASGIReceiveCallable, lend: Lend | None = None) -> None:
        self._receive = receive
        self._lend = lend
        self._loan: Loan | None = None
        self._rest = memoryview(b"")
        self.received_bytes = 0
        self.is_whole = False
        self.was_lent = False
        """Whether some of it was read from the socket."""

    def __aiter__(self) -> "RequestBody":
        return self

    async def __anext__(self) -> bytes:
        if not await self._arrive():
            raise StopAsyncIteration
        if self._loan is not None:
            chunk = bytearray(min(PIECE_BYTES, self._loan.left_bytes))
            with memoryview(chunk) as view:
                count = await self._read_direct(self._loan, view)
                return bytes(view[:count])
        rest, self._rest = self._rest, memoryview(b"")
        return bytes(rest)

    async def read_into(self, view: memoryview) -> int:
        """Put the next bytes at the beginning of ``view``; return how many, 0 at the end."""
        if self._lend is not None and len(view) >= DIRECT_BYTES and not self._rest:
            lend, self._lend = self._lend, None
            lend()
        if not await self._arrive():
            return 0
        if self._loan is not None:
            return await self._read_direct(self._loan, view)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def drain(self, limit_bytes: int) -> bool:
        """Read and forget at most about ``limit_bytes``; tell whether that was all."""
        end = self.received_bytes + limit_bytes
        with suppress(Shape):
            async for _ in self:
                if self.received_bytes > end:
                    break
        await trio.lowlevel.checkpoint()
        return self.is_whole

    async def _arrive(self) -> bool:
        """Wait until there is something to take; tell whether there is."""
        if self._rest or self._loan is not None:
            await trio.lowlevel.checkpoint()
            return True
        while not self.is_whole:
            message = cast("ASGIReceiveEvent | Lent", await self._receive())
            if message["type"] == LENT:
                loan = message["loan"]
                if not loan.left_bytes:
                    continue
                self._loan, self.was_lent = loan, True
                return True
            if message["type"] != "http.request":
                raise _truncated()
            self.is_whole = not message.get("more_body", False)
            self._rest = memoryview(message.get("body", b""))
            if self._rest:
                self.received_bytes += len(self._rest)
                return True
        return False

    async def _read_direct(self, loan: Loan, view: memoryview) -> int:
        count = await loan.read_into(view)
        if not count:
            loan.end()
            raise _truncated()
        self.received_bytes += count
        if not loan.left_bytes:
            loan.end()
            self._loan = None
        return count


def _truncated() -> Shape:
    return Shape("The upload ended before all of it had arrived.", code="truncated_upload")
