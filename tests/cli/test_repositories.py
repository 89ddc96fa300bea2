"""``lumilio repos``: what is wrong on the line needs no daemon; a person's way through a repository's life."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("repos relayout", 64),
        ("repos relayout home", 64),
        ("repos relayout home --to cas --undo", 64),
        ("repos relayout home --undo --plan", 69),
        ("repos relayout home --status --verify", 64),
        ("repos relayout home --status --plan", 64),
        ("repos relayout home --to cas", 64),  # nobody to ask
        ("repos relayout home --to cas --yes", 69),
        ("repos relayout home --to cas --plan", 69),
        ("repos relayout home --undo --wait", 64),
        ("repos relayout home --undo --wait --yes", 69),
        ("repos set home", 64),
        ("repos set home --max-file-size huge", 64),
        ("repos set home --duplicates replace", 64),
        ("repos set home --ignore a --ignore-nothing", 64),
        ("repos set home --scan-interval soon", 64),
        ("repos set home --no-preserve-names", 69),
        ("repos relocate home", 64),
        ("repos relocate home /x", 69),
        ("repos attach /x --name a", 64),
        ("repos attach /x --as-new --name a", 69),
        ("repos detach home", 69),
        ("repos remove home --confirm home", 64),
        ("repos remove home --forget", 64),  # nobody to ask
        ("repos remove home --forget --confirm home", 69),
        ("repos remove home --plan", 69),
    ],
)
def test_exit_codes(line: str, code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def typed(daemon: Daemon, reply: bytes, *args: str, until: bytes = b"to go on") -> tuple[int, str]:
    """Run a command on a terminal and answer what it asks."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lumiliod.cli", "--socket", daemon.socket, *args]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        told = b""
        while until not in told:
            told += os.read(ours, 65536)
        os.write(ours, reply)
        out, _ = process.communicate()
    os.close(ours)
    return process.returncode, out.decode() + told.decode()


def test_foreign_names_cannot_control_the_terminal_that_asks(daemon: Daemon, tmp_path: Path) -> None:
    name, shown = "a\x1b]0;b\x07", "a\\x1b]0;b\\x07"
    root = tmp_path / name
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "60")
    daemon.cli("repos", "detach", "home")
    marker = root / ".lumiliorepo"
    said = marker.read_text()
    foreign = said.replace("name: home", r'name: "a\x1b]0;b\x07"')
    marker.write_text(foreign)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lumiliorepo").write_text(re.sub(r"(?m)^id: .*$", f"id: {uuid4()}", foreign))
    for act in (["attach", str(root)], ["add", str(tmp_path / "other"), "--name", "mine"]):
        refused = daemon.cli("repos", *act, check=False)
        assert (refused.returncode, ".lumiliorepo is invalid at name: " in refused.stderr) == (1, True)
        assert "\x1b]" not in refused.stderr
    marker.write_text(said)
    daemon.cli("repos", "attach", str(root))
    daemon.cli("wait", "--timeout", "60")
    _, moving = typed(daemon, b"\n", "repos", "relayout", "home", "--to", "cas", until=b"[y/N]")
    removed = daemon.cli("repos", "remove", "home", "--forget", "--confirm", "home").stdout
    assert "arrange home by cas?" in moving
    assert removed.endswith(f"/{shown}.\n")
    assert "\x1b]" not in moving + removed


