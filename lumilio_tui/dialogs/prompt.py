"""A line of text that a person gives."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class Prompt(ModalScreen[str | None]):
    """Ask for a line; Enter gives it, Esc gives none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave it")]

    def __init__(self, title: str, value: str = "", hint: str = "") -> None:
        super().__init__()
        self._title = title
        self._line = Input(value, placeholder=hint, select_on_focus=False)

    def compose(self) -> ComposeResult:
        """Lay out the title and the line."""
        with Vertical(id="dialog", classes="line"):
            yield Static(self._title, id="title", markup=False)
            yield self._line

    def on_key(self, event: Key) -> None:
        """Take what is typed before the line has the focus, too."""
        if not self._line.has_focus and event.is_printable and event.character:
            event.stop()
            self._line.value += event.character
            self._line.cursor_position = len(self._line.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the line."""
        event.stop()
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """Give none."""
        self.dismiss(None)
