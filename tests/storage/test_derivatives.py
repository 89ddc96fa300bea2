import os
import shutil
from pathlib import Path

import pytest

from lumiliod.domain.derivatives import place
from lumiliod.domain.errors import NotFound, Shape, Unavailable
from lumiliod.domain.ids import Digest
from lumiliod.storage import derivatives
from lumiliod.storage.repository import Repository

DIGEST = Digest("ab" * 32)
PLACE = place("thumbnail_300", DIGEST, "jpg")


def test_put_moves_into_place_and_replaces(repo: Repository) -> None:
    for content in (b"one", b"two"):
        with derivatives.scratch(repo) as folder:
            source = Path(folder, "300")
            source.write_bytes(content)
            derivatives.put(repo, str(source), PLACE)
            assert not source.exists()
        assert Path(repo.lumilio, PLACE).read_bytes() == content
    assert os.listdir(repo.temp) == []


def test_put_refuses(repo: Repository) -> None:
    with pytest.raises(NotFound):
        derivatives.put(repo, f"{repo.temp}/none", PLACE)


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
            derivatives.put(repo, str(source), PLACE)
        assert source.exists()
    assert caught.value.code == "repository_damaged"
    assert not list(outside.rglob("*.jpg"))


def test_lost_folders_are_made_again_but_not_where_a_disk_is_missing(repo: Repository, tmp_path: Path) -> None:
    shutil.rmtree(repo.lumilio)
    with derivatives.scratch(repo) as scratch:
        Path(scratch, "300").write_bytes(b"one")
        shutil.rmtree(f"{repo.lumilio}/assets")
        derivatives.put(repo, f"{scratch}/300", PLACE)
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


def test_removes_derivatives_only(repo: Repository) -> None:
    folder = Path(repo.lumilio, "assets/thumbnails/150/ab")
    folder.mkdir(parents=True)
    one, other = folder / "one.jpg", folder / "other.jpg"
    for file in (one, other):
        file.write_bytes(b"picture")
    below = "assets/thumbnails/150/ab"
    for path in (
        "assets/../trash/x",
        "trash/x",
        f"/{below}/one.jpg",
        "assets",
        "assets/",
        f"{below}/..",
        "",
        "assets/\0",
    ):
        with pytest.raises(Shape):
            derivatives.remove(repo, path)
    derivatives.remove(repo, f"{below}/one.jpg")
    derivatives.remove(repo, f"{below}/one.jpg")
    derivatives.remove(repo, "assets/nowhere/one.jpg")
    assert os.listdir(folder) == [other.name]
    Path(repo.lumilio, "assets/linked").symlink_to(folder)
    derivatives.remove(repo, "assets/linked/other.jpg")
    assert other.exists()
