"""A running engine on a fresh database."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio

from lumiliod.db import job_admin
from lumiliod.db import jobs as db_jobs
from lumiliod.db.job_admin import JobRow
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.kind import Kind

Serving = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def serving(database: Database) -> Serving:
    """Return a context manager that runs an engine with the given kinds."""

    @asynccontextmanager
    async def run(
        kinds: Iterable[Kind],
        *,
        concurrency: int = 2,
        lease_s: float = 30.0,
        grace_s: float = 5.0,
        keeper_period_s: float = 60.0,
        database: Database = database,
        queues: Iterable[str] | None = None,
    ) -> AsyncIterator[Engine]:
        engine = Engine(database, kinds, lease_s=lease_s, keeper_period_s=keeper_period_s)
        served = dict.fromkeys(queues or [kind.queue for kind in engine.kinds.values()] or ["work"], concurrency)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(service.serve, engine, served, stop=stop, grace_s=grace_s))
            yield engine
            stop.set()

    return run


def enqueue(conn: Connection, jobs: list[NewJob]) -> list[JobId]:
    return list(db_jobs.enqueue(conn, jobs))


async def state_of(database: Database, job_id: JobId, *states: str, errors: int | None = None) -> JobRow:
    """Wait until a job is in one of ``states``, with so many errors told, and return it."""
    with trio.fail_after(60):
        while True:
            row = await database.call(job_admin.show, job_id)
            assert row is not None
            if row.state in states and errors in (None, len(row.errors)):
                return row
            await trio.sleep(0.02)


async def until(is_so: Callable[[], object]) -> None:
    """Wait until ``is_so()``."""
    with trio.fail_after(60):
        while True:
            if is_so():
                return
            await trio.sleep(0.01)
