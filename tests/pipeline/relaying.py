"""What the tests of re-layouts do in processes of their own, which may be killed at any step."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import trio

from lumiliod.contract.relayout import RelayoutRequest, RelayoutTicket
from lumiliod.db import job_admin
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import JobId, RepositoryId
from lumiliod.jobs import service
from lumiliod.jobs.kind import Kind
from lumiliod.library import relayout as library
from lumiliod.pipeline import adopt, kinds, relayout
from lumiliod.runtime import Runtime
from lumiliod.storage import staging
from lumiliod.testing.sources import Chunks
from tests import stepping
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf

OURS = (*shelves.OURS, "relayout")

Act = Callable[[Runtime], Awaitable[object]]


def relay(shelf: Shelf, to: str) -> None:
    """Ask for a layout, and let the library do it."""
    do(shelf, partial(begin, shelf, to))


def undo(shelf: Shelf) -> None:
    """Ask to have the last re-layout undone, and let the library do it."""
    do(shelf, lambda rt: library.undo(rt, str(shelf.id)))


def go_on(shelf: Shelf) -> None:
    """Start the library again: whatever was under way goes on."""
    do(shelf, _start)


def scan(shelf: Shelf) -> None:
    """Lose every job, then compare the folders with what is known, and look at what is new there; no more than that."""
    do(shelf, _scan)


async def begin(shelf: Shelf, to: str, rt: Runtime) -> RelayoutTicket:
    return await library.begin(rt, str(shelf.id), RelayoutRequest(to=to))


def do(shelf: Shelf, act: Act) -> None:
    async def main() -> None:
        async with working(shelf) as rt:
            with stepping.armed():
                await act(rt)
                await idle(rt)

    trio.run(main)


@asynccontextmanager
async def working(
    shelf: Shelf, *, queues: dict[str, int] | None = None, more: Kind | None = None
) -> AsyncIterator[Runtime]:
    """Open the library and let its engine work, on ``more`` too."""
    async with shelves.opened(shelf, with_media=True) as rt:
        rt.jobs.kinds["relayout"] = relayout.setup(rt)
        if more is not None:
            rt.jobs.kinds[more.name] = more
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            serve = partial(service.serve, rt.jobs, queues or shelves.QUEUES, stop=stop, grace_s=5.0)
            await nursery.start(serve)
            yield rt
            stop.set()


async def idle(rt: Runtime) -> None:
    """Wait until no job of ours is open; what was put off goes on at once."""
    with trio.fail_after(shelves.WAITING_S):
        while True:
            open_, discarded = await rt.db.call(_open_jobs)
            assert not discarded, discarded
            if not open_:
                return
            await trio.sleep(0.02)


def _open_jobs(conn: Connection) -> tuple[int, list[object]]:
    for (id_,) in conn.execute("SELECT id FROM repositories").fetchall():
        db_jobs.hasten(conn, id_)
    row = conn.execute(
        "SELECT count(*) FROM jobs WHERE kind = ANY (%s) AND state <> 'discarded'", (list(OURS),)
    ).fetchone()
    assert row is not None
    return row[0], conn.execute("SELECT kind, errors FROM jobs WHERE state = 'discarded'").fetchall()  # type: ignore[return-value]


async def until(rt: Runtime, job_id: UUID, state: str) -> None:
    """Wait until a job is in a state."""
    with trio.fail_after(shelves.WAITING_S):
        while (row := await rt.db.call(job_admin.show, JobId(job_id))) is None or row.state != state:
            await trio.sleep(0.02)


async def until_put_off(rt: Runtime, kind: str) -> None:
    """Wait until an attempt at a job of this kind did not count."""
    with trio.fail_after(shelves.WAITING_S):
        while not await rt.db.call(_put_off, kind):
            await trio.sleep(0.02)


async def upload(rt: Runtime, shelf: Shelf, name: str, content: bytes) -> None:
    """Take an upload, as the API does."""
    opened = rt.repositories.get(shelf.id)
    staged = await staging.write(
        opened.repository, name, Chunks([content]), owner_id=rt.owner_id, max_bytes=None, min_free_bytes=0
    )
    await rt.jobs.call(kinds.enqueue_one, kinds.ingest_upload(staged, opened.id, rt.owner_id))


def _put_off(conn: Connection, kind: str) -> bool:
    row = conn.execute(
        "SELECT bool_or(errors -> -1 ->> 'put_off' = 'true') FROM jobs WHERE kind = %s", (kind,)
    ).fetchone()
    return bool(row and row[0])


async def _start(rt: Runtime) -> None:
    for opened in rt.repositories.online():
        await adopt.staged(rt, opened)
    for name in ("relayout", "retire", "ingest"):
        await adopt.missing(rt, name)


async def _scan(rt: Runtime) -> None:
    await rt.db.call(lambda conn: conn.execute("TRUNCATE jobs") and None)
    for opened in rt.repositories.online():
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(opened.id)))
