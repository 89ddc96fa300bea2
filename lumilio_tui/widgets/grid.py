"""A grid of pictures with a line below each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import pictures

CELL = (24, 10)
"""A cell's least width and height, in characters; its picture is two lines lower, for its frame and its name."""


@dataclass(frozen=True)
class Tile:
    """A cell: what it is known by, the line below it, and what is said where there is no picture."""

    key: str
    line: str
    instead: str = ""


class Cell(Vertical):
    """One picture and its line."""

    def __init__(self, kind: str) -> None:
        super().__init__(classes="cell")
        self.key = ""
        self._shown: bytes | None = None
        self._picture = pictures.picture(kind) if kind != "none" else None
        self._instead = Static(classes="instead", markup=False)
        self._line = Static(classes="line", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out the picture's place and the line."""
        with Container(classes="frame"):
            if self._picture is not None:
                yield self._picture
            yield self._instead
        yield self._line

    def show(self, tile: Tile | None) -> None:
        """Show a tile, or nothing."""
        key = tile.key if tile else ""
        if key != self.key:
            self.key = key
            self.show_picture(None)
        self._line.update(tile.line if tile else "")
        self._instead.update(tile.instead if tile else "")

    def show_picture(self, data: bytes | None) -> None:
        """Show a picture file, or what is said instead of one."""
        if data is self._shown:
            return
        self._shown = data
        if self._picture is not None:
            has_picture = pictures.put(self._picture, data) and data is not None
            self.set_class(has_picture, "-pictured")


class Grid(Widget, can_focus=True):
    """Tiles in rows, as many as there is room for, one of them current."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "move(-1)", show=False),
        Binding("l,right", "move(1)", show=False),
        Binding("j,down", "step(1)", show=False),
        Binding("k,up", "step(-1)", show=False),
        Binding("pagedown", "turn(1)", show=False),
        Binding("pageup", "turn(-1)", show=False),
        Binding("g,home", "begin", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    class Moved(Message):
        """Another tile is current."""

    class Chosen(Message):
        """The current tile was chosen."""

    class Turned(Message):
        """The next page is wanted (1), the one before (-1), or the first (0)."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Resized(Message):
        """There is room for another number of tiles."""

    def __init__(self, kind: str, *, named: str | None = None) -> None:
        super().__init__(id=named)
        self._kind = kind
        self.cursor = 0
        self.tiles: list[Tile] = []
        self.marked: set[str] = set()
        self._shape = (0, 0)

    @property
    def capacity(self) -> int:
        """Return how many tiles there is room for."""
        return self._shape[0] * self._shape[1]

    @property
    def key(self) -> str:
        """Return what the current tile is known by."""
        return self.tiles[self.cursor].key if self.cursor < len(self.tiles) else ""

    async def on_resize(self, event: events.Resize) -> None:
        """Make as many cells as there is room for."""
        least = (CELL[0], 3) if self._kind == "none" else CELL
        shape = (max(1, event.size.width // least[0]), max(1, event.size.height // least[1]))
        if shape == self._shape:
            return
        self._shape = shape
        self.styles.grid_size_columns, self.styles.grid_size_rows = shape
        async with self.batch():
            await self.remove_children()
            await self.mount_all([Cell(self._kind) for _ in range(self.capacity)])
        self.post_message(self.Resized())

    def show(self, tiles: Sequence[Tile], *, cursor: int | None = None) -> None:
        """Show other tiles; the current one stays so while it is among them."""
        before = self.key
        self.tiles = list(tiles)[: self.capacity]
        keys = [tile.key for tile in self.tiles]
        place = self.cursor if cursor is None else cursor
        self.cursor = keys.index(before) if cursor is None and before in keys else place
        self.cursor = max(0, min(self.cursor, len(self.tiles) - 1))
        for number, cell in enumerate(self.query(Cell)):
            cell.show(self.tiles[number] if number < len(self.tiles) else None)
        self._draw()
        self.post_message(self.Moved())

    def show_picture(self, key: str, data: bytes | None) -> None:
        """Show the picture of a tile, if it is still there."""
        for cell in self.query(Cell):
            if cell.key == key:
                cell.show_picture(data)

    def on_click(self, event: events.Click) -> None:
        """Make the tile that was clicked the current one."""
        for number, cell in enumerate(self.query(Cell)):
            if cell.region.contains(event.screen_x, event.screen_y) and number < len(self.tiles):
                self._put(number)
                if event.chain > 1:
                    self.action_choose()

    def action_move(self, by: int) -> None:
        """Go to the next tile or the one before, on other pages, too."""
        self._put(self.cursor + by)

    def action_step(self, by: int) -> None:
        """Go a row down or up, on other pages, too."""
        self._put(self.cursor + by * self._shape[0])

    def action_turn(self, by: int) -> None:
        """Go to another page."""
        self.post_message(self.Turned(by))

    def action_begin(self) -> None:
        """Go to the first page."""
        self.post_message(self.Turned(0))

    def action_mark(self) -> None:
        """Mark the current tile, or no longer, and go on to the next."""
        if self.key:
            self.marked ^= {self.key}
            if self.cursor + 1 < len(self.tiles):
                self.cursor += 1
            self._draw()
            self.post_message(self.Moved())

    def action_choose(self) -> None:
        """Choose the current tile."""
        if self.key:
            self.post_message(self.Chosen())

    def _put(self, cursor: int) -> None:
        if cursor < 0:
            self.post_message(self.Turned(-1))
        elif cursor >= len(self.tiles):
            if self.tiles and len(self.tiles) == self.capacity:
                self.post_message(self.Turned(1))
            else:
                self.cursor = max(0, len(self.tiles) - 1)
        else:
            self.cursor = cursor
        self._draw()
        self.post_message(self.Moved())

    def _draw(self) -> None:
        for number, cell in enumerate(self.query(Cell)):
            cell.set_class(number == self.cursor and bool(self.tiles), "-current")
            cell.set_class(bool(cell.key) and cell.key in self.marked, "-marked")
            cell.set_class(number >= len(self.tiles), "-empty")
