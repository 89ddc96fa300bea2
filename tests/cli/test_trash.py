"""``lumilio trash`` and ``lumilio assets remove``; what is wrong on the line itself needs no daemon."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from tests.cli.test_repositories import typed
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph

ID = "01890000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["trash"], 64),
        (["trash", "purge"], 64),
        (["trash", "purge", ID], 64),  # nobody to ask
        (["trash", "empty"], 64),
        (["trash", "restore"], 64),
        (["trash", "restore", ID, "--all"], 64),
        (["trash", "restore", "--all"], 64),
        (["trash", "restore", "no-id"], 64),
        (["trash", "purge", "--older-than", "soon"], 64),
        (["trash", "untracked", "--restore", ID], 64),
        (["assets", "remove"], 64),
        (["assets", "remove", ID, "--query", "a"], 64),
        (["assets", "remove", "--query", "a"], 64),
        (["assets", "remove", "--query", "a", "--delete-file", "--yes"], 64),
        (["assets", "remove", ID, "--delete-file"], 64),  # nobody to ask
        (["assets", "remove", ID, "--delete-file", "--yes"], 69),
        (["assets", "remove", ID], 69),
        (["trash", "list"], 69),
        (["trash", "empty", "--yes"], 69),
        (["trash", "restore", ID], 69),
    ],
)
def test_exit_codes(line: list[str], code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def test_a_persons_way(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "home"
    (root / "Trip").mkdir(parents=True)
    (root / "Trip" / "mine.jpg").write_bytes(photograph(4))
    sources = [tmp_path / f"{number}.jpg" for number in (1, 2, 3)]
    for number, path in enumerate(sources, 1):
        path.write_bytes(photograph(number))
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("scan", "home", "--wait")
    daemon.cli("upload", *map(str, sources), "--repo", "home")

    def said(*args: str) -> Any:
        told = json.loads(daemon.cli("--json", *args).stdout)
        daemon.cli("wait", "--timeout", "60")
        return told

    daemon.cli("wait", "--timeout", "60")
    assets = {asset["original_filename"]: asset["id"] for asset in said("assets", "list", "--all")["items"]}
    assert len(assets) == 4
    done = said("assets", "remove", assets["1.jpg"], assets["mine.jpg"])
    assert (done["count"], [one["outcome"] for one in done["results"]]) == (2, ["removed", "removed"])
    assert (root / "Trip" / "mine.jpg").exists()
    [file] = said("repos", "files", "home", "--outcome", "trashed")["items"]
    assert file["path"] == "Trip/mine.jpg"
    assert said("assets", "remove", "--query", "name:2.jpg", "--yes")["count"] == 1
    told = said("trash", "list")
    assert (told["summary"]["count"], told["summary"]["files"], told["summary"]["hidden"]) == (3, 2, 1)
    listed = daemon.cli("trash", "list").stdout
    assert "3 assets, 2 files" in listed
    assert "mine.jpg" in listed
    assert "hidden" in listed
    assert daemon.cli("assets", "show", assets["1.jpg"], check=False).returncode == 1
    assert said("trash", "restore", assets["1.jpg"])["results"][0]["outcome"] == "restoring"
    assert said("assets", "show", assets["1.jpg"])["original_filename"] == "1.jpg"
    assert said("trash", "purge", "--older-than", "1d", "--yes")["count"] == 0
    unknown = daemon.cli("trash", "restore", ID, check=False)
    assert (unknown.returncode, unknown.stderr) == (1, f"{ID}: it is not in the trash\n")
    young = daemon.cli("trash", "purge", assets["2.jpg"], "--older-than", "1d", "--yes", check=False)
    assert (young.returncode, "it was removed more lately than that" in young.stderr) == (1, True)
    mine = daemon.cli("trash", "purge", assets["mine.jpg"], "--older-than", "1d", "--yes", check=False)
    assert (mine.returncode, "in folders of yours" in mine.stderr) == (1, True)
    daemon.cli("assets", "remove", assets["1.jpg"])
    daemon.cli("wait", "--timeout", "60")
    assert daemon.cli("trash", "restore", assets["1.jpg"]).stdout == "1 asset being moved back.\n"
    daemon.cli("wait", "--timeout", "60")
    assert daemon.cli("trash", "restore", assets["mine.jpg"]).stdout == "1 asset restored.\n"
    daemon.cli("assets", "remove", assets["mine.jpg"])
    assert "to be removed for good" in daemon.cli("trash", "empty", "--yes").stdout
    daemon.cli("wait", "--timeout", "60")
    [left] = said("trash", "list")["items"]
    assert (left["original_filename"], left["hidden"], left["purge_at"]) == ("mine.jpg", 1, None)
    code, asked = typed(daemon, b"\n", "assets", "remove", assets["3.jpg"], "--delete-file", until=b"[y/N]")
    assert (code, "Remove 1 asset with the files in your own folders?" in asked) == (1, True)
    partly = daemon.cli("assets", "remove", assets["3.jpg"], ID, "--delete-file", "--yes", check=False)
    assert (partly.returncode, partly.stdout) == (1, "1 asset removed.\n")
    assert partly.stderr == f"{ID}: there is no such asset\n"
    daemon.cli("wait", "--timeout", "60")
    stray = said("trash", "list")["items"][0]["files"][0]["id"]
    assert (root / ".lumilio" / "trash" / stray).read_bytes() == photograph(3)
    assert said("trash", "untracked")["items"] == []
    assert said("trash", "restore", "--all", "--yes")["count"] == 2
    assert len(said("assets", "list", "--all")["items"]) == 3
    assert daemon.stop() == 0
