"""The life of repositories through the API of real daemons: settings, moves, copies, removal, bad roots."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
import yaml

from lumiliod.client import ApiError, Client
from lumiliod.contract.repositories import Attachment, NewRepository, Repository, RepositoryChange
from tests.conftest import Daemon
from tests.daemon.test_bad_input import UnixConnection, wait_until
from tests.daemon.test_kill import photograph


@pytest.fixture(scope="module")
def served(make_module_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    daemon = make_module_daemon().start()
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture
def client(served: Daemon) -> Iterator[Client]:
    with served.client as client:
        yield client


@pytest.fixture
def home(served: Daemon, client: Client, tmp_path: Path) -> "Home":
    """Return a repository with an upload and a file of the user area, both understood."""
    return Home(served, client, tmp_path, tmp_path.name)


class Home:
    """A repository of a daemon, at ``root``."""

    def __init__(self, daemon: Daemon, client: Client, folder: Path, name: str, seed: int | None = None) -> None:
        self.daemon, self.client, self.name = daemon, client, name
        self.root = folder / f"{name}-root"
        seed = hash(name) % 10_000 * 10 if seed is None else seed
        (self.root / "Trip").mkdir(parents=True)
        (self.root / "Trip" / "mine.jpg").write_bytes(photograph(seed))
        (self.root / "Trip" / "other.jpg").write_bytes(photograph(seed + 1))
        self.upload = folder / f"{name}.jpg"
        self.upload.write_bytes(photograph(seed + 2))
        self.id = client.add_repository(NewRepository(path=str(self.root), name=name)).id
        client.scan(name)
        client.upload(str(self.upload), repository=name)
        self.settle()

    def settle(self) -> None:
        self.daemon.cli("wait", "--timeout", "60")

    @property
    def now(self) -> Repository:
        return self.client.repository(str(self.id))

    def assets(self) -> dict[UUID, str | None]:
        """Return the assets that are served from here, and where from."""
        return {asset.id: asset.path for asset in self.client.all_assets() if asset.repository_id == self.id}

    def outcomes(self) -> dict[str, str]:
        return {file.path: file.outcome for file in self.client.files(str(self.id))}

    def jobs(self) -> Counter[str]:
        """Count the jobs there ever were for this repository, by kind."""
        return Counter(job.kind for job in self.client.jobs(repository=str(self.id), limit=500).items)


def files_below(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and the time of every file of a person's, and of the inbox."""
    found = (path for path in root.rglob("*") if path.is_file() and ".lumilio" not in str(path.relative_to(root)))
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def code(act: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as caught:
        act()
    return f"{caught.value.problem.status} {caught.value.problem.code}"


def ask(served: Daemon, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = UnixConnection(served.socket)
    connection.request(method, f"/api/v1{path}", body=body)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    return answer.status, told


# settings


def test_settings_hold_at_once_and_stand_in_the_marker(home: Home) -> None:
    marker = home.root / ".lumiliorepo"
    marker.write_text(marker.read_text() + "theirs: {kept: yes}\n")
    wanted = RepositoryChange(
        max_file_size_kb=1, handle_duplicate_filenames="uuid", ignore_patterns=["other.*"], full_scan_interval_s=0
    )
    changed = home.client.repos.change(home.name, wanted)
    assert changed.settings is not None
    assert (changed.settings.max_file_size_kb, changed.settings.ignore_patterns) == (1, ["other.*"])
    tree = yaml.safe_load(marker.read_text())
    assert (tree["id"], tree["theirs"]) == (str(home.id), {"kept": "yes"})
    assert tree["local_settings"]["handle_duplicate_filenames"] == "uuid"
    assert tree["sync_settings"]["full_scan_interval"] == "0s"
    assert f"scan:{home.id}" not in {schedule.name for schedule in home.client.schedules()}
    assert code(lambda: home.client.upload(str(home.upload), repository=home.name)) == "413 too_large"
    home.settle()
    wait_until(lambda: home.outcomes()["Trip/other.jpg"] == "ignored" or not home.now.scanning)
    again = home.client.repos.change(home.name, RepositoryChange(max_file_size_kb=0, name=f"{home.name} anew"))
    assert (again.name, again.id) == (f"{home.name} anew", home.id)
    assert again.settings is not None
    assert (again.settings.max_file_size_kb, again.settings.handle_duplicate_filenames) == (0, "uuid")
    home.client.upload(str(home.upload), repository=again.name)


def test_settings_that_cannot_be(home: Home, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    home.client.add_repository(NewRepository(path=str(tmp_path / "second"), name=f"{home.name}-2"))
    before = (home.root / ".lumiliorepo").read_bytes()

    def change(name: str) -> str:
        return code(lambda: home.client.repos.change(home.name, RepositoryChange(name=name)))

    assert change(f"{home.name}-2") == "409 name_taken"
    assert change("a/b") == change("..") == change(" ") == "400 bad_name"
    bodies = [
        b'{"max_file_size_kb": -1}',
        b'{"ignore_patterns": ["a/b"]}',
        b'{"ignore_patterns": [""]}',
        b'{"handle_duplicate_filenames": "replace"}',
        b'{"id": "x"}',
        b'{"full_scan_interval_s": -1}',
    ]
    for body in bodies:
        assert ask(home.daemon, "PATCH", f"/repositories/{home.id}", body)[0] == 400, body
    assert code(lambda: home.client.repos.change("nobody", RepositoryChange())) == "404 repository_not_found"
    assert (home.root / ".lumiliorepo").read_bytes() == before


# moves and copies


@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied to another disk"])
def test_a_moved_folder_is_gone_on_with(home: Home, tmp_path: Path, copied: bool) -> None:
    before, jobs = home.assets(), home.jobs()
    new = tmp_path / "deep" / "elsewhere"
    new.parent.mkdir()
    if copied:
        shutil.copytree(home.root, new, symlinks=True)
        shutil.rmtree(home.root)
    else:
        home.root.rename(new)
    assert code(lambda: home.client.add_repository(NewRepository(path=str(new)))) == "409 repository_moved"
    assert code(lambda: home.client.repos.attach(Attachment(path=str(new)))) == "409 repository_moved"
    done = home.client.repos.relocate(home.name, str(new))
    assert (done.repository.path, done.repository.status) == (str(new), "online")
    home.settle()
    scan = home.client.task(done.task_id)
    assert scan.result is not None
    assert {key: scan.result[key] for key in ("found", "added", "changed", "missing")} == {
        "found": 3, "added": 0, "changed": 0, "missing": 0,
    }  # fmt: skip
    # what was asked for, and its watcher's own, which may look at an upload's file before its row is there
    assert set(home.jobs() - jobs) - {"ingest"} == {"scan"}
    assert home.assets() == before
    assert code(lambda: home.client.repos.relocate(home.name, str(new))) == "409 exists"


def test_where_a_repository_cannot_have_gone(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    home.client.add_repository(NewRepository(path=str(other), name=f"{home.name}-other"))
    copy = tmp_path / "copy"
    shutil.copytree(home.root, copy)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    inside = home.root / "Trip" / "inside"
    shutil.copytree(copy, inside)

    def relocate(path: Path | str) -> str:
        return code(lambda: home.client.repos.relocate(home.name, str(path)))

    assert relocate(other) == "409 another_repository"
    assert relocate(copy) == "409 repository_copied"
    assert relocate(tmp_path / "empty") == "404 not_a_repository"
    assert relocate(tmp_path / "none") == "404 root_missing"
    assert relocate(tmp_path / "file") == "400 root_not_a_folder"
    assert relocate("relative") == "400 bad_root"
    assert relocate("/proc") == "404 not_a_repository"
    assert relocate(inside) == "400 nested_root"
    assert relocate(home.root) == "409 exists"
    assert relocate(f"{copy}/../copy") == "409 repository_copied"
    assert home.now.status == "online"
    assert home.now.path == str(home.root)
    shutil.rmtree(inside)


def test_a_copy_is_no_move_and_can_be_one_of_its_own(home: Home, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home.root, copy)
    before, kept = home.assets(), files_below(home.root)
    assert code(lambda: home.client.add_repository(NewRepository(path=str(copy)))) == "409 repository_copied"
    assert code(lambda: home.client.repos.attach(Attachment(path=str(copy)))) == "409 repository_copied"
    assert code(lambda: home.client.repos.attach(Attachment(path=str(copy), as_new=True))) == "409 name_taken"
    made = home.client.repos.attach(Attachment(path=str(copy), as_new=True, name=f"{home.name}-copy")).repository
    assert made.id != home.id
    tree = yaml.safe_load((copy / ".lumiliorepo").read_text())
    assert (tree["id"], tree["name"]) == (str(made.id), f"{home.name}-copy")
    assert yaml.safe_load((home.root / ".lumiliorepo").read_text())["id"] == str(home.id)
    home.settle()
    assert set(home.client.files(str(made.id)).__next__().__struct_fields__) >= {"outcome"}
    outcomes = {file.path: file.outcome for file in home.client.files(str(made.id))}
    assert {outcome for path, outcome in outcomes.items() if path.endswith(".jpg")} == {"duplicate"}
    assert home.assets() == before
    assert files_below(home.root) == kept
    # nothing of the other is used, and nothing is lost
    [aside] = copy.glob(f".lumilio-{home.id}-*")
    assert list((aside / "assets").rglob("*.jpg"))
    assert not [path for path in (copy / ".lumilio" / "assets").rglob("*") if path.is_file()]
    assert not [path for path in outcomes if path.startswith(".lumilio")]


def test_put_away_and_taken_back_elsewhere(home: Home, tmp_path: Path) -> None:
    before, jobs = home.assets(), home.jobs()
    away = home.client.repos.detach(home.name)
    assert (away.status, away.status_reason, away.assets) == ("detached", None, 3)
    assert code(lambda: home.client.repos.detach(home.name)) == "409 already_detached"
    assert home.assets() == before
    asset = next(iter(before))
    status, body = ask(home.daemon, "GET", f"/assets/{asset}/original")
    assert (status, b"repository_detached" in body) == (503, True)
    for act in (lambda: home.client.scan(home.name), lambda: home.client.upload(str(home.upload), repository=home.name),
                lambda: home.client.repos.relayout(home.name, "cas"),
                lambda: home.client.repos.change(home.name, RepositoryChange(max_file_size_kb=1))):  # fmt: skip
        assert code(act) == "503 repository_detached"
    assert f"scan:{home.id}" not in {schedule.name for schedule in home.client.schedules()}
    assert "offline" not in str(home.client.health())
    kept = files_below(home.root)
    new = tmp_path / "elsewhere"
    home.root.rename(new)
    (tmp_path / "stranger").mkdir()
    home.client.add_repository(NewRepository(path=str(tmp_path / "stranger"), name=f"{home.name}-s"))
    assert code(lambda: home.client.repos.attach(Attachment(path=str(tmp_path / "stranger")))) == "409 exists"
    assert code(lambda: home.client.repos.attach(Attachment(path=str(tmp_path)))) == "404 not_a_repository"
    done = home.client.repos.attach(Attachment(path=str(new)))
    assert (done.repository.id, done.repository.status, done.repository.path) == (home.id, "online", str(new))
    home.settle()
    # what was asked for, and its watcher's own, which may look at an upload's file before its row is there
    assert set(home.jobs() - jobs) - {"ingest"} == {"scan"}
    assert home.assets() == before
    assert files_below(new) == kept
    assert ask(home.daemon, "GET", f"/assets/{asset}/original")[0] == 200


def test_what_failed_stays_among_the_failures_while_it_is_put_away(home: Home, tmp_path: Path) -> None:
    def failed() -> list[tuple[UUID, str]]:
        return [(job.id, job.state) for job in home.client.jobs(repository=str(home.id), state="discarded").items]

    def refused() -> list[UUID]:
        return [one.task_id for one in home.client.uploads.under_way().refused if one.task_id is not None]

    note = tmp_path / "note.txt"
    note.write_text(f"no picture {home.id}")
    job_id = home.client.upload(str(note), repository=home.name).task_id
    home.daemon.cli("wait", "--timeout", "60", check=False)
    assert failed() == [(job_id, "discarded")]
    home.client.repos.detach(home.name)
    assert failed() == [(job_id, "discarded")]
    home.client.repos.attach(Attachment(path=str(home.root)))
    home.daemon.cli("wait", "--timeout", "60", check=False)
    assert failed() == [(job_id, "discarded")]
    assert job_id in refused()


def test_what_was_put_away_is_not_looked_for(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon().start()
    with daemon.client as client:
        home = Home(daemon, client, tmp_path, "away", seed=1)
        client.repos.detach("away")
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client as client:
        assert client.repository("away").status == "detached"
        # nobody holds it: another daemon may
        other = make_daemon().start()
        with other.client as theirs:
            assert theirs.add_repository(NewRepository(path=str(home.root))).status == "online"
            assert code(lambda: client.repos.attach(Attachment(path=str(home.root)))) == "409 repository_in_use"
            assert client.repository("away").status == "detached"
        assert other.stop() == 0
        assert client.repos.attach(Attachment(path=str(home.root))).repository.status == "online"


# removal


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


# bad roots at the start


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
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "none", path]).returncode:
        pytest.skip("cannot mount a file system here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


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


# re-layouts


def test_a_relayout_over_the_api(home: Home) -> None:
    [before] = [path for path in home.assets().values() if path and path.startswith("inbox/")]
    plan = home.client.repos.plan_relayout(home.name, "cas")
    assert (plan.from_strategy, plan.to_strategy, plan.moves, plan.user_area) == ("date", "cas", 1, 2)
    assert [move.from_path for move in plan.examples] == [before]
    assert home.now.storage_strategy == "date"
    ticket = home.client.repos.relayout(home.name, "cas", verify=True)
    assert home.now.storage_strategy == "cas"
    home.settle()
    assert home.client.task(ticket.task_id).state == "completed"
    found = home.client.repos.last_relayout(home.name)
    assert (found.id, found.state, found.done, found.troubles) == (ticket.relayout_id, "done", 1, [])
    assert plan.examples[0].to_path in home.assets().values()
    home.client.repos.undo_relayout(home.name)
    home.settle()
    assert before in home.assets().values()
    assert home.now.storage_strategy == "date"
    assert home.client.repos.last_relayout(home.name).state == "undone"
    assert code(lambda: home.client.repos.undo_relayout(home.name)) == "404 relayout_not_found"


def test_what_a_relayout_refuses(home: Home) -> None:
    for to in ("", "tree", "../x", "CAS"):
        assert code(lambda to=to: home.client.repos.relayout(home.name, to)) == "400 bad_storage_strategy"  # type: ignore[misc]
    assert code(lambda: home.client.repos.plan_relayout("nobody", "cas")) == "404 repository_not_found"
    assert code(lambda: home.client.repos.last_relayout(home.name)) == "404 relayout_not_found"
    assert code(lambda: home.client.repos.undo_relayout("..")).startswith("404")
    assert ask(home.daemon, "POST", f"/repositories/{home.id}/relayout", b'{"to": "cas", "force": true}')[0] == 400
    away = home.root.with_name("gone")
    home.root.rename(away)
    assert code(lambda: home.client.repos.plan_relayout(home.name, "cas")) == "503 repository_offline"
    away.rename(home.root)
    wait_until(lambda: home.now.status == "online")
