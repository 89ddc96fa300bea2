"""A plan says what the next scan does, and does nothing itself."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumiliod.contract.sync import PlanEntry, SyncPlan, SyncRequest
from lumiliod.db import scans
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import RepositoryId, shown
from lumiliod.domain.sync import quoted
from lumiliod.library import held, sync
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from lumiliod.watch import mounts, plan, scan
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import asked_for, recorded, scanned, settled, versions
from tests.watch.test_in_step import edit, edits, paths, write


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def plant(shelf: Shelf, *names: str) -> None:
    for name in names:
        (shelf.path / name).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / name).write_bytes(b"x")


async def planned(
    rt: Runtime, folder: str = "", action: str | None = None, ref: str = "home"
) -> tuple[SyncPlan, list[PlanEntry]]:
    """Make a plan; return it with all that it says, taken in small pages."""
    ticket = await sync.run(rt, ref, SyncRequest(folder=folder, plan=True))
    await scanning.ended(rt, ticket.task_id)
    found, cursor = list[PlanEntry](), None
    while True:
        page = await sync.plan(rt, ticket.task_id, action=action, cursor=cursor, limit=2)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return page.plan, found


def belongs(shelf: Shelf) -> None:
    """Say of every file that it is an asset's, as ingest does: those that are moved are followed."""
    settled(shelf)
    digest = "sha256(convert_to(f.id::text, 'UTF8'))"
    shelf.sql(
        "INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, taken_at,"
        " taken_at_local, tz_source, taken_source)"
        f" SELECT f.id, u.id, 'photo', {digest}, 1, 'image/jpeg', 'x', now(), localtimestamp, 'utc', 'file'"
        " FROM file_records f CROSS JOIN users u WHERE f.outcome = 'unsupported' ON CONFLICT DO NOTHING"
    )
    shelf.sql(
        f"UPDATE file_records f SET outcome = 'asset', reason = NULL, asset_id = id, digest = {digest}"
        " WHERE outcome = 'unsupported'"
    )


def told(entries: list[PlanEntry]) -> list[tuple[Any, ...]]:
    return [(one.action, one.path, *([one.from_path] if one.from_path is not None else [])) for one in entries]


async def does_just_that(rt: Runtime, shelf: Shelf) -> None:
    """Plan, then scan, and compare what was told with what was done."""
    before = set(recorded(shelf))
    of_all, entries = await planned(rt, ref=str(shelf.id))
    result = await scanned(rt, shelf)
    after = set(recorded(shelf))
    looked_at = {shown(os.fsdecode(path)) for path in asked_for(shelf)}  # type: ignore[arg-type]
    assert {one.path for one in entries if one.action in ("added", "updated")} == looked_at
    left = {one.from_path or one.path for one in entries if one.action in ("retired", "moved")}
    there = {shown(os.fsdecode(path)) for path in after}
    assert left - there == {shown(os.fsdecode(path)) for path in before - after}
    assert (of_all.found, of_all.ignored) == (result["found"], result["ignored"])
    assert (of_all.added, of_all.updated) == (result["added"], result["changed"])
    assert (of_all.moved, of_all.retired) == (result["moved"], result["missing"])


