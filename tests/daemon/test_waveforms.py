"""Sounds through the daemon: pictures, the shape for players, and both made again when they are lost."""

import json
import struct
from pathlib import Path

import psycopg

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_web_videos import played
from tests.media.test_waveform import sound, swelling


def test_a_sound_has_its_shape(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    sound(root / "a.flac", swelling(3), "flac")
    (root / "b.flac").write_bytes((root / "a.flac").read_bytes()[:60])
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assets = {asset.path: asset for asset in client.all_assets()}
    assert (assets["a.flac"].status, assets["a.flac"].thumbnails) == ("ready", [150, 300, 1024])
    status, whole, mime = played(daemon, assets["a.flac"].id, path="audio/waveform")
    assert (status, mime) == (200, "application/octet-stream")
    assert struct.unpack("<iI", whole[:8]) == (1, 1)
    status, body, _ = played(daemon, assets["b.flac"].id, path="audio/waveform")
    assert (status, json.loads(body)["code"]) == (404, "waveform_missing")

    [lying] = (root / ".lumilio" / "assets" / "audios" / "waveforms").rglob("*.dat")
    lying.unlink()
    status, body, _ = played(daemon, assets["a.flac"].id, path="audio/waveform")
    assert (status, json.loads(body)["code"]) == (503, "waveform_pending")
    daemon.cli("wait", "--timeout", "60")
    assert played(daemon, assets["a.flac"].id, path="audio/waveform")[:2] == (200, whole)

    # what an earlier version took in without one
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
        conn.execute("DELETE FROM derivatives")
        daemon.cli("jobs", "backfill")
        daemon.cli("wait", "--timeout", "60")
        kinds = conn.execute("SELECT kind FROM derivatives ORDER BY kind").fetchall()
        assert kinds == [("thumbnail_1024",), ("thumbnail_150",), ("thumbnail_300",), ("waveform",)]
        told = json.loads(daemon.cli("jobs", "backfill", "--json").stdout)["added"]
        assert sum(told.values()) == 0
