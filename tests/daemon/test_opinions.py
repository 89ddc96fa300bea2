"""Stars and likes that people give, over the API."""

from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from lumiliod.client import ApiError
from lumiliod.contract.trash import RemoveRequest
from tests.conftest import Daemon


def test_what_people_think_of_an_asset_is_kept(daemon: Daemon, tmp_path: Path) -> None:
    home = daemon.state_dir / "home"
    home.mkdir()
    daemon.cli("repos", "add", str(home), "--name", "home")
    Image.new("RGB", (64, 48), "navy").save(tmp_path / "sea.jpg")
    daemon.cli("upload", str(tmp_path / "sea.jpg"))
    daemon.cli("wait", "--timeout", "60")
    with daemon.client as client:
        [asset] = client.assets().items
        assert (asset.rating, asset.liked) == (None, False)
        assert client.rate(asset.id, 4).rating == 4
        assert client.like(asset.id, liked=True).liked
        assert [found.id for found in client.search("rating:>=4 liked:true").items] == [asset.id]
        assert client.rate(asset.id, None).rating is None
        assert not client.like(asset.id, liked=False).liked
        assert client.search("liked:true").items == []
        assert client.thumbnail(asset.id, 150).startswith(b"\xff\xd8")

        for wrong in (6, -1):
            with pytest.raises(ApiError) as refused:
                client.rate(asset.id, wrong)
            assert refused.value.problem.status == 400
        with pytest.raises(ApiError) as missing:
            client.rate(uuid4(), 3)
        assert missing.value.problem.code == "asset_not_found"
        client.trash.remove(RemoveRequest(ids=[asset.id]))
        with pytest.raises(ApiError) as gone:
            client.like(asset.id, liked=True)
        assert gone.value.problem.code == "in_trash"


def test_the_daemon_tells_how_much_memory_it_has(daemon: Daemon) -> None:
    with daemon.client as client:
        assert 10 << 20 < client.health().memory_bytes < 4 << 30
