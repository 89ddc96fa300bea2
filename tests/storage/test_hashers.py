"""Processes that hash: what they answer, what becomes of files that end them, and when they start and end."""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from blake3 import blake3

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import Digest
from lumiliod.library.memory_use import memory_use
from lumiliod.storage import hashers
from lumiliod.storage.digesting import digest_file, digest_files
from lumiliod.storage.hasher import WINDOW_BYTES
from lumiliod.storage.hashers import LEAST_BYTES, Hasher, Hashers

LONG_S = 20
TRIES = 10_000
LONG = (LEAST_BYTES,)


@pytest.fixture
def eager() -> Iterator[Hashers]:
    """One process, started at once."""
    with closing(Hashers(1, much_bytes=0)) as some:
        yield some


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of sizes around those that matter, and what is no file."""
    numbers = random.Random(1)
    for size in (0, 1, LEAST_BYTES - 1, LEAST_BYTES, WINDOW_BYTES, WINDOW_BYTES + 1, 2 * WINDOW_BYTES + 4095):
        (tmp_path / f"{size:010}").write_bytes(numbers.randbytes(size))
    (tmp_path / "1-link").symlink_to(tmp_path / "0000000001")
    (tmp_path / os.fsdecode(b"9-\xff\n")).write_bytes(bytes(LEAST_BYTES))
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next file asked for ahead on a slow machine, too."""
    monkeypatch.setattr(hashers, "QUICK_S", LONG_S)


