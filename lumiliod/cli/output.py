"""What a person or a program sees: JSON as one document, tables on terminals, aligned text elsewhere."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from lumiliod.domain import text

visible = text.visible


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document on standard output; what could control a terminal is escaped."""
    click.echo(text.visible_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def print_line(value: Any, *, err: bool = False) -> None:
    """Print ``value`` as one JSON document on a line of its own, escaped like that of :func:`print_json`."""
    click.echo(text.visible_json(msgspec.json.encode(value).decode()), err=err)


def print_items(found: Sequence[object]) -> None:
    """Print what a command lists as the API does: an object with ``items``, in which more can stand one day."""
    print_json({"items": found})


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> None:
    """Print rows under headers; the columns named in ``right`` are aligned to the right."""
    cells = [[visible(cell) if cell is not None else "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(headers, cells, set(right))
    else:
        _plain_table(headers, cells, set(right))


def pairs(items: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line, leaving out what is None."""
    shown = [(name, visible(value)) for name, value in items if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:<{width}}  {value}")


def note(message: str) -> None:
    """Print a message for people on standard error; what could control a terminal is escaped."""
    click.echo(visible(message), err=True)


size = text.size_text
"""How people are told a number of bytes."""


def moment(at: datetime | None) -> str | None:
    """Return an instant for people, in the time zone of this machine."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at is not None else None


def wall_clock(at: datetime) -> str:
    """Return a time as the clock on the wall showed it, where a picture was taken."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _plain_table(headers: Sequence[str], rows: list[list[str]], right: set[str]) -> None:
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for line in (list(headers), *rows):
        cells = [
            cell.rjust(width) if header in right else cell.ljust(width)
            for header, cell, width in zip(headers, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _rich_table(headers: Sequence[str], rows: list[list[str]], right: set[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout).print(drawn)
