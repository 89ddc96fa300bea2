"""A table that draws only the rows that are seen: a window into any number of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

GAP = 2
NEAR_ROWS = 60
"""So close to an end of what is loaded, more is asked for."""

TONES = {
    "ok": "good",
    "ready": "good",
    "online": "good",
    "watching": "good",
    "completed": "good",
    "running": "good",
    "degraded": "fair",
    "starting": "fair",
    "polling": "fair",
    "retryable": "fair",
    "paused": "fair",
    "held": "fair",
    "warning": "fair",
    "failed": "bad",
    "stopped": "bad",
    "offline": "bad",
    "discarded": "bad",
    "error": "bad",
    "critical": "bad",
}
"""How words are coloured; they say the same without colour."""


@dataclass(frozen=True)
class Column:
    """A column: ``width`` cells at least, of what is left ``share`` parts; the highest ``drop`` goes first for room.

    Of what is too long the beginning is shown, or the ``tail``.
    """

    title: str
    width: int
    share: int = 0
    right: bool = False
    drop: int = 0
    tail: bool = False


@dataclass(frozen=True)
class Row:
    """A row: what it is known by, and its cells, which are safe to draw."""

    key: str
    cells: tuple[str, ...]


class Listing(Widget, can_focus=True):
    """Rows under headers, one of them current; keys move, Space marks, Enter chooses."""

    DEFAULT_CSS = """
    Listing { height: 1fr; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--head",
        "listing--cursor",
        "listing--cursor-idle",
        "listing--marked",
        "listing--good",
        "listing--fair",
        "listing--bad",
        "listing--old",
        "listing--empty",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False),
        Binding("k,up", "move(-1)", "Up", show=False),
        Binding("pagedown,ctrl+f", "leap(1)", "Page down", show=False),
        Binding("pageup,ctrl+b", "leap(-1)", "Page up", show=False),
        Binding("g,home", "first", "First", show=False),
        Binding("G,end", "last", "Last", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    class Moved(Message):
        """Another row is current."""

        def __init__(self, listing: "Listing") -> None:
            super().__init__()
            self.listing = listing

        @property
        def control(self) -> "Listing":
            """Return the listing, so that handlers can tell them apart."""
            return self.listing

    class Chosen(Moved):
        """The current row was chosen."""

    class Marked(Moved):
        """A row was marked, or no longer is."""

    class Wanting(Moved):
        """Rows beyond an end are wanted: ``next`` or ``prev``, or those at the very ``first`` or ``last``."""

        def __init__(self, listing: "Listing", where: str) -> None:
            super().__init__(listing)
            self.where = where

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "Nothing.",
        marks: bool = False,
        windowed: bool = False,
        named: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=named, classes=classes)
        self.columns = tuple(columns)
        self.empty = empty
        self.rows: list[Row] = []
        self.cursor = 0
        self.top = 0
        self.marked: set[str] = set()
        self.is_old = False
        self._marks = marks
        self._windowed = windowed
        self._owed = 0

    @property
    def current(self) -> Row | None:
        """Return the current row."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    @property
    def key(self) -> str:
        """Return what the current row is known by, nothing when there is none."""
        return self.current.key if self.current else ""

    def show(self, rows: Sequence[Row], *, shift: int = 0, at: int | None = None) -> None:
        """Show other rows; the current one stays current while it is among them.

        Where it is not, its place counts, moved by ``shift``. With ``at`` that row is current, -1 is the last.
        """
        before, height = self.key, self.cursor - self.top
        self.rows = list(rows)
        place = self.cursor + shift
        if at is not None:
            place, self._owed = at % max(1, len(self.rows)), 0
        elif before:
            known = next((number for number, row in enumerate(self.rows) if row.key == before), None)
            place = place if known is None else known
        self.cursor = max(0, min(place, len(self.rows) - 1))
        self.top = self.cursor - height
        self._settle()
        if self.key != before:
            self.post_message(self.Moved(self))
        owed, self._owed = self._owed, 0
        if owed and self.key == before:
            self.put(self.cursor + owed)
        else:
            self._want()

    def put(self, cursor: int) -> None:
        """Make a row the current one."""
        before = self.key
        self.cursor = max(0, min(cursor, len(self.rows) - 1))
        # what lies beyond the rows that are loaded is gone to when they are
        self._owed = cursor - self.cursor if self._windowed else 0
        self._settle()
        if self.key != before:
            self.post_message(self.Moved(self))
        self._want()

    def _want(self) -> None:
        if self._windowed:
            if self.cursor >= len(self.rows) - NEAR_ROWS:
                self.post_message(self.Wanting(self, "next"))
            if self.cursor < NEAR_ROWS:
                self.post_message(self.Wanting(self, "prev"))

    def grow_old(self, is_old: bool) -> None:
        """Draw what is known of before in grey."""
        if is_old is not self.is_old:
            self.is_old = is_old
            self.refresh()

    def action_move(self, by: int) -> None:
        """Go a row down or up."""
        self.put(self.cursor + by)

    def action_leap(self, by: int) -> None:
        """Go a screen down or up."""
        self.put(self.cursor + by * max(1, self._room - 1))

    def action_first(self) -> None:
        """Go to the first row of all."""
        if self._windowed:
            self.post_message(self.Wanting(self, "first"))
        else:
            self.put(0)

    def action_last(self) -> None:
        """Go to the last row of all."""
        if self._windowed:
            self.post_message(self.Wanting(self, "last"))
        else:
            self.put(len(self.rows) - 1)

    def action_mark(self) -> None:
        """Mark the current row, or no longer, and go on to the next."""
        if self._marks and self.key:
            self.marked ^= {self.key}
            self.put(self.cursor + 1)
            self.refresh()
            self.post_message(self.Marked(self))

    def action_choose(self) -> None:
        """Choose the current row."""
        if self.current:
            self.post_message(self.Chosen(self))

    def on_click(self, event: Click) -> None:
        """Make the row that was clicked the current one; choose it when it is already."""
        place = event.get_content_offset(self)
        if place is None or place.y < 1:
            return
        number = self.top + place.y - 1
        if number < len(self.rows):
            if number == self.cursor and event.chain > 1:
                self.action_choose()
            self.put(number)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Go down by the wheel."""
        event.stop()
        self.put(self.cursor + 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Go up by the wheel."""
        event.stop()
        self.put(self.cursor - 3)

    def on_resize(self) -> None:
        """Keep the current row in sight."""
        self._settle()

    @property
    def _room(self) -> int:
        return max(1, self.size.height - 1)

    def _settle(self) -> None:
        self.top = max(self.cursor - self._room + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, len(self.rows) - self._room))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width = self.size.width
        base = self.rich_style
        if y == 0:
            style = base + self.get_component_rich_style("listing--head", partial=True)
            titles = [column.title for column in self.columns]
            return Strip(
                [Segment("  " if self._marks else "", style), *self._cells(titles, style)], None
            ).adjust_cell_length(width, style)
        number = self.top + y - 1
        if number >= len(self.rows):
            if y == 1 and not self.rows:
                style = base + self.get_component_rich_style("listing--empty", partial=True)
                return Strip([Segment(self.empty, style)]).adjust_cell_length(width, base)
            return Strip.blank(width, base)
        return self._row(self.rows[number], number, base).adjust_cell_length(width, self._style(number, base))

    def _row(self, row: Row, number: int, base: Style) -> Strip:
        style = self._style(number, base)
        segments = []
        if self._marks:
            segments.append(Segment("* " if row.key in self.marked else "  ", style))
        return Strip([*segments, *self._cells(row.cells, style, tinted=not self.is_old and number != self.cursor)])

    def _style(self, number: int, base: Style) -> Style:
        names = []
        if self.is_old:
            names.append("listing--old")
        elif self.rows[number].key in self.marked:
            names.append("listing--marked")
        if number == self.cursor:
            names.append("listing--cursor" if self.has_focus else "listing--cursor-idle")
        for name in names:
            base += self.get_component_rich_style(name, partial=True)
        return base

    def _cells(self, cells: Sequence[str], style: Style, *, tinted: bool = False) -> list[Segment]:
        drawn: list[Segment] = []
        for column, width, cell in zip(self.columns, self._widths(), cells, strict=True):
            if width <= 0:
                continue
            tone = TONES.get(cell) if tinted else None
            shown = style + self.get_component_rich_style(f"listing--{tone}", partial=True) if tone else style
            text = cell
            if cell_len(cell) > width:
                text = cell[-width:] if column.tail else set_cell_size(cell, width - 1) + "~"
            room = " " * (width - cell_len(text))
            drawn.append(Segment(room + text if column.right else text + room, shown))
            drawn.append(Segment(" " * GAP, style))
        return drawn

    def _widths(self) -> list[int]:
        """Return how wide each column is, 0 for those there is no room for."""
        room = self.size.width - (2 if self._marks else 0)
        shown = set(range(len(self.columns)))
        by_drop = sorted(shown, key=lambda number: (self.columns[number].drop, number), reverse=True)
        while len(shown) > 1 and sum(self.columns[n].width + GAP for n in shown) - GAP > room:
            dropped = by_drop.pop(0)
            if not self.columns[dropped].drop:
                break
            shown.discard(dropped)
        left = max(0, room - (sum(self.columns[n].width + GAP for n in shown) - GAP))
        shares = sum(self.columns[n].share for n in shown)
        return [
            column.width + (left * column.share // shares if shares else 0) if number in shown else 0
            for number, column in enumerate(self.columns)
        ]
