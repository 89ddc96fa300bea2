"""What those are told who stay: server-sent events, until they go or the server stops."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol

import trio

from lumiliod.api.exchange import Exchange
from lumiliod.contract.events import ALIVE, MEDIA_TYPE, written
from lumiliod.library.live import Moment

KEEP_ALIVE_S = 15.0
"""After so long without an event a comment shows that the connection lives; the specification's own advice."""

RECONNECT_S = 2.0
"""After how long a browser comes again."""

STALLED_S = 60.0
"""How long one piece may take to be read before the connection is given to somebody else."""

LAST_S = 0.25
"""How long the end may take: whoever does not read must not hold up the server's end."""

_HEADERS = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""The last is for a proxy (nginx): pass every piece on at once."""


class Source(Protocol):
    """What is told, one moment after the other, to one who watches."""

    def watched(self) -> AbstractContextManager[None]:
        """Count one who watches."""
        ...

    async def keep(self) -> None:
        """Look, for all who watch, as long as it is one's turn."""
        ...

    async def after(self, number: int) -> Moment:
        """Return what follows the event ``number``; 0 begins."""
        ...


async def send_events(exchange: Exchange, live: Source) -> None:
    """Answer with what ``live`` tells until that ends, the client goes, stops reading, or the server stops.

    Raises:
        Retryable: too many watch already.
    """
    with live.watched(), exchange.tally.telling():
        await exchange.begin(200, _HEADERS)
        if exchange.method != "HEAD":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, exchange.gone, nursery.cancel_scope)
                nursery.start_soon(_cancel_after, exchange.stopping, nursery.cancel_scope)
                nursery.start_soon(live.keep)
                await _tell(exchange, live)
                nursery.cancel_scope.cancel()
        if not exchange.is_over:
            with trio.move_on_after(LAST_S):
                await exchange.write(b"", last=True)


async def _tell(exchange: Exchange, live: Source) -> None:
    """Send what changes, and a sign of life when nothing does, to the last moment or a client that stalls."""
    number, is_last = 0, False
    piece = b"retry: %d\n\n" % round(RECONNECT_S * 1000)
    while True:
        with trio.move_on_after(STALLED_S) as writing:
            await exchange.write(piece)
        if writing.cancelled_caught or is_last:
            return
        piece = ALIVE
        with trio.move_on_after(KEEP_ALIVE_S):
            moment = await live.after(number)
            number, is_last = moment.event.number, moment.last
            piece = written(moment.event)


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
