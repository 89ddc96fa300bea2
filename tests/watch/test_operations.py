"""Every run says why it ran, what it covered and how it ended; what is kept of them stays within a bound."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod import config as configuration
from lumiliod.daemon import appliance
from lumiliod.db import sync
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import RepoPath, RepositoryId, path_from_bytes
from lumiliod.domain.sync import SyncCounts, SyncScope, SyncStatus, SyncType
from lumiliod.jobs.kind import FIRST
from lumiliod.library import sync as library
from lumiliod.pipeline import kinds, schedules
from lumiliod.runtime import InForce
from lumiliod.watch import mounts, watcher
from lumiliod.watch.changes import FOLDERS_MAX, Changes
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import scanned, settled, until


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def plant(shelf: Shelf, *paths: str) -> None:
    for path in paths:
        (shelf.path / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / path).write_bytes(b"x")


def runs(shelf: Shelf, what: str = "type, scope, folder, status") -> list[tuple[object, ...]]:
    return shelf.sql(f"SELECT {what} FROM sync_operations ORDER BY id")


async def test_a_run_says_what_it_was(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg", "a/b/2.jpg", "left.tmp")
    odd = path_from_bytes(b"a/\xff\n")
    (Path(os.fsdecode(os.path.join(os.fsencode(shelf.root), b"a/\xff\n")))).mkdir()
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        await scanned(rt, shelf, "a")
        await scanned(rt, shelf, "", deep=False)
        await scanned(rt, shelf, odd)
        assert runs(shelf) == [
            ("manual", "full", b"", "completed"),
            ("manual", "folder", b"a", "completed"),
            ("manual", "files", b"", "completed"),
            ("manual", "folder", b"a/\xff\n", "completed"),
        ]
        page = await library.history(rt, repository="home", type_=None, status=None, cursor=None, limit=2)
        assert [(one.folder, one.found) for one in page.items] == [("a/\\xff\n", 0), ("", 1)]
        rest = await library.history(rt, repository=None, type_=None, status=None, cursor=page.next_cursor, limit=2)
        first = rest.items[1]
        assert (first.found, first.added, first.ignored, first.missing) == (3, 2, 1, 0)
        assert first.duration_s is not None
        assert first.finished_at is not None
        assert first.duration_s == pytest.approx((first.finished_at - first.started_at).total_seconds(), abs=0.001)
        assert rest.next_cursor is None
        assert await library.operation(rt, first.id) == first
        task = shelf.sql("SELECT kind FROM job_history WHERE id = %s", first.task_id)
        assert task == [("scan",)]


async def test_a_note_is_no_error(shelf: Shelf) -> None:
    deep = shelf.path.joinpath(*["d" * 250] * 9)
    deep.mkdir(parents=True)
    async with scanning.scanning(shelf) as rt:
        assert (await scanned(rt, shelf))["note"] == "1 paths are too long"
        assert runs(shelf, "status, note, error") == [("completed", "1 paths are too long", None)]


async def test_a_run_that_failed_says_why(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg")
    shelf.sql("ALTER TABLE file_records ADD CONSTRAINT none_at_all CHECK (false)")
    async with scanning.scanning(shelf) as rt:
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        await until(lambda: bool(runs(shelf)) and runs(shelf, "status")[0] == ("failed",))
        [(error, note), *_] = runs(shelf, "error, note")
        assert error
        assert note is None


async def test_who_asks_says_why(shelf: Shelf) -> None:
    home = RepositoryId(shelf.id)
    async with shelves.opened(shelf) as rt:
        [opened] = rt.repositories.online()
        declared = schedules.full_scan(opened)
        assert declared is not None
        assert declared.job.args["why"] == "reconciliation"
        [missing], _ = await rt.db.call(kinds.missing_scans, FIRST)
        assert missing.args["why"] == "startup"
        assert kinds.scan_again(home).args["why"] == "manual"
        for changes in (Changes({b"a/"}), Changes(is_lost=True), Changes({b"%d/" % n for n in range(FOLDERS_MAX + 1)})):
            assert [job.args["why"] for job in changes.scans(home)] == ["realtime"]


async def test_a_watcher_and_polling_say_why(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> list[object]:
        rows = shelf.sql("SELECT args ->> 'why' FROM job_history WHERE kind = 'scan' ORDER BY id")
        return [why for (why,) in rows]

    async with scanning.scanning(shelf) as rt, trio.open_nursery() as nursery:
        [opened] = rt.repositories.online()
        nursery.start_soon(watcher.watch, rt, opened)
        await until(lambda: asked() == ["startup"])
        plant(shelf, "1.jpg")
        await until(lambda: asked()[:2] == ["startup", "realtime"])
        nursery.cancel_scope.cancel()
    shelf.sql("TRUNCATE job_history")
    monkeypatch.setattr(mounts, "why_polled", lambda _root: "it is far away")
    monkeypatch.setattr(watcher, "_interval_s", _at_once)
    async with scanning.scanning(shelf) as rt, trio.open_nursery() as nursery:
        nursery.start_soon(watcher.watch, rt, rt.repositories.online()[0])
        await until(lambda: asked()[:2] == ["startup", "reconciliation"])
        nursery.cancel_scope.cancel()


async def _at_once(*_: object) -> float:
    await trio.lowlevel.checkpoint()
    return 0.01


async def test_a_repository_that_is_back_is_scanned_for_that(shelf: Shelf) -> None:
    away = shelf.path.with_name("away")
    async with scanning.scanning(shelf) as rt, trio.open_nursery() as nursery:
        shelf.path.rename(away)
        rt.repositories.lose(RepositoryId(shelf.id), "unplugged")
        away.rename(shelf.path)
        # where a watcher is, it asks for that itself
        unwatched = configuration.parse("[watch]\nenabled = false", state_dir=shelf.root + ".state")
        await nursery.start(appliance.attend_repositories, replace(rt, in_force=InForce(unwatched)))
        await until(lambda: runs(shelf, "type, status") == [("startup", "completed")])
        nursery.cancel_scope.cancel()


# what is kept


def record(shelf: Shelf, type_: str, count: int = 1, *, scope: str = "full", days: int = 0, added: int = 0) -> None:
    shelf.sql(
        "INSERT INTO sync_operations (id, repository_id, type, scope, status, added, started_at, finished_at)"
        " SELECT uuidv7(), %s, %s, %s, 'completed', %s, now() - make_interval(days => %s), now()"
        " FROM generate_series(1, %s)",
        shelf.id, type_, scope, added, days, count,
    )  # fmt: skip


def ended(shelf: Shelf, type_: SyncType, counts: SyncCounts | None = None, note: str | None = None) -> None:
    with psycopg.connect(shelf.conninfo) as conn:
        operation = sync.begin(conn, RepositoryId(shelf.id), type_, SyncScope.FILES, RepoPath("a"))
        sync.end(conn, operation, counts or SyncCounts(found=3, ignored=1), SyncStatus.COMPLETED, note=note)


def test_events_after_which_there_was_nothing_to_write_do_not_pile_up(shelf: Shelf) -> None:
    for counts in (SyncCounts(added=1), SyncCounts(changed=1), SyncCounts(moved=1), SyncCounts(missing=1)):
        ended(shelf, SyncType.REALTIME, counts)
    ended(shelf, SyncType.REALTIME, note="a note")
    ended(shelf, SyncType.MANUAL)
    for _ in range(5):
        ended(shelf, SyncType.REALTIME)
    ended(shelf, SyncType.MANUAL)
    told = runs(shelf, "type, note, added + changed + moved + missing")
    assert [row[0] for row in told] == ["realtime"] * 5 + ["manual", "realtime", "manual"]


def test_so_many_runs_are_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "KEPT_RUNS", 10)
    record(shelf, "startup")
    record(shelf, "startup", scope="full", added=7)
    record(shelf, "realtime", 30, scope="files", added=1)
    ended(shelf, SyncType.MANUAL)
    told = runs(shelf, "type, scope, added")
    # and the last one of everything, which says when that was
    assert told[0] == ("startup", "full", 7)
    assert len(told) == 11
    assert told[-1] == ("manual", "files", 0)


def test_runs_are_kept_for_so_long(shelf: Shelf) -> None:
    record(shelf, "manual", 2, days=91, added=1)
    record(shelf, "manual", 3, scope="files", days=91)
    record(shelf, "manual", 4, scope="files", days=89)
    shelf.sql(
        "INSERT INTO sync_operations (id, repository_id, type, scope, status, started_at)"
        " VALUES (uuidv7(), %s, 'manual', 'full', 'running', now() - interval '91 days')",
        shelf.id,
    )
    ended(shelf, SyncType.MANUAL)
    told = runs(shelf, "scope, status")
    # the last of everything that has ended, and what runs
    assert told.count(("full", "completed")) == 1
    assert told.count(("full", "running")) == 1
    assert told.count(("files", "completed")) == 5


async def test_what_waits_and_runs_is_seen(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg")
    async with shelves.opened(shelf) as rt:
        home = RepositoryId(shelf.id)
        seen = await library.show(rt, "home")
        assert (seen.last, seen.open, seen.held) == (None, [], None)
        assert seen.watch is not None
        assert seen.watch.reason == "its folders are being looked through"
        for job in (
            kinds.scan(home, SyncType.RECONCILIATION),
            kinds.scan_folder(home, RepoPath("a"), deep=False, why=SyncType.REALTIME),
            kinds.plan(home, RepoPath("a")),
        ):
            await rt.jobs.call(kinds.enqueue_one, job)
        [seen] = (await library.overview(rt)).items
        assert [(one.type, one.scope, one.folder, one.is_plan, one.state) for one in seen.open] == [
            ("reconciliation", "full", "", False, "available"),
            ("realtime", "files", "a", False, "available"),
            ("manual", "folder", "a", True, "available"),
        ]


async def test_what_is_asked_wrongly_says_why(shelf: Shelf) -> None:
    async def code(**asked: str) -> str:
        wanted: dict[str, str | None] = {"repository": None, "type_": None, "status": None, "cursor": None, **asked}
        with pytest.raises(LumilioError) as caught:
            await partial(library.history, rt, limit=5, **wanted)()
        return caught.value.code

    async with shelves.opened(shelf) as rt:
        assert await code(repository="nowhere") == "repository_not_found"
        assert await code(type_="sometimes") == "bad_type"
        assert await code(status="fine") == "bad_status"
        assert await code(cursor="?") == "bad_cursor"
        with pytest.raises(LumilioError) as caught:
            await library.operation(rt, shelf.id)
        assert caught.value.code == "sync_operation_not_found"
        with pytest.raises(LumilioError) as caught:
            await library.show(rt, "nowhere")
        assert caught.value.code == "repository_not_found"


async def test_the_last_scan_of_everything_is_told(shelf: Shelf) -> None:
    plant(shelf, "a/1.jpg")
    async with scanning.scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        await scanned(rt, shelf, "a")
        seen = await library.show(rt, str(shelf.id))
        assert seen.last is not None
        assert (seen.last.scope, seen.last.added) == ("full", 1)


async def test_an_older_daemons_job_is_a_persons(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        job = kinds.scan(RepositoryId(shelf.id))
        await scanning.result_of(rt, job._replace(args={"repository": str(shelf.id), "approved": True}))
        assert runs(shelf) == [("manual", "full", b"", "completed")]
