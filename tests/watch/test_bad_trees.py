"""Trees that no scan should meet: each trouble is one line, the rest goes on, and nothing is concluded from it."""

import os
import sys
import threading
from pathlib import Path

import pytest

from lumiliod.domain.ignore import IgnoreRule
from lumiliod.watch import folder as folders
from lumiliod.watch.walk import Walk
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import asked_for, failing_disk, mounted_inside, on_disk, recorded, scanned, settled, versions


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def plant(shelf: Shelf, *paths: str) -> None:
    for path in paths:
        (shelf.path / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / path).write_bytes(path.encode())


async def test_a_folder_that_fails_in_the_middle_takes_nothing_along(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg", "bad/one.jpg", "bad/deep/2.jpg", "c/3.jpg", "c/4.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        (shelf.path / "c" / "4.jpg").unlink()
        plant(shelf, "c/5.jpg")
        with failing_disk(shelf.path / "bad"):
            result = await scanned(rt, shelf)
        assert "1 folders could not be read, the first bad (Input/output error)" in result["note"]
        assert (result["added"], result["missing"]) == (1, 1)
        assert set(recorded(shelf)) == {b"a/1.jpg", b"bad/one.jpg", b"bad/deep/2.jpg", b"c/3.jpg", b"c/5.jpg"}
        assert shelf.sql("SELECT status FROM sync_operations ORDER BY id DESC LIMIT 1") == [("completed",)]
        result = await scanned(rt, shelf)
        assert (result["note"], result["missing"]) == (None, 0)
        assert {path: state for path, (_, state) in recorded(shelf).items()} == on_disk(shelf)


async def test_a_folder_mounted_inside_itself_is_entered_once(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg", "a/b/2.jpg", "z.jpg")
    (shelf.path / "a/b/loop").mkdir()
    async with scanning.scanning(shelf) as rt:
        with mounted_inside(shelf.path / "a", shelf.path / "a/b/loop"):
            result = await scanned(rt, shelf)
            again = await scanned(rt, shelf, "a/b/loop")
        assert "the first a/b/loop (is one of the folders it lies in)" in result["note"]
        assert "the first a/b/loop (is one of the folders it lies in)" in again["note"]
        assert set(recorded(shelf)) == {b"a/1.jpg", b"a/b/2.jpg", b"z.jpg"}


def test_a_folder_that_may_not_be_read_is_named(shelf: Shelf) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    plant(shelf, "closed/a.jpg", "half/b.jpg", "c.jpg")
    (shelf.path / "closed").chmod(0)
    (shelf.path / "half").chmod(0o444)
    for folder in (shelf.path, *shelf.path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    walk, pages = Walk(shelf.repository(), IgnoreRule()), []

    def as_nobody() -> None:
        # whose files the file system takes a thread's for: setfsuid(2)
        import ctypes

        ctypes.CDLL(None).setfsuid(65534)
        page = walk.next_page(100)
        assert page is not None
        pages.append(page)

    thread = threading.Thread(target=as_nobody)
    thread.start()
    thread.join()
    assert list(pages[0].paths) == [b"c.jpg"]
    assert walk.unread == {"closed": "Permission denied", "half": "b.jpg: Permission denied"}


async def test_links_in_a_circle_are_files_like_any_link(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg")
    os.symlink("..", shelf.path / "a" / "up")
    os.symlink("self", shelf.path / "self")
    async with scanning.scanning(shelf) as rt:
        result = await scanned(rt, shelf)
        assert (result["found"], result["ignored"], result["note"]) == (3, 2, None)
        assert {path for path, (outcome, _) in recorded(shelf).items() if outcome == "ignored"} == {b"a/up", b"self"}


async def test_times_at_the_ends_of_clocks_are_kept(shelf: Shelf) -> None:
    ends = {"1969": -1, "1970": 0, "2106": (1 << 32) * 10**9, "2262": (1 << 63) - 1}
    plant(shelf, *(f"{name}.jpg" for name in ends))
    for name, time_ns in ends.items():
        os.utime(shelf.path / f"{name}.jpg", ns=(0, time_ns))
    async with scanning.scanning(shelf) as rt:
        assert (await scanned(rt, shelf))["added"] == 4
        assert {path: state for path, (_, state) in recorded(shelf).items()} == on_disk(shelf)
        settled(shelf)
        written = versions(shelf)
        assert (await scanned(rt, shelf))["changed"] == 0
        assert versions(shelf) == written


async def test_paths_too_long_for_a_row_are_counted_and_the_rest_goes_on(shelf: Shelf) -> None:
    at = os.open(shelf.root, os.O_RDONLY)
    for _ in range(18):
        name = "d" * 250
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
        os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    async with scanning.scanning(shelf) as rt:
        result = await scanned(rt, shelf)
        assert result["added"] == 7
        assert result["note"] == "1 paths are too long"
        assert max(map(len, recorded(shelf))) == 7 * 251 + 5


async def test_a_root_that_becomes_a_file_says_nothing_of_its_files(shelf: Shelf) -> None:
    plant(shelf, "a.jpg", "b/c.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        before = versions(shelf)
        away = shelf.path.with_name("away")
        shelf.path.rename(away)
        shelf.path.write_bytes(b"no folder")
        walk = Walk(rt.repositories.get(shelf.id).repository, IgnoreRule())
        page = walk.next_page(100)
        assert page is not None
        assert (list(page.paths), list(walk.unread)) == ([], [""])
        from lumiliod.pipeline import kinds

        await rt.jobs.call(kinds.enqueue_one, kinds.scan(rt.repositories.get(shelf.id).id))
        await scanning.until(lambda: bool(rt.repositories.offline()))
        shelf.path.unlink()
        away.rename(shelf.path)
        assert versions(shelf) == before
        assert shelf.sql("SELECT 1 FROM file_records WHERE missing_since IS NOT NULL") == []


def test_names_that_vanish_while_a_folder_is_read_are_left_out(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}").touch()
    (tmp_path / "kept").write_bytes(b"x")
    interval = sys.getswitchinterval()
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for number in range(0, 2000, 7):
                (tmp_path / f"{number:04}").unlink(missing_ok=True)
                (tmp_path / f"{number:04}").touch()

    thread = threading.Thread(target=churn)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(10):
            found = folders.read(os.fsencode(tmp_path))
            assert found.unread is None
            assert b"kept" in found.names
            assert 2000 - 286 <= len(found.names) - 1 <= 2000
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


async def test_a_disk_below_the_root_that_is_away_takes_nothing_along(shelf: Shelf, tmp_path: Path) -> None:
    disk, place = tmp_path / "disk", shelf.path / "archive"
    for folder in (disk / "old", place):
        folder.mkdir(parents=True)
    (disk / "old/1.jpg").write_bytes(b"x")
    (shelf.path / "2.jpg").write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        with mounted_inside(disk, place):
            assert (await scanned(rt, shelf))["added"] == 2
            settled(shelf)
        for below in (None, "archive"):
            result = await scanned(rt, shelf, below)
            assert result["missing"] == 0
            assert "archive (the disk that was mounted there is away)" in str(result["note"])
        assert set(recorded(shelf)) == {b"archive/old/1.jpg", b"2.jpg"}
        # the folder is gone with it, as where disks are mounted when they are plugged in
        place.rmdir()
        assert (await scanned(rt, shelf))["missing"] == 0
        place.mkdir()
        with mounted_inside(disk, place):
            assert ((await scanned(rt, shelf))["changed"], asked_for(shelf)) == (0, set())
            (disk / "old/1.jpg").unlink()
            assert (await scanned(rt, shelf))["missing"] == 1
        # it is given up, and its folder used for something else
        (place / "new.jpg").write_bytes(b"x")
        assert (await scanned(rt, shelf))["note"] is None
        assert shelf.sql("SELECT mounts FROM repositories") == [([],)]
