"""Films for the web through the daemon: made, served, cancelled, lost and made again, or explained."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import UUID

import av
import psycopg
import pytest
from PIL import Image

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.media.test_web_video import film
from tests.raw_http import UnixConnection


def played(daemon: Daemon, asset_id: UUID, path: str = "video/web", **headers: str) -> tuple[int, bytes, str | None]:
    connection = UnixConnection(daemon.socket)
    connection.request("GET", f"/api/v1/assets/{asset_id}/{path}", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.getheader("Content-Type")


def ingested(daemon: Daemon, root: Path) -> dict[str | None, UUID]:
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        return {asset.path: asset.id for asset in client.all_assets() if asset.type == "video"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    made.mkdir()
    return made


def test_every_film_plays(daemon: Daemon, root: Path) -> None:
    fine = film(root / "fine.mp4", options={"movflags": "+faststart"})
    film(root / "copied.mkv")
    film(root / "drawn.avi", codec="mpeg4", sound="libmp3lame")
    (root / "none.jpg").write_bytes(b"\xff\xd8\xff\xe0 none")
    ids = ingested(daemon, root)
    status, body, mime = played(daemon, ids["fine.mp4"])
    assert (status, body, mime) == (200, fine.read_bytes(), "video/mp4")
    for name in ("copied.mkv", "drawn.avi"):
        status, body, mime = played(daemon, ids[name])
        assert (status, mime) == (200, "video/mp4")
        path = root / "played.bin"
        path.write_bytes(body)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert len(list(container.decode(video=0))) == 50
        status, part, _ = played(daemon, ids[name], Range="bytes=4-11")
        assert (status, part) == (206, body[4:12])
        assert part[:4] == b"ftyp"
    for asset_id in ids.values():
        status, strip, mime = played(daemon, asset_id, path="video/filmstrip")
        assert (status, mime) == (200, "image/jpeg")
        with Image.open(BytesIO(strip)) as image:
            frames = image.width // 160
            assert (frames in (2, 3), image.height) == (True, 80)
        status, places, mime = played(daemon, asset_id, path="video/filmstrip.vtt")
        assert (status, str(mime).partition(";")[0]) == (200, "text/vtt")
        second = "00:00:01.000 --> 00:00:02.000\nfilmstrip#xywh=160,0,160,80"
        cues = places.decode().strip().split("\n\n")
        assert (cues[0], cues[2], len(cues)) == ("WEBVTT", second, frames + 1)
    with daemon.client as client:
        photo = next(asset for asset in client.all_assets() if asset.path == "none.jpg")
    status, body, _ = played(daemon, photo.id)
    assert (status, json.loads(body)["code"]) == (404, "video_missing")


def test_a_lost_version_is_made_again_and_a_broken_film_explained(daemon: Daemon, root: Path) -> None:
    film(root / "a.mkv")
    film(root / "b.mkv", codec="mpeg4", seconds=0.2, sound=None)
    broken = (root / "b.mkv").read_bytes()
    (root / "b.mkv").write_bytes(broken[:600] + b"\0" * 400)
    ids = ingested(daemon, root)
    [version] = (root / ".lumilio" / "assets" / "videos" / "web").rglob("*.mp4")
    content = version.read_bytes()
    version.write_bytes(content[:100])
    status, body, _ = played(daemon, ids["a.mkv"])
    assert (status, json.loads(body)["code"]) == (503, "video_pending")
    daemon.cli("wait", "--timeout", "60")
    assert played(daemon, ids["a.mkv"])[:2] == (200, content)
    assert list((root / ".lumilio" / "temp").iterdir()) == []
    status, body, _ = played(daemon, ids["b.mkv"])
    assert (status, json.loads(body)["code"]) == (404, "video_missing")
    assert "no version of this film could be made" in json.loads(body)["detail"]


def test_progress_is_told_and_cancelling_ends_it_at_once(daemon: Daemon, root: Path) -> None:
    film(root / "long.mkv", codec="mpeg4", size=(1280, 720), seconds=120, sound=None)
    daemon.cli("repos", "add", str(root), "--name", "home")
    server = embedded.prepare(daemon.state_dir)
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        query = "SELECT id, (progress ->> 'done')::int FROM jobs WHERE kind = 'transcode' AND state = 'running'"

        def advanced() -> bool:
            return any(row[1] for row in conn.execute(query).fetchall())

        wait_until(advanced)
        [(job_id, _)] = conn.execute(query).fetchall()
        daemon.cli("jobs", "cancel", str(job_id))
        wait_until(lambda: list((root / ".lumilio" / "temp").iterdir()) == [])
    assert list((root / ".lumilio" / "assets" / "videos" / "web").rglob("*.mp4")) == []


def test_who_wants_none_gets_none(make_daemon: Callable[..., Daemon], root: Path, tmp_path: Path) -> None:
    config = tmp_path / "lumiliod.toml"
    config.write_text("[media]\nweb_videos = false\n")
    daemon = make_daemon("--config", str(config)).start()
    film(root / "a.mkv")
    ids = ingested(daemon, root)
    status, body, _ = played(daemon, ids["a.mkv"])
    assert (status, json.loads(body)["code"]) == (404, "video_missing")
    assert daemon.stop() == 0
    config.write_text("")
    daemon.start()
    wait_until(lambda: played(daemon, ids["a.mkv"])[0] == 200)
