import os
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.storage import derivatives, film_cache
from lumiliod.storage.repository import Repository

ONE, OTHER = (AssetId(UUID(f"0190a000-0000-7000-8000-0000000000{number}")) for number in ("01", "02"))


def put(repo: Repository, asset_id: AssetId, name: str, size_bytes: int, budget_bytes: int = 1000) -> None:
    with derivatives.scratch(repo) as folder:
        source = Path(folder, "piece")
        source.write_bytes(b"x" * size_bytes)
        film_cache.put(repo, asset_id, name, str(source), budget_bytes)


def kept(repo: Repository) -> set[str]:
    return {path.name for path in Path(repo.lumilio, "cache/films").rglob("*") if path.is_file()}


def used(repo: Repository, asset_id: AssetId, name: str) -> int:
    file = film_cache.opened(repo, asset_id, name)
    assert file is not None
    with file:
        return len(file.read())


def test_the_least_recently_used_gives_way(repo: Repository) -> None:
    for number in range(4):
        put(repo, (ONE, OTHER)[number % 2], str(number), 250)
        path = Path(repo.lumilio, "cache/films", str((ONE, OTHER)[number % 2]), str(number))
        os.utime(path, (1000 + number, 1000 + number))
    assert used(repo, ONE, "0") == 250
    put(repo, ONE, "4", 250)
    assert kept(repo) == {"0", "2", "3", "4"}
    assert film_cache.opened(repo, OTHER, "1") is None


def test_what_is_new_stays_however_large_and_what_is_read_can_be_read_on(repo: Repository) -> None:
    put(repo, ONE, "a", 600)
    file = film_cache.opened(repo, ONE, "a")
    assert file is not None
    with file:
        put(repo, ONE, "b", 5000)
        assert kept(repo) == {"b"}
        assert len(file.read()) == 600


def test_an_asset_is_forgotten(repo: Repository) -> None:
    film_cache.forget(repo, ONE)
    put(repo, ONE, "a", 1)
    put(repo, OTHER, "b", 1)
    film_cache.forget(repo, ONE)
    assert kept(repo) == {"b"}


def test_nothing_is_made_where_a_disk_should_be(repo: Repository, tmp_path: Path) -> None:
    source = tmp_path / "piece"
    source.write_bytes(b"x")
    os.rename(repo.root, f"{repo.root}-away")
    os.mkdir(repo.root)
    with pytest.raises(Unavailable):
        film_cache.put(repo, ONE, "a", str(source), 1000)
    assert os.listdir(repo.root) == []
