"""The heading: which screen is shown, how the daemon is, and that it is away when it is."""

import time
from collections.abc import Sequence
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from lumilio_tui.desk import Desk
from lumilio_tui.known import Known
from lumilio_tui.text import safe


class Heading(Vertical):
    """Two lines at most: the screens, and what is wrong."""

    def __init__(self, known: Known, names: Sequence[str], *, readonly: bool) -> None:
        super().__init__(id="heading")
        self.known = known
        self.is_away = False
        self._names = names
        self._tabs_line = Static(id="tabs")
        self._away_line = Static(id="away", markup=False)
        self._number = 1
        self._readonly = readonly
        self._seen_at: datetime | None = None

    def compose(self) -> ComposeResult:
        """Lay out both lines."""
        yield self._tabs_line
        yield self._away_line

    def on_mount(self) -> None:
        """Draw what is known without asking."""
        self._draw()

    def on_resize(self) -> None:
        """Use the room there is."""
        self._draw()

    def show_number(self, number: int) -> None:
        """Say which screen is shown."""
        self._number = number
        self._draw()

    async def ask(self, desk: Desk) -> None:
        """Ask how the daemon is; the desk shows what goes wrong."""
        known = self.known
        health = await desk.tell(lambda client: client.health())
        if health is not None:
            known.note_health(health)
        if not self.is_away and known.is_due:
            began = time.monotonic()
            status = await desk.tell(lambda client: client.status())
            queues = await desk.tell(lambda client: client.queues()) if status is not None else None
            known.note(status, queues, began, time.monotonic())
        if not self.is_away:
            self._seen_at = desk.look.now()
        self._draw()

    def lost(self, reason: str) -> None:
        """Say that the daemon is away, why, and when it was seen last."""
        self.is_away = True
        seen = f" Last seen {self._seen_at:%H:%M:%S}." if self._seen_at is not None else ""
        self._away_line.update(f"{reason}{seen} Trying again ...")
        self.set_class(True, "-away")
        self._draw()

    def found(self) -> None:
        """Say that the daemon answers."""
        self.is_away = False
        self.known.hasten()
        self.set_class(False, "-away")
        self._draw()

    def _draw(self) -> None:
        self._tabs_line.update(self._tabs(self.size.width or 80), layout=False)

    def _tabs(self, width: int) -> Text:
        right = Text(self._state())
        if self._readonly:
            right.append("  READ-ONLY", style="bold")
        for shorten in (None, 4, 0):
            left = Text(no_wrap=True)
            for number, name in enumerate(self._names, 1):
                label = f"{number} {name if shorten is None else name[:shorten]}".rstrip() + self._badge(name)
                left.append(f" {label} ", style="bold reverse" if number == self._number else "")
            room = width - left.cell_len - right.cell_len - 1
            if room >= 0 or shorten == 0:
                break
        return Text.assemble(left, " " * max(1, room), right, no_wrap=True, overflow="crop")

    def _badge(self, name: str) -> str:
        status = self.known.status
        if status is None:
            return ""
        if name == "Failures" and status.discarded_jobs:
            return f"({status.discarded_jobs})"
        if name == "Repositories" and status.held_repositories:
            return "(!)"
        return ""

    def _state(self) -> str:
        if self.is_away:
            return "away"
        return safe(self.known.health.status) if self.known.health is not None else "asking"
