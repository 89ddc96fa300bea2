"""The console: six screens over one client of the daemon."""

import asyncio
import grp
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar, cast

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Footer, Static

from lumilio_tui.asking import CHANGE_S, Asker, OneAtATime
from lumilio_tui.commands import everywhere
from lumilio_tui.desk import Look, Prepared, Question, Verb, View
from lumilio_tui.dialogs.asset import AssetView
from lumilio_tui.dialogs.confirm import Confirm
from lumilio_tui.dialogs.folders import FolderPicker
from lumilio_tui.dialogs.help import Help
from lumilio_tui.dialogs.lines import Lines
from lumilio_tui.dialogs.prompt import Prompt
from lumilio_tui.heading import Heading
from lumilio_tui.hearing import Ear
from lumilio_tui.known import Known
from lumilio_tui.palette import Verbs
from lumilio_tui.screens import SCREENS
from lumilio_tui.text import safe
from lumiliod.client import Client, ClientError, Unreachable
from lumiliod.contract.assets import AssetDetail
from lumiliod.contract.repositories import NewRepository

T = TypeVar("T")

TICK_S = 2.0
"""How often a screen asks anew; what costs the daemon more is asked for more seldom."""

SOON_S = 0.3
"""How long after something happened the daemon is asked: what happens then, too, is seen at once."""

WRONG_S = 5.0
"""How long it is said what went wrong, unless it does again."""

SMALL = (40, 12)
"""Below so many columns and rows nothing can be shown that helps."""

GROUP = "lumilio-admin"


