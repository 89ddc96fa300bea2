"""The keys, and what they do here."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lumilio_tui.desk import Verb

EVERYWHERE = (
    ("1-6", "screens: Overview, Jobs, Failures, Repositories, Library, Logs"),
    ("j k, arrows", "down, up; PgDn PgUp a screen; g G first, last"),
    ("Tab", "to the next part of the screen"),
    ("Enter", "open"),
    ("Space", "mark"),
    ("/", "filter; Esc shows everything again"),
    (":", "command palette: everything that can be done"),
    ("y", "copy"),
    ("Ctrl-R", "ask the daemon now"),
    ("?", "this help"),
    ("Esc", "back"),
    ("q", "quit"),
)


class Help(ModalScreen[None]):
    """Show the keys of a screen and those of all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "leave", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("pagedown,space", "scroll(10)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
    ]

    def __init__(self, name: str, verbs: Sequence[Verb], filter_hint: str) -> None:
        super().__init__()
        self._screen_name = name
        self._verbs = verbs
        self._filter_hint = filter_hint

    def compose(self) -> ComposeResult:
        """Lay out the keys."""
        with Vertical(id="dialog", classes="reading"):
            yield Static(f"Keys: {self._screen_name}", id="title", markup=False)
            with VerticalScroll(id="lines", can_focus=False):
                yield Static(self._text(), id="text")
            yield Static("Esc back   j k scroll", id="answers", markup=False)

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        """Show more."""
        self.query_one("#lines").scroll_relative(y=by, animate=False)

    def _text(self) -> Text:
        text = Text()
        here = [(verb.keys, verb.help) for verb in self._verbs if verb.keys]
        if self._filter_hint:
            here.append(("/", f"filter: {self._filter_hint}"))
        for heading, keys in ((self._screen_name, here), ("Everywhere", EVERYWHERE)):
            text.append(f"{heading}\n", style="bold")
            for key, what in keys:
                text.append(f"  {key:<12} ", style="bold")
                text.append(f"{what}\n")
        return text
