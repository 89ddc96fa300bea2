"""A file that changes while it is looked at is looked at again, though the scan that met that has passed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from lumiliod.db import files
from lumiliod.domain.ids import Digest
from lumiliod.pipeline import settlement
from lumiliod.pipeline.look_back import look_back
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg
from tests.watch.scanning import on_disk, recorded, scanned, until

A, B = jpeg(1), jpeg(2)
DIGEST = Digest(digest_of(A))


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    made = shelves.make(conninfo, tmp_path / "home")
    (made.path / "a").mkdir()
    return made


@asynccontextmanager
async def read_and_not_written_down(rt: Runtime, shelf: Shelf) -> AsyncIterator[None]:
    """Have a picture looked at as far as its bytes are known and nothing of them is written down."""
    async with rt.digests.holding(DIGEST):
        (shelf.path / "a/1.jpg").write_bytes(A)
        await scanned(rt, shelf)
        # ours and that of the job
        await until(lambda: rt.digests._locks[DIGEST][1] == 2)
        yield


def become_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda file: file.unlink(),
    "moved": lambda file: file.rename(file.with_name("2.jpg")),
    "written": lambda file: file.write_bytes(B + b"more"),
    "no picture": lambda file: file.write_bytes(b"none"),
    "a link": become_link,
}


ENDS: dict[str, list[tuple[object, ...]]] = {
    "removed": [],
    "moved": [(b"a/2.jpg", "asset")],
    "written": [(b"a/1.jpg", "asset")],
    "no picture": [(b"a/1.jpg", "unsupported")],
    "a link": [(b"a/1.jpg", "ignored")],
}


def files_and_outcomes(shelf: Shelf) -> list[tuple[object, ...]]:
    return shelf.sql(
        "SELECT f.path, f.outcome FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id"
        " WHERE missing_since IS NULL AND f.digest IS NOT DISTINCT FROM a.digest ORDER BY path"
    )


@pytest.mark.parametrize("change", CHANGES)
async def test_what_it_became_is_known_in_the_end(shelf: Shelf, change: str) -> None:
    def is_known() -> bool:
        states = {path: state for path, (_, state) in recorded(shelf).items()}
        return states == on_disk(shelf) and files_and_outcomes(shelf) == ENDS[change]

    async with shelves.working(shelf, with_media=True) as rt:
        async with read_and_not_written_down(rt, shelf):
            CHANGES[change](shelf.path / "a/1.jpg")
            await scanned(rt, shelf, "a", deep=False)
        # it looks back once that is committed
        await until(lambda: bool(shelf.sql("SELECT 1 FROM job_history WHERE kind = 'ingest'")))
        await until(is_known)


async def test_a_record_that_was_moved_meanwhile_is_not_forgotten(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "a/1.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        record = await rt.db.call(files.original_of, asset)
        assert record is not None
        (shelf.path / "a/1.jpg").rename(shelf.path / "a/2.jpg")
        shelf.sql("UPDATE file_records SET path = 'a/2.jpg'")
        assert await rt.db.call(partial(settlement.forget, record)) == {"outcome": "moved"}
        assert shelf.sql("SELECT path FROM file_records") == [(b"a/2.jpg",)]
        # what was seen at its old place is written of the record, wherever that is now
        shelf.sql("UPDATE file_records SET outcome = 'unsupported', reason = 'no picture', asset_id = NULL, inode = 1")
        await look_back(rt, rt.repositories.online()[0], [(record, None)])
        await shelves.idle(rt)
    assert shelf.sql("SELECT path, outcome, asset_id FROM file_records") == [(b"a/2.jpg", "asset", asset)]
