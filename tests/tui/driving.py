"""The console driven as a person drives it: keys in, what stands on the screen out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.app import ScreenStackError
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from lumilio_tui.app import Console
from lumilio_tui.desk import Look
from lumilio_tui.widgets.listing import Listing

PATIENCE_S = 60
QUIET_TURNS = 5
"""After so many turns of the loop without a message under way, what was sent has arrived."""

CHARACTERS = {
    "space": " ",
    "slash": "/",
    "colon": ":",
    "minus": "-",
    "plus": "+",
    "full_stop": ".",
    "underscore": "_",
    "question_mark": "?",
}
NAMES = {character: key for key, character in CHARACTERS.items()}


class Driven:
    """A console that runs without a terminal."""

    def __init__(self, console: Console, pilot: Pilot[None]) -> None:
        self.console = console
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, each when the one before was dealt with; not what came of it is awaited, see :meth:`until`."""
        for key in keys:
            self.hit(key)
            await self.settle()

    def hit(self, *keys: str) -> None:
        """Press keys faster than anybody can answer."""
        driver = self.console._driver
        assert driver is not None
        for key in keys:
            event = Key(NAMES.get(key, key), key if len(key) == 1 else CHARACTERS.get(key))
            event.set_sender(self.console)
            driver.send_message(event)

    async def settle(self) -> None:
        """Let every message that is under way arrive."""
        quiet = 0
        async with asyncio.timeout(PATIENCE_S):
            while quiet < QUIET_TURNS:
                await asyncio.sleep(0)
                try:
                    screen = self.console.screen
                except ScreenStackError:
                    return  # it has ended
                pumps = [self.console, *screen.walk_children(with_self=True)]
                quiet = 0 if any(pump.message_queue_size for pump in pumps) else quiet + 1

    async def type(self, text: str) -> None:
        """Type characters."""
        await self.press(*text)

    async def until(self, sign: Callable[[], object]) -> None:
        """Wait until something is so, and what follows from it at once has been done and drawn."""
        async with asyncio.timeout(PATIENCE_S):
            await self.settle()
            while not sign():
                await asyncio.sleep(0.01)
            await self.settle()
            self.console.screen._on_timer_update()

    def listing(self, name: str) -> Listing:
        """Return a table of the console."""
        return self.console.screen_stack[0].query_one(f"#{name}", Listing)

    def cells(self, name: str) -> list[tuple[str, ...]]:
        """Return what stands in a table."""
        return [row.cells for row in self.listing(name).rows]

    def text(self, name: str) -> str:
        """Return what a line says, on the screen that is in front."""
        found = self.console.screen.query(name).results(Static)
        return "\n".join(str(line.content) for line in found)

    @property
    def told(self) -> list[str]:
        """Return what the console told lately."""
        return [notice.message for notice in self.console._notifications]

    @property
    def front(self) -> str:
        """Return which screen or dialog is in front."""
        return type(self.console.screen).__name__

    def drawn(self) -> str:
        """Return everything that is drawn, line by line."""
        width = self.console.size.width
        lines = self.console.screen._compositor.render_strips()
        return "\n".join(strip.text[:width] for strip in lines)


@asynccontextmanager
async def driving(socket: str, *, size: tuple[int, int] = (120, 40), **options: Any) -> AsyncIterator[Driven]:
    """Run a console on a socket."""
    options.setdefault("look", Look(images="half"))
    console = Console(socket, **options)
    async with console.run_test(size=size) as pilot:
        driven = Driven(console, pilot)
        yield driven
