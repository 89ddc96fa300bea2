import os
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import AssetId
from lumiliod.storage import derivatives
from lumiliod.storage.repository import Repository

ID = AssetId(UUID("0190a000-0000-7000-8000-0000000000ab"))


def test_put_moves_into_place_and_replaces(repo: Repository) -> None:
    for content in (b"one", b"two"):
        with derivatives.scratch(repo) as folder:
            source = Path(folder, "300")
            source.write_bytes(content)
            relative = derivatives.put(repo, ID, 300, str(source), ".JPG")
            assert not source.exists()
        assert relative == f"assets/thumbnails/300/ab/{ID}.jpg"
        path = derivatives.thumbnail_path(repo, ID, 300, "jpg")
        assert path == os.path.join(repo.lumilio, relative)
        assert Path(path).read_bytes() == content
    assert os.listdir(repo.temp) == []


def test_put_refuses(repo: Repository) -> None:
    with pytest.raises(NotFound):
        derivatives.put(repo, ID, 300, f"{repo.temp}/none", ".jpg")
    for size, extension in ((0, ".jpg"), (300, "/../x"), (300, "")):
        with pytest.raises(Shape):
            derivatives.thumbnail_path(repo, ID, size, extension)


def test_sweep_leaves_the_living(repo: Repository) -> None:
    dead = Path(repo.temp, "scratch-dead")
    dead.mkdir()
    (dead / "x").write_bytes(b"x")
    Path(repo.temp, "copy-dead").write_bytes(b"x")
    Path(repo.temp, "link").symlink_to(repo.inbox)
    os.mkfifo(Path(repo.temp, "pipe"))
    with derivatives.scratch(repo) as alive:
        Path(alive, "x").write_bytes(b"x")
        assert derivatives.sweep_scratch(repo) == ["copy-dead", "link", "pipe", "scratch-dead"]
        assert os.listdir(repo.temp) == [os.path.basename(alive)]
        assert os.listdir(alive) == ["x"]
    assert os.listdir(repo.temp) == []
    assert os.path.isdir(repo.inbox)
