"""``lumilio verify``, ``integrity`` and ``mirrors``: a person's way through a damaged library, on a real daemon."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph


def rot(path: Path) -> None:
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def said(daemon: Daemon, *args: str) -> Any:
    return json.loads(daemon.cli("--json", *args).stdout)


def test_a_persons_way(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(watched=False).start()
    root, place = tmp_path / "home", tmp_path / "mirror"
    for folder in (root, place):
        folder.mkdir()
    contents = {f"{number}.jpg": photograph(700 + number) for number in range(4)}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("scan", "home", "--wait")
    daemon.cli("wait", "--timeout", "90")
    assert daemon.cli("verify", "--all", "--wait").stdout.split()[:2] == ["Files", "4"]
    assert {one["name"] for one in said(daemon, "schedule", "list")["items"]} >= {"scrub"}

    mirror = said(daemon, "mirrors", "add", "home", str(place))
    daemon.cli("wait", "--timeout", "90")
    (listed,) = said(daemon, "mirrors", "list")["items"]
    assert (listed["id"], listed["copies"], listed["lacking"]) == (mirror["id"], 4, 0)
    assert str(place) in daemon.cli("mirrors", "list").stdout
    place.rename(tmp_path / "unplugged")
    (away,) = said(daemon, "mirrors", "list")["items"]
    assert (away["status"], "mark is not there" in away["status_reason"]) == ("offline", True)
    (tmp_path / "unplugged").rename(place)
    assert said(daemon, "mirrors", "list")["items"][0]["status"] == "online"
    # what comes later is copied without being asked for
    (root / "later.jpg").write_bytes(photograph(710))
    daemon.cli("scan", "home", "--wait")
    daemon.cli("wait", "--timeout", "90")
    assert said(daemon, "mirrors", "list")["items"][0]["copies"] == 5
    for name in ("home", mirror["repository_id"], str(place), f"{place}/", mirror["id"]):
        assert said(daemon, "mirrors", "fill", name, "--wait")["result"] == {"copied": 0, "skipped": 0}
    assert daemon.cli("mirrors", "fill", "home", "--wait").stdout == "Copied  0\n"
    unknown = daemon.cli("mirrors", "fill", "elsewhere", check=False)
    assert (unknown.returncode, "no mirror elsewhere" in unknown.stderr) == (1, True)
    second = tmp_path / "second"
    second.mkdir()
    daemon.cli("mirrors", "add", "home", str(second))
    for name in ("home", mirror["repository_id"]):
        several = daemon.cli("mirrors", "remove", name, check=False)
        assert (several.returncode, f"{name} has 2 mirrors" in several.stderr) == (1, True)
    assert [one["id"] for one in said(daemon, "mirrors", "remove", str(second))["items"]] == [mirror["id"]]

    rot(root / "1.jpg")
    (root / "2.jpg").unlink()
    assets = {asset["path"]: asset["id"] for asset in said(daemon, "assets", "list", "--all")["items"]}
    assert daemon.cli("verify", "--asset", assets["0.jpg"], "--wait", check=False).returncode == 0
    assert daemon.cli("verify", "--asset", assets["1.jpg"], "--wait", check=False).returncode == 1
    told = daemon.cli("verify", "--repo", "home", "--wait", check=False)
    assert (told.returncode, "2 files are not as they should be" in told.stderr) == (1, True)
    told = daemon.cli("integrity", "findings")
    assert ("bit rot" in told.stdout, "missing" in told.stdout) == (True, True)
    plan = {item["finding"]["path"]: item for item in said(daemon, "integrity", "plan")["items"]}
    assert {path: item["action"] for path, item in plan.items()} == {"1.jpg": "restore", "2.jpg": "restore"}
    assert "put good bytes back (restore)" in daemon.cli("integrity", "plan").stdout
    assert "Approve with" in daemon.cli("integrity", "plan").stderr
    status = daemon.cli("integrity", "status").stdout
    assert "1 bit rot, 1 missing" in status
    assert "2: lumilio integrity plan" in daemon.cli("status").stdout

    ignored = plan["2.jpg"]["finding"]["id"]
    assert said(daemon, "integrity", "ignore", ignored)["count"] == 1
    assert daemon.cli("integrity", "apply", ignored, "--yes", check=False).returncode == 1
    assert "1 are open" in daemon.cli("integrity", "ignore", "--undo", ignored).stdout
    assert "1 are ignored" in daemon.cli("integrity", "ignore", ignored).stdout
    unknown = daemon.cli("integrity", "ignore", "00000000-0000-0000-0000-000000000001", check=False)
    assert (unknown.returncode, "there is no such finding" in unknown.stderr) == (1, True)
    assert daemon.cli("integrity", "apply", "--all", check=False).returncode == 64  # nobody to ask
    (tmp_path / "plan.json").write_text(daemon.cli("integrity", "plan", "--json").stdout)
    (tmp_path / "other.json").write_text((tmp_path / "plan.json").read_text().replace('"restore"', '"reingest"'))
    other = daemon.cli("integrity", "apply", "--all", "--from", str(tmp_path / "other.json"), "--yes", check=False)
    assert (other.returncode, "restore is planned by now" in other.stdout) == (1, True)
    (tmp_path / "older.json").write_text(
        re.sub(r'"version": *"', '"version": "0', (tmp_path / "plan.json").read_text())
    )
    older = daemon.cli("integrity", "apply", "--all", "--from", str(tmp_path / "older.json"), "--yes", check=False)
    assert (older.returncode, "something else was found by now" in older.stdout) == (1, True)
    unseen = daemon.cli("integrity", "apply", ignored, "--from", str(tmp_path / "plan.json"), "--yes", check=False)
    assert (unseen.returncode, "says nothing about" in unseen.stderr) == (64, True)
    no_plan = daemon.cli("integrity", "apply", "--all", "--from", __file__, "--yes", check=False)
    assert (no_plan.returncode, "is no plan of" in no_plan.stderr) == (64, True)
    seen = plan["1.jpg"]["finding"]["id"]
    assert "queued" in daemon.cli("integrity", "apply", seen, "--from", str(tmp_path / "plan.json"), "--yes").stdout
    daemon.cli("wait", "--timeout", "90")
    assert (root / "1.jpg").read_bytes() == contents["1.jpg"]
    assert not (root / "2.jpg").exists()
    shutil.copyfile(next(place.glob("originals/*/*/*")), tmp_path / "copy")
    assert said(daemon, "integrity", "findings", "--state", "healed")["items"][0]["path"] == "1.jpg"

    (root / "2.jpg").write_bytes(contents["2.jpg"])
    assert daemon.cli("verify", "--all", "--wait").returncode == 0
    assert said(daemon, "mirrors", "remove", mirror["id"])["items"] == []
    (root / "3.jpg").unlink()
    assert daemon.cli("verify", "--all", "--wait", check=False).returncode == 1
    left = daemon.cli("integrity", "apply", "--all", "--yes")
    assert "1 are gone for good" in left.stderr
    assert len(said(daemon, "integrity", "plan")["items"]) == 1
    assert "done" in daemon.cli("integrity", "apply", "--all", "--action", "accept_missing", "--yes").stdout
    rot(root / "0.jpg")
    daemon.cli("verify", "--all", "--wait", check=False)
    (hopeless,) = said(daemon, "integrity", "plan")["items"]
    assert hopeless["action"] == "none"
    assert "Approve" not in daemon.cli("integrity", "plan").stderr
    left = daemon.cli("integrity", "apply", "--all", "--yes")
    assert "1 need a person" in left.stderr
    assert said(daemon, "integrity", "apply", "--all", "--yes")["items"] == []
    named = daemon.cli("integrity", "apply", hopeless["finding"]["id"], "--yes", check=False)
    assert (named.returncode, "there is no other copy" in named.stdout) == (1, True)
    daemon.cli("integrity", "ignore", hopeless["finding"]["id"])
    root.rename(tmp_path / "away")
    assert daemon.cli("verify", "--all", "--wait", check=False).returncode == 75
    assert said(daemon, "integrity", "findings")["items"] == []
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "content", [b'{"items":[{"action":"\xff"}]}', b'{"a":' + b"[" * 100_000, b"[]"], ids=["text", "deep", "list"]
)
def test_what_is_no_plan_is_bad_usage(daemon: Daemon, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    done = daemon.cli("integrity", "apply", "--all", "--from", str(tmp_path / "plan.json"), "--yes", check=False)
    assert (done.returncode, "is no plan of" in done.stderr, "Traceback" in done.stderr) == (64, True, False)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["verify"], 64),
        (["verify", "--all", "--repo", "x"], 64),
        (["verify", "--asset", "x"], 64),
        (["integrity"], 64),
        (["integrity", "apply"], 64),
        (["integrity", "apply", "--all", "00000000-0000-0000-0000-000000000001"], 64),
        (["integrity", "ignore"], 64),
        (["integrity", "findings", "--kind", "x"], 64),
        (["mirrors", "add", "home"], 64),
        (["mirrors", "add", "home", "s3://x/y", "--option", "endpoint"], 64),
        (["verify", "--all"], 69),
        (["integrity", "status"], 69),
        (["mirrors", "list"], 69),
    ],
)
def test_exit_codes(line: list[str], code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
