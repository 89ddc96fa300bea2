"""Missing work is a query: emptying the job table loses nothing."""

import json
import os
import signal
import time
from pathlib import Path

import psycopg

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph
from tests.raw_http import UnixConnection


def test_an_emptied_job_table_is_made_again(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "photos")
    for number in range(12):
        (root / f"{number:03}.jpg").write_bytes(photograph(number))
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    paths = []
    for number in range(12, 20):
        paths.append(uploads / f"{number:03}.jpg")
        paths[-1].write_bytes(photograph(number))
    daemon.cli("scan", "photos")
    daemon.cli("upload", *(str(path) for path in paths), "--repo", "photos", "--no-wait")
    daemon.kill()
    server = embedded.prepare(daemon.state_dir)
    with psycopg.connect(server.conninfo) as conn:
        conn.execute("TRUNCATE jobs")
    daemon.start()
    daemon.cli("wait", "--timeout", "120")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "120")
    assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    assert len(assets) == 20
    assert {asset["status"] for asset in assets} == {"ready"}
    with psycopg.connect(server.conninfo) as conn:
        assert conn.execute("SELECT count(*) FROM assets WHERE metadata_at IS NULL").fetchone() == (0,)


def test_a_moved_file_stays_the_same_asset(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    (root / "one").mkdir(parents=True)
    (root / "one" / "a.jpg").write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [before] = json.loads(daemon.cli("assets", "list", "--json").stdout)["items"]
    (root / "two").mkdir()
    (root / "one" / "a.jpg").rename(root / "two" / "b.jpg")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [after] = json.loads(daemon.cli("assets", "list", "--json").stdout)["items"]
    assert (after["id"], after["path"]) == (before["id"], "two/b.jpg")
    [file] = json.loads(daemon.cli("repos", "files", "photos", "--json").stdout)["items"]
    assert (file["path"], file["outcome"]) == ("two/b.jpg", "asset")


def test_a_lost_original_comes_back_by_upload(daemon: Daemon, tmp_path: Path) -> None:
    """The same bytes again are a duplicate only while the library really has them."""
    root = tmp_path / "repo"
    root.mkdir()
    source = tmp_path / "a.jpg"
    source.write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("upload", str(source), "--repo", "photos")
    [first] = json.loads(daemon.cli("assets", "list", "--json").stdout)["items"]
    (root / first["path"]).unlink()
    daemon.cli("upload", str(source), "--repo", "photos")
    daemon.cli("wait", "--timeout", "60")
    [again] = json.loads(daemon.cli("assets", "list", "--json").stdout)["items"]
    assert again["id"] == first["id"]
    assert (root / again["path"]).read_bytes() == source.read_bytes()


def test_a_lost_thumbnail_is_made_again(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [asset] = json.loads(daemon.cli("assets", "list", "--json").stdout)["items"]
    [smallest, _] = sorted((root / ".lumilio/assets/thumbnails").glob("[13]*0/*/*.jpg"))
    for damage in (smallest.unlink, lambda: smallest.write_bytes(b"")):
        damage()
        assert thumbnail(daemon, asset["id"], 150)[0] == 503
        daemon.cli("wait", "--timeout", "60")
        status, body = thumbnail(daemon, asset["id"], 150)
        assert (status, body[:3]) == (200, b"\xff\xd8\xff")


def thumbnail(daemon: Daemon, asset_id: str, size: int) -> tuple[int, bytes]:
    connection = UnixConnection(daemon.socket)
    connection.request("GET", f"/api/v1/assets/{asset_id}/thumbnail?size={size}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_one_command_makes_exactly_the_missing_work_anew(daemon: Daemon, tmp_path: Path) -> None:
    """In every stage: files found, uploads staged, metadata and thumbnails owed, one kind's work half done."""
    root = tmp_path / "repo"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "photos")
    for number in range(6):
        (root / f"{number:03}.jpg").write_bytes(photograph(number))
    daemon.cli("queues", "pause", "media")
    daemon.cli("scan", "photos", "--wait")
    server = embedded.prepare(daemon.state_dir)
    with psycopg.connect(server.conninfo, autocommit=True) as conn:

        def owed() -> set[tuple[str, str]]:
            rows = conn.execute("SELECT kind, unique_key FROM jobs WHERE state <> 'discarded'").fetchall()
            return {(kind, key) for kind, key in rows}

        wait_until(lambda: {kind for kind, _ in owed()} == {"metadata", "thumbnails"} and len(owed()) == 12)
        daemon.cli("queues", "pause", "ingest")
        for number in range(6, 9):
            upload = tmp_path / f"{number:03}.jpg"
            upload.write_bytes(photograph(number))
            daemon.cli("upload", str(upload), "--repo", "photos", "--no-wait")
        for number in range(9, 11):
            (root / f"{number:03}.jpg").write_bytes(photograph(number))
        daemon.cli("scan", "photos", "--wait")
        before = owed()
        assert len(before) == 12 + 3 + 2
        conn.execute("TRUNCATE jobs")
        told = json.loads(daemon.cli("jobs", "backfill", "--json").stdout)
        assert owed() == before, told
        daemon.cli("jobs", "backfill")
        assert owed() == before
    daemon.cli("queues", "resume", "all")
    daemon.cli("queues", "resume", "ingest")
    daemon.cli("queues", "resume", "media")
    daemon.cli("wait", "--timeout", "120")
    assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    assert [asset["status"] for asset in assets] == ["ready"] * 11


def test_a_cancelled_job_ends_at_once_and_its_media_process_with_it(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "photos")
    (root / "a.jpg").write_bytes(photograph(1))
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    assert daemon.process is not None
    hands = media_processes(daemon.process.pid)
    assert hands
    for pid in hands:
        os.kill(pid, signal.SIGSTOP)
    (root / "b.jpg").write_bytes(photograph(2))
    daemon.cli("scan", "photos", "--wait")
    with daemon.client as client:
        wait_until(lambda: bool(client.jobs(state="running", kind="ingest").items))
        [job] = client.jobs(state="running", kind="ingest").items
        began = time.monotonic()
        client.change_job("cancel", job.id)
        assert client.job(job.id).state == "cancelled"
        wait_until(lambda: not set(hands) <= set(media_processes(daemon.process.pid if daemon.process else 0)))
        assert time.monotonic() - began < 10
        # what is missing is known all the same
        client.backfill()
    for pid in set(hands) & set(media_processes(daemon.process.pid)):
        os.kill(pid, signal.SIGCONT)
    daemon.cli("wait", "--timeout", "60")
    assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    assert [asset["status"] for asset in assets] == ["ready", "ready"]


def media_processes(daemon: int) -> list[int]:
    """Return the decoding processes of a daemon: the children of its zygote."""
    parents: dict[int, tuple[int, bytes]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                name = (folder / "comm").read_bytes().strip()
                status = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if status[0] != "Z":
                parents[int(folder.name)] = int(status[1]), name
    return [
        pid
        for pid, (parent, name) in parents.items()
        if name == b"lumilio-media" and parents.get(parent, (0, b""))[0] == daemon
    ]
