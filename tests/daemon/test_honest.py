"""What the library says of its files stays true: damage, moves, deletions, settings, odd names and times."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from lumiliod.client import ApiError
from lumiliod.contract.repositories import NewRepository
from tests.conftest import Daemon
from tests.daemon.test_bad_input import post, wait_until
from tests.daemon.test_kill import photograph
from tests.raw_http import UnixConnection


@pytest.fixture(scope="module")
def served(make_module_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    daemon = make_module_daemon(watched=False).start()
    yield daemon
    assert daemon.stop() == 0


class Library:
    """One repository of the daemon, as a test works with it."""

    def __init__(self, daemon: Daemon, root: Path, name: str) -> None:
        self.daemon, self.root, self.name = daemon, root, name

    def scan(self) -> None:
        self.daemon.cli("scan", self.name, "--wait")
        self.daemon.cli("wait", "--timeout", "90")

    def upload(self, body: bytes, filename: str = "a.jpg") -> dict[str, Any]:
        status, ticket = post(self.daemon, self.name, body, X_Filename=filename)
        assert status == 202, ticket
        self.daemon.cli("wait", "--timeout", "90")
        with self.daemon.client as client:
            result = client.task(ticket["task_id"]).result  # type: ignore[arg-type]  # a UUID as text
        assert result is not None
        return result

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        return {
            file["path"]: file
            for file in json.loads(self.daemon.cli("repos", "files", self.name, "--json").stdout)["items"]
        }

    @property
    def outcomes(self) -> dict[str, str]:
        return {path: file["outcome"] for path, file in self.files.items()}

    @property
    def assets(self) -> list[dict[str, Any]]:
        listed = json.loads(self.daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
        return [asset for asset in listed if asset["repository"] in {self.name, None}]

    @property
    def findings(self) -> list[dict[str, Any]]:
        listed = self.daemon.cli("integrity", "findings", "--state", "any", "--repo", self.name, "--json").stdout
        return cast("list[dict[str, Any]]", json.loads(listed)["items"])

    def original(self, asset_id: str) -> tuple[int, bytes]:
        connection = UnixConnection(self.daemon.socket)
        connection.request("GET", f"/api/v1/assets/{asset_id}/original")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body


@pytest.fixture
def library(served: Daemon, tmp_path: Path) -> Library:
    root = tmp_path / "repo"
    root.mkdir()
    served.cli("repos", "add", str(root), "--name", tmp_path.name)
    return Library(served, root, tmp_path.name)


def test_good_bytes_given_again_heal_a_damaged_original(library: Library) -> None:
    """Same size, other bytes, even the same times: only reading it tells."""
    good = photograph(100)
    path = library.root / "a.jpg"
    path.write_bytes(good)
    library.scan()
    [asset] = library.assets
    times = path.stat()
    path.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = library.upload(good)
    assert (result["outcome"], result["asset_id"]) == ("asset", asset["id"])
    assert library.original(asset["id"]) == (200, good)
    # nobody wrote the file: once a person says so, it is mended from the one that came
    assert sorted(library.outcomes.values()) == ["asset", "duplicate"]
    [finding] = library.findings
    assert (finding["path"], finding["kind"], finding["state"]) == ("a.jpg", "bit_rot", "open")
    library.daemon.cli("integrity", "apply", finding["id"], "--yes")
    library.daemon.cli("wait", "--timeout", "90")
    assert path.read_bytes() == good
    assert [found["state"] for found in library.findings] == ["healed"]
    assert [one["id"] for one in library.assets] == [asset["id"]]


def test_a_duplicate_takes_over_when_the_original_goes(library: Library) -> None:
    body = photograph(101)
    for name in ("1.jpg", "2.jpg"):
        (library.root / name).write_bytes(body)
    library.scan()
    original = next(path for path, outcome in library.outcomes.items() if outcome == "asset")
    (library.root / original).unlink()
    library.scan()
    assert list(library.outcomes.values()) == ["asset"]
    [asset] = library.assets
    assert library.original(asset["id"]) == (200, body)


def test_uploads_keep_their_original_whatever_they_are_called(library: Library) -> None:
    names = ["Thumbs.db", "a.JPG.part", "~$x.jpg", "pic.xmp", ".hidden.jpg", "x.orig"]
    bodies = {name: photograph(110 + number) for number, name in enumerate(names)}
    ids = {name: library.upload(body, name)["asset_id"] for name, body in bodies.items()}
    for path in (library.root / "inbox").rglob("*"):
        os.utime(path)
    library.scan()
    library.scan()
    assert set(library.outcomes.values()) == {"asset"}
    for name, asset_id in ids.items():
        assert library.original(asset_id) == (200, bodies[name]), name


def test_a_file_that_was_still_being_written_leaves_no_ghost(library: Library) -> None:
    body = photograph(120)
    path = library.root / "slow.jpg"
    path.write_bytes(body[: len(body) // 3])
    library.scan()
    path.write_bytes(body)
    library.scan()
    [asset] = library.assets
    assert asset["status"] == "ready"
    assert library.original(asset["id"]) == (200, body)


def test_an_edited_file_is_the_same_asset_and_its_old_bytes_are_another(library: Library) -> None:
    first, second = photograph(121), photograph(122)
    path = library.root / "a.jpg"
    path.write_bytes(first)
    library.scan()
    [before] = library.assets
    path.write_bytes(second)
    library.scan()
    [after] = library.assets
    assert (after["id"], after["digest"] == before["digest"]) == (before["id"], False)
    (library.root / "b.jpg").write_bytes(first)
    library.scan()
    digests = {asset["id"]: asset["digest"] for asset in library.assets}
    assert digests.pop(before["id"]) == after["digest"]
    assert list(digests.values()) == [before["digest"]]


def test_odd_times_do_not_stop_a_scan(library: Library) -> None:
    for number, when_ns in enumerate((2**63 - 1, -(10**18), 10**10 * 10**9)):
        path = library.root / f"{number}.jpg"
        path.write_bytes(photograph(130 + number))
        os.utime(path, ns=(when_ns, when_ns))
    library.scan()
    assert set(library.outcomes.values()) == {"asset"}


def test_touching_a_file_changes_nothing(library: Library) -> None:
    path = library.root / "a.jpg"
    path.write_bytes(photograph(141))
    library.scan()
    [before] = library.assets
    os.utime(path)
    library.scan()
    [after] = library.assets
    assert after == before


def test_an_upload_during_a_scan_is_not_missing(library: Library) -> None:
    for number in range(60):
        (library.root / f"{number:02}.txt").write_text("no picture")
    library.daemon.cli("scan", library.name)
    library.upload(photograph(150))
    library.scan()
    assert "asset" in library.outcomes.values()


def test_a_disk_that_goes_away_in_the_middle_harms_nothing(library: Library) -> None:
    bodies = {f"{number:03}.jpg": photograph(200 + number) for number in range(60)}
    for name, body in bodies.items():
        (library.root / name).write_bytes(body)
    library.daemon.cli("scan", library.name)
    with library.daemon.client as client:
        wait_until(lambda: len(client.assets(limit=50).items) > 5)
        away = library.root.with_name("away")
        library.root.rename(away)
        library.root.mkdir()
        wait_until(lambda: client.repository(library.name).status == "offline")
        wait_until(lambda: client.health().status == "degraded")
        with pytest.raises(ApiError) as caught:
            client.upload(str(away / "000.jpg"), repository=library.name)
        assert caught.value.problem.code == "repository_offline"
        library.root.rmdir()
        away.rename(library.root)
        wait_until(lambda: client.repository(library.name).status == "online")
    library.daemon.cli("wait", "--timeout", "240")
    with library.daemon.client as client:
        ours = client.repository(library.name).id
        assert [job for job in client.jobs(state="discarded").items if job.repository_id == ours] == []
    assert {asset["status"] for asset in library.assets} == {"ready"}
    assert len(library.assets) == len(bodies)


def test_a_repository_missing_at_the_start_is_opened_when_it_comes(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    root, away = tmp_path / "repo", tmp_path / "away"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(300))
    daemon = make_daemon().start()
    daemon.cli("repos", "add", str(root), "--name", "late")
    assert daemon.stop() == 0
    root.rename(away)
    daemon.start()
    with daemon.client as client:
        repository = client.repository("late")
        assert (repository.status, bool(repository.status_reason)) == ("offline", True)
        away.rename(root)
        wait_until(lambda: client.repository("late").status == "online")
        # what is there is looked at without being asked
        wait_until(lambda: len(client.assets().items) == 1)
    assert daemon.stop() == 0


def test_a_repository_whose_staging_fails_at_the_start_holds_nobody_up(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon().start()
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        daemon.cli("repos", "add", str(tmp_path / name), "--name", name)
    assert daemon.stop() == 0
    # a folder where the terms of an upload should be: reading it fails as on a bad disk
    terms = tmp_path / "bad" / ".lumilio" / "staging" / "incoming" / f"{uuid4()}.upload.json"
    terms.mkdir()
    # one rotten byte is no bad disk: of what was there, only what it says is not believed
    rotten = tmp_path / "good" / ".lumilio"
    (rotten / "staging" / "incoming" / f"{uuid4()}.upload.json").write_bytes(b'{"filename":"\xff"}')
    (rotten / "staging" / "incoming" / f"{uuid4()}.json").write_bytes(b'{"filename":"\xff"}')
    (rotten / "trash" / f"{uuid4()}.json").write_bytes(b'{"path":"\xff"}')
    daemon.start()
    with daemon.client as client:
        wait_until(lambda: client.repository("bad").status == "offline")
        assert client.repository("bad").status_reason
        assert client.repository("good").status == "online"
        assert Library(daemon, tmp_path / "good", "good").upload(photograph(310))["outcome"] == "asset"
        terms.rmdir()
        wait_until(lambda: client.repository("bad").status == "online")
    assert daemon.stop() == 0


def test_a_refused_repository_can_be_added_after_all(served: Daemon, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with served.client as client:
        client.add_repository(NewRepository(path=str(first), name=f"{tmp_path.name}-1"))
        with pytest.raises(ApiError) as caught:
            client.add_repository(NewRepository(path=str(second), name=f"{tmp_path.name}-1"))
        assert caught.value.problem.code == "name_taken"
        assert list(second.iterdir()) == []
        with pytest.raises(ApiError) as caught:
            client.add_repository(NewRepository(path=str(second), storage_strategy="nope"))
        assert caught.value.problem.code == "bad_storage_strategy"
        assert client.add_repository(NewRepository(path=str(second), name=f"{tmp_path.name}-2")).status == "online"
