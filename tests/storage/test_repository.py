import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Permanent, Retryable, Shape, Unavailable
from lumiliod.domain.ids import RepoPath, RepositoryId
from lumiliod.domain.repositories import LocalSettings, Marker, SyncSettings
from lumiliod.storage import marker as markers
from lumiliod.storage import repository
from lumiliod.storage.repository import Repository

UPSTREAM = b"""
version: "1.0"
id: "550e8400-e29b-41d4-a716-446655440000"
name: "2024"
created_at: 2024-01-15T10:30:00.123456789+08:00
storage_strategy: "cas"
sync_settings:
  quick_scan_interval: 5m0s
  full_scan_interval: 30m
  ignore_patterns: [".DS_Store", "Icon\\r"]
  later: [1, 2]
local_settings:
  preserve_original_filename: false
  handle_duplicate_filenames: "uuid"
  max_file_size: 1024
  compress_files: false
  create_backups: true
  backup_path: ".lumilio/backups"
extra:
  deep: {kept: yes}
"""


def test_create_makes_everything(tmp_path: Path) -> None:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    repo = repository.create(str(tmp_path), " Photos ", storage_strategy="flat", created_at=at)
    assert stat.S_IMODE(os.stat(repo.lumilio).st_mode) == 0o700
    for path in (
        repo.inbox,
        repo.incoming,
        repo.failed,
        repo.temp,
        repo.trash,
        f"{repo.lumilio}/assets/thumbnails/300",
    ):
        assert os.path.isdir(path)
    assert os.listdir(repo.temp) == []
    assert repo.absolute(RepoPath("inbox/a")) == f"{tmp_path}/inbox/a"
    assert repository.validate(repo) == []
    tree = yaml.safe_load((tmp_path / ".lumiliorepo").read_text())
    assert tree["sync_settings"] == {
        "quick_scan_interval": "5m0s",
        "full_scan_interval": "24h0m0s",
        "ignore_patterns": [],
    }
    assert tree["id"] == str(repo.id)
    again = repository.open_repository(str(tmp_path))
    assert again == repo
    assert (again.name, again.marker.storage_strategy, again.marker.created_at) == ("Photos", "flat", at)


def test_create_refuses(tmp_path: Path) -> None:
    def code(root: str, name: str = "x", strategy: str = "date") -> str:
        with pytest.raises(LumilioError) as caught:
            repository.create(root, name, storage_strategy=strategy)
        return f"{type(caught.value).__name__}.{caught.value.code}"

    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "free").mkdir()
    repository.create(str(tmp_path / "a/b"), "B")
    (tmp_path / "link").symlink_to(tmp_path / "a/b/c")
    assert code(str(tmp_path / "none")) == "NotFound.root_missing"
    assert code(str(tmp_path / "file")) == "Shape.root_not_a_folder"
    assert code(str(tmp_path / "a/b")) == "Conflict.exists"
    assert code(str(tmp_path / "a/b/c")) == "Shape.nested_root"
    assert code(str(tmp_path / "link")) == "Shape.nested_root"
    assert code(str(tmp_path / "a")) == "Shape.nested_root"
    assert code("relative") == "Shape.bad_root"
    assert code(f"{tmp_path}/\udcff") == "Shape.bad_root"
    assert code(str(tmp_path / "free"), " ") == "Shape.bad_name"
    assert code(str(tmp_path / "free"), strategy="Da/te") == "Shape.bad_storage_strategy"
    for name in ("a/b", "/", ".", ".."):
        assert code(str(tmp_path / "free"), name) == "Shape.bad_name"
    for root in ("/", "/proc", "/proc/self/task", "/sys", "/dev", "/dev/shm", "/run", "/var/run"):
        assert code(root) == "Shape.bad_root"
    assert os.listdir(tmp_path / "free") == []


