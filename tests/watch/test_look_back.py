"""A file that changes while it is looked at is looked at again, though the scan that met that has passed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lumiliod.domain.ids import Digest
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
async def read_and_not_written_down(shelf: Shelf) -> AsyncIterator[Runtime]:
    """Have a picture looked at as far as its bytes are known and nothing of them is written down."""
    async with shelves.working(shelf, with_media=True) as rt:
        async with rt.digests.holding(DIGEST):
            (shelf.path / "a/1.jpg").write_bytes(A)
            await scanned(rt, shelf)
            # ours and that of the job
            await until(lambda: rt.digests._locks[DIGEST][1] == 2)
            yield rt
        await shelves.idle(rt)


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda file: file.unlink(),
    "moved": lambda file: file.rename(file.with_name("2.jpg")),
    "written": lambda file: file.write_bytes(B + b"more"),
    "no picture": lambda file: file.write_bytes(b"none"),
    "a link": lambda file: (file.unlink(), file.symlink_to("nowhere")),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_it_became_is_known_in_the_end(shelf: Shelf, change: str) -> None:
    async with read_and_not_written_down(shelf) as rt:
        CHANGES[change](shelf.path / "a/1.jpg")
        await scanned(rt, shelf, "a", deep=False)
    files = {path: state for path, (_, state) in recorded(shelf).items()}
    assert files == on_disk(shelf)
    rows = shelf.sql(
        "SELECT f.path, f.outcome FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id"
        " WHERE missing_since IS NULL AND f.digest IS NOT DISTINCT FROM a.digest ORDER BY path"
    )
    assert rows == {
        "removed": [],
        "moved": [(b"a/2.jpg", "asset")],
        "written": [(b"a/1.jpg", "asset")],
        "no picture": [(b"a/1.jpg", "unsupported")],
        "a link": [(b"a/1.jpg", "ignored")],
    }[change]
