"""Rows of a table: their columns, how wide each is, and how a line of them is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from lumilio_tui.text import LEFT_TO_RIGHT

GAP = 2

TONES = {
    "ok": "good",
    "ready": "good",
    "online": "good",
    "watching": "good",
    "completed": "good",
    "running": "good",
    "degraded": "fair",
    "starting": "fair",
    "polling": "fair",
    "retryable": "fair",
    "paused": "fair",
    "held": "fair",
    "warning": "fair",
    "failed": "bad",
    "stopped": "bad",
    "offline": "bad",
    "discarded": "bad",
    "error": "bad",
    "critical": "bad",
}
"""How words are coloured; they say the same without colour."""


@dataclass(frozen=True)
class Column:
    """A column: ``width`` cells at least, of what is left ``share`` parts; the highest ``drop`` goes first for room.

    Of what is too long the beginning is shown, or the ``tail``.
    """

    title: str
    width: int
    share: int = 0
    right: bool = False
    drop: int = 0
    tail: bool = False


@dataclass(frozen=True)
class Row:
    """A row: what it is known by, and its cells, which are safe to draw."""

    key: str
    cells: tuple[str, ...]


def cropped(cell: str, width: int) -> str:
    """Return the beginning of a cell that is wider; a run from right to left ends with it, as :func:`safe` ended it."""
    end = LEFT_TO_RIGHT if cell.endswith(LEFT_TO_RIGHT) else ""
    return set_cell_size(cell, width - 1) + end + "~"


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return how wide each column is in so many cells, 0 for those there is no room for."""
    shown = set(range(len(columns)))
    by_drop = sorted(shown, key=lambda number: (columns[number].drop, number), reverse=True)
    while len(shown) > 1 and sum(columns[n].width + GAP for n in shown) - GAP > room:
        dropped = by_drop.pop(0)
        if not columns[dropped].drop:
            break
        shown.discard(dropped)
    left = max(0, room - (sum(columns[n].width + GAP for n in shown) - GAP))
    shares = sum(columns[n].share for n in shown)
    return [
        column.width + (left * column.share // shares if shares else 0) if number in shown else 0
        for number, column in enumerate(columns)
    ]


def line(
    columns: Sequence[Column],
    room: Sequence[int],
    cells: Sequence[str],
    style: Style,
    *,
    mark: str = "",
    toned: Callable[[str], Style] | None = None,
) -> Strip:
    """Draw a line of cells, each as wide as its column has ``room``; ``toned`` returns the style of a tone."""
    drawn = [Segment(mark, style)] if mark else []
    for column, width, cell in zip(columns, room, cells, strict=True):
        if width <= 0:
            continue
        tone = TONES.get(cell) if toned is not None else None
        shown = style + toned(tone) if toned is not None and tone else style
        text, long = cell, cell_len(cell)
        if long > width:
            text = cell[-width:] if column.tail else cropped(cell, width)
            long = cell_len(text)
        blank = " " * (width - long)
        drawn.append(Segment(blank + text if column.right else text + blank, shown))
        drawn.append(Segment(" " * GAP, style))
    return Strip(drawn)
