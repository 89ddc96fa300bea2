"""The command line and a real daemon."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from lumiliod.client import ApiError, Client

if TYPE_CHECKING:
    from tests.conftest import Daemon


def picture(path: Path, color: str) -> Path:
    Image.new("RGB", (640, 480), color).save(path, "JPEG")
    return path


def said(daemon: "Daemon", *args: str) -> Any:
    return json.loads(daemon.cli("--json", *args).stdout)


def test_a_whole_day(daemon: "Daemon", tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    added = said(daemon, "repos", "add", str(tmp_path / "home"), "--name", "home", "--layout", "flat")
    assert (added["name"], added["storage_strategy"]) == ("home", "flat")
    assert [found["name"] for found in said(daemon, "repos", "list")["items"]] == ["home"]
    assert said(daemon, "repos", "show", "home")["id"] == added["id"]
    assert "every night" in daemon.cli("repos", "show", "home").stdout
    assert daemon.cli("repos", "list").stdout.splitlines()[0].split() == [
        "Name", "Status", "Changes", "Layout", "Assets", "Files", "Size", "Path",
    ]  # fmt: skip

    one = picture(tmp_path / "one.jpg", "red")
    odd = picture(tmp_path / 'a "b"\n%41ü\u202e\x9b.jpg', "blue")
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    done = daemon.cli("upload", str(one), str(tmp_path / "none"), str(odd), str(text), "--json", check=False)
    assert done.returncode == 65
    results = json.loads(done.stdout)["items"]
    assert [result["status"] for result in results] == ["done", "failed", "done", "refused"]
    assert results[0]["outcome"] == "asset"
    assert results[1]["error"]["code"] == "unreadable"
    assert results[3]["error"]["detail"]
    assert results[3]["upload_id"] == said(daemon, "uploads", "list")["refused"][0]["id"]
    done = daemon.cli("upload", str(one))
    assert "duplicate" in done.stdout
    assert results[0]["asset_id"] in done.stdout
    assert daemon.cli("wait", "--timeout", "60").returncode == 0

    status = said(daemon, "status")
    assert status["assets"]["photo"] == 2
    assert status["open_jobs"] == 0
    assets = said(daemon, "assets", "list")["items"]
    assert {asset["original_filename"] for asset in assets} == {"one.jpg", odd.name}
    assert "\\n" in daemon.cli("assets", "list").stdout
    assert said(daemon, "assets", "show", results[0]["asset_id"])["width"] == 640
    assert len(said(daemon, "assets", "list", "--limit", "1")["items"]) == 1
    files = said(daemon, "repos", "files", "home", "--outcome", "asset")["items"]
    assert {file["asset_id"] for file in files} == {asset["id"] for asset in assets}
    found = said(daemon, "search", "type:photo", "one")
    assert [asset["id"] for asset in found["items"]] == [results[0]["asset_id"]]
    assert len(said(daemon, "search", "type:photo", "--all", "--limit", "1")["items"]) == 2

    assert said(daemon, "scan", "home", "--wait")["state"] == "completed"
    jobs = said(daemon, "jobs", "list", "--kind", "ingest", "--all")["items"]
    assert {job["kind"] for job in jobs} == {"ingest"}
    assert said(daemon, "jobs", "show", jobs[0]["id"])["id"] == jobs[0]["id"]

    exported = daemon.cli("assets", "export").stdout
    assert json.loads(exported) == said(daemon, "assets", "list", "--all")["items"]
    lines = daemon.cli("assets", "export", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [asset["id"] for asset in assets]
    # names turn no text round and control no terminal
    assert all(line.isprintable() for line in [*lines, *exported.split("\n")])
    target = tmp_path / "assets.csv"
    assert said(daemon, "assets", "export", "--format", "csv", "--output", str(target))["assets"] == 2
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["id"] for row in rows] == [asset["id"] for asset in assets]
    assert list(tmp_path.glob(".*")) == []

    assert daemon.cli("repos", "show", "nowhere", check=False).returncode == 1
    assert daemon.cli("search", 'rating:"', check=False).returncode in (1, 64)
    assert daemon.cli("assets", "export", "--output", "/nowhere/x", check=False).returncode == 1

    with Client(daemon.socket) as client:
        assert client.ready()
        sent: list[int] = []
        client.upload(str(one), repository="home", progress=sent.append)
        assert sum(sent) == one.stat().st_size
        with pytest.raises(ApiError) as caught:
            client.repository("a/b ü")
        assert caught.value.problem.status == 404
    assert daemon.stop() == 0
    assert daemon.cli("status", check=False).returncode == 69
