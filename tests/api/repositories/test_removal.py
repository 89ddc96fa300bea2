"""Removing a repository: what is asked, what goes and what stays."""

import shutil
from pathlib import Path

import msgspec

from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from tests.api.repositories.homes import Home, code
from tests.raw_http import ask


def test_removing_asks_for_the_name_and_touches_nothing(home: Home, tmp_path: Path) -> None:
    everything = {
        str(path): path.read_bytes() for path in home.root.rglob("*") if path.is_file() and path.name != "lock"
    }
    others = {asset.id for asset in home.client.all_assets()} - set(home.assets())
    plan = home.client.repos.removal(home.name)
    assert (plan.repository, plan.path) == (home.name, str(home.root))
    assert (plan.forgotten, plan.kept, plan.trashed, plan.files, plan.staged) == (3, 0, 0, 3, 0)
    assert plan.size_bytes == sum(
        path.stat().st_size for path in home.root.rglob("*.jpg") if ".lumilio" not in str(path)
    )
    assert (plan.derivatives, plan.derivative_bytes > 0) == (9, True)
    assert code(lambda: home.client.repos.remove(home.name)) == "409 repository_not_empty"
    assert code(lambda: home.client.repos.remove(home.name, forget="yes")) == "409 name_mismatch"
    assert len(home.assets()) == 3
    # a watcher may ask for a scan at any time
    done = home.client.repos.remove(home.name, forget=home.name).plan
    assert msgspec.structs.replace(done, jobs=plan.jobs) == plan
    assert code(lambda: home.now) == "404 repository_not_found"
    assert {asset.id for asset in home.client.all_assets()} == others
    after = {str(path): path.read_bytes() for path in home.root.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == everything
    # and it can come again
    home.client.add_repository(NewRepository(path=str(home.root)))
    home.client.scan(str(home.id))
    home.settle()
    assert len(home.assets()) == 3


def test_what_lies_elsewhere_too_is_kept(home: Home, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    shutil.copyfile(home.root / "Trip" / "mine.jpg", second / "same.jpg")
    other = home.client.add_repository(NewRepository(path=str(second), name=f"{home.name}-2"))
    home.client.scan(other.name)
    home.settle()
    [kept] = [id_ for id_, path in home.assets().items() if path == "Trip/mine.jpg"]
    plan = home.client.repos.removal(home.name)
    assert (plan.forgotten, plan.kept) == (2, 1)
    home.client.repos.remove(home.name, forget=home.name)
    home.settle()
    asset = home.client.asset(kept)
    assert (asset.repository_id, asset.path, asset.status) == (other.id, "same.jpg", "ready")
    assert ask(home.daemon, "GET", f"/assets/{kept}/original")[0] == 200
    assert ask(home.daemon, "GET", f"/assets/{kept}/thumbnail?size=150")[0] == 200


def test_an_empty_one_goes_without_a_word(client: Client, tmp_path: Path) -> None:
    client.add_repository(NewRepository(path=str(tmp_path), name=f"{tmp_path.name}-empty"))
    assert client.repos.remove(f"{tmp_path.name}-empty").plan.forgotten == 0
    assert (tmp_path / ".lumiliorepo").exists()
