"""Sounds for the web through the daemon: made, served, lost and made again, or explained."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import av
import psycopg

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_web_videos import played
from tests.media.test_web_audio import tone


def test_every_sound_plays(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    fine = tone(root / "fine.mp3", "libmp3lame")
    tone(root / "lossless.m4a", "alac", muxer="ipod")
    tone(root / "in-a-film.mkv", "ac3", muxer="matroska")
    whole = tone(tmp_path / "whole.aiff", "pcm_s16be").read_bytes()
    (root / "broken.aiff").write_bytes(whole[:50])
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        assets = {asset.path: asset for asset in client.all_assets()}
    ids = {path: asset.id for path, asset in assets.items()}
    assert played(daemon, ids["fine.mp3"], "audio/web") == (200, fine.read_bytes(), "audio/mpeg")
    for name in ("lossless.m4a", "in-a-film.mkv"):
        status, body, mime = played(daemon, ids[name], "audio/web")
        assert (status, mime) == (200, "audio/mp4")
        with av.open(io.BytesIO(body)) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
        assert played(daemon, ids[name], "audio/web", Range="bytes=4-11")[:2] == (206, body[4:12])
        status, body, _ = played(daemon, ids[name], "video/web")
        assert (status, json.loads(body)["code"]) == (404, "video_missing")
    status, body, _ = played(daemon, ids["broken.aiff"], "audio/web")
    assert (status, json.loads(body)["code"]) == (404, "audio_missing")
    assert "no version of this sound could be made" in json.loads(body)["detail"]

    _, version, _ = played(daemon, ids["lossless.m4a"], "audio/web")
    lying = next((root / ".lumilio/assets/audios/web").rglob(f"{assets['lossless.m4a'].digest}.*"))
    lying.unlink()
    status, body, _ = played(daemon, ids["lossless.m4a"], "audio/web")
    assert (status, json.loads(body)["code"]) == (503, "audio_pending")
    daemon.cli("wait", "--timeout", "60")
    assert played(daemon, ids["lossless.m4a"], "audio/web")[:2] == (200, version)

    # what an earlier version took in without one
    with psycopg.connect(embedded.prepare(daemon.state_dir).conninfo, autocommit=True) as conn:
        conn.execute("DELETE FROM derivatives WHERE kind = 'audio_web'")
        conn.execute("UPDATE assets SET plays_on_web = NULL")
        told = json.loads(daemon.cli("jobs", "backfill", "--json").stdout)["added"]
        assert told["transcode"] == 3
        daemon.cli("wait", "--timeout", "60")
        assert played(daemon, ids["lossless.m4a"], "audio/web")[:2] == (200, version)
        told = json.loads(daemon.cli("jobs", "backfill", "--json").stdout)["added"]
        assert sum(told.values()) == 0


def test_who_wants_none_gets_none(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "lumiliod.toml"
    config.write_text("[media]\nweb_audios = false\n")
    daemon = make_daemon("--config", str(config)).start()
    root = tmp_path / "repo"
    root.mkdir()
    tone(root / "a.wma", "wmav2", muxer="asf")
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        [asset] = client.all_assets()
    status, body, _ = played(daemon, asset.id, "audio/web")
    assert (status, json.loads(body)["code"]) == (404, "audio_missing")
    assert daemon.stop() == 0
    config.write_text("")
    daemon.start()
    wait_until(lambda: played(daemon, asset.id, "audio/web")[0] == 200)
