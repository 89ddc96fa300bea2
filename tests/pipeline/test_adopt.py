"""What was staged and has no job gets one, while others come and go."""

from pathlib import Path

import pytest

from lumiliod.pipeline import adopt
from lumiliod.runtime import Runtime
from lumiliod.storage import staging
from lumiliod.storage.staging import Staged
from lumiliod.testing.sources import Chunks
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


async def staged(rt: Runtime, shelf: Shelf, count: int) -> list[Staged]:
    repo = rt.repositories.get(shelf.id).repository
    return [
        await staging.write(repo, f"{n}.jpg", Chunks([jpeg(n)]), owner_id=rt.owner_id, max_bytes=None, min_free_bytes=0)
        for n in range(count)
    ]


def uploads_with_jobs(shelf: Shelf) -> list[str]:
    rows = shelf.sql("SELECT args->>'upload' FROM jobs WHERE kind = 'ingest'")
    return sorted(str(upload) for (upload,) in rows)


async def test_each_staged_upload_gets_one_job(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt, "AT_ONCE", 2)
    async with shelves.opened(shelf) as rt:
        uploads = await staged(rt, shelf, 5)
        for _ in range(2):
            await adopt.staged(rt, rt.repositories.get(shelf.id))
            assert uploads_with_jobs(shelf) == sorted(str(upload.id) for upload in uploads)


async def test_an_upload_that_is_done_before_its_job_runs_fails_nobody(shelf: Shelf) -> None:
    async with shelves.opened(shelf, with_media=True) as rt:
        uploads = await staged(rt, shelf, 2)
        await adopt.staged(rt, rt.repositories.get(shelf.id))
        # as by the job of whoever was about to enqueue it, and did
        staging.forget(rt.repositories.get(shelf.id).repository, uploads[0].id)
        async with shelves.serving(rt, shelves.QUEUES):
            await shelves.idle(rt)
    assert shelf.sql("SELECT original_filename FROM assets") == [("1.jpg",)]
