"""A folder that is to be a repository, found by walking or by typing."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from lumilio_tui.asking import aside
from lumilio_tui.desk import Desk
from lumilio_tui.text import safe
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.rows import Column, Row
from lumiliod.contract.repositories import NewRepository

MOST = 2000
"""So many folders are listed of one."""

LAYOUTS = ("date", "flat", "cas")


class FolderPicker(ModalScreen[NewRepository | None]):
    """Show the folders of a folder; Enter goes into one, Ctrl-S takes the one that is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave it"),
        Binding("ctrl+s", "take", "Take it", priority=True),
        Binding("ctrl+l", "layout", "Layout", priority=True),
        Binding("backspace,h", "up", "Up", show=False),
    ]

    def __init__(self, desk: Desk, start: str | None = None) -> None:
        super().__init__()
        self._desk = desk
        self._folder = start or str(Path.home())
        self._shown = self._folder
        self._layout = 0
        self._path = Input(self._folder, id="path", placeholder="path", select_on_focus=False)
        self._name_line = Input("", id="name", placeholder="name (the folder's, unless given)", select_on_focus=False)
        self._layout_line = Static(id="layout", markup=False)
        self._folders = Listing((Column("Folders", 10, 1),), named="folders", empty="No folders here.")

    def compose(self) -> ComposeResult:
        """Lay out path, name, layout and the folders."""
        with Vertical(id="dialog", classes="picking"):
            yield Static("A folder that is to be a repository", id="title", markup=False)
            yield self._path
            yield self._name_line
            yield self._layout_line
            yield self._folders
            yield Static(
                "Enter go in   Backspace up   Ctrl-S take it   Ctrl-L layout   Tab next   Esc leave",
                id="answers",
                markup=False,
            )

    def on_mount(self) -> None:
        """Show the first folder."""
        self._draw_layout()
        self._folders.focus()
        self._look(self._folder)

    @work(exclusive=True)
    async def _look(self, folder: str) -> None:
        """List the folders of one; a disk that does not answer keeps nobody waiting."""
        listing = self._folders
        try:
            async with asyncio.timeout(5):
                names = await aside(partial(_folders, folder))
        except (OSError, TimeoutError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it does not answer"
            self._desk.say(f"{folder}: {why}", wrong=True)
            return
        ascii_only = self._desk.look.ascii_only
        self._folder, self._shown = folder, safe(folder, ascii_only=ascii_only)
        self._path.value = self._shown
        rows = [Row("..", ("..",)), *(Row(name, (safe(name, ascii_only=ascii_only),)) for name in names)]
        listing.show(rows)
        listing.put(0)

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        """Go into a folder."""
        event.stop()
        self._look(os.path.normpath(os.path.join(self._folder, event.listing.key)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show the folder that was typed, or take what is there."""
        event.stop()
        if event.input.id == "path":
            self._look(self._typed())
            self._folders.focus()
        else:
            self.action_take()

    def action_up(self) -> None:
        """Go to the folder above."""
        if self._folders.has_focus:
            self._look(os.path.dirname(self._folder) or "/")

    def action_layout(self) -> None:
        """Choose the next layout."""
        self._layout = (self._layout + 1) % len(LAYOUTS)
        self._draw_layout()

    def action_take(self) -> None:
        """Take the folder that is shown."""
        name = self._name_line.value.strip()
        path = self._typed()
        self.dismiss(NewRepository(path=path, name=name or None, storage_strategy=LAYOUTS[self._layout]))

    def _typed(self) -> str:
        """Return the folder that stands in the line; one whose name cannot be shown as it is stands there otherwise."""
        return self._folder if self._path.value == self._shown else _full(self._path.value)

    def action_leave(self) -> None:
        """Take none."""
        self.dismiss(None)

    def _draw_layout(self) -> None:
        self._layout_line.update(f"Layout of the inbox: {LAYOUTS[self._layout]}  (Ctrl-L another)")


def _full(path: str) -> str:
    """Return a path that was typed, with the home folder for a tilde."""
    try:
        return str(Path(path or "/").expanduser())
    except RuntimeError:  # of a user who is not there
        return path


def _folders(folder: str) -> list[str]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                names.append(entry.name)
                if len(names) >= MOST:
                    break
    return sorted(names)
