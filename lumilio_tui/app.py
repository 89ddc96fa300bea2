"""The console: screens over one client of the daemon."""

import asyncio
from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType

from lumilio_tui.client import look
from lumilio_tui.messages import Lost, Polled
from lumilio_tui.screens.dashboard import Dashboard
from lumiliod.client import Client, ClientError

POLL_S = 2.0


class Console(App[None]):
    """Show what the daemon on ``socket`` says, asking again every two seconds for as long as it runs."""

    TITLE = "Lumilio"
    CSS_PATH = "lumilio.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("r", "refresh", "Refresh"),
        Binding("question_mark", "help", "Help", key_display="?"),
    ]

    def __init__(self, socket: str) -> None:
        super().__init__()
        self.sub_title = socket
        self._client = Client(socket)
        self._is_asking = False

    def on_mount(self) -> None:
        """Show the dashboard and begin to poll."""
        self.push_screen(Dashboard())
        self.ask()
        self.set_interval(POLL_S, self.ask)

    def on_unmount(self) -> None:
        """Close the connection."""
        self._client.close()

    def action_refresh(self) -> None:
        """Ask the daemon now."""
        self.ask()

    def action_help(self) -> None:
        """Show or hide the keys."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    @work
    async def ask(self) -> None:
        """Ask the daemon and tell the screen, unless an answer is still awaited."""
        await asyncio.sleep(0)
        if self._is_asking:
            return
        self._is_asking = True
        try:
            overview = await asyncio.to_thread(look, self._client)
        except ClientError as error:
            self.screen.post_message(Lost(str(error)))
        else:
            self.screen.post_message(Polled(overview))
        finally:
            self._is_asking = False
