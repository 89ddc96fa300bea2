"""Scans as people ask for them: what one that runs has passed, and what is not believed at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.contract.repositories import RepositoryChange
from lumiliod.db import scans
from lumiliod.domain.ids import RepositoryId
from lumiliod.library import held, repositories, tasks
from lumiliod.pipeline import kinds
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def outcomes(shelf: Shelf) -> dict[str, str]:
    """Return what became of every file that is there."""
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), outcome FROM file_records WHERE missing_since IS NULL")
    return {str(path): str(outcome) for path, outcome in rows}


@contextmanager
def passed(shelf: Shelf) -> Iterator[psycopg.Connection]:
    """Let no scan write what it has met until this ends."""
    with psycopg.connect(shelf.conninfo) as conn:
        conn.execute("LOCK file_records IN SHARE MODE")
        yield conn


async def until_one_waits(shelf: Shelf) -> None:
    """Wait until a scan has met everything and is kept from writing it."""
    with trio.fail_after(20):
        while not shelf.sql("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'file_records'::regclass"):
            await trio.sleep(0.01)


async def test_a_scan_asked_for_while_one_runs_follows_it(shelf: Shelf) -> None:
    (shelf.path / "early.tmp").touch()
    async with shelves.working(shelf) as rt:
        with passed(shelf):
            first = (await repositories.scan(rt, str(shelf.id))).task_id
            await until_one_waits(shelf)
            (shelf.path / "late.tmp").touch()
            second = (await repositories.scan(rt, str(shelf.id))).task_id
            scheduled = await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        await shelves.idle(rt)
        assert first != second == scheduled
        assert outcomes(shelf) == {"early.tmp": "ignored", "late.tmp": "ignored"}


async def test_settings_that_change_while_a_scan_runs_are_gone_by(shelf: Shelf) -> None:
    (shelf.path / "notes.txt").write_bytes(b"not a picture")
    async with shelves.working(shelf, with_media=True) as rt:
        await repositories.change(rt, str(shelf.id), RepositoryChange(ignore_patterns=["notes.*"]))
        await shelves.idle(rt)
        assert outcomes(shelf) == {"notes.txt": "ignored"}
        with passed(shelf):
            (shelf.path / "notes.md").write_bytes(b"no picture either")
            await repositories.scan(rt, str(shelf.id))
            await until_one_waits(shelf)
            await repositories.change(rt, str(shelf.id), RepositoryChange(ignore_patterns=[]))
        await shelves.idle(rt)
        assert outcomes(shelf) == {"notes.txt": "unsupported", "notes.md": "unsupported"}


async def test_a_scan_that_another_followed_says_nothing_of_what_is_missing(shelf: Shelf) -> None:
    """Two scans at once, in two processes: a file that the later one met is not missing to the older."""
    (shelf.path / "a.tmp").touch()
    async with shelves.working(shelf) as rt:
        await repositories.scan(rt, str(shelf.id))
        await shelves.idle(rt)
        (shelf.path / "a.tmp").rename(shelf.path / "b.tmp")
        with passed(shelf):
            older = await repositories.scan(rt, str(shelf.id))
            await until_one_waits(shelf)
            await rt.db.call(scans.next_generation, RepositoryId(shelf.id))
        await shelves.idle(rt)
        result = (await tasks.show(rt, older.task_id)).result
        assert result is not None
        assert (result["missing"], result["added"]) == (0, 0)
        assert "another scan" in result["note"]
        assert outcomes(shelf) == {"a.tmp": "ignored", "b.tmp": "ignored"}
        await repositories.scan(rt, str(shelf.id))
        await shelves.idle(rt)
        assert outcomes(shelf) == {"b.tmp": "ignored"}


async def test_an_approval_is_for_scans_that_begin_after_it(shelf: Shelf) -> None:
    for number in range(60):
        (shelf.path / f"{number}.tmp").touch()
    async with shelves.working(shelf) as rt:
        await repositories.scan(rt, str(shelf.id))
        await shelves.idle(rt)
        for path in shelf.path.glob("*.tmp"):
            path.unlink()
        first = await repositories.scan(rt, str(shelf.id))
        await shelves.idle(rt)
        assert len(outcomes(shelf)) == 60
        result = (await tasks.show(rt, first.task_id)).result
        assert result is not None
        assert (result["missing"], result["status"]) == (0, "held")
        assert "lumilio repos pending, then approve home or reject home" in result["note"]
        with passed(shelf):
            (shelf.path / "new.tmp").touch()
            running = await repositories.scan(rt, str(shelf.id))
            await until_one_waits(shelf)
            # what is asked for afterwards does not take the approval back
            approved = await held.approve(rt, str(shelf.id))
            await repositories.scan(rt, str(shelf.id))
        await shelves.idle(rt)
        assert outcomes(shelf) == {"new.tmp": "ignored"}
        result = (await tasks.show(rt, running.task_id)).result
        assert result is not None
        assert (result["missing"], result["status"]) == (0, "held")
        result = (await tasks.show(rt, approved)).result
        assert result is not None
        assert (result["missing"], result["note"], result["status"]) == (60, None, "completed")
