"""A daemon that is in step with its disk by itself: nobody asks for a scan."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.pipeline import shelf as shelves


def _names(daemon: Daemon) -> set[str | None]:
    with daemon.client as client:
        return {asset.original_filename for asset in client.assets().items}


def test_files_become_assets_as_they_come(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon().start()
    root = tmp_path / "photos"
    (root / "old").mkdir(parents=True)
    (root / "old/1.jpg").write_bytes(shelves.jpeg(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    wait_until(lambda: _watch(daemon)["state"] == "watching" and _names(daemon) == {"1.jpg"})
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/2.jpg").write_bytes(shelves.jpeg(2))
    wait_until(lambda: _names(daemon) == {"1.jpg", "2.jpg"})
    shown = daemon.cli("repos", "show", "photos").stdout
    assert ["Changes", "watching"] in [line.split() for line in shown.splitlines()]
    assert " watching " in daemon.cli("repos", "list").stdout
    root.rename(tmp_path / "away")
    wait_until(lambda: _watch(daemon)["state"] == "offline")
    assert _watch(daemon)["reason"]
    assert _names(daemon) == {"1.jpg", "2.jpg"}
    (tmp_path / "away/new/3.jpg").write_bytes(shelves.jpeg(3))
    (tmp_path / "away").rename(root)
    wait_until(lambda: _watch(daemon)["state"] == "watching" and _names(daemon) == {"1.jpg", "2.jpg", "3.jpg"})
    daemon.stop()
    (root / "old/4.jpg").write_bytes(shelves.jpeg(4))
    daemon.start()
    wait_until(lambda: len(_names(daemon)) == 4)


def test_a_daemon_that_does_not_watch_says_so(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(watched=False).start()
    (tmp_path / "photos").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "photos"), "--name", "photos")
    assert _watch(daemon) is None
    with daemon.client as client:
        assert "watch" not in {service.name for service in client.health().services}


def _watch(daemon: Daemon) -> dict[str, str]:
    found = json.loads(daemon.cli("repos", "show", "photos", "--json").stdout)
    watch: dict[str, str] = found["watch"]
    return watch
