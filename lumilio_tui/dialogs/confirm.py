"""A question before something is done."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lumilio_tui.desk import Question
from lumilio_tui.text import safe


class Confirm(ModalScreen[bool]):
    """Ask; only ``y`` is a yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Lay out the question, what is meant, and the two answers."""
        with Vertical(id="dialog", classes="asking"):
            yield Static(safe(self._question.title), id="title", markup=False)
            if self._question.lines:
                with VerticalScroll(id="lines", can_focus=False):
                    yield Static("\n".join(safe(line) for line in self._question.lines), markup=False)
            yield Static(f"[y] {self._question.yes}   [n] Leave it", id="answers", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Answer."""
        self.dismiss(yes)

    def action_scroll(self, by: int) -> None:
        """Show more of what is meant."""
        for lines in self.query("#lines"):
            lines.scroll_relative(y=by, animate=False)
