"""Missing work is a query: emptying the job table loses nothing."""

import json
from pathlib import Path

import psycopg

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_bad_input import UnixConnection
from tests.daemon.test_kill import photograph


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
    daemon.cli("upload", *(str(path) for path in paths), "--repo", "photos")
    daemon.kill()
    server = embedded.prepare(daemon.state_dir)
    with psycopg.connect(server.conninfo) as conn:
        conn.execute("TRUNCATE jobs")
    daemon.start()
    daemon.cli("wait", "--timeout", "120")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "120")
    assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)
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
    [before] = json.loads(daemon.cli("assets", "list", "--json").stdout)
    (root / "two").mkdir()
    (root / "one" / "a.jpg").rename(root / "two" / "b.jpg")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [after] = json.loads(daemon.cli("assets", "list", "--json").stdout)
    assert (after["id"], after["path"]) == (before["id"], "two/b.jpg")
    [file] = json.loads(daemon.cli("repos", "files", "photos", "--json").stdout)
    assert (file["path"], file["outcome"]) == ("two/b.jpg", "asset")


def test_a_lost_original_comes_back_by_upload(daemon: Daemon, tmp_path: Path) -> None:
    """The same bytes again are a duplicate only while the library really has them."""
    root = tmp_path / "repo"
    root.mkdir()
    source = tmp_path / "a.jpg"
    source.write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("upload", str(source), "--repo", "photos", "--wait")
    [first] = json.loads(daemon.cli("assets", "list", "--json").stdout)
    (root / first["path"]).unlink()
    daemon.cli("upload", str(source), "--repo", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [again] = json.loads(daemon.cli("assets", "list", "--json").stdout)
    assert again["id"] == first["id"]
    assert (root / again["path"]).read_bytes() == source.read_bytes()


def test_a_lost_thumbnail_is_made_again(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    [asset] = json.loads(daemon.cli("assets", "list", "--json").stdout)
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
