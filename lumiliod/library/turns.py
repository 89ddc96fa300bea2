"""Requests that want the same upload: the older one gives way, with what has arrived of it."""

import math
from dataclasses import dataclass, field

import trio

from lumiliod.domain.errors import Conflict, LumilioError, Shape
from lumiliod.storage.pump import Source

GAP_S, LAST_S = 0.05, 1.0
"""How long one that is to end waits for more bytes, and how long it may go on while they come."""


@dataclass(eq=False, slots=True)
class Turn:
    """A request that writes an upload: it stops reading when another one comes."""

    over: trio.Event = field(default_factory=trio.Event)
    reading: trio.CancelScope | None = None
    ends_s: float = math.inf

    def interrupt(self) -> None:
        """Let it end: at once when nothing arrives, soon in any case."""
        if self.ends_s == math.inf:
            self.ends_s = trio.current_time() + LAST_S
        if self.reading is not None:
            self.reading.deadline = self.next_by_s()

    def next_by_s(self) -> float:
        """Return until when the next bytes have to arrive, on trio's clock."""
        return math.inf if self.ends_s == math.inf else min(self.ends_s, trio.current_time() + GAP_S)


class Arriving:
    """A body that ends when its client goes, or another request wants its place: what has arrived is written.

    ``cut`` is the reason why it is not whole.
    """

    def __init__(self, body: Source, turn: Turn) -> None:
        self.cut: LumilioError | None = None
        self._body = body
        self._turn = turn

    async def read_into(self, view: memoryview) -> int:
        """Read as the body does."""
        if self.cut is not None:
            return 0
        with trio.CancelScope(deadline=self._turn.next_by_s()) as self._turn.reading:
            try:
                return await self._body.read_into(view)
            except Shape as error:
                self.cut = error
                return 0
        self.cut = Conflict("another request took this one's place", code="upload_locked")
        return 0
