"""What lists answers with one shape in JSON: an object with ``items``, as the API does."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from lumiliod.cli.main import program
from tests.conftest import Daemon

LISTS = [
    "assets list",
    "integrity findings",
    "integrity plan",
    "jobs causes",
    "jobs list",
    "mirrors list",
    "queues list",
    "queues workers",
    "repos files home",
    "repos list",
    "schedule list",
    "search -- name:none",
    "trash list",
    "trash untracked",
    "uploads list",
    "uploads list --refused",
]


@pytest.fixture(scope="module")
def library(make_module_daemon: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = make_module_daemon().start()
    root: Path = tmp_path_factory.mktemp("home")
    daemon.cli("repos", "add", str(root), "--name", "home")
    yield daemon
    assert daemon.stop() == 0


@pytest.mark.parametrize("line", LISTS)
def test_every_list_has_items(library: Daemon, line: str) -> None:
    told = json.loads(library.cli("--json", *line.split()).stdout)
    assert isinstance(told, dict)
    assert isinstance(told["items"], list)


def test_no_list_is_left_out() -> None:
    groups = [(name, group) for name, group in program.commands.items() if isinstance(group, click.Group)]
    lists = {f"{name} list" for name, group in groups if "list" in group.commands}
    assert lists <= set(LISTS)