def test_create_keeps_away_from_what_is_known(tmp_path: Path) -> None:
    for name in ("library/deep/er", "state/run", "free", "library2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "library/deep")

    def code(name: str, *known: str) -> str:
        with pytest.raises(LumilioError) as caught:
            repository.create(
                str(tmp_path / name),
                "x",
                known_roots=[str(tmp_path / root) for root in known],
                forbidden=[str(tmp_path / "state")],
            )
        return f"{type(caught.value).__name__}.{caught.value.code}"

    assert code("library", "library/deep/er") == "Shape.nested_root"
    assert code("library/deep/er", "library") == "Shape.nested_root"
    assert code("library", "link/er") == "Shape.nested_root"
    assert code("link/er", "library") == "Shape.nested_root"
    assert code("library", "library/deep/offline/disk") == "Shape.nested_root"
    assert code("library", "free", "library") == "Conflict.exists"
    assert code("state") == code("state/run") == "Shape.bad_root"
    known = [str(tmp_path / "library"), str(tmp_path / "gone")]
    repository.create(str(tmp_path / "library2"), "x", known_roots=known, forbidden=[str(tmp_path / "state")])
    repository.create(str(tmp_path / "free"), "x", forbidden=[str(tmp_path / "not yet there")])


def test_a_second_mount_of_a_known_folder_is_nested(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "deep").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", small_disk, elsewhere], check=True)
    try:
        for root, known in ((elsewhere / "deep", small_disk), (elsewhere, small_disk / "deep")):
            with pytest.raises(Shape) as caught:
                repository.create(str(root), "x", known_roots=[str(known)])
            assert caught.value.code == "nested_root"
    finally:
        subprocess.run(["umount", "-l", elsewhere], check=True)


def test_create_again_after_a_crash_before_the_marker(tmp_path: Path) -> None:
    (tmp_path / ".lumilio/temp").mkdir(parents=True)
    repository.create(str(tmp_path), "Photos")
    assert stat.S_IMODE(os.stat(tmp_path / ".lumilio").st_mode) == 0o700


CREATING = """
import os, sys
from lumiliod.storage.repository import create

left = int(sys.argv[2])

def dying(event, args):
    global left
    if event in {"os.mkdir", "os.rename", "os.link", "os.remove", "os.chmod"} or (
        event == "open" and sys.argv[1] in str(args[0])
    ):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

sys.addaudithook(dying)
create(sys.argv[1], "Photos")
"""


def test_create_killed_at_every_step_can_be_done_again(tmp_path: Path) -> None:
    for step in range(0, 60, 4):
        root = tmp_path / str(step)
        root.mkdir()
        run = subprocess.run([sys.executable, "-c", CREATING, str(root), str(step)])
        if run.returncode:
            assert run.returncode == -9
            if not (root / ".lumiliorepo").exists():
                repository.create(str(root), "Photos")
        assert repository.validate(repository.open_repository(str(root))) == []
        if run.returncode == 0:
            assert step > 10
            return
    pytest.fail("never ran to its end")


def test_open_reads_what_upstream_wrote_and_save_keeps_what_is_unknown(tmp_path: Path) -> None:
    (tmp_path / ".lumiliorepo").write_bytes(UPSTREAM)
    repo = repository.open_repository(str(tmp_path))
    assert repo.marker == Marker(
        id=repo.id,
        name="2024",
        created_at=datetime(2024, 1, 15, 2, 30, 0, 123457, UTC),
        storage_strategy="cas",
        sync_settings=SyncSettings(300, 1800, (".DS_Store", "Icon\r")),
        local_settings=LocalSettings(False, "uuid", 1024, True, ".lumilio/backups"),
    )
    assert os.path.isdir(repo.incoming)
    changed = Marker(id=repo.id, name="New", created_at=repo.marker.created_at)
    assert repository.save(repo, changed).name == "New"
    assert repository.open_repository(str(tmp_path)).marker == changed
    tree = yaml.safe_load((tmp_path / ".lumiliorepo").read_text())
    assert tree["extra"]["deep"] == {"kept": "yes"}
    assert tree["sync_settings"]["later"] == ["1", "2"]
    assert "compress_files" in tree["local_settings"]
    with pytest.raises(Shape):
        repository.save(repo, Marker(id=RepositoryId(uuid4()), name="New", created_at=changed.created_at))


def renamed(name: bytes) -> bytes:
    """Return a marker of another name, as YAML writes it."""
    return re.sub(rb"(?m)^name: .*$", lambda _: b"name: " + name, UPSTREAM)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"", ""),
        (b"- a", ""),
        (b"a: [", ""),
        (b"\xff\xfe", ""),
        (b"name: x", ""),
        (UPSTREAM.replace(b"550e8400", b"nonsense"), "id"),
        (renamed(rb'"a\x1b]0;b\x07"'), "name"),
        (renamed(b"a/b"), "name"),
        (renamed(b"''"), "name"),
        (renamed(b"x" * 256), "name"),
        (UPSTREAM.replace(b"5m0s", b"soon"), "sync_settings.quick_scan_interval"),
        (UPSTREAM.replace(b"1024", b"-1"), "local_settings.max_file_size"),
        (UPSTREAM.replace(b'"uuid"', b"replace"), "local_settings.handle_duplicate_filenames"),
        (UPSTREAM.replace(b'"1.0"', b'"2.0"'), "version"),
        (b"#" * (markers.MAX_BYTES + 1), ""),
        (b"a: " + b"[" * 5000, ""),
        (b"a: " + b"[" * 60_000, ""),
        (b"- " * 30_000, ""),
        (b"{" * 60_000, ""),
        (b"? " * 30_000, ""),
        (UPSTREAM + b"extra: " + b"[" * 20 + b"]" * 20, ""),
        (UPSTREAM + b"extra: [" + b"a," * 10_000 + b"]", ""),
        (UPSTREAM + b"extra: &x [a]\nmore: *x", ""),
        (UPSTREAM + b"extra: &x a", ""),
        (re.sub(rb"(?m)^created_at: .*$", b"created_at: 0001-01-01T00:00:00+14:00", UPSTREAM), "created_at"),
    ],
)
def test_an_invalid_marker_says_where(raw: bytes, key: str, tmp_path: Path) -> None:
    (tmp_path / ".lumiliorepo").write_bytes(raw)
    with pytest.raises(Permanent) as caught:
        repository.open_repository(str(tmp_path))
    assert caught.value.code == "marker_invalid"
    assert caught.value.detail["key"] == key
    assert not (tmp_path / ".lumilio").exists()


