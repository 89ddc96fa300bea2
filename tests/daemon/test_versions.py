"""A photograph that is edited in its folder: the daemon sees it, and shows what it is now as the same asset."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from PIL import Image

from lumiliod.contract.assets import AssetDetail
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.raw_http import UnixConnection


def draw(path: Path, colour: str, size: tuple[int, int]) -> None:
    """Save a picture as careful editors do: beside it, and then into its place."""
    beside = path.with_name(f".{path.name}.new")
    Image.new("RGB", size, colour).save(beside, "JPEG")
    beside.rename(path)


def shown(daemon: Daemon, asset: AssetDetail) -> bytes:
    with closing(UnixConnection(daemon.socket)) as connection:
        connection.request("GET", f"/api/v1/assets/{asset.id}/thumbnail?size=150")
        response = connection.getresponse()
        assert response.status == 200
        return response.read()


def test_an_edited_photograph_is_the_same_asset(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon().start()
    root = tmp_path / "photos"
    root.mkdir()
    draw(root / "a.jpg", "red", (320, 200))
    daemon.cli("repos", "add", str(root), "--name", "photos")

    def now() -> AssetDetail | None:
        with daemon.client as client:
            ready = [one for one in client.assets().items if one.status == "ready"]
            found = client.asset(ready[0].id) if ready else None
            # it may have become another in between
            return found if found is not None and found.status == "ready" else None

    wait_until(lambda: now() is not None)
    first = now()
    assert first is not None
    before = shown(daemon, first)
    draw(root / "a.jpg", "blue", (200, 320))
    wait_until(lambda: (found := now()) is not None and len(found.versions) == 1)
    second = now()
    assert second is not None
    assert (second.id, second.digest, second.added_at) == (first.id, second.digest, first.added_at)
    assert second.digest != first.digest
    assert (second.width, second.height) == (200, 320)
    assert [version.digest for version in second.versions] == [first.digest]
    assert shown(daemon, second) != before
    told = daemon.cli("assets", "show", str(first.id)).stdout
    assert first.digest[:16] in told
    found = json.loads(daemon.cli("assets", "show", str(first.id), "--json").stdout)
    assert [version["number"] for version in found["versions"]] == [1]
    # what it is served from is the file as it is
    assert os.path.getsize(root / "a.jpg") == second.size_bytes
    assert len(json.loads(daemon.cli("assets", "list", "--json").stdout)) == 1
