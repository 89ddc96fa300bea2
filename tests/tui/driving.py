"""The console driven as a person drives it: keys in, what stands on the screen out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from lumilio_tui.app import Console
from lumilio_tui.desk import Look
from lumilio_tui.widgets.listing import Listing

PATIENCE_S = 60


class Driven:
    """A console that runs without a terminal."""

    def __init__(self, console: Console, pilot: Pilot[None]) -> None:
        self.console = console
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, each when the one before was dealt with."""
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Type characters."""
        names = {" ": "space", "/": "slash", ":": "colon", "-": "minus", ".": "full_stop", "_": "underscore"}
        await self.press(*(names.get(character, character) for character in text))

    async def until(self, sign: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            await self.pilot.pause()
            while not sign():
                await asyncio.sleep(0.02)
            await self.pilot.pause()

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
