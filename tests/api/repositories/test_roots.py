"""Folders that are not what they were: at the start, with another daemon, on a disk that is read only."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lumiliod.client import Client
from lumiliod.contract.repositories import Attachment, NewRepository
from tests.api.repositories.homes import Home, code
from tests.conftest import Daemon
from tests.disks import tmpfs


def test_a_root_that_is_not_what_it_was(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Each is offline with what a person can do, and its assets stay; nothing is written where it should not be."""
    daemon = make_daemon().start()
    names = ("renamed", "linked", "emptied", "replaced", "broken")
    with daemon.client as client:
        homes = {name: Home(daemon, client, tmp_path / name, name, seed=n * 10) for n, name in enumerate(names)}
        count = len(list(client.all_assets()))
    assert daemon.stop() == 0
    moved = {name: home.root.with_name("moved") for name, home in homes.items()}
    for name, home in homes.items():
        if name != "broken":
            home.root.rename(moved[name])
    homes["linked"].root.symlink_to(moved["linked"])
    homes["emptied"].root.mkdir()
    shutil.rmtree(moved["emptied"])
    shutil.copytree(moved["renamed"], homes["replaced"].root)
    (homes["broken"].root / ".lumiliorepo").write_text("id: [")
    daemon.start()
    with daemon.client as client:
        found = {name: client.repository(name) for name in names}
        assert {repository.status for repository in found.values()} == {"offline"}
        reasons = {name: repository.status_reason or "" for name, repository in found.items()}
        assert f"lumilio repos relocate renamed {moved['renamed']}" in reasons["renamed"]
        assert f"lumilio repos relocate linked {moved['linked']}" in reasons["linked"]
        assert "symbolic link" in reasons["linked"]
        assert "empty" in reasons["emptied"]
        assert "another repository" in reasons["replaced"]
        assert ".lumiliorepo is invalid" in reasons["broken"]
        assert os.listdir(homes["emptied"].root) == []
        assert len(list(client.all_assets())) == count
        for name in ("renamed", "linked"):
            assert client.repos.relocate(name, str(moved[name])).repository.status == "online"
        assert code(lambda: client.repos.relocate("emptied", str(homes["emptied"].root))) == "404 not_a_repository"
        assert (
            code(lambda: client.upload(str(homes["emptied"].upload), repository="emptied")) == "503 repository_offline"
        )
    assert daemon.stop() == 0


def test_one_daemon_for_a_repository(home: Home, make_daemon: Callable[..., Daemon]) -> None:
    other = make_daemon().start()
    with other.client as theirs:
        assert code(lambda: theirs.add_repository(NewRepository(path=str(home.root)))) == "409 repository_in_use"
        assert theirs.repositories() == []
    assert other.stop() == 0
    assert home.now.status == "online"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", "2g") as path:
        yield path


def test_a_disk_that_is_read_only(served: Daemon, client: Client, disk: Path) -> None:
    """Nobody could keep others away from it, so it is not taken in; nothing of it is lost."""
    home = Home(served, client, disk, disk.parent.name)
    before = home.assets()
    client.repos.detach(home.name)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert code(lambda: client.repos.attach(Attachment(path=str(home.root)))) == "503 not_writable"
    as_new = Attachment(path=str(home.root), as_new=True, name=f"{home.name}-new")
    assert code(lambda: client.repos.attach(as_new)) == "409 exists"
    assert (home.now.status, home.assets()) == ("detached", before)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert client.repos.attach(Attachment(path=str(home.root))).repository.status == "online"
    assert home.assets() == before
    home.settle()
    client.repos.remove(home.name, forget=home.name)