def descriptors(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/fd"))


def kept(some: Hashers) -> tuple[int, ...]:
    return tuple(some.pids)


def asked(hasher: Hasher, path: Path, size_bytes: int | None = None) -> Digest | None:
    with path.open("rb") as file:
        assert hasher.ask(file.fileno(), path.stat().st_size if size_bytes is None else size_bytes)
    return hasher.answer()


async def is_gone(pid: int) -> None:
    with trio.fail_after(LONG_S):
        while Path(f"/proc/{pid}").exists():
            await trio.sleep(0.01)


def test_files_have_the_digests_they_have_without(folder: Path, eager: Hashers) -> None:
    paths = sorted(str(path) for path in folder.iterdir())
    paths += [str(folder / "missing")]
    for _ in range(2):  # the second time one is asked ahead
        with eager.lent(LONG) as hasher:
            assert hasher is not None
            found = list(digest_files(paths, root=str(folder), hasher=hasher))
        for path, one in zip(paths, found, strict=True):
            if "link" in path:
                assert isinstance(one, Permanent)
            elif "missing" in path:
                assert isinstance(one, NotFound)
            else:
                assert one == digest_file(path)
                assert isinstance(one, tuple)
                assert one[0] == blake3(Path(path).read_bytes()).hexdigest()
        assert hasher.is_quick
        assert hasher.is_well
    assert len(kept(eager)) == 1
    assert memory_use()["hashing"] > 1 << 20


def test_files_that_are_written_are_unstable(folder: Path, eager: Hashers) -> None:
    paths = [str(folder / f"{size:010}") for size in (LEAST_BYTES, WINDOW_BYTES, WINDOW_BYTES + 1)]
    with open(paths[1], "ab"), eager.lent(LONG) as hasher:
        found = list(digest_files(paths, root=str(folder), hasher=hasher))
    assert [isinstance(one, Unavailable) for one in found] == [False, True, False]


def test_no_descriptor_stays_open(folder: Path, eager: Hashers) -> None:
    paths = sorted(str(path) for path in folder.iterdir())
    with eager.lent(LONG) as hasher:
        assert hasher is not None
        assert asked(hasher, folder / f"{LEAST_BYTES:010}")
        ours, its = descriptors(os.getpid()), descriptors(hasher.pid)
        for count in range(1, len(paths)):
            with closing(digest_files(paths, root=str(folder), hasher=hasher)) as digested:
                for _ in range(count):
                    next(digested)
            while not hasher.is_well:
                assert not hasher.has_ended
                hasher.answer()
        assert len(descriptors(os.getpid())) == len(ours)
        assert descriptors(hasher.pid) == its


def test_what_changes_while_it_is_asked_for_is_unstable(
    folder: Path, eager: Hashers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write in it, or put another file in its place, and put size and mtime back."""
    path = folder / f"{LEAST_BYTES:010}"
    content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)

    def write() -> None:
        with path.open("r+b") as file:
            file.write(b"other")

    def replace() -> None:
        (folder / "other").write_bytes(content[::-1])
        (folder / "other").rename(path)

    answer = Hasher.answer
    for change in (write, replace, path.unlink):

        def changed(hasher: Hasher, change: Callable[[], None] = change) -> Digest | None:
            told = answer(hasher)
            change()
            if path.exists():
                os.utime(path, ns=times)
            return told

        monkeypatch.setattr(Hasher, "answer", changed)
        with eager.lent(LONG) as hasher:
            [found] = digest_files([str(path)], root=str(folder), hasher=hasher)
        assert isinstance(found, Unavailable)
        assert found.code == "unstable"


def test_what_is_shorter_than_it_was_has_no_digest(folder: Path, eager: Hashers) -> None:
    path = folder / f"{WINDOW_BYTES:010}"
    with eager.lent(LONG) as hasher:
        assert hasher is not None
        assert asked(hasher, path, WINDOW_BYTES + 5000) is None
        assert asked(hasher, path) == blake3(path.read_bytes()).hexdigest()


def test_a_file_that_is_cut_meanwhile_ends_the_process_and_not_the_caller(tmp_path: Path, eager: Hashers) -> None:
    """It is cut, and made as long again, all the time; no digest is told that the file did not have."""
    path, size = tmp_path / "film", 8 * WINDOW_BYTES
    path.write_bytes(b"\1" * size)
    before = digest_file(str(path))[0]
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set():
            os.truncate(path, 0)
            os.truncate(path, size)

    with eager.lent(LONG) as hasher:
        assert hasher is not None
        assert asked(hasher, path) == before
        possible = {before, blake3(bytes(size)).hexdigest(), blake3().hexdigest()}
        thread = threading.Thread(target=cut)
        thread.start()
        try:
            for _ in range(TRIES):
                [found] = digest_files([str(path)], root=str(tmp_path), hasher=hasher)
                if not isinstance(found, LumilioError):
                    assert found[0] in possible
                if hasher.has_ended:
                    break
            assert hasher.has_ended
        finally:
            stop.set()
            thread.join()
        [found] = digest_files([str(path)], root=str(tmp_path), hasher=hasher)
        assert not isinstance(found, Exception)
        assert found[0] == blake3(bytes(size)).hexdigest()
    with eager.lent(LONG) as another:
        assert another is not None
        assert another.pid != hasher.pid
        assert asked(another, path) == found[0]


def test_one_that_is_killed_is_replaced(folder: Path, eager: Hashers) -> None:
    paths = sorted(str(path) for path in folder.iterdir() if "link" not in path.name)
    expected = [digest_file(path) for path in paths]
    with eager.lent(LONG) as hasher:
        assert hasher is not None
        assert list(digest_files(paths, root=str(folder), hasher=hasher)) == expected
    for _ in range(2):
        [pid] = kept(eager)
        os.kill(pid, signal.SIGKILL)
        with eager.lent(LONG) as hasher:
            assert list(digest_files(paths, root=str(folder), hasher=hasher)) == expected
        assert kept(eager) == ()
        with eager.lent(LONG) as hasher:
            assert list(digest_files(paths, root=str(folder), hasher=hasher)) == expected
        assert kept(eager) != (pid,)


def test_where_they_end_by_themselves_none_is_used_for_a_while(
    folder: Path, eager: Hashers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    path = str(folder / f"{LEAST_BYTES:010}")
    used = 0
    for _ in range(10):
        with eager.lent(LONG) as hasher:
            used += hasher is not None
            assert list(digest_files([path], root=str(folder), hasher=hasher)) == [digest_file(path)]
    assert used == hashers.FAILURES_MAX
    [told] = caplog.records
    assert (told.message, vars(told)["reason"]) == (
        "processes that hash end by themselves: files are hashed without",
        "exit status 1",
    )


def test_where_none_can_be_started_files_are_hashed_without(
    folder: Path, eager: Hashers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with eager.lent(LONG) as hasher:
            assert hasher is None
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_who_is_cancelled_waits_for_no_answer(tmp_path: Path, eager: Hashers) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    def read() -> None:
        with eager.lent(LONG) as hasher:
            list(digest_files([str(path), str(path)], root=str(tmp_path), hasher=hasher))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, read)
        with trio.fail_after(LONG_S):
            while not kept(eager):
                await trio.sleep(0.01)
            [pid] = kept(eager)
            nursery.cancel_scope.cancel()
    await is_gone(pid)
    assert kept(eager) == ()
    assert not any(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in os.listdir("/proc/self/fd"))


def test_little_starts_none() -> None:
    small, large = LEAST_BYTES - 1, LEAST_BYTES
    with closing(Hashers(2, much_bytes=3 * LEAST_BYTES)) as some:
        for sizes, is_lent in (
            ([small] * 9, False),
            ([small, large, large], False),
            ([large], True),
            ([small], False),
            ([small, large], True),
        ):
            with some.lent(sizes) as hasher:
                assert (hasher is not None) is is_lent
    with closing(Hashers(0, much_bytes=0)) as none, none.lent(LONG) as hasher:
        assert hasher is None


def test_there_are_no_more_than_may_be() -> None:
    with closing(Hashers(2, much_bytes=0)) as some:
        with some.lent(LONG) as first, some.lent(LONG) as second, some.lent(LONG) as third:
            assert first is not None
            assert second is not None
            assert first.pid != second.pid
            assert third is None
        assert set(some.pids) == {first.pid, second.pid}
        with some.lent(LONG) as again:
            assert again is not None
            assert again.pid in some.pids


async def test_they_end_when_nothing_is_to_be_hashed_for_a_while(folder: Path) -> None:
    async with hashers.opened(much_bytes=0, idle_s=0.1) as some:
        with some.lent(LONG) as hasher:
            assert hasher is not None
            assert asked(hasher, folder / f"{LEAST_BYTES:010}")
        await is_gone(hasher.pid)
        assert kept(some) == ()


def test_a_busy_one_does_not_rest(folder: Path) -> None:
    with closing(Hashers(1, much_bytes=0, idle_s=0)) as some:
        with some.lent(LONG) as hasher:
            assert hasher is not None
            some.rest()
            assert asked(hasher, folder / f"{LEAST_BYTES:010}")
        assert kept(some) == (hasher.pid,)
        some.rest()
        assert kept(some) == ()


async def test_they_end_with_the_daemon() -> None:
    async with hashers.opened(much_bytes=0) as some:
        with some.lent(LONG) as hasher:
            assert hasher is not None
        some.rest()  # but this is none
        assert kept(some) == (hasher.pid,)
    assert not Path(f"/proc/{hasher.pid}").exists()
    with some.lent(LONG) as hasher:
        assert hasher is None


async def test_a_busy_one_ends_with_the_daemon(tmp_path: Path, eager: Hashers) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    told: list[Digest | None] = []
    is_asked = threading.Event()

    def ask() -> None:
        with eager.lent(LONG) as hasher, path.open("rb") as file:
            assert hasher is not None
            assert hasher.ask(file.fileno(), 1 << 40)
            is_asked.set()
            told.append(hasher.answer())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, ask)
        assert await trio.to_thread.run_sync(is_asked.wait, LONG_S)
        [pid] = kept(eager)
        eager.close()
    await is_gone(pid)
    assert told == [None]


async def test_one_ends_by_itself_when_the_daemon_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    for is_busy in (False, True):
        hasher = Hasher()
        if is_busy:
            with path.open("rb") as file:
                assert hasher.ask(file.fileno(), 1 << 40)
        hasher._socket.close()
        with trio.fail_after(LONG_S):
            while hasher._process.poll() is None:
                await trio.sleep(0.01)
        assert hasher._process.returncode == 0
