"""What is made of an original is made of its bytes, whatever lies at its place by then."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.domain.ids import AssetId, RepositoryId
from lumiliod.jobs.kind import JobSpec
from lumiliod.pipeline import kinds, metadata, thumbnails
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg

OTHERS: dict[str, bytes] = {"another picture": jpeg(2), "no picture": b"no picture", "nothing": b""}


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


def enqueue(shelf: Shelf, spec: JobSpec, asset: AssetId) -> None:
    with psycopg.connect(shelf.conninfo) as conn:
        db_jobs.enqueue(conn, [kinds.about(spec, asset, RepositoryId(shelf.id), 2)])


async def hurry(rt: Runtime, shelf: Shelf) -> None:
    """Let what failed be tried again at once."""
    shelf.sql("UPDATE jobs SET scheduled_at = now() WHERE state = 'retryable'")
    await rt.jobs.call(db_jobs.hasten, RepositoryId(shelf.id))


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(shelves.WAITING_S):
        while not holds():
            await trio.sleep(0.02)


def code(shelf: Shelf) -> object:
    found = shelf.sql("SELECT errors -> -1 ->> 'code' FROM jobs WHERE state = 'retryable'")
    return found[0][0] if found else None


@pytest.mark.parametrize("other", OTHERS)
async def test_pictures_are_not_those_of_what_was_written_there(shelf: Shelf, other: str) -> None:
    asset = shelves.add(shelf, "1.jpg", jpeg(1), thumbnail=False)
    shelf.sql("UPDATE assets SET status = 'processing'")
    (shelf.path / "1.jpg").rename(shelf.path / "2.jpg")
    (shelf.path / "1.jpg").write_bytes(OTHERS[other])
    enqueue(shelf, kinds.THUMBNAILS, asset)
    async with shelves.opened(shelf, with_media=True) as rt:
        kind = thumbnails.setup(rt)
        rt.jobs.kinds[kind.name] = kind
        async with shelves.serving(rt, {"media": 1}):
            await until(lambda: code(shelf) == "original_changed")
            assert shelf.sql("SELECT status, (SELECT count(*) FROM derivatives) FROM assets") == [("processing", 0)]
            shelf.sql("UPDATE file_records SET path = '2.jpg'")
            await hurry(rt, shelf)
            await until(lambda: shelf.sql("SELECT status FROM assets") == [("ready",)])


async def test_tags_are_not_those_of_what_was_written_there(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "1.jpg", jpeg(1), thumbnail=False)
    shelf.sql("UPDATE assets SET metadata_at = NULL")
    (shelf.path / "1.jpg").rename(shelf.path / "2.jpg")
    (shelf.path / "1.jpg").write_bytes(jpeg(2) + b"longer")
    enqueue(shelf, kinds.METADATA, asset)
    async with shelves.opened(shelf, with_media=True) as rt:
        kind = metadata.setup(rt)
        rt.jobs.kinds[kind.name] = kind
        async with shelves.serving(rt, {"media": 1}):
            await until(lambda: code(shelf) == "original_changed")
            assert shelf.sql("SELECT metadata_at FROM assets") == [(None,)]


async def test_one_that_was_moved_is_looked_for_again(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "1.jpg", jpeg(1), thumbnail=False)
    shelf.sql("UPDATE assets SET status = 'processing'")
    (shelf.path / "1.jpg").rename(shelf.path / "2.jpg")
    enqueue(shelf, kinds.THUMBNAILS, asset)
    async with shelves.opened(shelf, with_media=True) as rt:
        kind = thumbnails.setup(rt)
        rt.jobs.kinds[kind.name] = kind
        async with shelves.serving(rt, {"media": 1}):
            await until(lambda: code(shelf) == "original_missing")
            shelf.sql("UPDATE file_records SET path = '2.jpg'")
            await hurry(rt, shelf)
            await until(lambda: shelf.sql("SELECT status FROM assets") == [("ready",)])