async def test_it_tells_what_would_be_done_and_writes_nothing(shelf: Shelf) -> None:
    plant(shelf, "a/same.jpg", "a/changed.jpg", "a/gone.jpg", "a/moved.jpg", "b/far.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        (shelf.path / "a" / "changed.jpg").write_bytes(b"another")
        (shelf.path / "a" / "gone.jpg").unlink()
        (shelf.path / "a" / "moved.jpg").rename(shelf.path / "b" / "elsewhere.jpg")
        plant(shelf, "a/new.jpg", "a/left.tmp")
        before, generation = versions(shelf), shelf.sql("SELECT scan_generation FROM repositories")
        of_all, entries = await planned(rt)
        assert told(entries) == [
            ("updated", "a/changed.jpg"),
            ("retired", "a/gone.jpg"),
            ("added", "a/new.jpg"),
            ("moved", "b/elsewhere.jpg", "a/moved.jpg"),
        ]
        assert (of_all.found, of_all.ignored, of_all.added, of_all.updated) == (6, 1, 1, 1)
        assert (of_all.moved, of_all.returned, of_all.retired, of_all.would_hold) == (1, 0, 1, False)
        assert versions(shelf) == before
        assert shelf.sql("SELECT scan_generation FROM repositories") == generation
        assert shelf.sql("SELECT count(*) FROM sync_operations") == [(1,)]
        assert told((await planned(rt, action="retired"))[1]) == [("retired", "a/gone.jpg")]
        # of a folder it says what is there, and a file that went elsewhere has gone
        of_a, entries = await planned(rt, "a")
        assert told(entries)[-2:] == [("retired", "a/moved.jpg"), ("added", "a/new.jpg")]
        assert (of_a.scope, of_a.folder, of_a.found) == ("folder", "a", 4)


async def test_what_is_back_is_told_and_will_not_be_processed(shelf: Shelf) -> None:
    plant(shelf, "inbox/1.jpg", "inbox/2.jpg")
    away = shelf.path.with_name("1.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        (shelf.path / "inbox" / "1.jpg").rename(away)
        await scanned(rt, shelf)
        away.rename(shelf.path / "inbox" / "1.jpg")
        # renaming has changed its time of change, which a disk that was away does not
        changed_at = (shelf.path / "inbox" / "1.jpg").stat().st_ctime_ns
        shelf.sql("UPDATE file_records SET ctime_ns = %s WHERE path = 'inbox/1.jpg'", changed_at)
        assert told((await planned(rt))[1]) == [("returned", "inbox/1.jpg")]
        await scanned(rt, shelf)
        assert asked_for(shelf) == set()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(planted=st.lists(paths, max_size=12), done=st.lists(edits, max_size=5), page=st.sampled_from([1, 2, 3, 1000]))
def test_the_scan_after_it_does_just_that(
    conninfo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planted: list[bytes],
    done: list[tuple[str, bytes, bytes]],
    page: int,
) -> None:
    monkeypatch.setattr(plan, "PAGE", page)
    monkeypatch.setattr(scans, "STEP", 3)
    shelf = shelves.make(conninfo, shelves.fresh(tmp_path))
    root = os.fsencode(shelf.root)

    async def main() -> None:
        async with scanning.scanning(shelf) as rt:
            for path in planted:
                write(root, path, path)
            await scanned(rt, shelf)
            belongs(shelf)
            for one in done:
                edit(root, *one)
            await does_just_that(rt, shelf)

    trio.run(main)
    for table in ("jobs", "job_history", "file_records", "trash", "assets", "repositories"):
        shelf.sql(f"DELETE FROM {table}")


CIRCLE = [("1.jpg", "x"), ("2.jpg", "1.jpg"), ("3.jpg", "2.jpg"), ("x", "3.jpg")]


@pytest.mark.parametrize("page", [1, 2, 5000])
@pytest.mark.parametrize(
    ("moved", "new"),
    [
        ([("m/a.jpg", "b.jpg")], []),
        ([("m/a.jpg", "z.jpg")], []),
        # another file lies where it was
        ([("m/a.jpg", "b.jpg")], ["m/a.jpg"]),
        # names handed on, and one that takes a place which stays another's
        (CIRCLE, []),
        ([*CIRCLE, ("4.jpg", "5.jpg")], []),
        ([("1.jpg", "2.jpg"), ("3.jpg", "1.jpg")], ["3.jpg"]),
        # places of others, whose files are nowhere or elsewhere
        ([("1.jpg", "2.jpg")], []),
        ([("4.jpg", "1.jpg")], ["4.jpg"]),
        ([("1.jpg", "4.jpg"), ("2.jpg", "1.jpg")], []),
        ([("4.jpg", "x"), ("1.jpg", "4.jpg"), ("3.jpg", "1.jpg"), ("x", "m/c.jpg")], []),
        ([("1.jpg", "x"), ("4.jpg", "1.jpg"), ("x", "4.jpg")], []),
        ([("2.jpg", "1.jpg"), ("3.jpg", "2.jpg")], []),
        ([("2.jpg", "1.jpg"), ("3.jpg", "2.jpg")], ["3.jpg"]),
        ([("2.jpg", "3.jpg"), ("1.jpg", "2.jpg")], []),
        # a folder where it was is no file
        ([("1.jpg", "4.jpg")], ["1.jpg/x.jpg"]),
        ([("4.jpg", "1.jpg")], ["4.jpg/x.jpg"]),
    ],
)
async def test_files_that_were_moved_are_told_as_they_are_followed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, moved: list[tuple[str, str]], new: list[str], page: int
) -> None:
    monkeypatch.setattr(plan, "PAGE", page)
    monkeypatch.setattr(scan, "PAGE", page)
    for at, name in enumerate(["1.jpg", "2.jpg", "3.jpg", "4.jpg", "m/a.jpg", "m/b.jpg"]):
        plant(shelf, name)
        (shelf.path / name).write_bytes(b"%d" % at * (at + 1))
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        for before, after in moved:
            (shelf.path / before).rename(shelf.path / after)
        plant(shelf, *new)
        await does_just_that(rt, shelf)


@pytest.mark.parametrize("seed", range(8))
async def test_any_moves_are_told_as_they_are_followed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chosen = random.Random(seed)
    page = chosen.choice([1, 1, 2, 3, 5000])
    monkeypatch.setattr(plan, "PAGE", page)
    monkeypatch.setattr(scan, "PAGE", page)
    names = [f"{number}.jpg" for number in range(8)]
    plant(shelf, *names[1:7])
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        for _ in range(chosen.randrange(1, 5)):
            one, other = chosen.choice(sorted(shelf.path.glob("*.jpg"))), shelf.path / chosen.choice(names)
            is_swap = other.exists() and chosen.random() < 0.4
            one.rename(shelf.path / "x" if is_swap else other)
            if is_swap and one != other:
                other.rename(one)
                (shelf.path / "x").rename(other)
            elif is_swap:
                (shelf.path / "x").rename(one)
        await does_just_that(rt, shelf)


@pytest.mark.parametrize("what", ["exchanged", "over", "over, and another there"])
async def test_of_a_folder_it_tells_what_takes_a_place_in_it(shelf: Shelf, what: str) -> None:
    plant(shelf, "a/1.jpg", "b/2.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        one, other = shelf.path / "a/1.jpg", shelf.path / "b/2.jpg"
        if what == "exchanged":
            one.rename(shelf.path / "x")
        other.rename(one)
        if what == "exchanged":
            (shelf.path / "x").rename(other)
        elif what != "over":
            other.write_bytes(b"another")
        of_a, _ = await planned(rt, "a")
        result = await scanned(rt, shelf, "a")
    assert (of_a.added, of_a.updated, of_a.moved, of_a.retired) == (
        result["added"], result["changed"], result["moved"], result["missing"]
    )  # fmt: skip
    assert of_a.moved == (2 if what == "exchanged" else 1)


@pytest.mark.parametrize("page", [1, 5000])
@pytest.mark.parametrize("after", ["b.jpg", "z.jpg"])
async def test_a_file_under_the_name_of_one_that_was_moved_is_new(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, after: str, page: int
) -> None:
    monkeypatch.setattr(plan, "PAGE", page)
    plant(shelf, "m/a.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        (shelf.path / "m" / "a.jpg").rename(shelf.path / after)
        plant(shelf, "m/a.jpg")
        _, entries = await planned(rt)
        assert sorted(told(entries)) == [("added", "m/a.jpg"), ("moved", after, "m/a.jpg")]
        await does_just_that(rt, shelf)


async def test_of_two_names_of_one_file_one_is_followed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PAGE", 1)
    monkeypatch.setattr(scan, "PAGE", 1)
    plant(shelf, "m.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        (shelf.path / "a.jpg").hardlink_to(shelf.path / "m.jpg")
        (shelf.path / "m.jpg").rename(shelf.path / "z.jpg")
        _, entries = await planned(rt)
        assert told(entries) == [("moved", "a.jpg", "m.jpg"), ("added", "z.jpg")]
        result = await scanned(rt, shelf)
        assert (result["moved"], result["added"], result["missing"]) == (1, 1, 0)


async def test_where_inodes_are_not_kept_nothing_is_followed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "keeps_inodes", lambda _root: False)
    plant(shelf, "a.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        belongs(shelf)
        (shelf.path / "a.jpg").rename(shelf.path / "b.jpg")
        assert told((await planned(rt))[1]) == [("retired", "a.jpg"), ("added", "b.jpg")]


async def test_names_of_any_bytes_and_folders_named_by_theirs(shelf: Shelf) -> None:
    odd = b"d/\xff%41\n"
    folder = os.path.join(os.fsencode(shelf.root), odd)
    os.makedirs(folder)
    Path(os.fsdecode(folder + b"/\xfe.jpg")).write_bytes(b"x")
    async with scanning.scanning(shelf) as rt:
        _, entries = await planned(rt, quoted(os.fsdecode(odd)))  # type: ignore[arg-type]
        assert told(entries) == [("added", "d/\\xff%41\n/\\xfe.jpg")]


async def test_it_says_when_a_person_would_be_asked(shelf: Shelf) -> None:
    plant(shelf, *(f"a/{number}.jpg" for number in range(60)), *(f"b/{number}.jpg" for number in range(40)))
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        for path in (shelf.path / "a").iterdir():
            path.unlink()
        of_all, entries = await planned(rt)
        assert (of_all.retired, of_all.would_hold, len(entries)) == (60, True, 60)
        assert shelf.sql("SELECT 1 FROM held_deletions") == []
        await scanned(rt, shelf)
        await held.reject(rt, "home")
        of_all, entries = await planned(rt)
        assert (of_all.retired, of_all.would_hold, entries) == (0, False, [])
        shelf.sql("UPDATE held_deletions SET state = 'held', decided_at = NULL")
        assert (await planned(rt))[0].would_hold
        shelf.sql("UPDATE held_deletions SET state = 'approved', decided_at = now(), approved_at_generation = 0")
        of_all, _ = await planned(rt)
        assert (of_all.retired, of_all.would_hold) == (60, False)


async def test_of_what_could_not_be_read_nothing_is_said(shelf: Shelf) -> None:
    plant(shelf, "bad/1.jpg", "c/2.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        (shelf.path / "c" / "2.jpg").unlink()
        with scanning.failing_disk(shelf.path / "bad"):
            of_all, entries = await planned(rt)
        assert told(entries) == [("retired", "c/2.jpg")]
        assert of_all.note is not None
        assert "1 folders could not be read, the first bad" in of_all.note


async def test_the_last_one_of_a_repository_is_kept(shelf: Shelf) -> None:
    plant(shelf, "1.jpg")
    async with scanning.scanning(shelf) as rt:
        first, _ = await planned(rt)
        second, _ = await planned(rt)
        assert shelf.sql("SELECT DISTINCT plan_id FROM sync_plan_entries") == [(second.id,)]
        with pytest.raises(LumilioError) as caught:
            await sync.plan(rt, first.id, action=None, cursor=None, limit=5)
        assert caught.value.code == "plan_not_found"


async def test_what_cannot_be_planned_or_scanned_says_why(shelf: Shelf) -> None:
    async def code(ref: str = "home", **asked: Any) -> str:
        with pytest.raises(LumilioError) as caught:
            await sync.run(rt, ref, SyncRequest(**asked))
        return caught.value.code

    plant(shelf, "a/1.jpg", "b")
    async with shelves.opened(shelf) as rt:
        for is_plan in (False, True):
            assert await code("nowhere", plan=is_plan) == "repository_not_found"
            for outside in ("../x", "/etc", "a/../..", "a//b", "a%00", "."):
                assert await code(folder=outside, plan=is_plan) == "bad_path"
            for unknown in ("nowhere", "b", "a/1.jpg", "%ff"):
                assert await code(folder=unknown, plan=is_plan) == "folder_not_found"
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        assert await code(plan=True) == "scan_under_way"
        assert await code(plan=True, folder="a") == "scan_under_way"
        assert shelf.sql("SELECT kind FROM jobs") == [("scan",)]
        with pytest.raises(LumilioError) as caught:
            await sync.plan(rt, shelf.id, action="eaten", cursor=None, limit=5)
        assert caught.value.code == "bad_action"
        away = shelf.path.with_name("away")
        shelf.path.rename(away)
        # one of a folder looks at the disk first
        assert await code(folder="a") == "repository_offline"
        assert await code(plan=True) == "repository_offline"
        assert await code() == "repository_offline"


async def test_a_folder_that_has_gone_can_be_scanned(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        (shelf.path / "a" / "1.jpg").unlink()
        (shelf.path / "a").rmdir()
        assert told((await planned(rt, "a"))[1]) == [("retired", "a/1.jpg")]
        ticket = await sync.run(rt, "home", SyncRequest(folder="a"))
        assert (await scanning.ended(rt, ticket.task_id))["missing"] == 1
