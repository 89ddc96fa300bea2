"""Photos that move and faces that are named, through the daemon."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.contract.assets import Asset
from tests.conftest import Daemon
from tests.daemon.test_web_videos import played
from tests.media import moving
from tests.media.moving import exiftool


@pytest.fixture
def home(daemon: Daemon, tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "60")
    return root


def scanned(daemon: Daemon) -> dict[str, Asset]:
    daemon.cli("scan", "home", "--wait")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        return {str(asset.path): asset for asset in client.all_assets()}


def test_the_film_within_a_photo_is_sent(daemon: Daemon, home: Path, tmp_path: Path) -> None:
    film = moving.film_bytes(tmp_path / "film.mp4")
    moving.motion_photo(home / "a.jpg", film)
    exiftool(moving.jpeg(home / "still.jpg"), "-XMP-GCamera:MicroVideo=1")
    found = scanned(daemon)
    assert [(name, found[name].motion, found[name].live_id) for name in ("a.jpg", "still.jpg")] == [
        ("a.jpg", True, None),
        ("still.jpg", False, None),
    ]
    asset_id = found["a.jpg"].id
    with daemon.client as client:
        [within] = client.asset(asset_id).companions
        assert (within.kind, within.is_read) == ("motion", True)
        assert within.why.startswith(f"{len(film)} bytes of film within the file, from byte ")
    assert played(daemon, asset_id, "motion") == (200, film, "video/mp4")
    assert played(daemon, asset_id, "motion", Range="bytes=4-11")[:2] == (206, film[4:12])
    assert played(daemon, asset_id, "motion", Range="bytes=-10")[:2] == (206, film[-10:])
    assert played(daemon, asset_id, "motion", Range=f"bytes={len(film)}-")[0] == 416
    status, body, _ = played(daemon, found["still.jpg"].id, "motion")
    assert (status, json.loads(body)["code"]) == (404, "motion_missing")
    assert played(daemon, UUID(int=1), "motion")[0] == 404
    # somebody wrote over it: what lies at that place now is no film
    (home / "a.jpg").write_bytes((home / "still.jpg").read_bytes() + bytes(len(film)))
    assert played(daemon, asset_id, "motion")[0] == 404


@pytest.mark.parametrize("order", [("a.jpg", "b.mov"), ("b.mov", "a.jpg")])
@pytest.mark.usefixtures("home")
def test_a_live_photo_finds_its_film(daemon: Daemon, tmp_path: Path, order: tuple[str, str]) -> None:
    made = {
        "a.jpg": moving.apple_photo(tmp_path / "a.jpg", "red", content_id="LIVE-1", burst="BURST-1"),
        "b.mov": moving.apple_film(tmp_path / "b.mov", "LIVE-1"),
    }
    for name in order:
        daemon.cli("upload", str(made[name]), "--repo", "home")
        daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        found = {asset.original_filename: asset for asset in client.all_assets()}
    photo, film = found["a.jpg"], found["b.mov"]
    assert (photo.motion, photo.live_id, film.motion, film.live_id) == (True, film.id, False, photo.id)
    assert played(daemon, photo.id, "motion")[:2] == (200, made["b.mov"].read_bytes())
    assert played(daemon, film.id, "motion")[0] == 404
    with daemon.client as client:
        detail = client.asset(photo.id)
        assert (detail.content_id, detail.burst_id) == ("LIVE-1", "BURST-1")
        assert detail.stack is not None
        assert (detail.stack.kind, detail.stack.cover, detail.stack.count) == ("live", photo.id, 2)
        assert [(one.id, one.role) for one in detail.stack_members] == [(photo.id, "photo"), (film.id, "film")]
        assert [one.id for one in client.all_assets(collapsed=True)] == [photo.id]
    assert "content id LIVE-1" in daemon.cli("assets", "show", str(film.id)).stdout
    assert "b.mov" not in daemon.cli("assets", "list", "--collapsed").stdout
    daemon.cli("assets", "remove", str(film.id))
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assert (client.asset(photo.id).motion, client.asset(photo.id).live_id) == (False, None)
    assert played(daemon, photo.id, "motion")[0] == 404
    daemon.cli("trash", "restore", str(film.id))
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assert client.asset(photo.id).live_id == film.id
    daemon.cli("assets", "remove", str(photo.id))
    daemon.cli("wait", "--timeout", "60")
    daemon.cli("trash", "purge", str(photo.id), "--yes")
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        assert client.asset(film.id).live_id is None


def test_names_pair_where_ids_do_not_say_otherwise(daemon: Daemon, home: Path) -> None:
    make: dict[str, Callable[[Path], Path]] = {
        "one.jpg": lambda path: moving.apple_photo(path, "red"),
        "one.MOV": lambda path: moving.apple_film(path, level=1),
        "two.JPG": lambda path: moving.apple_photo(path, "blue", content_id="LIVE-X"),
        "two.mov": lambda path: moving.apple_film(path, "LIVE-Y", level=2),
        "three.jpg": lambda path: moving.jpeg(path, colour="green"),
        "three.mov": lambda path: moving.apple_film(path, frames=300, level=3),
        "four.jpg": lambda path: moving.jpeg(path, colour="black"),
        "é\\ [%5].x.jpg": lambda path: moving.jpeg(path, colour="white"),
        "é\\ [%5].x.mp4": lambda path: moving.apple_film(path, level=4),
    }
    for name, write in make.items():
        write(home / name)
    (home / "sub").mkdir()
    moving.apple_film(home / "sub" / "four.mov", level=5)
    found = scanned(daemon)
    assert found["one.jpg"].live_id == found["one.MOV"].id
    assert found["one.MOV"].live_id == found["one.jpg"].id
    assert found["é\\ [%5].x.jpg"].live_id == found["é\\ [%5].x.mp4"].id
    assert [found[name].live_id for name in ("two.JPG", "two.mov", "three.jpg", "four.jpg")] == [None] * 4


def test_faces_are_shown(daemon: Daemon, home: Path) -> None:
    path = moving.jpeg(home / "a.jpg")
    area = "Area={X=0.25,Y=0.5,W=0.1,H=0.2,Unit=normalized}"
    exiftool(path, "-Orientation#=6", f"-RegionInfo={{RegionList=[{{{area},Name=Ada,Type=Face}}]}}")
    asset_id = scanned(daemon)["a.jpg"].id
    shown = json.loads(daemon.cli("assets", "show", str(asset_id), "--json").stdout)
    assert shown["regions"] == [{"name": "Ada", "type": "face", "x": 0.4, "y": 0.2, "w": 0.2, "h": 0.1}]
    text = daemon.cli("assets", "show", str(asset_id)).stdout
    assert "face    Ada   0.400  0.200  0.200   0.100" in text
    assert "orientation  " in text
