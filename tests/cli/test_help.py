"""Help in which nothing is cut off."""

from collections.abc import Iterator

import click
import pytest

from lumiliod.cli.main import program
from lumiliod.daemon.main import cli as lumiliod

WIDTH = 78
"""What click writes in on a terminal of 80 columns."""


def listed(group: click.Group, path: str) -> Iterator[tuple[str, click.Command, int]]:
    """Yield every command below ``group``, with the room it has in the list of its group."""
    room = WIDTH - 6 - max(map(len, group.commands))
    for name, command in group.commands.items():
        yield f"{path} {name}", command, room
        if isinstance(command, click.Group):
            yield from listed(command, f"{path} {name}")


COMMANDS = [*listed(program, "lumilio"), *listed(lumiliod, "lumiliod")]


@pytest.mark.parametrize(("command", "room"), [one[1:] for one in COMMANDS], ids=[one[0] for one in COMMANDS])
def test_what_a_command_does_fits_its_line(command: click.Command, room: int) -> None:
    told = command.get_short_help_str(room)
    assert told.endswith(".")
    assert not told.endswith("...")
