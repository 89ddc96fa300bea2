"""Screens of the console: a file and a line each, in the order of their keys."""

from collections.abc import Callable

from textual.widget import Widget

from lumilio_tui.desk import Desk
from lumilio_tui.screens.failures import Failures
from lumilio_tui.screens.jobs import Jobs
from lumilio_tui.screens.library import Library
from lumilio_tui.screens.logs import Logs
from lumilio_tui.screens.overview import Overview
from lumilio_tui.screens.repositories import Repositories

SCREENS: tuple[tuple[str, Callable[[Desk], Widget]], ...] = (
    ("Overview", Overview),
    ("Jobs", Jobs),
    ("Failures", Failures),
    ("Repositories", Repositories),
    ("Library", Library),
    ("Logs", Logs),
)
"""Each is a widget that is a :class:`lumilio_tui.desk.View`."""
