"""Checking and healing single files, on a real file system, and killed at every step."""

import ctypes
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO
from uuid import uuid4

import pytest
import trio
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Retryable, Unavailable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.storage import durable, heal, local
from lumiliod.storage.check import Checked, Verdict, check, check_copy
from lumiliod.storage.heal import Place, Why
from lumiliod.storage.local import LocalBackend
from lumiliod.storage.repository import Repository, create
from lumiliod.storage.throttle import UNLIMITED, Throttle
from lumiliod.storage.uncached import uncached_digest

GOOD = random.Random(7).randbytes(3 * (1 << 20) + 17)
PATH = RepoPath("trip/day one/a.jpg")


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).hexdigest())


@dataclass
class Original:
    """A file of a repository and what its record says."""

    repo: Repository
    digest: Digest
    stat: FileStat

    @property
    def path(self) -> Path:
        return Path(self.repo.absolute(PATH))

    @property
    def now(self) -> FileStat:
        return local.stat_of(os.lstat(self.path))

    def check(self) -> Checked:
        return check(self.repo, PATH, self.digest, self.stat, UNLIMITED)

    def place(self, found: FileStat | None) -> Place:
        return Place(PATH, self.digest, self.stat.size_bytes, self.stat.mtime_ns, found)

    def rot(self, at: int = 1_234_567) -> None:
        """Flip a bit as a disk would: size, time and inode stay."""
        times = self.path.stat()
        with self.path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))
        os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def original(repo: Repository) -> Original:
    return recorded(repo)


def recorded(repo: Repository) -> Original:
    path = Path(repo.absolute(PATH))
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)
    return Original(repo, digest_of(GOOD), local.stat_of(path.stat()))


def reason() -> Why:
    return heal.why(uuid4(), "bit_rot", "other bytes", PATH, asset_id=uuid4(), digest=digest_of(GOOD))


def good() -> BinaryIO:
    return io.BytesIO(GOOD)


# checking


def test_a_good_file_is_good_also_when_somebody_touched_it(original: Original) -> None:
    assert (original.check().verdict, original.check().read_bytes) == (Verdict.GOOD, len(GOOD))
    os.utime(original.path, ns=(1, 1))
    assert original.check().verdict is Verdict.GOOD


@pytest.mark.parametrize("at", [0, 1 << 20, len(GOOD) - 1])
def test_rot_is_told_from_an_edit(original: Original, at: int) -> None:
    original.rot(at)
    found = original.check()
    assert (found.verdict, found.code, found.found) == (Verdict.BIT_ROT, "bit_rot", original.now)
    assert found.read_bytes == 2 * len(GOOD)
    os.utime(original.path)
    assert original.check().verdict is Verdict.CHANGED


def replaced(original: Original) -> None:
    other = original.path.with_name("other")
    other.write_bytes(GOOD[::-1])
    os.utime(other, ns=(original.stat.mtime_ns, original.stat.mtime_ns))
    other.rename(original.path)


def made_a_pipe(original: Original) -> None:
    original.path.unlink()
    os.mkfifo(original.path)


@pytest.mark.parametrize(
    ("harm", "verdict", "code"),
    [
        (lambda o: os.truncate(o.path, 1000), Verdict.CHANGED, "changed"),
        (replaced, Verdict.CHANGED, "changed"),
        (lambda o: o.path.unlink(), Verdict.MISSING, "missing"),
        (lambda o: o.path.parent.rename(o.path.parent.with_name("elsewhere")), Verdict.MISSING, "missing"),
        (lambda o: (o.path.unlink(), o.path.mkdir()), Verdict.UNREADABLE, "not_a_file"),
        (lambda o: (o.path.rename(f"{o.path}.x"), o.path.symlink_to(f"{o.path}.x")), Verdict.UNREADABLE, "not_a_file"),
        (made_a_pipe, Verdict.UNREADABLE, "not_a_file"),
    ],
)
def test_verdicts(original: Original, harm: Callable[[Original], object], verdict: Verdict, code: str) -> None:
    harm(original)
    found = original.check()
    assert (found.verdict, found.code) == (verdict, code)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Let this thread use files as a user without any rights, when we are root (setfsuid(2))."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(0)


def test_without_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        original = recorded(create(folder, "Open"))
        Path(original.repo.lumilio).chmod(0o700)
        original.path.chmod(0)
        with as_nobody():
            found = original.check()
    assert (found.verdict, found.code) == (Verdict.UNREADABLE, "not_permitted")
    assert found.found is not None


