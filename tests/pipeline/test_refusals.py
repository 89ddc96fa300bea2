"""The same bytes refused twice: one copy stays, whoever is killed, and none is lost to whoever comes between."""

from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import trio

from lumiliod.db import job_admin
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, Permanent
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.jobs import NewJob
from lumiliod.pipeline import kinds, refusals
from lumiliod.runtime import Runtime
from lumiliod.storage import refusals as storage
from lumiliod.storage import staging
from lumiliod.storage.staging import Staged
from lumiliod.testing.sources import Chunks
from tests import stepping
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of

TEXT = b"no picture"


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


async def staged(rt: Runtime, shelf: Shelf, name: str) -> Staged:
    repo = rt.repositories.get(shelf.id).repository
    return await staging.write(repo, name, Chunks([TEXT]), owner_id=rt.owner_id, max_bytes=None, min_free_bytes=0)


def discarded(job: NewJob, conn: Connection) -> None:
    kinds.enqueue_one(conn, job)
    job_admin.discard(conn, [job.id], "unsupported", "no photo")


async def judged(rt: Runtime, shelf: Shelf, upload: Staged) -> UUID:
    """Discard the job of an upload, as ingest does before it sets the bytes aside."""
    job = kinds.ingest_upload(upload, RepositoryId(shelf.id), rt.owner_id)
    await rt.jobs.call(partial(discarded, job))
    return job.id


async def set_aside(rt: Runtime, shelf: Shelf, upload: Staged) -> None:
    await refusals.set_aside(rt, rt.repositories.get(shelf.id), upload, Permanent("no photo", code="unsupported"))


async def refuse(rt: Runtime, shelf: Shelf, name: str) -> Staged:
    upload = await staged(rt, shelf, name)
    await judged(rt, shelf, upload)
    await set_aside(rt, shelf, upload)
    return upload


def again(shelf: Shelf) -> None:
    """Refuse the bytes once more; what follows the verdict may be killed."""

    async def main() -> None:
        async with shelves.opened(shelf) as rt:
            upload = await staged(rt, shelf, "b.jpg")
            await judged(rt, shelf, upload)
            with stepping.armed():
                await set_aside(rt, shelf, upload)

    trio.run(main)


async def heal(rt: Runtime, shelf: Shelf) -> None:
    """Do as the next start: what is staged gets a job again, which is refused again."""
    repo = rt.repositories.get(shelf.id).repository
    staging.sweep(repo)
    for upload in staging.waiting(repo):
        await judged(rt, shelf, upload)
        await set_aside(rt, shelf, upload)


def complaints(shelf: Shelf) -> list[object]:
    return [row[0] for row in shelf.sql("SELECT args ->> 'upload' FROM jobs WHERE state = 'discarded'")]


@pytest.mark.parametrize("how", [stepping.KILLED, stepping.POWERLESS])
def test_killed_at_every_step_one_stays_and_the_next_heals(conninfo: str, tmp_path: Path, how: str) -> None:
    digest, ended = digest_of(TEXT), 0
    for step in stepping.steps():
        shelf = shelves.make(conninfo, shelves.fresh(tmp_path))

        async def before(shelf: Shelf = shelf) -> None:
            async with shelves.opened(shelf) as rt:
                await refuse(rt, shelf, "a.jpg")

        trio.run(before)
        powerless = shelf.root if how == stepping.POWERLESS else None
        was_killed = stepping.run(again, shelf, kill_at=step, powerless=powerless)
        assert shelf.holding(digest)

        async def after(shelf: Shelf = shelf) -> None:
            async with shelves.opened(shelf) as rt:
                await heal(rt, shelf)
                assert shelf.holding(digest)
                last = await refuse(rt, shelf, "c.jpg")
            [(id_, reason)] = storage.kept(shelf.repository())
            assert (id_, reason.filename) == (last.id, "c.jpg")
            staging.sweep(shelf.repository())  # a power failure may leave the bytes in both folders
            assert (len(shelf.holding(digest)), complaints(shelf)) == (1, [str(last.id)])

        trio.run(after)
        shelf.sql("TRUNCATE repositories, jobs CASCADE")
        ended += not was_killed
        if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
            assert step > 10
            return


async def test_the_newest_stays_whichever_is_refused_last(shelf: Shelf) -> None:
    async with shelves.opened(shelf) as rt:
        repo = rt.repositories.get(shelf.id).repository
        older, newer = await staged(rt, shelf, "a.jpg"), await staged(rt, shelf, "b.jpg")
        for upload in (newer, older):
            await judged(rt, shelf, upload)
            await set_aside(rt, shelf, upload)
        assert [id_ for id_, _ in storage.kept(repo)] == [newer.id]
        assert complaints(shelf) == [str(newer.id)]


async def test_what_is_tried_again_or_given_up_is_not_taken_for_an_older_refusal(shelf: Shelf) -> None:
    async with shelves.opened(shelf) as rt:
        opened = rt.repositories.get(shelf.id)
        retried = await staged(rt, shelf, "a.jpg")
        job = await judged(rt, shelf, retried)
        await set_aside(rt, shelf, retried)
        given_up = await staged(rt, shelf, "b.jpg")
        await judged(rt, shelf, given_up)
        await rt.jobs.call(lambda conn: job_admin.retry(conn, [job]))
        with pytest.raises(Conflict):
            await refusals.remove(rt, opened, retried.id)
        last = await refuse(rt, shelf, "c.jpg")
        assert {id_ for id_, _ in storage.kept(opened.repository)} == {retried.id, last.id}
        assert staging.load(opened.repository, given_up.id) == given_up
        assert staging.take_back(opened.repository, retried.id) == retried
        assert complaints(shelf) == [str(given_up.id), str(last.id)]
