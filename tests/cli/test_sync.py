"""``lumilio sync`` and what is held: what is wrong on the line needs no daemon; a person's way with a real one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from tests.conftest import Daemon


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("sync status", 69),
        ("sync status home", 69),
        ("sync status home other", 64),
        ("sync history --limit 0", 64),
        ("sync history --type often", 64),
        ("sync history --status fine", 64),
        ("sync history home --type realtime --status held --limit 7", 69),
        ("sync run", 69),
        ("sync run home --folder", 64),
        ("sync run home --limit -1", 64),
        ("sync run home --folder /x --plan --wait", 69),
        ("repos pending", 69),
        ("repos pending home", 64),
        ("repos approve", 64),
        ("repos approve home --wait", 69),
        ("repos approve-deletions home --wait", 69),
        ("repos reject", 64),
        ("repos reject home", 69),
        ("repos reject home --wait", 64),
    ],
)
def test_exit_codes(line: str, code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """Return a daemon that looks when it is asked to, and not before."""
    return make_daemon(watched=False).start()


@pytest.fixture
def home(daemon: Daemon, tmp_path: Path) -> Path:
    root = tmp_path / "home"
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
        for number in range(60):
            (root / folder / f"{number:02}.tmp").touch()
    (root / "b" / "notes.txt").write_text("no picture")
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "60")
    return root


def test_a_persons_way(daemon: Daemon, home: Path) -> None:
    def said(*args: str) -> Any:
        return json.loads(daemon.cli("--json", *args).stdout)

    told = daemon.cli("sync", "status").stdout
    assert "a person asked, done in" in told
    assert "121 found" in told
    [one] = said("sync", "status")["items"]
    assert one == said("sync", "status", "home")
    assert (one["repository"], one["last"]["found"], one["held"]) == ("home", 121, None)

    # a plan says what would be and does nothing
    (home / "b" / "more.txt").write_text("not one either")
    (home / "b" / "00.tmp").unlink()
    plan = said("sync", "run", "home", "--plan")
    assert [(one["action"], one["path"]) for one in plan["items"]] == [("retired", "b/00.tmp"), ("added", "b/more.txt")]
    told_ = daemon.cli("sync", "run", "home", "--plan", "--limit", "1", "--folder", "b")
    assert "missing" in told_.stdout
    assert "b/00.tmp" in told_.stdout
    assert "and 1 more" in told_.stdout
    assert "Nothing was changed" in told_.stderr
    assert len(said("sync", "history", "home")["items"]) == 1
    assert said("sync", "run", "home", "--plan", "--limit", "0")["items"] == []

    # of a folder, named from here or as the repository knows it
    for folder in (str(home / "a"), "a", "a/", "./b/../a"):
        assert said("sync", "run", "home", "--folder", folder, "--wait")["result"]["found"] == 60
    assert said("sync", "run", "--wait")["items"][0]["result"]["missing"] == 1
    told = daemon.cli("sync", "run", "home", "--folder", ".", "--wait").stdout
    assert "Found" in told
    assert "is queued" in daemon.cli("sync", "run").stdout
    daemon.cli("wait", "--timeout", "60")
    first = said("sync", "history", "home", "--limit", "1")["items"]
    assert [one["scope"] for one in first] == ["full"]
    told = daemon.cli("sync", "history", "--type", "manual").stdout
    assert "a/" in told
    assert "everything" in told
    for wrong, code in (
        (["home", "--folder", "/etc"], 64),
        (["home", "--folder", "../home2"], 64),
        (["home", "--folder", f"{home}2"], 64),
        (["home", "--folder", "nowhere"], 1),
        (["nowhere"], 1),
    ):
        refused = daemon.cli("sync", "run", *wrong, check=False)
        assert (refused.returncode, "Traceback" in refused.stderr) == (code, False), refused.stderr

    # what is held, and what a person decides
    assert daemon.cli("repos", "pending").stdout == "Nothing is held.\n"
    for verb in ("approve", "approve-deletions", "reject"):
        refused = daemon.cli("--json", "repos", verb, "home", check=False)
        assert (refused.returncode, json.loads(refused.stderr)["error"]["code"]) == (1, "nothing_held")
    for path in (home / "a").iterdir():
        path.unlink()
    assert said("sync", "run", "home", "--wait")["result"]["status"] == "held"
    assert "home: lumilio repos pending" in daemon.cli("status").stdout
    told_ = daemon.cli("repos", "pending")
    assert "to be decided" in told_.stdout
    assert "a/00.tmp" in told_.stdout
    assert "and 55 more" in told_.stdout
    assert "repos approve R" in told_.stderr
    assert "60 of 121 files are missing, to be decided" in daemon.cli("sync", "status", "home").stdout
    assert "rejected" in daemon.cli("repos", "reject", "home").stdout
    assert "Held deletions" not in daemon.cli("status").stdout
    [one] = said("repos", "pending")["items"]
    assert (one["state"], one["files"]) == ("rejected", 60)
    told_ = daemon.cli("repos", "approve", "home", "--wait")
    assert "60 of 121 files of home are missing" in told_.stderr
    assert "Missing" in told_.stdout
    assert said("repos", "pending")["items"] == []


def test_a_folder_of_any_bytes_and_one_that_controls_the_terminal(daemon: Daemon, home: Path) -> None:
    odd = os.path.join(os.fsencode(home), b"\xff\x1b]0;b\x07%41")
    os.mkdir(odd)
    Path(os.fsdecode(odd + b"/x.txt")).write_text("x")
    done = daemon.cli("sync", "run", "home", "--plan", "--folder", os.fsdecode(os.path.basename(odd)))
    assert "new" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\xff\\x1b]0;b\\x07%41/x.txt" in done.stdout
    daemon.cli("sync", "run", "home", "--folder", os.fsdecode(odd), "--wait")
    told = daemon.cli("sync", "history").stdout
    assert "\x1b" not in told


def test_of_several_repositories_those_that_can_be_reached_are_looked_at(
    daemon: Daemon, home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    daemon.cli("repos", "add", str(other))
    daemon.cli("wait", "--timeout", "60")
    refused = daemon.cli("sync", "run", "--folder", "a", check=False)
    assert (refused.returncode, "of which repository" in refused.stderr) == (64, True)
    home.rename(tmp_path / "away")
    assert daemon.cli("sync", "run", "home", "--folder", "a", check=False).returncode == 75
    done = daemon.cli("sync", "run", "--wait")
    assert "home is offline and left out" in done.stderr
    other.rename(tmp_path / "away too")
    assert daemon.cli("sync", "run", "other", "--folder", "a", check=False).returncode == 75
    assert daemon.cli("sync", "run", check=False).returncode == 75