@pytest.fixture
def failing_disk(original: Original) -> Iterator[Original]:
    """Reading the file fails as a bad sector does: this process's memory at 0 answers EIO (proc(5))."""
    command = ["mount", "--bind", f"/proc/{os.getpid()}/mem", str(original.path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    yield original
    subprocess.run(["umount", "-l", original.path], check=True)


def test_a_bad_sector(failing_disk: Original) -> None:
    found = failing_disk.check()
    assert (found.verdict, found.code) == (Verdict.UNREADABLE, "io_error")


def swapped_for_empty(original: Original) -> None:
    root = Path(original.repo.root)
    root.rename(root.with_name("away"))
    root.mkdir()


def swapped_for_other(original: Original) -> None:
    root = Path(original.repo.root)
    root.rename(root.with_name("away"))
    root.mkdir()
    create(str(root), "Another")


@pytest.mark.parametrize("swap", [swapped_for_empty, swapped_for_other])
def test_nothing_is_concluded_from_a_root_that_is_away(original: Original, swap: Callable[[Original], None]) -> None:
    swap(original)
    with pytest.raises(Unavailable) as caught:
        original.check()
    assert caught.value.code == "repository_offline"
    with pytest.raises(Unavailable):
        heal.restore(original.repo, original.place(None), good, reason())
    assert not Path(original.repo.absolute(PATH)).exists()


class Interfering(Throttle):
    """Lets something happen to the file while it is read."""

    def __init__(self, *events: Callable[[], object]) -> None:
        super().__init__(0)
        self.events = list(events)

    def take(self, count: int) -> None:
        if self.events:
            self.events.pop(0)()


def test_a_root_that_goes_away_in_the_middle(original: Original) -> None:
    original.rot()
    with pytest.raises(Unavailable) as caught:
        check(original.repo, PATH, original.digest, original.stat, Interfering(lambda: swapped_for_empty(original)))
    assert caught.value.code == "repository_offline"


def test_a_file_being_written_is_unstable_and_no_rot(original: Original) -> None:
    """Even when the writer puts its time back."""
    original.rot()
    throttle = Interfering(lambda: original.rot(at=len(GOOD) - 5))
    found = check(original.repo, PATH, original.digest, original.stat, throttle)
    assert found.verdict is Verdict.UNSTABLE


def test_a_file_written_between_two_readings_is_unstable(original: Original) -> None:
    original.rot()
    blocks = len(GOOD) // durable.BLOCK_BYTES + 1
    throttle = Interfering(*[lambda: None] * blocks, lambda: original.rot(at=5))
    found = check(original.repo, PATH, original.digest, original.stat, throttle)
    assert found.verdict is Verdict.UNSTABLE


def test_a_reading_that_was_wrong_once_is_no_rot(original: Original) -> None:
    """The wrong byte is right again when it is read for the second time."""
    original.rot()
    blocks = len(GOOD) // durable.BLOCK_BYTES + 1
    throttle = Interfering(*[lambda: None] * blocks, original.rot)
    found = check(original.repo, PATH, original.digest, original.stat, throttle)
    assert (found.verdict, found.code) == (Verdict.GOOD, "read_twice")


async def test_checking_ends_with_its_caller(original: Original) -> None:
    loop, scope = trio.lowlevel.current_trio_token(), trio.CancelScope()
    untouched = [lambda: None] * 10
    throttle = Interfering(lambda: trio.from_thread.run_sync(scope.cancel, trio_token=loop), *untouched)
    with trio.fail_after(10), scope:
        await trio.to_thread.run_sync(check, original.repo, PATH, original.digest, original.stat, throttle)
    assert scope.cancelled_caught
    assert len(throttle.events) == len(untouched)


def test_reading_leaves_no_pages(original: Original) -> None:
    """The page cache of the others is not spent on us (mincore(2) by way of fincore(1))."""
    fd = os.open(original.path, os.O_RDONLY)
    try:
        os.fsync(fd)
        assert uncached_digest(fd) == (original.digest, len(GOOD))
    finally:
        os.close(fd)
    told = subprocess.run(
        ["fincore", "-n", "-b", "-o", "RES", original.path], capture_output=True, text=True, check=False
    )
    if told.returncode:
        pytest.skip("no fincore here")
    kind = subprocess.run(["stat", "-f", "-c", "%T", original.path], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in {"tmpfs", "ramfs", "overlayfs"} and int(told.stdout) == len(GOOD):
        pytest.skip("this file system is nothing but cache")
    assert int(told.stdout) == 0


def test_copies(original: Original, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    backend = LocalBackend(str(tmp_path / "mirror"), hard_links=False)
    path = RepoPath("originals/aa/bb/x")

    def verdict() -> Verdict:
        return check_copy(backend, path, original.digest, len(GOOD), UNLIMITED).verdict

    assert verdict() is Verdict.MISSING
    backend.put_new(str(original.path), path)
    assert verdict() is Verdict.GOOD
    with open(backend.local_path(path), "r+b") as file:
        file.write(b"\0")
    assert verdict() is Verdict.BIT_ROT
    os.truncate(backend.local_path(path), 5)
    assert verdict() is Verdict.BIT_ROT


# healing


def quarantine(repo: Repository) -> dict[str, bytes]:
    folder = Path(repo.root, *heal.QUARANTINE)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def left_behind(repo: Repository) -> list[str]:
    hidden = [str(path) for path in Path(repo.root).rglob(".lumilio-*")]
    return [*hidden, *os.listdir(repo.temp)]


def test_good_bytes_take_the_place_of_bad_ones_which_are_kept(original: Original) -> None:
    original.path.chmod(0o640)
    original.rot()
    bad, why = original.path.read_bytes(), reason()
    stat = heal.restore(original.repo, original.place(original.check().found), good, why)
    assert original.path.read_bytes() == GOOD
    assert stat == original.now
    assert stat.mtime_ns == original.stat.mtime_ns
    assert original.path.stat().st_mode & 0o777 == 0o640
    kept = quarantine(original.repo)
    assert kept[".bad"] == bad
    assert json.loads(kept[".json"]) == {
        "finding": str(why.finding),
        "kind": "bit_rot",
        "detail": "other bytes",
        "path": PATH,
        "asset_id": str(why.asset_id),
        "digest": original.digest,
        "at": json.loads(kept[".json"])["at"],
    }
    assert left_behind(original.repo) == []


def test_a_missing_file_comes_back_with_its_folders(original: Original) -> None:
    original.path.unlink()
    original.path.parent.rmdir()
    heal.restore(original.repo, original.place(None), good, reason())
    assert original.path.read_bytes() == GOOD
    assert quarantine(original.repo) == {}


def test_a_folder_that_goes_while_a_file_is_healed_is_made_again(original: Original) -> None:
    original.path.unlink()
    tries = iter(range(3))

    def good_meanwhile() -> BinaryIO:
        if next(tries) < 2:
            original.path.parent.rmdir()
        return good()

    heal.restore(original.repo, original.place(None), good_meanwhile, reason())
    assert original.path.read_bytes() == GOOD
    assert left_behind(original.repo) == []


@pytest.mark.parametrize("copy", [GOOD[:-1], GOOD + b"x", GOOD[:-1] + b"x", b""])
def test_good_is_never_replaced_by_bad(original: Original, copy: bytes) -> None:
    """A copy that is no better changes nothing."""
    original.rot()
    before, found = original.path.read_bytes(), original.check().found
    with pytest.raises(Permanent) as caught:
        heal.restore(original.repo, original.place(found), lambda: io.BytesIO(copy), reason())
    assert caught.value.code == "copy_damaged"
    assert original.path.read_bytes() == before
    assert (quarantine(original.repo), left_behind(original.repo)) == ({}, [])


def test_what_is_good_is_left_alone(original: Original) -> None:
    """No copy is even opened."""

    def unneeded() -> BinaryIO:
        raise AssertionError

    assert heal.restore(original.repo, original.place(None), unneeded, reason()) == original.now
    assert original.now == original.stat


def test_a_persons_file_is_not_moved_aside(original: Original) -> None:
    original.rot()
    found = original.check().found
    original.path.write_bytes(b"a person's own")
    for place in (original.place(found), original.place(None)):
        with pytest.raises(Conflict) as caught:
            heal.restore(original.repo, place, good, reason())
        assert caught.value.code == "file_changed"
    assert original.path.read_bytes() == b"a person's own"
    assert left_behind(original.repo) == []


def test_a_file_that_appears_in_between_stays(original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    original.rot()
    found, bad = original.check().found, original.path.read_bytes()
    real = durable.rename_new

    def slow(source: str, target: str, **folders: Any) -> None:
        real(source, target, **folders)
        if target.endswith(".bad"):
            original.path.write_bytes(b"a person's own")

    monkeypatch.setattr(durable, "rename_new", slow)
    with pytest.raises(Conflict) as caught:
        heal.restore(original.repo, original.place(found), good, reason())
    assert caught.value.code == "name_taken"
    assert original.path.read_bytes() == b"a person's own"
    assert quarantine(original.repo)[".bad"] == bad
    assert left_behind(original.repo) == []


@pytest.mark.parametrize("is_same", [True, False])
def test_a_name_in_the_quarantine_that_a_power_failure_left(original: Original, is_same: bool) -> None:
    """It may leave both names of a rename; another file of that name stays, and so does the bad one."""
    original.rot()
    found, why, bad = original.check().found, reason(), original.path.read_bytes()
    folder = Path(original.repo.root, *heal.QUARANTINE)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{why.finding}.bad"
    if is_same:
        os.link(original.path, kept)
        heal.restore(original.repo, original.place(found), good, why)
        assert (original.path.read_bytes(), kept.read_bytes()) == (GOOD, bad)
        return
    kept.write_bytes(b"another")
    with pytest.raises(Conflict) as caught:
        heal.restore(original.repo, original.place(found), good, why)
    assert caught.value.code == "name_taken"
    assert (original.path.read_bytes(), kept.read_bytes()) == (bad, b"another")


def test_one_healer_at_a_time(original: Original) -> None:
    original.rot()
    found, why = original.check().found, reason()

    def another_tries() -> BinaryIO:
        with pytest.raises(Retryable) as caught:
            heal.restore(original.repo, original.place(found), good, why)
        assert caught.value.code == "heal_running"
        return good()

    heal.restore(original.repo, original.place(found), another_tries, why)
    assert original.path.read_bytes() == GOOD


def test_a_copy_that_is_away(original: Original) -> None:
    original.rot()
    found = original.check().found

    def gone() -> BinaryIO:
        raise NotFound("no", code="file_missing")

    with pytest.raises(NotFound):
        heal.restore(original.repo, original.place(found), gone, reason())
    assert left_behind(original.repo) == []


def test_on_another_file_system_below_the_root(original: Original, small_disk: Path) -> None:
    """What is moved stays in its folder."""
    original.path.parent.parent.rename(Path(original.repo.root, "old"))
    original.path.parent.parent.mkdir()
    subprocess.run(["mount", "--bind", small_disk, original.path.parent.parent], check=True)
    try:
        content = GOOD[: 1 << 20]
        original.path.parent.mkdir()
        original.path.write_bytes(content)
        original = replace(original, digest=digest_of(content), stat=original.now)
        original.rot(at=77)
        found = original.check().found
        heal.restore(original.repo, original.place(found), lambda: io.BytesIO(content), reason())
        assert original.path.read_bytes() == content
        names = [name for name in os.listdir(original.path.parent) if name.startswith(".lumilio-")]
        assert len(names) == 1
        assert names[0].startswith(".lumilio-bad-")
        assert list(quarantine(original.repo)) == [".json"]
    finally:
        subprocess.run(["umount", "-l", original.path.parent.parent], check=True)


def test_an_orphan_is_set_aside_once(original: Original) -> None:
    found, why = original.now, reason()
    with pytest.raises(Conflict):
        heal.set_aside(original.repo, PATH, replace(found, size_bytes=1), why)
    heal.set_aside(original.repo, PATH, found, why)
    assert quarantine(original.repo)[".bad"] == GOOD
    heal.set_aside(original.repo, PATH, found, why)
    assert not original.path.exists()


WRITING = {"open", "write", "fsync", "unlink", "mkdir", "rename", "fchmod", "fchown", "utime", "close", "link"}


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a process of its own that dies before its ``step``-th system call; tell whether it died."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child uses none
        pid = os.fork()
    if pid == 0:
        left = step

        def count(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal left
            is_call = event == "c_call" and arg.__name__ in WRITING and arg.__module__ == "posix"
            is_rename = event in {"call", "return"} and frame.f_code.co_name == "_renameat2"
            if is_call or is_rename:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_every_step_it_is_healed_by_doing_it_again(tmp_path: Path) -> None:
    """At no step are there no good bytes to be had, or bad ones lost; at the end nothing is left behind."""
    step, died = 0, True
    while died:
        root = tmp_path / str(step)
        root.mkdir()
        original = recorded(create(str(root), "Library"))
        original.rot()
        bad, found, why = original.path.read_bytes(), original.check().found, reason()

        def work(original: Original = original, found: FileStat | None = found, why: Why = why) -> FileStat:
            return heal.restore(original.repo, original.place(found), good, why)

        died = killed_at(step, work)
        kept = quarantine(original.repo).get(".bad")
        here = original.path.read_bytes() if original.path.exists() else None
        assert bad in (here, kept)
        assert here in (bad, GOOD, None)
        assert work() == original.now
        assert original.path.read_bytes() == GOOD
        assert quarantine(original.repo)[".bad"] == bad
        assert left_behind(original.repo) == []
        step += 1
    assert step > 25
