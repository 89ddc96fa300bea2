"""Derivatives as a whole: counted, made anew, pruned, kept within their budget, and kept for ever by their version."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psycopg
from PIL import Image

from lumiliod.contract.derivatives import DerivativeKind, RebuildRequest
from lumiliod.db import embedded
from lumiliod.domain.derivatives import place
from lumiliod.domain.ids import Digest
from tests.conftest import Daemon
from tests.media.test_web_video import film
from tests.raw_http import UnixConnection


def told(daemon: Daemon, *command: str) -> dict[str, object]:
    return dict(json.loads(daemon.cli("derivatives", *command, "--json").stdout))


def counts(daemon: Daemon) -> dict[str, DerivativeKind]:
    with daemon.client as client:
        return {one.kind: one for one in client.derivatives.status().items}


def cached(daemon: Daemon, path: str) -> tuple[int, str | None, str | None]:
    connection = UnixConnection(daemon.socket)
    connection.request("GET", f"/api/v1/assets/{path}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheader("Cache-Control"), answer.getheader("ETag")


def test_they_are_counted_made_anew_and_pruned(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    for name, colour in (("a.jpg", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (640, 480), colour).save(root / name)
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "60")
    found = counts(daemon)
    assert [(found[kind].files, found[kind].outdated) for kind in ("thumbnail_150", "video_web")] == [(2, 0), (0, 0)]
    assert found["thumbnail_150"].size_bytes == sum(
        file.stat().st_size for file in (root / ".lumilio/assets/thumbnails/150").rglob("*.jpg")
    )
    assert "thumbnail_1024" in daemon.cli("derivatives", "status").stdout

    with daemon.client as client:
        assets = {asset.path: asset for asset in client.all_assets()}
    before, other = assets["a.jpg"], assets["b.jpg"]
    url = f"{before.id}/thumbnail?size=150"
    assert cached(daemon, url)[1] == "private, no-cache"
    status, caching, etag = cached(daemon, f"{url}&version={before.thumbnail_version}")
    assert (status, caching) == (200, "private, max-age=31536000, immutable")
    assert etag is not None
    assert etag.strip('"').endswith(f"-{before.thumbnail_version}")

    assert told(daemon, "rebuild", str(before.id)) == {"added": {"thumbnails": 1, "transcode": 0, "develop": 0}}
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assets = {asset.path: asset for asset in client.all_assets()}
    assert assets["b.jpg"].thumbnail_version == other.thumbnail_version
    assert assets["a.jpg"].thumbnail_version != before.thumbnail_version
    assert cached(daemon, f"{url}&version={before.thumbnail_version}")[1] == "private, no-cache"
    assert told(daemon, "rebuild", "--all", "--yes", "--job", "thumbnails") == {"added": {"thumbnails": 2}}
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        made = {asset.path: asset.thumbnail_version for asset in client.all_assets()}
        assert made["b.jpg"] != other.thumbnail_version
        assert client.derivatives.rebuild(RebuildRequest(repository="home", jobs=["transcode"])).added == {
            "transcode": 0
        }
    assert "asset_not_found" in daemon.cli("derivatives", "rebuild", str(UUID(int=1)), "--json", check=False).stderr

    [kept] = (root / ".lumilio/assets/thumbnails/150").rglob(f"{before.digest}.*")
    leftover = root / ".lumilio" / place("thumbnail_150", Digest(before.digest), "jpg", "older-1")
    leftover.write_bytes(b"left over")
    young = leftover.with_name(leftover.name.replace("older-1", "older-2"))
    young.write_bytes(b"young")
    foreign = leftover.with_name("foreign.jpg")
    foreign.write_bytes(b"no derivative by its name")
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo) as conn:
        assert conn.execute("SELECT count(*) FROM derivatives").fetchone() == (6,)
    # what was written within the hour may still wait for its row, and no call can set the time of a change back
    assert told(daemon, "prune")["result"] == {
        "removed": 0, "removed_bytes": 0, "evicted": 0, "evicted_bytes": 0, "away": [],
    }  # fmt: skip
    assert all(file.exists() for file in (kept, leftover, young, foreign))


def test_films_for_the_web_stay_within_their_budget(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        film(root / name, codec="mpeg4", size=(640, 360), seconds=4.0 + "abc".index(name[0]), sound=None)
    config = tmp_path / "lumiliod.toml"
    config.write_text("[media]\nweb_videos_budget_mb = 1\n")
    daemon = make_daemon("--config", str(config)).start()
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        ids = {asset.path: asset.id for asset in client.all_assets()}
    sizes = {file.name: file.stat().st_size for file in (root / ".lumilio/assets/videos/web").rglob("*.mp4")}
    assert sizes
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
        # as if they were larger: the one watched last stays
        conn.execute("UPDATE derivatives SET size_bytes = 700000 WHERE kind = 'video_web'")
        conn.execute("UPDATE derivatives SET used_at = now() - interval '2 hours'")
        conn.execute("UPDATE derivatives SET used_at = now() WHERE asset_id = %s", (ids["b.mkv"],))
        result = told(daemon, "prune")["result"]
        assert isinstance(result, dict)
        assert (result["evicted"], result["evicted_bytes"]) == (2, 1_400_000)
        [left] = (root / ".lumilio/assets/videos/web").rglob("*.mp4")
        assert conn.execute(
            "SELECT path FROM derivatives WHERE kind = 'video_web' AND evicted_at IS NULL"
        ).fetchall() == [(os.path.relpath(left, root / ".lumilio"),)]
        conn.execute(
            "UPDATE derivatives SET size_bytes = %s WHERE asset_id = %s AND kind = 'video_web'",
            (left.stat().st_size, ids["b.mkv"]),
        )
    assert (counts(daemon)["video_web"].files, counts(daemon)["video_web"].evicted) == (1, 2)
    daemon.cli("jobs", "backfill")
    assert counts(daemon)["video_web"].evicted == 2, "nobody asked for them"
    assert cached(daemon, f"{ids['b.mkv']}/video/web")[0] == 200
    assert cached(daemon, f"{ids['a.mkv']}/video/web")[0] == 503
    daemon.cli("wait", "--timeout", "60")
    status, caching, etag = cached(daemon, f"{ids['a.mkv']}/video/web")
    assert (status, caching) == (200, "private, no-cache")
    assert etag is not None
    fixed = etag.strip('"').removeprefix(f"{ids['a.mkv']}-")
    assert "immutable" in (cached(daemon, f"{ids['a.mkv']}/video/web?version={fixed}")[1] or "")
