"""Exit statuses mean the same whatever the command: 64 for what was typed, 75 for what may be well later."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from tests.cli.test_help import COMMANDS
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph


@dataclass
class Away:
    """A daemon whose one repository is offline, with what is in it and in its trash."""

    daemon: Daemon
    root: Path
    asset: str
    removed: str
    finding: str


@pytest.fixture(scope="module")
def away(make_module_daemon: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    # a watcher would have seen to the file that is missing before anybody reads
    daemon = make_module_daemon(watched=False).start()
    root: Path = tmp_path_factory.mktemp("home") / "home"
    root.mkdir()
    paths = [root / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(photograph(900 + number))
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "90")
    listed = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    assets = {one["path"]: one["id"] for one in listed}
    daemon.cli("assets", "remove", assets["1.jpg"], "--delete-file", "--yes")
    paths[2].unlink()
    daemon.cli("verify", "--all", "--wait", check=False)
    daemon.cli("wait", "--timeout", "90")
    [finding] = json.loads(daemon.cli("integrity", "plan", "--json").stdout)["items"]
    root.rename(root.with_name("away"))
    daemon.cli("verify", "--repo", "home", check=False)
    wait_until(lambda: "offline" in daemon.cli("repos", "list").stdout)
    yield Away(daemon, root, assets["0.jpg"], assets["1.jpg"], finding["finding"]["id"])
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "line",
    [
        "scan home",
        "repos approve-deletions home",
        "repos approve home",
        "sync run",
        "sync run home",
        "sync run home --plan",
        "sync run home --folder a",
        "repos set home --name other",
        "repos relayout home --to cas --plan",
        "repos relayout home --to cas --yes",
        "repos relayout home --undo --plan",
        "verify --repo home",
        "verify --asset {asset}",
        "verify --all --wait",
        "integrity apply {finding} --yes",
        "trash purge {removed} --yes",
        "trash untracked --repo home --restore {removed}",
    ],
)
def test_a_repository_that_is_away_is_for_later(away: Away, line: str) -> None:
    names = {"asset": away.asset, "removed": away.removed, "finding": away.finding}
    done = away.daemon.cli(*line.format(**names).split(), check=False)
    assert done.returncode == 75, (done.stdout, done.stderr)


LINES = [name.split() for name, command, _ in COMMANDS if not isinstance(command, click.Group)]


@pytest.mark.parametrize("line", [line for first, *line in LINES if first == "lumilio"], ids=" ".join)
def test_an_option_that_there_is_not_is_bad_usage(line: list[str]) -> None:
    done = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, [*line, "--nonsense"])
    assert done.exit_code == 64, done.output


NO_DAEMON = ["assets list", "jobs list", "mirrors fill home --wait", "mirrors remove home", "queues list", "quota show",
             "repos list", "repos pending", "schedule list", "search x", "status", "sync status", "trash list",
             "uploads list", "wait"]  # fmt: skip


@pytest.mark.parametrize("line", NO_DAEMON)
def test_no_daemon_is_unavailable(line: str) -> None:
    done = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line.split())
    assert done.exit_code == 69, done.output
