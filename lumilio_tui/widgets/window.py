"""A window of pages into any number of rows that the daemon has in an order."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

PAGES = 6
"""So many pages are kept; what lies further away is asked for again when somebody goes there."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows, and the cursors of what lies beyond them."""

    items: Sequence[T]
    next: str | None = None
    prev: str | None = None


@dataclass(frozen=True)
class _Loaded(Generic[T]):
    page: Page[T]
    cursor: str | None
    last: bool


Fetch = Callable[[str | None, bool], Awaitable[Page[T]]]
"""Return the page of a cursor; without one the first, or the last."""


@dataclass
class Window(Generic[T]):
    """Pages that follow each other. ``above`` counts the rows before them, None where nobody knows."""

    fetch: Fetch[T]
    above: int | None = 0
    _pages: list[_Loaded[T]] = field(default_factory=list[_Loaded[T]])

    @property
    def items(self) -> list[T]:
        """Return all rows of the window."""
        return [item for loaded in self._pages for item in loaded.page.items]

    @property
    def is_at_start(self) -> bool:
        """Tell whether nothing comes before."""
        return not self._pages or self._pages[0].page.prev is None

    @property
    def is_at_end(self) -> bool:
        """Tell whether nothing comes after."""
        return not self._pages or self._pages[-1].page.next is None

    async def first(self) -> None:
        """Go to the beginning."""
        self._pages = [_Loaded(await self.fetch(None, False), None, False)]
        self.above = 0

    async def last(self, total: int | None = None) -> None:
        """Go to the end of ``total`` rows."""
        page = await self.fetch(None, True)
        self._pages = [_Loaded(page, None, True)]
        self.above = 0 if page.prev is None else None if total is None else max(0, total - len(page.items))

    async def after(self) -> int:
        """Load the page that follows; return by how many rows what was seen moves up."""
        if self.is_at_end:
            return 0
        cursor = self._pages[-1].page.next
        page = await self.fetch(cursor, False)
        if not self._pages or self._pages[-1].page.next != cursor:
            return 0  # somebody went elsewhere meanwhile
        self._pages.append(_Loaded(page, cursor, False))
        if len(self._pages) <= PAGES:
            return 0
        gone = len(self._pages.pop(0).page.items)
        self.above = None if self.above is None else self.above + gone
        return -gone

    async def before(self) -> int:
        """Load the page that precedes; return by how many rows what was seen moves down."""
        if self.is_at_start:
            return 0
        cursor = self._pages[0].page.prev
        page = await self.fetch(cursor, False)
        if not self._pages or self._pages[0].page.prev != cursor:
            return 0
        self._pages.insert(0, _Loaded(page, cursor, False))
        if page.prev is None:
            self.above = 0
        elif self.above is not None:
            self.above = max(0, self.above - len(page.items))
        if len(self._pages) > PAGES:
            self._pages.pop()
        return len(page.items)

    async def again(self, row: int) -> None:
        """Ask anew for the pages around ``row``; pages that no longer join them are let go."""
        if not self._pages:
            await self.first()
            return
        start = 0
        for old in list(self._pages):
            end = start + len(old.page.items)
            if start - 1 <= row <= end:
                page = await self.fetch(old.cursor, old.last)
                if old not in self._pages:
                    return  # somebody went elsewhere meanwhile
                self._replace(self._pages.index(old), _Loaded(page, old.cursor, old.last))
            start = end

    def _replace(self, number: int, new: _Loaded[T]) -> None:
        old = self._pages[number]
        before, after = self._pages[:number], self._pages[number + 1 :]
        if new.page.next != old.page.next:
            after = []
        if new.page.prev != old.page.prev and before:
            gone = sum(len(loaded.page.items) for loaded in before)
            self.above = None if self.above is None else self.above + gone
            before = []
        self._pages = [*before, new, *after]
