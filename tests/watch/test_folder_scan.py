"""Scans of a folder: what lies below it, or in it alone, and nothing concluded about anything else."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from lumiliod.db import files, sync
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.jobs.kind import FIRST
from lumiliod.pipeline import kinds
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import on_disk, recorded, scanned, settled, versions


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def plant(shelf: Shelf, *paths: str) -> None:
    for path in paths:
        (shelf.path / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / path).write_bytes(b"x")


BEFORE = ("a.jpg", "f/1.jpg", "f/2.jpg", "f/g/3.jpg", "f/g/4.jpg", "f0/5.jpg", "f!.jpg", "z.jpg")
ADDED = ("b.jpg", "f/new.jpg", "f/g/new.jpg", "f0/new.jpg")
REMOVED = ("a.jpg", "f/1.jpg", "f/g/3.jpg", "f0/5.jpg")


@pytest.mark.parametrize(
    ("folder", "deep", "added", "gone"),
    [
        ("f", True, {"f/new.jpg", "f/g/new.jpg"}, {"f/1.jpg", "f/g/3.jpg"}),
        ("f", False, {"f/new.jpg"}, {"f/1.jpg"}),
        ("f/g", True, {"f/g/new.jpg"}, {"f/g/3.jpg"}),
        ("f/g", False, {"f/g/new.jpg"}, {"f/g/3.jpg"}),
        ("", False, {"b.jpg"}, {"a.jpg"}),
        ("", True, set(ADDED), set(REMOVED)),
    ],
)
async def test_a_folder_is_brought_in_step_and_nothing_else(
    shelf: Shelf, folder: str, deep: bool, added: set[str], gone: set[str]
) -> None:
    plant(shelf, *BEFORE)
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        plant(shelf, *ADDED)
        for path in REMOVED:
            (shelf.path / path).unlink()
        result = await scanned(rt, shelf, folder, deep=deep)
        assert {os.fsdecode(path) for path in recorded(shelf)} == (set(BEFORE) | added) - gone
        assert (result["added"], result["missing"]) == (len(added), len(gone))
        assert {os.fsdecode(path) for path in scanning.asked_for(shelf)} == added  # type: ignore[arg-type]
        written = versions(shelf)
        await scanned(rt, shelf, folder, deep=deep)
        assert versions(shelf) == written


async def test_a_folder_that_is_gone_takes_its_files_along(shelf: Shelf) -> None:
    plant(shelf, *BEFORE)
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        shutil.rmtree(shelf.path / "f")
        assert (await scanned(rt, shelf, "f"))["missing"] == 4
        assert set(recorded(shelf)) == {b"a.jpg", b"f0/5.jpg", b"f!.jpg", b"z.jpg"}
        plant(shelf, "f")
        assert (await scanned(rt, shelf, "f"))["missing"] == 0
        assert (await scanned(rt, shelf, "", deep=False))["added"] == 1


async def test_much_that_is_gone_from_a_folder_is_held_like_anywhere(shelf: Shelf) -> None:
    plant(shelf, *(f"f/{number}.jpg" for number in range(60)), "a.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        shutil.rmtree(shelf.path / "f")
        result = await scanned(rt, shelf, "f")
        assert result["missing"] == 0
        assert "60 of 61 files are missing at once" in result["note"]
        assert len(recorded(shelf)) == 61


async def test_names_of_folders_are_exact_to_the_byte(shelf: Shelf) -> None:
    strange = [b"\xff\xfe", b"per%20cent", b"plus+", "é".encode(), b"new\nline", b"x" * 240]
    root = os.fsencode(shelf.root)
    for name in strange:
        os.makedirs(os.path.join(root, name))
        for file in (b"\xff.jpg", b"a.jpg"):
            Path(os.fsdecode(os.path.join(root, name, file))).write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        for number, name in enumerate(strange, 1):
            await scanned(rt, shelf, path_from_bytes(name))
            assert len(recorded(shelf)) == 2 * number
        assert {path: state for path, (_, state) in recorded(shelf).items()} == on_disk(shelf)


@pytest.mark.parametrize(
    "folder", [".hidden/a", ".lumilio/temp", "other/a", "link/a", "file.jpg/a", "x.tmp", "state/a", ".lumilio"]
)
async def test_a_folder_that_no_walk_enters_is_not_entered(shelf: Shelf, folder: str) -> None:
    """What was recorded of it before that was so is missing, as after a scan of everything."""
    plant(shelf, ".hidden/a/1.jpg", "other/.lumiliorepo", "other/a/2.jpg", "file.jpg", "x.tmp/3.jpg")
    plant(shelf, ".lumilio/temp/4.jpg")
    (shelf.path / "target" / "a").mkdir(parents=True)
    plant(shelf, "target/a/5.jpg")
    (shelf.path / "link").symlink_to("target")
    state = Path(shelf.root + ".state")
    state.mkdir()
    (state / "a").mkdir()
    (state / "a" / "6.jpg").touch()
    # the daemon's own folder, as it lies below the root through another name
    (shelf.path / "state").mkdir()
    with scanning.mounted_inside(state, shelf.path / "state"):
        async with scanning.scanning(shelf) as rt:
            with psycopg.connect(shelf.conninfo) as conn:
                stat = FileStat(1, 1, 1)
                path = path_from_bytes(os.fsencode(folder) + b"/known.jpg")
                files.seen(conn, RepositoryId(shelf.id), 0, [files.SeenFile(path, stat)])
            result = await scanned(rt, shelf, folder)
            assert (result["found"], result["missing"]) == (0, 1)
            assert set(recorded(shelf)) == set()


async def test_what_is_no_folder_of_a_repository_is_refused(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        for folder in ("/etc", "a/../../etc", "./a", "a//b", "a%00b"):
            job = kinds.scan(RepositoryId(shelf.id))
            with pytest.raises(AssertionError, match="bad_path"):
                await scanning.result_of(rt, job._replace(args={**job.args, "folder": folder}))
        assert shelf.sql("SELECT 1 FROM sync_operations") == []


async def test_a_scan_of_a_folder_says_nothing_of_whether_everything_was_scanned(shelf: Shelf) -> None:
    plant(shelf, "f/1.jpg")
    with psycopg.connect(shelf.conninfo) as conn:
        sync.begin(conn, RepositoryId(shelf.id))
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf, "f")
        assert shelf.sql("SELECT scope, status FROM sync_operations ORDER BY id") == [
            ("full", "running"),
            ("folder", "completed"),
        ]
        assert await rt.db.call(sync.unscanned, FIRST, 10) == [shelf.id]
