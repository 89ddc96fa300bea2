"""Pictures that look alike are found, and what an older recipe made is made anew, exactly."""

import base64
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import psycopg
from PIL import Image

from lumiliod.db import embedded
from lumiliod.domain.derivatives import THUMBNAIL_RECIPE
from tests.conftest import Daemon
from tests.media.test_appearance import scene


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_near_duplicates_and_a_new_recipe(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.jpg").write_bytes(jpeg(scene(1), 90))
    (root / "small.jpg").write_bytes(jpeg(scene(1).resize((512, 341)), 60))
    (root / "other.jpg").write_bytes(jpeg(scene(2), 90))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        ids = {asset.path: asset.id for asset in client.all_assets()}
        [near] = client.near_duplicates(ids["a.jpg"]).items
        assert (near.asset.id, near.distance <= 8) == (ids["small.jpg"], True)
        assert client.near_duplicates(ids["other.jpg"]).items == []
        detail = client.asset(ids["a.jpg"])
        assert detail.thumbhash is not None
        assert len(base64.b64decode(detail.thumbhash)) > 15
        assert detail.appearance is not None
        assert 0 < detail.appearance.brightness < 1
        told = json.loads(daemon.cli("assets", "near-duplicates", str(ids["small.jpg"]), "--json").stdout)
        assert [one["asset"]["path"] for one in told["items"]] == ["a.jpg"]

        with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
            conn.execute("UPDATE derivatives SET recipe = 'older' WHERE asset_id = %s", (ids["a.jpg"],))
            conn.execute("DELETE FROM appearances WHERE asset_id = %s", (ids["a.jpg"],))
            before = conn.execute("SELECT asset_id, kind, created_at FROM derivatives").fetchall()
            daemon.cli("jobs", "backfill")
            daemon.cli("wait", "--timeout", "60")
            after = conn.execute("SELECT asset_id, kind, created_at FROM derivatives").fetchall()
            assert {row[0] for row in set(after) - set(before)} == {ids["a.jpg"]}
            assert conn.execute("SELECT DISTINCT recipe FROM derivatives").fetchall() == [(THUMBNAIL_RECIPE,)]
            daemon.cli("jobs", "backfill")
            daemon.cli("wait", "--timeout", "60")
            assert conn.execute("SELECT asset_id, kind, created_at FROM derivatives").fetchall() == after
        assert client.near_duplicates(ids["a.jpg"]).items[0].asset.id == ids["small.jpg"]


def test_what_cannot_be_made_anew_keeps_what_it_has(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(watched=False).start()
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.jpg").write_bytes(jpeg(scene(1), 90))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("wait", "--timeout", "60")
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
        conn.execute("UPDATE derivatives SET recipe = 'older'")
        # its disk has lost it, and tells nobody
        was = (root / "a.jpg").stat()
        (root / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture any more".ljust(was.st_size))
        os.utime(root / "a.jpg", ns=(was.st_atime_ns, was.st_mtime_ns))
        daemon.cli("jobs", "backfill")
        daemon.cli("wait", "--timeout", "60")
        assert conn.execute("SELECT kind, state FROM jobs").fetchall() == [("thumbnails", "discarded")]
        assert conn.execute("SELECT status FROM assets").fetchall() == [("ready",)]
        assert len(conn.execute("SELECT 1 FROM derivatives").fetchall()) == 3
