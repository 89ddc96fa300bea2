"""The trash through the API of a real daemon."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.client import ApiError, Client
from lumiliod.contract.repositories import NewRepository
from lumiliod.contract.trash import PurgeRequest, Removal, RemoveRequest, RestoreRequest
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph
from tests.raw_http import ask


@pytest.fixture(scope="module")
def served(make_module_daemon: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = make_module_daemon().start()
    root = tmp_path_factory.mktemp("trash") / "home"
    root.mkdir()
    with daemon.client as client:
        client.add_repository(NewRepository(path=str(root), name="home"))
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture
def client(served: Daemon) -> Iterator[Client]:
    with served.client as client:
        yield client


def uploaded(served: Daemon, client: Client, folder: Path, seed: int) -> UUID:
    path = folder / f"{seed}.jpg"
    path.write_bytes(photograph(seed))
    digest = client.upload(str(path), repository="home").digest
    served.cli("wait", "--timeout", "60")
    return next(asset.id for asset in client.all_assets() if asset.digest == digest)


def root_of(client: Client) -> Path:
    return Path(client.repository("home").path)


def test_there_and_back(served: Daemon, client: Client, tmp_path: Path) -> None:
    asset_id = uploaded(served, client, tmp_path, 1)
    before = client.asset(asset_id)
    assert before.path is not None
    original = root_of(client) / before.path
    item = client.trash.remove_one(asset_id)
    assert (item.asset_id, item.why, item.hidden) == (asset_id, "removed", 0)
    assert item.purge_at is not None
    assert (item.purge_at - item.deleted_at).days == 30
    for path in ("", "/original", "/thumbnail?size=150"):
        status, body = ask(served, "GET", f"/assets/{asset_id}{path}")
        assert (status, b'"code":"in_trash"' in body) == (410, True), path
    assert asset_id not in {asset.id for asset in client.all_assets()}
    assert asset_id not in {asset.id for asset in client.search("name:1.jpg").items}
    served.cli("wait", "--timeout", "60")
    assert not original.exists()
    shown = client.trash.show(asset_id)
    assert (shown.state, [file.path for file in shown.files]) == ("trashed", [before.path])
    assert (root_of(client) / ".lumilio" / "trash" / str(shown.files[0].id)).read_bytes() == photograph(1)
    assert client.trash.remove_one(asset_id).state == "trashed"  # again
    assert client.trash.restore(RestoreRequest(ids=[asset_id])).results[0].outcome == "restoring"
    served.cli("wait", "--timeout", "60")
    assert client.asset(asset_id) == before
    assert original.read_bytes() == photograph(1)
    assert ask(served, "GET", f"/assets/{asset_id}/thumbnail?size=150")[0] == 200


def test_purged_for_good(served: Daemon, client: Client, tmp_path: Path) -> None:
    asset_id = uploaded(served, client, tmp_path, 2)
    client.trash.remove(RemoveRequest(items=[Removal(id=asset_id)]))
    served.cli("wait", "--timeout", "60")
    held = client.trash.page().summary
    assert held.size_bytes >= len(photograph(2))
    done = client.trash.purge(PurgeRequest(ids=[asset_id]))
    assert (done.count, done.results[0].outcome) == (1, "purging")
    assert done.task_id is not None
    served.cli("wait", "--timeout", "60")
    result = client.task(done.task_id).result
    assert result is not None
    assert (result["purged"], result["freed_bytes"], result["purge_refused"]) == (1, len(photograph(2)), 0)
    assert ask(served, "GET", f"/assets/{asset_id}")[0] == 404
    assert not list((root_of(client) / ".lumilio").rglob(f"*{asset_id}*"))
    assert asset_id not in {item.asset_id for item in client.trash.all()}
    again = uploaded(served, client, tmp_path, 2)
    assert again != asset_id


def test_an_upload_of_what_was_removed_brings_it_back(served: Daemon, client: Client, tmp_path: Path) -> None:
    asset_id = uploaded(served, client, tmp_path, 3)
    client.trash.remove_one(asset_id)
    served.cli("wait", "--timeout", "60")
    assert uploaded(served, client, tmp_path, 3) == asset_id
    assert asset_id not in {item.asset_id for item in client.trash.all()}


def test_what_the_person_did_not_mean(served: Daemon, client: Client) -> None:
    nobody = UUID(int=9)
    for act, code in (
        (lambda: client.trash.remove_one(nobody), "asset_not_found"),
        (lambda: client.trash.show(nobody), "not_in_trash"),
        (lambda: client.trash.remove(RemoveRequest()), "bad_selection"),
        (lambda: client.trash.remove(RemoveRequest(ids=[nobody], query="a")), "bad_selection"),
        (lambda: client.trash.remove(RemoveRequest(query="")), "bad_selection"),
        (lambda: client.trash.restore(RestoreRequest()), "bad_selection"),
        (lambda: client.trash.restore(RestoreRequest(ids=[], all=True)), "bad_selection"),
        (lambda: client.trash.purge(PurgeRequest()), "bad_selection"),
        (lambda: client.trash.purge(PurgeRequest(older_s=1, all=True)), "bad_selection"),
        (lambda: client.trash.restore_untracked("home", nobody), "stray_not_found"),
        (lambda: client.trash.restore_untracked("nowhere", nobody), "repository_not_found"),
    ):
        with pytest.raises(ApiError) as caught:
            act()
        assert caught.value.problem.code == code
    assert client.trash.remove(RemoveRequest(ids=[nobody])).results[0].outcome == "not_found"
    assert client.trash.restore(RestoreRequest(ids=[nobody])).results[0].outcome == "not_in_trash"
    assert client.trash.purge(PurgeRequest(ids=[nobody])).results[0].outcome == "not_in_trash"
    assert ask(served, "POST", "/trash", b'{"query": "a", "delete_file": true}')[0] == 400
    assert ask(served, "DELETE", "/assets/..%2f..%2fetc")[0] == 404
    assert ask(served, "POST", "/trash/untracked/home/..%2f..%2fx/restore")[0] == 404


def test_the_trash_is_purged_every_day(client: Client) -> None:
    schedule = client.schedule("trash-purge")
    assert (schedule.kind, schedule.every_s) == ("purge", 86_400)
    assert client.run_schedule("trash-purge").task_id
