"""Repositories that move, are copied, put away and taken back."""

import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from lumiliod.contract.repositories import Attachment, NewRepository, RepositoryChange
from tests.api.repositories.homes import Home, code, files_below
from tests.conftest import Daemon
from tests.raw_http import ask


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
