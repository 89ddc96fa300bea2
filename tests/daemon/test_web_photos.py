"""Photos in full size for the web through the daemon: made when asked for, kept within a budget, or explained."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
from PIL import Image

from lumiliod.db import embedded
from scripts.sample_formats import raw
from tests.conftest import Daemon
from tests.daemon.test_web_videos import played
from tests.media.test_web_audio import tone


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    """Return a slope of colours with some noise."""
    rng = np.random.default_rng(seed)
    across = np.linspace(30, 220, width)[None, :, None]
    down = np.linspace(0.5, 1.0, height)[:, None, None]
    colours = across * down * np.array([1.0, 0.8, 0.6]) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def saved(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def asked(daemon: Daemon, asset_id: UUID) -> tuple[int, str]:
    status, body, _ = played(daemon, asset_id, "photo/web")
    return status, "" if status == 200 else json.loads(body)["code"]


def shown(daemon: Daemon, asset_id: UUID) -> Image.Image:
    """Return what is shown of an asset, once it is there."""
    if asked(daemon, asset_id) == (503, "photo_pending"):
        daemon.cli("wait", "--timeout", "60")
    status, body, mime = played(daemon, asset_id, "photo/web")
    assert (status, mime) == (200, "image/jpeg")
    return Image.open(io.BytesIO(body))


def test_every_photo_is_shown_in_full_size(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    sensor = picture(1500, 1000)
    (root / "a.dng").write_bytes(raw(saved(sensor, "PNG")))
    (root / "b.tif").write_bytes(saved(picture(1300, 900), "TIFF"))
    fine = saved(picture(1600, 1200), "JPEG")
    (root / "c.jpg").write_bytes(fine)
    (root / "d.tif").write_bytes(saved(picture(1200, 900), "TIFF")[:20_000])
    tone(root / "e.mp3", "libmp3lame")
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        assets = {asset.path: asset for asset in client.all_assets()}
        kinds = {one.kind: one for one in client.derivatives.status().items}
    ids = {path: asset.id for path, asset in assets.items()}
    assert kinds["photo_web"].files == 0, "nobody asked for one"
    assert played(daemon, ids["c.jpg"], "photo/web") == (200, fine, "image/jpeg")
    assert asked(daemon, ids["a.dng"]) == (503, "photo_pending")
    developed = shown(daemon, ids["a.dng"])
    assert developed.size == (1500, 1000)
    means = [np.asarray(image.convert("RGB").resize((8, 8)), float).mean(axis=(0, 1)) for image in (developed, sensor)]
    ratios = means[0] / means[1]
    assert ratios.max() / ratios.min() < 1.6, "the colours are those of the sensor"
    assert shown(daemon, ids["b.tif"]).size == (1300, 900)
    assert asked(daemon, ids["e.mp3"]) == (404, "photo_missing")
    assert asked(daemon, ids["d.tif"]) == (503, "photo_pending")
    daemon.cli("wait", "--timeout", "60")
    status, body, _ = played(daemon, ids["d.tif"], "photo/web")
    assert (status, json.loads(body)["code"]) == (404, "photo_missing")
    assert "it could not be made" in json.loads(body)["detail"]

    # lost, and made again
    lying = next((root / ".lumilio/assets/photos/web").rglob(f"{assets['b.tif'].digest}.*"))
    lying.unlink()
    assert asked(daemon, ids["b.tif"]) == (503, "photo_pending")
    assert shown(daemon, ids["b.tif"]).size == (1300, 900)

    # what failed is tried again when somebody says so
    told = daemon.cli("derivatives", "rebuild", str(ids["d.tif"]), "--job", "develop", "--json")
    assert json.loads(told.stdout)["added"] == {"develop": 1}
    told = daemon.cli("derivatives", "rebuild", str(ids["d.tif"]), str(ids["b.tif"]), "--json")
    assert json.loads(told.stdout)["added"] == {"thumbnails": 2, "transcode": 0, "develop": 1}
    daemon.cli("wait", "--timeout", "60")

    # by another recipe: made anew, and served until then
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
        conn.execute("UPDATE derivatives SET recipe = 'older' WHERE kind = 'photo_web'")
    with daemon.client as client:
        status_ = client.derivatives.status()
    assert next(one for one in status_.items if one.kind == "photo_web").outdated == 2
    assert next(one for one in status_.work if one.job == "develop").without_job == 2
    assert asked(daemon, ids["a.dng"]) == (200, "")
    assert json.loads(daemon.cli("jobs", "backfill", "--json").stdout)["added"]["develop"] == 2
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assert next(one for one in client.derivatives.status().items if one.kind == "photo_web").outdated == 0


def test_photos_in_full_size_keep_to_their_budget(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "lumiliod.toml"
    config.write_text("[media]\nweb_photos_budget_mb = 1\n")
    daemon = make_daemon("--config", str(config)).start()
    root = tmp_path / "repo"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.tif").write_bytes(saved(picture(1600, 1200, number), "TIFF"))
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        ids = [asset.id for asset in sorted(client.all_assets(), key=lambda asset: asset.path or "")]
    for asset_id in ids:
        assert shown(daemon, asset_id).size == (1600, 1200)
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        [kept] = [one for one in client.derivatives.status().items if one.kind == "photo_web"]
    assert kept.evicted > 0
    assert kept.size_bytes < 1 << 20 or kept.files == 1
    assert len(list((root / ".lumilio/assets/photos/web").rglob("*.jpg"))) == kept.files
    assert shown(daemon, ids[0]).size == (1600, 1200), "what made room is made again"


def test_what_was_cancelled_or_in_the_trash_is_made_when_asked_again(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    for name in ("a.tif", "b.tif"):
        (root / name).write_bytes(saved(picture(300, 200, ord(name[0])), "TIFF"))
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        ids = {asset.path: asset.id for asset in client.all_assets()}
        daemon.cli("queues", "pause", "develop")
        for asset_id in ids.values():
            assert asked(daemon, asset_id) == (503, "photo_pending")
        [waiting] = [job for job in client.jobs(kind="develop").items if job.asset_id == ids["a.tif"]]
        daemon.cli("jobs", "cancel", str(waiting.id), "--yes")
        client.trash.remove_one(ids["b.tif"])
        daemon.cli("wait", "--timeout", "60")
        daemon.cli("trash", "restore", str(ids["b.tif"]))
        daemon.cli("wait", "--timeout", "60")
        assert {job.state for job in client.jobs(kind="develop").items} == {"cancelled"}
    daemon.cli("queues", "resume", "develop")
    for asset_id in ids.values():
        assert shown(daemon, asset_id).size == (300, 200)


def test_what_is_lost_and_cannot_be_made_any_more_is_tried_once(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(watched=False).start()
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.tif").write_bytes(saved(picture(300, 200), "TIFF"))
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        [asset] = client.all_assets()
        assert shown(daemon, asset.id).size == (300, 200)
        # the disk has lost it, which tells nobody
        before = (root / "a.tif").stat()
        (root / "a.tif").write_bytes(b"II*\0\x08\0\0\0".ljust(before.st_size, b"x"))
        os.utime(root / "a.tif", ns=(before.st_atime_ns, before.st_mtime_ns))
        for lost in (root / ".lumilio/assets").rglob(f"{asset.digest}.*"):
            lost.unlink()
        for path, code in (("photo/web", "photo"), ("thumbnail?size=300", "thumbnail")):
            status, body, _ = played(daemon, asset.id, path)
            assert (status, json.loads(body)["code"]) == (503, f"{code}_pending")
            daemon.cli("wait", "--timeout", "60")
            for _ in range(3):
                status, body, _ = played(daemon, asset.id, path)
                assert (status, json.loads(body)["code"]) == (404, f"{code}_missing")
                assert "could not be made" in json.loads(body)["detail"]
        assert len(client.jobs(kind="develop", state="discarded").items) == 1
        assert len(client.jobs(kind="thumbnails", state="discarded").items) == 1
