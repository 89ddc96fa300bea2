"""The records are in step with the disk after every scan, whatever was done between two of them."""

import os
import shutil
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumiliod.domain.ignore import IgnoreRule
from lumiliod.watch import scan
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import asked_for, on_disk, recorded, rested, scanned, settled, versions

PARTS = [b"a", b"B", b"!", b"0", b".", b"\xff", b"\xc3\xa9", b" ", b"\n", b"\\", b'"', b"{}", b"~", b"\xf0\x9f\x93\xb7"]

names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map(b"".join).filter(lambda name: name.strip(b"."))
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
edits = st.tuples(
    st.sampled_from(["write", "remove", "rename", "touch", "replace", "chmod", "to folder", "to file"]), paths, paths
)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def write(root: bytes, path: bytes, content: bytes) -> None:
    """Write a file, where no file is in the way of its folders and no folder in its own."""
    try:
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        Path(os.fsdecode(os.path.join(root, path))).write_bytes(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        pass


def edit(root: bytes, what: str, path: bytes, other: bytes) -> None:
    """Do something to the file that is nearest to ``path``, if there is any."""
    there = sorted(
        os.path.join(folder, name)
        for folder, _, found in os.walk(root)
        for name in found
        if not folder.startswith(root + b"/.lumilio") and name != b".lumiliorepo"
    )
    file = next((one for one in there if one >= os.path.join(root, path)), there[-1] if there else None)
    if what == "write" or file is None:
        write(root, path, other)
        return
    before = os.stat(file)
    match what:
        case "remove":
            os.unlink(file)
        case "rename":
            write(root, other, b"")
            if os.path.isfile(os.path.join(root, other)):
                os.rename(file, os.path.join(root, other))
        case "touch":
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        case "replace":
            # other bytes, and everything as it was that can be made so
            Path(os.fsdecode(file)).write_bytes(bytes(before.st_size))
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "chmod":
            os.chmod(file, before.st_mode ^ 0o100)
        case "to folder":
            os.unlink(file)
            write(root, os.path.join(file[len(root) + 1 :], other), other)
        case "to file":
            folder = os.path.dirname(file)
            if folder != root:
                shutil.rmtree(folder)
                write(root, folder[len(root) + 1 :], other)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(planted=st.lists(paths, max_size=14), done=st.lists(edits, max_size=5), page=st.sampled_from([1, 2, 3, 5, 1000]))
def test_the_records_are_what_the_disk_is(
    conninfo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planted: list[bytes],
    done: list[tuple[str, bytes, bytes]],
    page: int,
) -> None:
    monkeypatch.setattr(scan, "PAGE", page)
    shelf = shelves.make(conninfo, shelves.fresh(tmp_path))
    root = os.fsencode(shelf.root)

    async def main() -> None:
        async with scanning.scanning(shelf) as rt:
            for path in planted:
                write(root, path, path)
            before = on_disk(shelf)
            first = await scanned(rt, shelf)
            check(shelf, before, looked_at=set(before))
            assert (first["found"], first["missing"], first["note"]) == (len(before), 0, None)
            settled(shelf)
            written = versions(shelf)
            await scanned(rt, shelf)
            assert versions(shelf) == written
            for one in done:
                edit(root, *one)
            after = on_disk(shelf)
            second = await scanned(rt, shelf)
            check(shelf, after, looked_at={path for path in after if after[path] != before.get(path)})
            assert second["missing"] == len(set(before) - set(after))

    trio.run(main)
    for table in ("jobs", "job_history", "file_records"):
        shelf.sql(f"DELETE FROM {table}")
    shelf.sql("DELETE FROM repositories")
    shutil.rmtree(root)


def check(shelf: Shelf, disk: dict[bytes, scanning.State], looked_at: set[bytes]) -> None:
    known, rule = recorded(shelf), IgnoreRule()
    assert {path: state for path, (_, state) in known.items()} == disk
    left_out = {path for path in disk if rule.reason(os.fsdecode(os.path.basename(path)))}
    assert {path for path, (outcome, _) in known.items() if outcome == "ignored"} == left_out
    assert {path for path, (outcome, _) in known.items() if outcome == "pending"} == looked_at - left_out
    assert asked_for(shelf) == looked_at - left_out


async def test_many_files_of_one_folder_are_compared_in_pages(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PAGE", 300)
    folder = shelf.path / "many"
    folder.mkdir()
    for number in range(5000):
        (folder / f"{number}.jpg").touch()
    async with scanning.scanning(shelf) as rt:
        assert (await scanned(rt, shelf))["added"] == 5000
        settled(shelf)
        written = versions(shelf)
        (folder / "77.jpg").unlink()
        (folder / "2500.jpg").write_bytes(b"x")
        result = await scanned(rt, shelf)
        assert (result["added"], result["changed"], result["missing"]) == (0, 1, 1)
        assert len(versions(shelf) - written) == 2
        assert len(written - versions(shelf)) == 2


async def test_a_long_stretch_that_is_gone_is_looked_through_in_steps(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lumiliod.db import scans

    monkeypatch.setattr(scans, "STEP", 7)
    for number in range(40):
        (shelf.path / f"b{number:02}.tmp").touch()
    (shelf.path / "a.tmp").touch()
    (shelf.path / "c.tmp").touch()
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        for path in shelf.path.glob("b*.tmp"):
            path.unlink()
        assert (await scanned(rt, shelf))["missing"] == 40
        assert set(recorded(shelf)) == {b"a.tmp", b"c.tmp"}
        assert shelf.sql("SELECT 1 FROM scan_absences") == []
        (shelf.path / "b07.tmp").touch()
        assert (await scanned(rt, shelf))["missing"] == 0
        assert set(recorded(shelf)) == {b"a.tmp", b"b07.tmp", b"c.tmp"}


async def test_a_job_that_was_lost_is_made_anew(shelf: Shelf) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (shelf.path / name).write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        shelf.sql("DELETE FROM jobs WHERE kind = 'ingest' AND seq <> (SELECT min(seq) FROM jobs WHERE kind = 'ingest')")
        await scanned(rt, shelf)
        assert asked_for(shelf) == {b"a.jpg", b"b.jpg", b"c.jpg"}


async def test_what_settings_may_have_changed_is_looked_at_at_every_scan(shelf: Shelf) -> None:
    for name in ("large.jpg", "closed.jpg", "bad.jpg"):
        (shelf.path / name).write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        for outcome in ("too_large", "unreadable"):
            path = {"too_large": b"large.jpg", "unreadable": b"closed.jpg"}[outcome]
            shelf.sql("UPDATE file_records SET outcome = %s WHERE path = %s", outcome, path)
        await scanned(rt, shelf)
        assert asked_for(shelf) == {b"large.jpg", b"closed.jpg"}


async def test_a_time_of_change_that_is_not_known_is_noted_and_nothing_looked_at(shelf: Shelf) -> None:
    (shelf.path / "a.jpg").write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        shelf.sql("UPDATE file_records SET ctime_ns = NULL")
        assert (await scanned(rt, shelf))["changed"] == 0
        # whoever placed it may not be done with its names
        assert shelf.sql("SELECT ctime_ns FROM file_records") == [(None,)]
        rested(shelf)
        assert (await scanned(rt, shelf))["changed"] == 0
        assert recorded(shelf) == {b"a.jpg": ("unsupported", on_disk(shelf)[b"a.jpg"])}
        assert asked_for(shelf) == set()


async def test_after_everything_was_looked_at_a_scan_writes_nothing(shelf: Shelf) -> None:
    """Whatever ingest writes of a file leaves its record as the next scan expects it."""
    for number in range(3):
        (shelf.path / f"{number}.jpg").write_bytes(shelves.jpeg(number))
    (shelf.path / "again.jpg").write_bytes(shelves.jpeg(0))
    (shelf.path / "0.jpg.xmp").write_bytes(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    (shelf.path / "notes.jpg").write_bytes(b"no picture")
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        await shelves.idle(rt)
        written = versions(shelf)
        result = await scanned(rt, shelf)
        assert versions(shelf) == written
        assert (result["added"], result["changed"], result["found"]) == (0, 0, 6)
