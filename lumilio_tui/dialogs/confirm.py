"""A question before something is done."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lumilio_tui.desk import Desk, Prepared, Question
from lumilio_tui.text import safe


class Confirm(ModalScreen[bool]):
    """Ask; only ``y`` is a yes, and only once what is meant is seen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("pagedown,space", "scroll(10)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
    ]

    def __init__(self, desk: Desk, question: Question | Prepared) -> None:
        super().__init__()
        self._desk = desk
        self._question = question if isinstance(question, Question) else None
        self._prepared = None if isinstance(question, Question) else question

    def compose(self) -> ComposeResult:
        """Lay out the question, what is meant, and the two answers."""
        with Vertical(id="dialog", classes="asking"):
            yield Static("Asking lumiliod what is meant ...", id="title", markup=False)
            with VerticalScroll(id="lines", can_focus=False) as lines:
                lines.display = False
                yield Static(id="text", markup=False)
            yield Static("[n] Leave it", id="answers", markup=False)

    def on_mount(self) -> None:
        """Show the question, or ask what it is."""
        if self._question is not None:
            self._draw(self._question)
        elif self._prepared is not None:
            self._prepare(self._prepared)

    @work
    async def _prepare(self, prepared: Prepared) -> None:
        question = await prepared()
        if not self.is_current:
            return
        if question is None:
            self.dismiss(False)
            return
        self._draw(question)
        self._question = question

    def _draw(self, question: Question) -> None:
        self.query_one("#title", Static).update(self._safe(question.title))
        self.query_one("#text", Static).update("\n".join(self._safe(line) for line in question.lines))
        self.query_one("#lines").display = bool(question.lines)
        self.query_one("#answers", Static).update(f"[y] {question.yes}   [n] Leave it")

    def action_answer(self, yes: bool) -> None:
        """Answer; nobody says yes to what is not there yet."""
        if not yes or self._question is not None:
            self.dismiss(yes)

    def action_scroll(self, by: int) -> None:
        """Show more of what is meant."""
        self.query_one("#lines").scroll_relative(y=by, animate=False)

    def _safe(self, text: str) -> str:
        return safe(text, ascii_only=self._desk.look.ascii_only)
