"""A table that draws only the rows that are seen: a window into any number of them."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from lumilio_tui.widgets.rows import Column, Row, line, widths

NEAR_ROWS = 60
"""So close to an end of what is loaded, more is asked for."""

KEPT_LINES = 2000
"""So many drawn lines are kept, for they are drawn again and again as somebody goes up and down."""


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
        """The current row was chosen; there is none where rows are still asked for."""

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
        self._base = Style()
        self._room_wide = -1
        self._widths: list[int] = []
        self._styles_by_name: dict[str, Style] = {}
        self._lines: LRUCache[tuple[Row, bool, bool, bool], Strip] = LRUCache(KEPT_LINES)

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
        seen = self._seen
        self.rows = list(rows)
        place = self.cursor + shift
        if at is not None:
            place, self._owed = at % max(1, len(self.rows)), 0
        elif before:
            known = next((number for number, row in enumerate(self.rows) if row.key == before), None)
            place = place if known is None else known
        self.cursor = max(0, min(place, len(self.rows) - 1))
        self.top = self.cursor - height
        self._settle(seen)
        if self.key != before:
            self.post_message(self.Moved(self))
        owed, self._owed = self._owed, 0
        if owed and self.key == before:
            self.put(self.cursor + owed)
        else:
            self._want()

    def put(self, cursor: int) -> None:
        """Make a row the current one."""
        before, seen = self.key, self._seen
        self.cursor = max(0, min(cursor, len(self.rows) - 1))
        # what lies beyond the rows that are loaded is gone to when they are
        self._owed = cursor - self.cursor if self._windowed else 0
        self._settle(seen)
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
        self._go(by)

    def action_leap(self, by: int) -> None:
        """Go a screen down or up."""
        self._go(by * max(1, self._room - 1))

    def _go(self, by: int) -> None:
        # keys that came faster than rows are not lost, unless somebody turns round
        self.put(self.cursor + by + (self._owed if self._owed * by > 0 else 0))

    def end_at(self, where: str) -> None:
        """Go no further than the rows that are loaded: ``next`` or ``prev`` there are none."""
        if (self._owed > 0) is (where == "next"):
            self._owed = 0

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
        self._settle(())

    @property
    def _room(self) -> int:
        return max(1, self.size.height - 1)

    @property
    def _seen(self) -> list[tuple[Row, bool]]:
        """Return the rows that are seen, and which is the current one."""
        return [(row, n == self.cursor) for n, row in enumerate(self.rows[self.top : self.top + self._room], self.top)]

    def _settle(self, seen: Sequence[tuple[Row, bool]]) -> None:
        """Keep the current row in sight, and have those lines drawn that show something else than ``seen``."""
        self.top = max(self.cursor - self._room + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, len(self.rows) - self._room))
        now = self._seen
        if not seen or not now:
            self.refresh()
            return
        changed = [y for y in range(max(len(seen), len(now))) if seen[y : y + 1] != now[y : y + 1]]
        if changed:
            self.refresh(*(Region(0, y + 1, self.size.width, 1) for y in changed))

    # drawing: what was drawn is kept, and only lines that have changed are drawn again

    def notify_style_update(self) -> None:
        """Draw everything anew: a theme, a class or the focus has changed."""
        super().notify_style_update()
        self._forget()

    def _forget(self) -> None:
        self._styles_by_name.clear()
        self._lines.clear()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw some lines, in the colours there are now."""
        base, room = self.rich_style, self.size.width - (2 if self._marks else 0)
        if (base, room) != (self._base, self._room_wide):
            self._base, self._room_wide = base, room
            self._widths = widths(self.columns, room)
            self._forget()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width, base = self.size.width, self._base
        number = self.top + y - 1
        if y == 0:
            style = base + self._named("head")
            titles = [column.title for column in self.columns]
            mark = "  " if self._marks else ""
            return line(self.columns, self._widths, titles, style, mark=mark).adjust_cell_length(width, style)
        if number < len(self.rows):
            return self._row(self.rows[number], number == self.cursor)
        if y == 1 and not self.rows:
            return Strip([Segment(self.empty, base + self._named("empty"))]).adjust_cell_length(width, base)
        return Strip.blank(width, base)

    def _row(self, row: Row, is_current: bool) -> Strip:
        is_marked = row.key in self.marked
        looks = (row, is_marked, is_current, self.is_old)
        drawn = self._lines.get(looks)
        if drawn is None:
            style = self._base
            if self.is_old:
                style += self._named("old")
            elif is_marked:
                style += self._named("marked")
            if is_current:
                style += self._named("cursor" if self.has_focus else "cursor-idle")
            mark = ("* " if is_marked else "  ") if self._marks else ""
            toned = None if self.is_old or is_current else self._named
            drawn = line(self.columns, self._widths, row.cells, style, mark=mark, toned=toned)
            drawn = self._lines[looks] = drawn.adjust_cell_length(self.size.width, style)
        return drawn

    def _named(self, name: str) -> Style:
        found = self._styles_by_name.get(name)
        if found is None:
            found = self._styles_by_name[name] = self.get_component_rich_style(f"listing--{name}", partial=True)
        return found
