import os
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.domain.derivatives import FOLDERS
from lumiliod.domain.errors import NotFound, Shape, Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.storage import derivatives
from lumiliod.storage.repository import Repository

ID = AssetId(UUID("0190a000-0000-7000-8000-0000000000ab"))


def test_put_moves_into_place_and_replaces(repo: Repository) -> None:
    for content in (b"one", b"two"):
        with derivatives.scratch(repo) as folder:
            source = Path(folder, "300")
            source.write_bytes(content)
            relative = derivatives.put(repo, ID, "thumbnail_300", str(source), ".JPG")
            assert not source.exists()
        assert relative == f"assets/thumbnails/300/ab/{ID}.jpg"
        path = derivatives.path_of(repo, ID, "thumbnail_300", "jpg")
        assert path == os.path.join(repo.lumilio, relative)
        assert Path(path).read_bytes() == content
    assert os.listdir(repo.temp) == []


def test_put_refuses(repo: Repository) -> None:
    with pytest.raises(NotFound):
        derivatives.put(repo, ID, "thumbnail_300", f"{repo.temp}/none", ".jpg")
    for kind, extension in (("", ".jpg"), ("thumbnail_0", ".jpg"), ("thumbnail_300", "/../x"), ("thumbnail_300", "")):
        with pytest.raises(Shape):
            derivatives.path_of(repo, ID, kind, extension)


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


@pytest.mark.parametrize("folder", [".lumilio", ".lumilio/temp"])
def test_scratch_follows_no_link(repo: Repository, tmp_path: Path, folder: str) -> None:
    outside = moved_away(repo, tmp_path, folder)
    with pytest.raises(Unavailable) as caught, derivatives.scratch(repo):
        pass
    assert caught.value.code == "repository_damaged"
    (outside / "theirs").write_bytes(b"x")
    with pytest.raises(Unavailable):
        derivatives.sweep_scratch(repo)
    assert not [name for name in os.listdir(outside) if name.startswith("scratch")]
    assert (outside / "theirs").exists()


@pytest.mark.parametrize("folder", ["assets", "assets/thumbnails", "assets/thumbnails/300", "assets/thumbnails/300/ab"])
def test_put_follows_no_link(repo: Repository, tmp_path: Path, folder: str) -> None:
    Path(repo.lumilio, "assets/thumbnails/300/ab").mkdir()
    outside = moved_away(repo, tmp_path, f".lumilio/{folder}")
    with derivatives.scratch(repo) as scratch:
        source = Path(scratch, "300")
        source.write_bytes(b"one")
        with pytest.raises(Unavailable) as caught:
            derivatives.put(repo, ID, "thumbnail_300", str(source), ".jpg")
        assert source.exists()
    assert caught.value.code == "repository_damaged"
    assert not list(outside.rglob("*.jpg"))


def test_lost_folders_are_made_again_but_not_where_a_disk_is_missing(repo: Repository, tmp_path: Path) -> None:
    shutil.rmtree(repo.lumilio)
    with derivatives.scratch(repo) as scratch:
        Path(scratch, "300").write_bytes(b"one")
        shutil.rmtree(f"{repo.lumilio}/assets")
        derivatives.put(repo, ID, "thumbnail_300", f"{scratch}/300", "jpg")
    assert Path(repo.lumilio).stat().st_mode & 0o777 == 0o700
    os.rename(repo.root, tmp_path / "unmounted")
    os.mkdir(repo.root)
    with pytest.raises(Unavailable) as caught, derivatives.scratch(repo):
        pass
    assert caught.value.code == "repository_offline"
    assert os.listdir(repo.root) == []


def moved_away(repo: Repository, tmp_path: Path, folder: str) -> Path:
    """Put a link in place of one of the repository's folders, and return where the folder is now."""
    outside = tmp_path / "outside"
    os.rename(f"{repo.root}/{folder}", outside)
    os.symlink(outside, f"{repo.root}/{folder}")
    return outside


def test_derivatives_of_this_asset_only(repo: Repository) -> None:
    asset = UUID(int=0xAB)
    folder = Path(repo.lumilio, "assets/thumbnails/150/ab")
    folder.mkdir(parents=True)
    mine, other = folder / f"{asset}.jpg", folder / f"{UUID(int=5)}.jpg"
    for file in (mine, other):
        file.write_bytes(b"picture")
    below = "assets/thumbnails/150/ab"
    for path in (
        f"{below}/{other.name}",
        f"assets/../trash/{asset}",
        f"trash/{asset}",
        f"/{below}/{mine.name}",
        "assets",
    ):
        with pytest.raises(Shape):
            derivatives.remove(repo, path, asset)
    derivatives.remove(repo, f"{below}/{mine.name}", asset)
    derivatives.remove(repo, f"{below}/{mine.name}", asset)
    derivatives.remove(repo, f"assets/nowhere/{mine.name}", asset)
    assert os.listdir(folder) == [other.name]
    Path(repo.lumilio, "assets/linked").symlink_to(folder)
    mine.write_bytes(b"picture")
    derivatives.remove(repo, f"assets/linked/{mine.name}", asset)
    assert mine.exists()


def test_a_name_tells_whose_it_is() -> None:
    for kind, folder in FOLDERS.items():
        assert derivatives.owner_of(f"{folder}/ab/{ID}.jpg") == ID, kind
    thumbnails = "assets/thumbnails/300"
    for other in (
        f"{thumbnails}/{ID}.jpg", f"{thumbnails}/ac/{ID}.jpg", f"{thumbnails}/ab/{ID}.", f"{thumbnails}/ab/x.jpg",
        f"assets/thumbnails/301/ab/{ID}.jpg", f"{ID}.jpg", f"ab/{ID}.jpg", "", f"{thumbnails}/ab/{ID}.a.jpg",
    ):  # fmt: skip
        assert derivatives.owner_of(other) is None, other