def test_a_persons_way(make_daemon: Callable[..., Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = make_daemon(watched=False).start()  # a file that is taken away is missed by nobody before it is moved

    def said(*args: str) -> Any:
        return json.loads(daemon.cli("--json", *args).stdout)

    root = tmp_path / "home"
    (root / "Trip").mkdir(parents=True)
    (root / "Trip" / "mine.jpg").write_bytes(photograph(4))
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number))
    added = daemon.cli("repos", "add", str(root), "--name", "home")
    assert "lumilio wait" in added.stderr
    daemon.cli("wait", "--timeout", "60")
    assert [one["path"] for one in said("repos", "files", "home")["items"]] == ["Trip/mine.jpg"]
    daemon.cli("upload", str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg"), "--repo", "home")
    daemon.cli("wait", "--timeout", "60")

    def inbox() -> set[str]:
        return {str(path.relative_to(root)) for path in (root / "inbox").rglob("*.jpg")}

    before = inbox()
    plan = said("repos", "relayout", "home", "--to", "flat", "--plan")
    assert (plan["moves"], plan["user_area"], plan["needed_bytes"]) == (2, 1, 0)
    told = daemon.cli("repos", "relayout", "home", "--to", "flat", "--plan")
    assert "date to flat" in told.stdout
    assert "1 in your own folders" in told.stdout
    assert "Nothing was changed" in told.stderr
    assert inbox() == before
    assert said("repos", "relayout", "home", "--to", "flat", "--wait", "--yes")["state"] == "done"
    assert inbox() == {"inbox/1.jpg", "inbox/2.jpg"}
    assert said("repos", "show", "home")["storage_strategy"] == "flat"
    back = said("repos", "relayout", "home", "--undo", "--plan")
    assert (back["from_strategy"], back["to_strategy"], back["moves"]) == ("flat", "date", 2)
    assert {move["to_path"] for move in back["examples"]} == before
    told = daemon.cli("repos", "relayout", "home", "--undo", "--plan")
    assert "flat back to date" in told.stdout
    assert "Nothing was changed" in told.stderr
    assert inbox() == {"inbox/1.jpg", "inbox/2.jpg"}
    code, asked = typed(daemon, b"\n", "repos", "relayout", "home", "--undo", "--wait", until=b"[y/N]")
    assert (code, "Move 2 files back, and arrange home by date?" in asked) == (1, True)
    assert inbox() == {"inbox/1.jpg", "inbox/2.jpg"}
    code, told_ = typed(daemon, b"y\n", "repos", "relayout", "home", "--undo", "--wait", until=b"[y/N]")
    assert (code, "Moved back" in told_, inbox()) == (0, True, before)

    first = next((root / "inbox").rglob("1.jpg"))
    first.rename(root / "1.jpg")
    stuck = daemon.cli("repos", "relayout", "home", "--to", "cas", "--wait", "--yes", check=False)
    assert (stuck.returncode, "1 file could not be moved" in stuck.stderr) == (1, True)
    assert f"{first.relative_to(root)}: " in stuck.stderr
    assert "file_missing" not in stuck.stderr
    (root / "1.jpg").rename(first)
    assert "Moved back" in daemon.cli("repos", "relayout", "home", "--undo", "--wait", "--yes").stdout
    assert inbox() == before

    changed = said("repos", "set", "home", "--max-file-size", "2GB", "--duplicates", "uuid", "--no-preserve-names",
                   "--ignore", "a*", "--ignore", "b*", "--scan-interval", "2h")["settings"]  # fmt: skip
    assert changed == {
        "max_file_size_kb": 1953125, "handle_duplicate_filenames": "uuid", "preserve_original_filename": False,
        "ignore_patterns": ["a*", "b*"], "quick_scan_interval_s": 300.0, "full_scan_interval_s": 7200.0,
    }  # fmt: skip
    assert "every 2h" in daemon.cli("repos", "set", "home", "--max-file-size", "none", "--ignore-nothing").stdout

    daemon.cli("repos", "detach", "home")
    assert "detached" in daemon.cli("repos", "list").stdout
    root.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert said("repos", "attach", "moved")["repository"]["path"] == str(tmp_path / "moved")
    (tmp_path / "moved").rename(root)
    assert said("repos", "relocate", "home", str(root))["repository"]["status"] == "online"
    daemon.cli("wait", "--timeout", "60")

    refused = daemon.cli("repos", "remove", "home", check=False)
    assert (refused.returncode, "3 assets" in refused.stderr) == (1, True)
    plan = daemon.cli("repos", "remove", "home", "--plan").stdout
    assert "3 assets" in plan
    assert str(root) in plan
    code, _ = typed(daemon, b"nothome\n", "repos", "remove", "home", "--forget")
    assert (code, len(said("repos", "list")["items"]), len(said("assets", "list", "--all")["items"])) == (1, 1, 3)
    code, told_ = typed(daemon, b"home\n", "repos", "remove", "home", "--forget")
    assert (code, "its files are where they were" in told_) == (0, True)
    assert (said("repos", "list")["items"], said("assets", "list", "--all")["items"]) == ([], [])
    assert inbox() == before