def test_no_marker_ends_the_process(tmp_path: Path) -> None:
    """The loader that is written in C builds by recursion, without a limit."""
    for raw in (b"[" * 200_000, b"- " * 100_000):
        (tmp_path / ".lumiliorepo").write_bytes(raw)
        code = "import sys; from lumiliod.storage import repository; repository.peek(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.returncode
        assert "larger than a marker can be" in done.stderr


def test_nothing_is_saved_that_could_not_be_opened(repo: Repository) -> None:
    for patterns in (("x" * 70_000,), ("a",) * 10_001):
        sync = replace(repo.marker.sync_settings, ignore_patterns=patterns)
        with pytest.raises(Shape) as caught:
            repository.save(repo, replace(repo.marker, sync_settings=sync))
        assert caught.value.code == "marker_too_large"
    assert repository.peek(repo.root) == repo.marker


def test_open_needs_a_marker(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound) as caught:
            repository.open_repository(str(root))
        assert caught.value.code == "not_a_repository"


def test_validate_and_repair(repo: Repository) -> None:
    os.rmdir(repo.trash)
    os.rmdir(repo.inbox)
    os.chmod(repo.lumilio, 0o755)
    assert repository.validate(repo) == [
        ".lumilio has mode 0755 instead of 0700",
        "inbox is missing",
        ".lumilio/trash is missing",
    ]
    assert repository.repair(repo) == ["made inbox", "made .lumilio/trash", "set mode 0700 on .lumilio"]
    assert repository.validate(repo) == repository.repair(repo) == []
    os.rmdir(repo.inbox)
    Path(repo.inbox).write_bytes(b"")
    assert repository.validate(repo) == ["inbox is not a folder"]
    with pytest.raises(Unavailable) as caught:
        repository.open_repository(repo.root)
    assert caught.value.code == "repository_damaged"


