"""The lease: who is declared dead, and what a worker does that was."""

from functools import partial

import psycopg
import pytest
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db import workers
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Retryable, Unavailable
from lumiliod.domain.ids import uuid7
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from lumiliod.jobs.lease import Lease
from tests.jobs.conftest import enqueue, state_of, until

WORK = JobSpec("work", "work")


async def nothing(_: Running) -> None:
    pass


async def keep_serving(engine: Engine, stop: trio.Event, restarts: list[str]) -> None:
    """Serve, and again when the lease is lost, as the supervisor does."""
    for _ in range(5):
        try:
            await service.serve(engine, {"work": 1}, stop=stop, grace_s=5)
        except ExceptionGroup as group:
            lost, rest = group.split(Retryable)
            assert lost is not None
            assert rest is None
            restarts.append("again")
        else:
            return


def worker_ids(conn: Connection) -> list[object]:
    return [row[0] for row in conn.execute("SELECT id FROM workers")]


def reap(conn: Connection) -> int:
    """Reap as one does who has watched the others for long: whose lease is over or whose lock is free."""
    return workers.reap_workers(conn, uuid7(), [other for other in others(conn) if other.expired or other.dead])


def others(conn: Connection) -> list[workers.Other]:
    return workers.look(conn, uuid7(), []).others


async def test_an_idle_worker_is_not_reaped_and_a_reaped_one_comes_back(database: Database) -> None:
    engine = Engine(database, [Kind("work", "work", each(nothing))], lease_s=0.1)
    stop, restarts = trio.Event(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_serving, engine, stop, restarts)
        [first] = await engine.call(enqueue, [WORK.new({})])
        await state_of(database, first, "completed")
        await trio.sleep(0.3)
        assert await database.call(reap) == 0
        [second] = await engine.call(enqueue, [WORK.new({})])
        await state_of(database, second, "completed")
        assert restarts == []
        await database.call(lambda conn: conn.execute("DELETE FROM workers"))
        [third] = await engine.call(enqueue, [WORK.new({})])
        await state_of(database, third, "completed")
        assert restarts == ["again"]
        stop.set()
    assert await database.call(worker_ids) == []


async def test_an_idle_worker_takes_its_lock_anew_before_it_claims(database: Database) -> None:
    """As after a restart of the server: without the lock, the next worker would declare this one dead."""
    entered, go_on = trio.Event(), trio.Event()

    async def run(_: Running) -> None:
        entered.set()
        await go_on.wait()

    engine = Engine(database, [Kind("work", "work", each(run))])
    stop, restarts = trio.Event(), list[str]()

    def cut(conn: Connection) -> None:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_serving, engine, stop, restarts)
        await until(lambda: engine.lease.registered)
        await trio.sleep(0.2)
        await database.call(cut)
        await trio.sleep(0.2)
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        await entered.wait()
        assert await database.call(reap) == 0
        go_on.set()
        assert (await state_of(database, job_id, "completed")).attempt == 1
        stop.set()
    assert restarts == []


async def test_a_stuck_worker_is_reaped(database: Database) -> None:
    lease = Lease(database, 0.05, lambda: None)
    await trio.to_thread.run_sync(lease.start)
    try:
        [job_id] = await database.call(enqueue, [WORK.new({})])
        await trio.sleep(0.1)
        assert await database.call(reap) == 0
        # it holds the job and, as if stopped, does not beat
        assert await database.call(db_jobs.claim, lease.worker_id, "work", {"work": 1})
        assert await database.call(reap) == 1
        assert await database.call(db_jobs.claim, lease.worker_id, "work", {"work": 1}) is None
        await database.call(workers.rescue)
        assert (await state_of(database, job_id, "available")).attempt == 0
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await trio.to_thread.run_sync(lease.stop)


async def test_a_lease_that_cannot_begin_says_so_and_leaves_no_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []
    real = Database.connect

    def connect(self: Database, *, autocommit: bool = False) -> Connection:
        conn = real(self, autocommit=autocommit)
        opened.append(conn)
        return conn

    def register(*_: object) -> None:
        raise psycopg.errors.AdminShutdown("going down")

    monkeypatch.setattr(Database, "connect", connect)
    monkeypatch.setattr(workers, "register_worker", register)
    engine = Engine(database, [])
    with pytest.raises(Unavailable):
        await service.serve(engine, {}, stop=trio.Event(), grace_s=1)
    assert [conn.closed for conn in opened] == [True]
    monkeypatch.setattr(Database, "connect", partial(psycopg.connect, "host=/nowhere"))
    with pytest.raises(Unavailable):
        await service.serve(engine, {}, stop=trio.Event(), grace_s=1)
