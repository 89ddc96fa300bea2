"""What keeps a table that is a window into any number of rows filled, wherever somebody goes in it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from lumilio_tui.asking import OneAtATime
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.window import Fetch, Window
from lumiliod.client import ClientError

T = TypeVar("T")


class Pager(Generic[T]):
    """Loads the pages of a listing; ``draw`` is called with how far what was seen moves, and which row is current.

    What goes wrong is told to ``wrong``, except for rows beyond an end: they are asked for again with the next key.
    """

    def __init__(
        self,
        listing: Listing,
        fetch: Fetch[T],
        draw: Callable[[int, int | None], None],
        wrong: Callable[[ClientError], None],
        total: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.window = Window[T](fetch)
        self._listing = listing
        self._fetch = fetch
        self._draw = draw
        self._wrong = wrong
        self._total = total
        self._where = ""
        self._moving = OneAtATime(self._move)

    def clear(self) -> None:
        """Forget the rows, which are no longer those that are wanted."""
        self.window = Window[T](self._fetch)

    async def begin(self) -> None:
        """Load the first page of the rows that are wanted now: :meth:`clear` comes before."""
        await self._load(self.window.first, 0)

    async def again(self) -> None:
        """Load anew what is seen."""
        await self._load(partial(self.window.again, self._listing.cursor))

    async def go(self, where: str) -> None:
        """Load the rows that a listing wants: ``next``, ``prev``, ``first`` or ``last``."""
        window = self.window
        match where:
            case "first" if window.is_at_start:
                self._listing.put(0)
            case "last" if window.is_at_end:
                self._listing.put(len(self._listing.rows) - 1)
            case "first":
                await self._load(window.first, 0)
            case "last":
                await self._load(partial(window.last, self._total()), -1)
            case _ if not (window.is_at_end if where == "next" else window.is_at_start):
                self._where = where
                await self._moving.run()
            case _:
                self._listing.end_at(where)

    async def _load(self, load: Callable[[], Awaitable[None]], at: int | None = None) -> None:
        window = self.window
        try:
            await load()
        except ClientError as error:
            self._wrong(error)
            return
        if window is self.window:
            self._draw(0, at)

    async def _move(self) -> None:
        window = self.window
        rows = len(window.items)
        try:
            by = await (window.after() if self._where == "next" else window.before())
        except ClientError:
            return
        if window is self.window and (by or len(window.items) != rows):
            self._draw(by, None)
