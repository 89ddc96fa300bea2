"""The parts of a screen, held by it: what is told late finds them even while the console ends."""

from collections.abc import Iterable, Iterator
from typing import cast

from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui.widgets.listing import Listing


class Parts:
    """Widgets by their ids, in the order in which they are laid out."""

    def __init__(self, made: Iterable[Widget]) -> None:
        self._by_id = {widget.id or "": widget for widget in made}

    def __iter__(self) -> Iterator[Widget]:
        return iter(self._by_id.values())

    def listing(self, name: str) -> Listing:
        """Return a table."""
        return cast(Listing, self._by_id[name])

    def line(self, name: str) -> Static:
        """Return a line."""
        return cast(Static, self._by_id[name])