class Console(App[None]):
    """Show what the daemon on ``socket`` says, and have it do things."""

    TITLE = "Lumilio"
    CSS_PATH = "lumilio.tcss"
    COMMANDS: ClassVar = {Verbs}
    COMMAND_PALETTE_BINDING = "colon"
    COMMAND_PALETTE_DISPLAY = ":"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"go({number})", name, show=False) for number, (name, _) in enumerate(SCREENS, 1)),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("colon", "command_palette", "Command", key_display=":"),
        Binding("slash", "narrow", "Filter", key_display="/"),
        Binding("y", "copy", "Copy", show=False),
        Binding("escape", "step_back", "Back", show=False),
        Binding("ctrl+r", "refresh", "Ask anew", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self, socket: str, *, readonly: bool = False, look: Look | None = None, log_file: str | None = None
    ) -> None:
        super().__init__()
        self.look = look or Look()
        self.readonly = readonly
        self.log_file = log_file
        self.asker = Asker(socket)
        self.views: list[View] = []
        self.number = 1
        self._wrong_at = 0.0
        self.heard = 0
        """How many events were heard."""
        self._is_due = False
        self._ear = Ear(self.asker.client, self._hear)
        self._ticking = OneAtATime(self._tick)
        self._is_small = False
        self.known = Known()
        self._heading = Heading(self.known, [name for name, _ in SCREENS], readonly=readonly)

    # layout

    def compose(self) -> ComposeResult:
        """Lay out the heading, the screens one above the other, and the keys."""
        with Vertical(id="whole"):
            yield self._heading
            with ContentSwitcher(initial="screen-1", id="screens"):
                for number, (_, make) in enumerate(SCREENS, 1):
                    view = make(self)
                    self.views.append(cast(View, view))
                    view.id = f"screen-{number}"
                    yield view
            yield Static(id="wrong", markup=False)
            yield Footer(show_command_palette=False, compact=True)
        yield Static(id="small", markup=False)

    def on_mount(self) -> None:
        """Show the first screen and begin to ask."""
        self.set_class(self.look.ascii_only, "-ascii")
        self.action_go(1)
        self.tick()
        self.set_interval(TICK_S, self.tick)
        self._ear.start()

    async def on_unmount(self) -> None:
        """Close the connections."""
        self._ear.stop()
        await self.asker.close()

    def on_resize(self, event: Resize) -> None:
        """Say so where there is no room, instead of drawing scraps."""
        width, height = event.size
        self._is_small = width < SMALL[0] or height < SMALL[1]
        self.screen_stack[0].set_class(self._is_small, "-small")
        self.screen_stack[0].set_class(width < 110, "-narrow")
        needed = f"Lumilio needs\n{SMALL[0]}x{SMALL[1]} characters;\nhere are {width}x{height}.\nq quits."
        for small in self.screen_stack[0].query("#small").results(Static):
            small.update(needed)

    @property
    def view(self) -> View:
        """Return the screen that is shown."""
        return self.views[self.number - 1]

    # asking

    def _hear(self, event: str) -> None:
        self.heard += 1
        if not self._is_due and self.is_running:
            self._is_due = True
            self.set_timer(SOON_S, self._look)

    def _look(self) -> None:
        # counts that are not due yet are asked for when they are
        wait_s = self.known.due_in_s
        self._is_due = wait_s > 0
        if self._is_due:
            self.set_timer(wait_s + SOON_S, self._look)
        self.tick()

    def tick(self) -> None:
        """Ask anew, unless an answer is still awaited."""
        if len(self.screen_stack) == 1 or self._heading.is_away:
            self.view.reload()
        self._run_tick()

    @work
    async def _run_tick(self) -> None:
        await self._ticking.run()

    async def _tick(self) -> None:
        if time.monotonic() > self._wrong_at + WRONG_S:
            self._wrong("")
        await self._heading.ask(self)

    async def ask(self, question: Callable[[Client], T], *, patience_s: float | None = None) -> T:
        """Ask the daemon, and note whether it answers."""
        try:
            answer = await self.asker.ask(question, patience_s=patience_s)
        except Unreachable as error:
            self._lost(error)
            raise
        self._found()
        return answer

    async def tell(self, question: Callable[[Client], T]) -> T | None:
        """Ask, and show what went wrong as a line."""
        try:
            return await self.ask(question)
        except ClientError as error:
            self.note(error)
            return None

    def note(self, error: ClientError) -> None:
        """Show what went wrong as a line; what nobody answered the heading says."""
        if not isinstance(error, Unreachable):
            self._wrong(str(error))

    async def act(self, does: Callable[[Client], str], *, question: Question | Prepared | None = None) -> bool:
        """Have something done; see :class:`lumilio_tui.desk.Desk`."""
        if self.refuses():
            return False
        if question is not None and not await self._show(Confirm(self, question)):
            return False
        try:
            told = await self.ask(does, patience_s=CHANGE_S)
        except ClientError as error:
            self.say(str(error), wrong=True)
            return False
        finally:
            self.known.hasten()
            self.action_refresh()
        self.say(told)
        return True

    def refuses(self) -> bool:
        """Say, in read-only mode and where nothing can be shown, that nothing is changed, and return True."""
        if self.readonly:
            self.say("Read-only: nothing is changed. Start lumilio-tui without --readonly for that.", wrong=True)
        elif self._is_small:
            self.say("Nothing is changed that cannot be seen.", wrong=True)
        return self.readonly or self._is_small

    def _found(self) -> None:
        if self._heading.is_away:
            self._heading.found()
            self._grow_old(False)
            self.view.reload()

    def _lost(self, error: Unreachable) -> None:
        if not self._heading.is_away:
            self._grow_old(True)
        reason = str(error)
        if error.problem.code == "socket_forbidden":
            reason += f" {helpful(self.asker.socket)}"
        self._heading.lost(safe(reason, ascii_only=self.look.ascii_only))

    def _grow_old(self, is_old: bool) -> None:
        for view in self.views:
            view.grow_old(is_old)

    def _wrong(self, message: str) -> None:
        self._wrong_at = time.monotonic()
        for line in self.screen_stack[0].query("#wrong").results(Static):
            line.update(safe(message, ascii_only=self.look.ascii_only))
            line.set_class(bool(message), "-shown")

    # telling

    def say(self, message: str, *, wrong: bool = False) -> None:
        """Show a message for a while."""
        text = safe(message, ascii_only=self.look.ascii_only)
        self.notify(text, severity="error" if wrong else "information", markup=False, timeout=6)

    def copy(self, text: str) -> None:
        """Put text into the terminal's clipboard, and say so."""
        self.copy_to_clipboard(text)
        self.say(f"Copied: {text if len(text) < 60 else text[:57] + '...'}")

    async def show_lines(self, title: str, lines: Sequence[tuple[str, str]], copied: str = "") -> None:
        """Show names and values until the person has read them."""
        await self._show(Lines(self, title, lines, copied))

    async def prompt(self, title: str, value: str = "", hint: str = "") -> str | None:
        """Ask for a line of text."""
        return await self._show(Prompt(title, value, hint))

    async def show_asset(self, asset: AssetDetail) -> None:
        """Show one asset until the person has seen it."""
        await self._show(AssetView(self, asset))

    async def pick_folder(self) -> NewRepository | None:
        """Ask for a folder, and how it is to be a repository."""
        return await self._show(FolderPicker(self))

    async def _show(self, dialog: ModalScreen[T]) -> T | None:
        """Show a dialog and return what came of it; None, too, while another one is there: it was asked for twice."""
        if len(self.screen_stack) > 1:
            return None
        return await self.push_screen_wait(dialog)

    # keys

    def action_go(self, number: int) -> None:
        """Show another screen."""
        if len(self.screen_stack) > 1:
            return
        self.number = number
        self.query_one("#screens", ContentSwitcher).current = f"screen-{number}"
        self._heading.show_number(number)
        self._wrong("")
        self.focus_view()
        self.view.reload()

    def focus_view(self) -> None:
        """Put the focus where keys mean something."""
        view = cast(Widget, self.view)
        for widget in view.query("*"):
            if widget.focusable:
                widget.focus()
                return

    def action_refresh(self) -> None:
        """Ask the daemon now."""
        self.tick()

    def action_step_back(self) -> None:
        """Go a step back within the screen, else to what is not narrowed."""
        if len(self.screen_stack) == 1 and not self.view.go_back() and self.view.narrowed:
            self.view.narrow("")

    def action_narrow(self) -> None:
        """Ask what is to be shown."""
        view = self.view
        if len(self.screen_stack) > 1 or not view.filter_hint:
            return

        def narrow(text: str | None) -> None:
            if text is not None:
                view.narrow(text.strip())

        self.push_screen(Prompt("Show only", view.narrowed, view.filter_hint), narrow)

    def action_help(self) -> None:
        """Show the keys."""
        if len(self.screen_stack) == 1:
            self.push_screen(Help(SCREENS[self.number - 1][0], self.view.verbs(), self.view.filter_hint))

    def action_copy(self) -> None:
        """Copy what the screen has to copy."""
        if len(self.screen_stack) == 1:
            for verb in self.view.verbs():
                if verb.keys == "y":
                    self.do(verb)

    def verbs(self) -> list[Verb]:
        """Return what can be done now: what the screen can, then what can be done everywhere."""
        elsewhere = [
            self._verb_of(number, verb)
            for number, view in enumerate(self.views, 1)
            if number != self.number
            for verb in view.verbs()
        ]
        names = [name for name, _ in SCREENS]
        return [*self.view.verbs(), *everywhere(self, names, self.action_go), *elsewhere]

    def _verb_of(self, number: int, verb: Verb) -> Verb:
        """Return a verb of another screen, which goes there first.

        What would be done at once to what is current there is only led to: nobody has seen what that is.
        """

        async def run() -> None:
            self.action_go(number)
            await self.view.load()
            if verb.changes and not verb.asks:
                self.say(f"{verb.keys} does it: {verb.help}.")
            elif (done := verb.run()) is not None:
                await done

        return replace(verb, run=run, keys="")

    def do(self, verb: Verb) -> None:
        """Do what was chosen."""
        if verb.changes and self.refuses():
            return
        self._do(verb)

    @work
    async def _do(self, verb: Verb) -> None:
        done = verb.run()
        if done is not None:
            await done
        else:
            await asyncio.sleep(0)


def helpful(socket: str) -> str:
    """Return what would help somebody who may not use a socket."""
    group = GROUP
    try:
        found = Path(socket).stat()
        if stat.S_ISSOCK(found.st_mode) and found.st_mode & stat.S_IWGRP:
            group = grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        pass  # not even that may be seen: the group is the one of the package
    return f"What helps: sudo usermod -aG {group} $USER, then sign in again."
