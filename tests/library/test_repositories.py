"""Repositories as people change and remove them: all of it or nothing, and nothing that is there unasked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trio

from lumiliod.contract.relayout import RelayoutRequest
from lumiliod.contract.repositories import RepositoryChange
from lumiliod.domain.errors import Conflict, LumilioError, Retryable, Shape
from lumiliod.domain.ids import RepositoryId
from lumiliod.library import relayout, removal, repositories
from lumiliod.library import upload as uploads
from lumiliod.pipeline import schedules
from lumiliod.runtime import Runtime
from lumiliod.testing.sources import Chunks
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


async def refused(rt: Runtime, shelf: Shelf) -> Conflict:
    """Have a repository removed without its name; it must be refused."""
    with pytest.raises(Conflict) as caught:
        await removal.remove(rt, str(shelf.id), None)
    assert caught.value.code == "repository_not_empty"
    assert shelf.sql("SELECT id FROM repositories") == [(shelf.id,)]
    return caught.value


async def until_one_waits(shelf: Shelf, act: Callable[[], object]) -> None:
    """Wait until a transaction waits for a lock, then act."""
    with trio.fail_after(20):
        while not shelf.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):
            await trio.sleep(0.01)
    act()


async def upload(rt: Runtime, shelf: Shelf) -> None:
    await uploads.receive(
        rt,
        repository=str(shelf.id),
        filename="mine.jpg",
        body=Chunks([jpeg(1)]),
        expected_digest=None,
        announced_bytes=None,
    )


BREAKING = {
    "name": "INSERT INTO repositories (id, name, root, backend, storage_strategy, created_at)"
    " VALUES (gen_random_uuid(), 'other', '/other', 'local', 'date', now())",
    "schedules": "ALTER TABLE job_schedules RENAME TO gone",
    "commit": "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;"
    " CREATE CONSTRAINT TRIGGER refusing AFTER UPDATE ON repositories DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION refuse()",
}


@pytest.mark.parametrize("how", [*BREAKING, "marker"])
async def test_settings_change_all_or_none(shelf: Shelf, how: str) -> None:
    marker = shelf.path / ".lumiliorepo"
    said = marker.read_bytes()
    wanted = RepositoryChange(name="other", ignore_patterns=["x.*"], full_scan_interval_s=60)
    async with shelves.opened(shelf) as rt:
        await rt.jobs.call(schedules.declare_repositories, rt.repositories)
        timing = "SELECT every_s FROM job_schedules"
        before = shelf.sql(timing)
        if how == "marker":
            marker.rename(marker.with_name("away"))
        else:
            shelf.sql(BREAKING[how])
        with pytest.raises(LumilioError):
            await repositories.change(rt, str(shelf.id), wanted)
        if how == "marker":
            marker.with_name("away").rename(marker)
        elif how == "schedules":
            shelf.sql("ALTER TABLE gone RENAME TO job_schedules")
        assert marker.read_bytes() == said
        assert shelf.sql("SELECT name FROM repositories WHERE id = %s", shelf.id) == [("home",)]
        assert (shelf.sql(timing), shelf.sql("SELECT kind FROM jobs")) == (before, [])
        assert rt.repositories.row("home").id == shelf.id
        if how != "marker":
            assert not rt.repositories.get(shelf.id).repository.marker.sync_settings.ignore_patterns


async def test_uploads_that_wait_are_removed_only_by_name(shelf: Shelf) -> None:
    async with shelves.opened(shelf) as rt:
        await upload(rt, shelf)
        found = await refused(rt, shelf)
        assert (found.detail["assets"], found.detail["staged"]) == (0, 1)
        assert shelf.sql("SELECT kind, state FROM jobs") == [("ingest", "available")]
        await removal.remove(rt, str(shelf.id), "home")
        assert shelf.sql("SELECT kind FROM jobs") == shelf.sql("SELECT id FROM repositories") == []


async def test_what_cannot_be_counted_is_removed_only_by_name(shelf: Shelf) -> None:
    shelf.path.rename(shelf.path.with_name("away"))
    async with shelves.opened(shelf) as rt:
        assert (await refused(rt, shelf)).detail["staged"] is None
        await removal.remove(rt, str(shelf.id), "home")


async def test_what_comes_while_a_repository_is_removed_keeps_it(shelf: Shelf) -> None:
    """It was empty when it was looked at, and is not when it is to go."""
    async with shelves.opened(shelf) as rt:
        with psycopg.connect(shelf.conninfo) as ingesting:
            ingesting.execute("SELECT 1 FROM repositories FOR KEY SHARE")

            def ends() -> None:
                shelves.add(shelf, "inbox/fresh.jpg", jpeg(2))
                ingesting.rollback()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_one_waits, shelf, ends)
                assert (await refused(rt, shelf)).detail["assets"] == 1
        assert shelf.sql("SELECT count(*) FROM assets") == [(1,)]


async def test_whole_repositories_may_take_their_time(shelf: Shelf) -> None:
    """Each statement that is slow here takes longer than any other may."""
    shelves.add(shelf, "inbox/mine.jpg", jpeg(3))
    shelf.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$"
    )
    for table, event in (("assets", "DELETE"), ("relayout_moves", "INSERT")):
        shelf.sql(f"CREATE TRIGGER slow AFTER {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slow()")
    async with shelves.opened(shelf, statement_timeout_s=0.5) as rt:
        assert (await relayout.begin(rt, str(shelf.id), RelayoutRequest(to="cas"))).moves == 1
        assert (await removal.remove(rt, str(shelf.id), "home")).plan.forgotten == 1
        with pytest.raises(Retryable):
            await rt.db.call(_sleep)


def _sleep(conn: psycopg.Connection) -> None:
    conn.execute("SELECT pg_sleep(1)")


async def test_one_of_several_has_to_be_named(shelf: Shelf) -> None:
    async with shelves.opened(shelf) as rt:
        assert rt.repositories.only().id == shelf.id
        row = rt.repositories.row("home")
        rt.repositories.put(replace(row, id=RepositoryId(uuid4()), name="second"), None)
        with pytest.raises(Shape) as several:
            rt.repositories.only()
        assert several.value.code == "repository_needed"