def test_no_folder_of_ours_may_be_a_link(repo: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folders = [repo.lumilio, repo.inbox]
    folders += [str(path) for path in Path(repo.lumilio).rglob("*") if path.is_dir()]
    assert len(folders) > 12
    for folder in folders:
        os.rename(folder, outside)
        os.symlink(outside, folder)
        with pytest.raises(Unavailable) as caught:
            repository.open_repository(repo.root)
        assert caught.value.code == "repository_damaged"
        os.unlink(folder)
        os.rename(outside, folder)
    repository.open_repository(repo.root)


def test_identity(repo: Repository, tmp_path: Path) -> None:
    def offline(what: Repository, reason: str) -> None:
        with pytest.raises(Retryable) as caught:
            repository.check_identity(what)
        assert (caught.value.code, caught.value.detail["reason"]) == ("repository_offline", reason)
        assert caught.value.after_s

    repository.check_identity(repo)
    offline(Repository(repo.root, repo.marker, repo.device + 1), "another_device")
    marker = Path(repo.root, ".lumiliorepo")
    raw = marker.read_bytes()
    marker.write_bytes(raw.replace(str(repo.id).encode(), str(uuid4()).encode()))
    offline(repo, "another_repository")
    marker.write_bytes(b"broken: [")
    offline(repo, "marker_invalid")
    marker.unlink()
    offline(repo, "not_a_repository")
    marker.write_bytes(raw)
    repository.check_identity(repo)
    os.rename(repo.root, tmp_path / "elsewhere")
    offline(repo, "root_missing")
    Path(repo.root).write_bytes(b"")
    offline(repo, "root_not_a_folder")


def test_a_disk_mounted_over_it_is_offline(small_disk: Path) -> None:
    repo = repository.create(str(small_disk), "Disk")
    repository.check_identity(repo)
    with pytest.raises(Retryable):
        repository.check_identity(Repository(str(small_disk.parent), repo.marker, repo.device))


def test_a_full_disk_keeps_nobody_from_owning_a_repository(small_disk: Path) -> None:
    repo = repository.create(str(small_disk), "Full")
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert os.statvfs(small_disk).f_bavail == 0
    with repository.exclusive(repo), pytest.raises(Conflict), repository.exclusive(repo):
        raise AssertionError("it was owned twice")


def test_one_owner_at_a_time(repo: Repository) -> None:
    with repository.exclusive(repo):
        with pytest.raises(Conflict) as caught, repository.exclusive(repo):
            pass
        assert caught.value.code == "repository_in_use"
        assert str(os.getpid()) in caught.value.message
    with repository.exclusive(repo):
        pass


@given(st.integers(0, 10**7).map(lambda ms: ms / 1000))
def test_durations_round_trip(seconds: float) -> None:
    assert markers.duration_seconds(markers.duration_text(seconds)) == pytest.approx(seconds)


def test_durations() -> None:
    assert [markers.duration_seconds(text) for text in ("300", "1h30m", "1.5s", "250ms", "0", "0s")] == [
        300, 5400, 1.5, 0.25, 0, 0,
    ]  # fmt: skip
    assert [markers.duration_text(s) for s in (300, 86400, 1.5, 0)] == ["5m0s", "24h0m0s", "1.5s", "0s"]
    for text in ("", "-5m", "5 m", "m", "1x", "inf"):
        with pytest.raises(ValueError):
            markers.duration_seconds(text)


def test_reopening_never_guesses(repo: Repository, tmp_path: Path) -> None:
    root = Path(repo.root)

    def code() -> str:
        with pytest.raises(LumilioError) as caught:
            repository.reopen(repo.root, repo.id, repo.name)
        assert isinstance(caught.value, Retryable)
        return caught.value.code

    assert repository.reopen(repo.root, repo.id, repo.name) == repo
    with pytest.raises(Unavailable) as caught:
        repository.reopen(repo.root, RepositoryId(uuid4()), "x")
    assert caught.value.code == "another_repository"
    root.rename(tmp_path / "renamed")
    assert code() == "repository_moved"
    root.mkdir()
    assert code() == "repository_moved"
    (tmp_path / "away").mkdir()
    (tmp_path / "renamed").rename(tmp_path / "away" / "deep")
    assert code() == "root_empty"
    (root / "file").write_bytes(b"")
    assert code() == "not_a_repository"
    shutil.rmtree(root)
    assert code() == "root_missing"
    root.symlink_to(tmp_path / "away" / "deep")
    assert code() == "root_is_link"
    assert sorted(os.listdir(tmp_path)) == ["away", "library"]


def test_a_copy_gets_an_identity_of_its_own(repo: Repository, tmp_path: Path) -> None:
    Path(repo.root, "inbox/a.jpg").write_bytes(b"a")
    Path(repo.trash, "kept").write_bytes(b"in the trash")
    repository.save(repo, replace(repo.marker, local_settings=LocalSettings(False, "uuid", 7)))
    copy = tmp_path / "copy"
    shutil.copytree(repo.root, copy)
    made = repository.renew(str(copy), "Copy")
    assert (made.name, made.marker.local_settings) == ("Copy", LocalSettings(False, "uuid", 7))
    assert made.id != repo.id
    assert repository.open_repository(str(copy)) == made
    assert repository.validate(made) == []
    assert os.listdir(made.trash) == []
    [aside] = copy.glob(f".lumilio-{repo.id}-*")
    assert (aside / "trash" / "kept").read_bytes() == b"in the trash"
    assert (copy / "inbox/a.jpg").read_bytes() == b"a"
    assert repository.lies_at(repo.root, repo.id)
    assert not repository.lies_at(str(copy), repo.id)


def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    repo = repository.create(str(small_disk), "Disk")
    before = (small_disk / ".lumiliorepo").read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for act in (
        lambda: repository.save(repo, replace(repo.marker, name="Other")),
        lambda: repository.renew(str(small_disk), "Other"),
        lambda: repository.exclusive(repo).__enter__(),
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "not_writable"
    assert repository.open_repository(str(small_disk)) == repo
    assert (small_disk / ".lumiliorepo").read_bytes() == before
