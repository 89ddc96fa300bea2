"""The daemon's log: followed, by level, by words."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import log_source
from lumilio_tui.desk import Desk, Verb
from lumilio_tui.log_source import LEVELS, Entry, Follower, NoLog
from lumilio_tui.text import safe
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.rows import Column, Row

KEPT = 5000
"""So many lines are kept."""


@dataclass(frozen=True)
class _Kept:
    """A line, how it is drawn, and what a filter looks into."""

    entry: Entry
    row: Row
    words: str


class Logs(Vertical):
    """Lines of the log, the newest last; ``p`` stops following, ``v`` changes the least level."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Follow"),
        Binding("v", "level", "Level"),
    ]
    filter_hint = "part of a line"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._parts = Parts(_make())
        self._text = ""
        self._level = 1
        self._follows = True
        self._kept: deque[_Kept] = deque(maxlen=KEPT)
        self._number = 0
        self._is_drawn = True
        self._follower: Follower | None = None
        self._trouble = ""

    def compose(self) -> ComposeResult:
        """Lay out what is shown, and the lines."""
        yield from self._parts

    @property
    def narrowed(self) -> str:
        """Return what lines must contain."""
        return self._text

    def verbs(self) -> list[Verb]:
        """Return what can be done with the log."""
        return [
            Verb(
                "Logs: follow or not",
                "stay with the newest line, or where you are",
                self.action_pause,
                changes=False,
                keys="p",
            ),
            Verb(
                "Logs: level", "the least level that is shown: the next one", self.action_level, changes=False, keys="v"
            ),
            Verb("Logs: copy line", "copy the current line", self.copy, changes=False, keys="y"),
        ]

    def reload(self) -> None:
        """Begin to read, once, and draw what came while other screens were shown."""
        if not self._is_drawn:
            self._draw()
        if self._follower is None:
            self._follower = Follower(self._desk.log_file, self._take, self._miss)
            self._follower.start()
            self._draw_shown()

    async def load(self) -> None:
        """Begin to read."""
        self.reload()
        await asyncio.sleep(0)

    async def on_unmount(self) -> None:
        """Read no more."""
        if self._follower is not None:
            await self._follower.stop()

    def _take(self, lines: Iterable[str]) -> None:
        self._trouble = ""
        ascii_only = self._desk.look.ascii_only
        for line in lines:
            self._number += 1
            found = log_source.entry(line)
            told = _line(found)
            row = Row(str(self._number), (found.at, found.level, safe(told, ascii_only=ascii_only)))
            self._kept.append(_Kept(found, row, told.casefold()))
        self._is_drawn = False
        if self.is_mounted and self.display:
            self._draw()

    def _miss(self, why: str) -> None:
        self._trouble = why
        if self.is_mounted:
            self._draw_shown()

    def grow_old(self, is_old: bool) -> None:
        """Do nothing: the log is read beside the daemon."""

    def narrow(self, text: str) -> None:
        """Show only the lines that contain ``text``."""
        self._text = text
        self._draw()

    def go_back(self) -> bool:
        """Follow again."""
        if self._follows:
            return False
        self.action_pause()
        return True

    def action_pause(self) -> None:
        """Stop following, or follow again."""
        self._follows = not self._follows
        self._draw()

    def action_level(self) -> None:
        """Show only what is of the next level or graver."""
        self._level = (self._level + 1) % len(LEVELS)
        self._draw()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        """Stop following when the person goes elsewhere, and follow again at the end."""
        listing = event.listing
        is_last = listing.cursor >= len(listing.rows) - 1
        if listing.has_focus and self._follows is not is_last:
            self._follows = is_last
            self._draw_shown()

    def on_listing_chosen(self) -> None:
        """Show the whole line."""
        self._open()

    @work
    async def _open(self) -> None:
        if found := self._current():
            lines = [("Time", found.at or "-"), ("Level", found.level), ("Message", found.message), *found.fields]
            await self._desk.show_lines("Log", lines, _line(found))

    def copy(self) -> None:
        """Copy the current line."""
        if found := self._current():
            self._desk.copy(_line(found))

    @property
    def _listing(self) -> Listing:
        return self._parts.listing("log")

    def _current(self) -> Entry | None:
        row = self._listing.current
        return next((kept.entry for kept in self._kept if kept.row is row), None)

    def _draw(self) -> None:
        self._is_drawn = True
        wanted, levels = self._text.casefold(), frozenset(LEVELS[self._level :])
        rows = [kept.row for kept in self._kept if kept.entry.level in levels and wanted in kept.words]
        follows = self._follows
        self._listing.show(rows)
        if follows:
            self._listing.put(len(rows) - 1)
            self._follows = True
        self._draw_shown()

    def _draw_shown(self) -> None:
        if self._trouble:
            told = self._trouble
        else:
            try:
                told = log_source.source(self._desk.log_file)
            except NoLog as error:
                told = str(error)
            told += f"   {LEVELS[self._level]} and graver   {'following' if self._follows else 'not following'}"
        self._parts.line("shown").update(safe(told, ascii_only=self._desk.look.ascii_only), layout=False)


def _line(found: Entry) -> str:
    fields = " ".join(f"{name}={value}" for name, value in found.fields if name != "traceback")
    return f"{found.message} {fields}".rstrip()


def _make() -> Iterator[Widget]:
    yield Static(id="shown", markup=False)
    yield Listing(
        (Column("Time", 8, drop=1), Column("Level", 8), Column("Message", 20, 1)),
        named="log",
        classes="part",
        empty="No lines yet.",
    )
