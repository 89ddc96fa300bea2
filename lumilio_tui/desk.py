"""What screens are given: the daemon to ask, and the person to tell and to ask."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from lumilio_tui.known import Known
from lumiliod.client import Client, ClientError
from lumiliod.contract.assets import AssetDetail
from lumiliod.contract.repositories import NewRepository

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What a person is asked before something is done: a sentence, what is meant in lines, and what to say yes to."""

    title: str
    lines: Sequence[str] = ()
    yes: str = "Do it"


Prepared = Callable[[], Awaitable[Question | None]]
"""What asks the daemon first what a person is to be asked; None when there is nothing to ask, which was said then."""


@dataclass(frozen=True)
class Verb:
    """Something that can be done, as the command palette lists it; ``changes`` what it does something to.

    What ``asks`` shows what is meant before it does it, so that it can be begun from another screen.
    """

    name: str
    help: str
    run: Callable[[], Awaitable[None] | None]
    changes: bool = True
    asks: bool = False
    keys: str = ""


@dataclass(frozen=True)
class Look:
    """How things are shown: only by ASCII characters, and pictures by what (``kitty | sixel | half | none``)."""

    ascii_only: bool = False
    images: str = "none"
    now: Callable[[], datetime] = field(default=lambda: datetime.now().astimezone())


class Desk(Protocol):
    """What the application is to a screen."""

    look: Look
    readonly: bool
    known: Known
    log_file: str | None

    async def ask(self, question: Callable[[Client], T], *, patience_s: float | None = None) -> T:
        """Ask the daemon; see :meth:`lumilio_tui.asking.Asker.ask`. What is seen of it is noted."""
        ...

    async def tell(self, question: Callable[[Client], T]) -> T | None:
        """Ask, and show what went wrong as a line; None then."""
        ...

    def note(self, error: ClientError) -> None:
        """Show what went wrong as a line, unless the heading says it."""
        ...

    async def act(self, does: Callable[[Client], str], *, question: Question | Prepared | None = None) -> bool:
        """Have something done: refused in read-only mode, asked about when there is a question, told when done.

        While a question is prepared its dialog is there already: no key means anything else, and none is a yes.
        """
        ...

    def refuses(self) -> bool:
        """Say, in read-only mode, that nothing is changed, and return True."""
        ...

    def say(self, message: str, *, wrong: bool = False) -> None:
        """Show a message for a while."""
        ...

    def copy(self, text: str) -> None:
        """Put text into the terminal's clipboard, and say so."""
        ...

    async def show_lines(self, title: str, lines: Sequence[tuple[str, str]], copied: str = "") -> None:
        """Show names and values until the person has read them; ``y`` copies ``copied``."""
        ...

    async def prompt(self, title: str, value: str = "", hint: str = "") -> str | None:
        """Ask for a line of text; None when the person would rather not."""
        ...

    async def show_asset(self, asset: AssetDetail) -> None:
        """Show one asset, its picture large, until the person has seen it."""
        ...

    async def pick_folder(self) -> NewRepository | None:
        """Ask for a folder, and how it is to be a repository; None when the person would rather not."""
        ...


class View(Protocol):
    """A screen of the console: a widget over a :class:`Desk`."""

    filter_hint: str

    def reload(self) -> object:
        """Ask anew for what is shown, without waiting for it."""
        ...

    async def load(self) -> None:
        """Ask anew for what is shown, and wait for it."""
        ...

    def grow_old(self, is_old: bool) -> None:
        """Show in grey, or no longer, what the daemon cannot be asked about at the moment."""
        ...

    def narrow(self, text: str) -> None:
        """Show only what ``text`` describes; everything when it is empty."""
        ...

    @property
    def narrowed(self) -> str:
        """Return what it is narrowed to."""
        ...

    def go_back(self) -> bool:
        """Go a step back within the screen; False when there is none."""
        ...

    def verbs(self) -> list[Verb]:
        """Return what can be done here."""
        ...
