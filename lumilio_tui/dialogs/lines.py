"""Names and values, to be read."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lumilio_tui.desk import Desk
from lumilio_tui.text import safe


class Lines(ModalScreen[None]):
    """Show names and values, one pair a line; a name alone is a heading."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Back"),
        Binding("y", "copy", "Copy"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("pagedown,space", "leap(1)", show=False),
        Binding("pageup", "leap(-1)", show=False),
        Binding("g,home", "end(-1)", show=False),
        Binding("G,end", "end(1)", show=False),
    ]

    def __init__(self, desk: Desk, title: str, lines: Sequence[tuple[str, str]], copied: str = "") -> None:
        super().__init__()
        self._desk = desk
        self._title = title
        self._lines = lines
        self._copied = copied

    def compose(self) -> ComposeResult:
        """Lay out the title, what is to be read, and the keys."""
        keys = "Esc back   j k scroll" + ("   y copy" if self._copied else "")
        with Vertical(id="dialog", classes="reading"):
            yield Static(safe(self._title, ascii_only=self._desk.look.ascii_only), id="title", markup=False)
            with VerticalScroll(id="lines", can_focus=False):
                yield Static(self._text(), id="text")
            yield Static(keys, id="answers", markup=False)

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy what can be."""
        if self._copied:
            self._desk.copy(self._copied)

    def action_scroll(self, by: int) -> None:
        """Show more."""
        self.query_one("#lines").scroll_relative(y=by, animate=False)

    def action_leap(self, by: int) -> None:
        """Show the next screen."""
        lines = self.query_one("#lines")
        lines.scroll_relative(y=by * max(1, lines.size.height - 1), animate=False)

    def action_end(self, which: int) -> None:
        """Go to the first or last line."""
        lines = self.query_one("#lines")
        lines.scroll_to(y=0 if which < 0 else lines.max_scroll_y, animate=False)

    def _text(self) -> Text:
        ascii_only = self._desk.look.ascii_only
        width = min(22, max((len(name) for name, value in self._lines if value), default=0))
        text = Text()
        for name, value in self._lines:
            if not value:
                text.append(f"{safe(name, ascii_only=ascii_only)}\n", style="bold")
                continue
            parts = [safe(part, ascii_only=ascii_only) for part in value.split("\n")]
            text.append(f"{safe(name, ascii_only=ascii_only):<{width}}  ", style="dim")
            text.append(("\n" + " " * (width + 2)).join(parts) + "\n")
        return text
