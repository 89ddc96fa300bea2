"""What one crash, one restart, one bad row or one wrong clock must not do to all the others."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest
import trio

from lumiliod.db import job_admin, job_history, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection, Database
from lumiliod.db.waking import CHANNEL
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from tests.jobs.conftest import Serving, enqueue, state_of, until

WORK = JobSpec("work", "work", max_attempts=3)


async def nothing(_: Running) -> None:
    """Do nothing."""


def count_of(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def two_engines(
    databases: Sequence[Database], kind: Kind, *, lease_s: float = 2.0
) -> AsyncIterator[list[Engine]]:
    """Run two engines with one slot each, as two daemons do: each hears the other."""
    engines = [Engine(database, [kind], lease_s=lease_s, keeper_period_s=0.2) for database in databases]
    stop = trio.Event()
    async with trio.open_nursery() as hearing:
        async with trio.open_nursery() as nursery:
            for engine in engines:
                await hearing.start(listen, engine.database, [CHANNEL], partial(heard, engine))
                await nursery.start(partial(service.serve, engine, {kind.queue: 1}, stop=stop, grace_s=5.0))
            await until(lambda: all(engine.keeper.others for engine in engines))
            yield engines
            stop.set()
        hearing.cancel_scope.cancel()


def heard(engine: Engine, _channel: str, payload: str) -> None:
    engine.heard(payload)


# crashes and restarts


def test_a_token_never_comes_twice_even_if_its_sequence_goes_back(conn: Connection) -> None:
    """As after a crash: the server forgets a claim that was not yet on disk, and the sequence with it."""
    enqueue(conn, [WORK.new({})])
    worker = uuid7()
    workers.register_worker(conn, worker, "here", 1, 1, 60)
    tokens = set()
    for _ in range(20):
        conn.execute("SELECT setval('job_token', 1)")
        claimed = db_jobs.claim(conn, worker, "work", {"work": 1})
        assert claimed
        tokens.add(claimed[0].token)
        db_jobs.release(conn, claimed)
    assert len(tokens) == 20
    assert all(0 < token < 2**63 for token in tokens)


async def test_workers_that_all_lost_their_sessions_do_not_bury_each_other(database: Database, conninfo: str) -> None:
    """As after a restart of the server: every lock is free, and nobody is dead."""
    go_on, entered = trio.Event(), list[JobId]()

    async def run(running: Running) -> None:
        entered.append(running.job.id)
        await go_on.wait()

    def end_sessions() -> None:
        with psycopg.connect(conninfo, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pg_locks.pid) FROM pg_locks JOIN workers"
                " ON locktype = 'advisory' AND lock_key = (classid::bigint << 32) | objid::bigint"
            )

    other = Database(conninfo, pool_size=4, statement_timeout_s=20)
    jobs = await database.call(enqueue, [WORK.new({}) for _ in range(6)])
    async with two_engines([database, other], Kind("work", "work", each(run))) as engines:
        await until(lambda: len(entered) == 2)
        before = sorted(await database.call(worker_ids), key=str)
        assert len(before) == 2
        for _ in range(4):
            await trio.to_thread.run_sync(end_sessions)
            await trio.sleep(0.7)
        assert sorted(await database.call(worker_ids), key=str) == before
        assert not any(engine.lost.is_set() for engine in engines)
        go_on.set()
        rows = [await state_of(database, job_id, "completed") for job_id in jobs]
    await other.close()
    assert sorted(entered) == sorted(jobs)
    assert [(row.attempt, row.errors) for row in rows] == [(1, [])] * 6


def worker_ids(conn: Connection) -> list[object]:
    return [row[0] for row in conn.execute("SELECT id FROM workers")]


# one that cannot be


async def test_one_end_that_cannot_be_written_holds_up_no_other(database: Database, serving: Serving) -> None:
    ran = list[int]()

    async def run(running: Running) -> None:
        ran.append(running.args["number"])

    def refuse(conn: Connection) -> None:
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
            "CREATE TRIGGER refuse BEFORE DELETE ON jobs FOR EACH ROW"
            " WHEN (OLD.args ->> 'number' = '3') EXECUTE FUNCTION refuse()"
        )

    await database.call(refuse)
    async with serving([Kind("work", "work", each(run))], keeper_period_s=0.2) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(30)])
        for number, job_id in enumerate(ids):
            if number != 3:
                assert (await state_of(database, job_id, "completed")).attempt == 1
        # nobody holds it for ever: it runs anew, until it can end
        await until(lambda: ran.count(3) > 1)
        await database.call(lambda conn: conn.execute("DROP TRIGGER refuse ON jobs"))
        row = await state_of(database, ids[3], "completed")
    assert (row.attempt, row.errors) == (1, [])


async def test_a_report_that_cannot_be_written_fails_no_job(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def set_progress(*_: object) -> None:
        asked.append(1)
        raise Unavailable("the server is away", code="database_unavailable")

    monkeypatch.setattr(db_jobs, "set_progress", set_progress)

    async def run(running: Running) -> None:
        await running.progress(1, 2)

    async with serving([Kind("work", "work", each(run))]) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        row = await state_of(database, job_id, "completed")
    assert asked
    assert (row.attempt, row.errors) == (1, [])


@pytest.mark.parametrize("raises", [False, True])
async def test_one_that_is_taken_from_a_batch_costs_the_others_nothing(
    database: Database, serving: Serving, raises: bool
) -> None:
    entered = trio.Event()
    sizes = list[int]()

    async def run(jobs: Sequence[Running]) -> None:
        sizes.append(len(jobs))
        if len(sizes) > 1:
            return
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            if raises:
                raise ValueError("on the way out")

    jobs = await database.call(enqueue, [WORK.new({}) for _ in range(3)])
    async with serving([Kind("work", "work", run, batch=3)], concurrency=1) as engine:
        with trio.fail_after(20):
            await entered.wait()
        taken = await engine.call(job_admin.cancel, [jobs[1]])
        await engine.told(tokens=taken.tokens)
        rows = [await state_of(database, jobs[n], "completed") for n in (0, 2)]
        assert (await state_of(database, jobs[1], "cancelled")).errors == []
    assert sizes == [3, 2]
    assert [(row.attempt, row.errors) for row in rows] == [(1, []), (1, [])]


async def test_what_another_process_cancels_ends_at_once(database: Database, conninfo: str) -> None:
    """By what it says on the channel, long before the next beat."""
    entered, ended = trio.Event(), trio.Event()

    async def run(_: Running) -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    other = Database(conninfo, pool_size=4, statement_timeout_s=20)
    [job_id] = await database.call(enqueue, [WORK.new({})])
    async with two_engines([database, other], Kind("work", "work", each(run)), lease_s=3600.0) as engines:
        with trio.fail_after(20):
            await entered.wait()
        [runs] = [engine for engine in engines if engine.lease.tokens]
        [asks] = [engine for engine in engines if engine is not runs]
        taken = await asks.call(job_admin.cancel, [job_id])
        await asks.told(tokens=taken.tokens)
        with trio.fail_after(20):
            await ended.wait()
        await state_of(database, job_id, "cancelled")
    await other.close()


# what is passed over


async def test_what_was_locked_when_a_lane_looked_is_found_soon(database: Database, serving: Serving) -> None:
    """Nobody says that a lock is released; the lane looks once more before it sleeps."""
    [job_id] = await database.call(enqueue, [WORK.new({})])
    locked, let_go = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hold(conn: Connection) -> None:
        conn.execute("SELECT FROM jobs FOR UPDATE")
        trio.from_thread.run_sync(locked.set, trio_token=token)
        trio.from_thread.run(let_go.wait, trio_token=token)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.call, hold)
        await locked.wait()
        async with serving([Kind("work", "work", each(nothing))], keeper_period_s=3600.0):
            await trio.sleep(0.5)
            row = await database.call(job_admin.show, job_id)
            assert row is not None
            assert row.state == "available"
            let_go.set()
            await state_of(database, job_id, "completed")


def test_what_follows_a_job_that_was_left_out_follows_its_twin(conn: Connection) -> None:
    open_already, left_out = WORK.new({"n": 1}, unique_key="k"), WORK.new({"n": 2}, unique_key="k")
    follower = WORK.new({"n": 3}, after=[left_out.id])
    db_jobs.enqueue(conn, [open_already])
    enqueued = db_jobs.enqueue(conn, [left_out, follower])
    assert list(enqueued) == [follower.id]
    row = job_admin.show(conn, follower.id)
    assert row is not None
    assert (row.state, row.waits_on) == ("scheduled", [open_already.id])
    worker = uuid7()
    workers.register_worker(conn, worker, "here", 1, 1, 60)
    claimed = db_jobs.claim(conn, worker, "work", {"work": 5}) or []
    assert [job.id for job in claimed] == [open_already.id]
    db_jobs.complete(conn, [db_jobs.Completion(claimed[0].id, claimed[0].token, None, 1.0)])
    assert [job.id for job in db_jobs.claim(conn, worker, "work", {"work": 5}) or []] == [follower.id]


# too many, too late


def test_cancelling_what_very_many_wait_for_reads_each_row_a_few_times(conn: Connection) -> None:
    waiters = 3000
    first = WORK.new({})
    db_jobs.enqueue(conn, [first])
    db_jobs.enqueue(conn, [WORK.new({}, after=[first.id]) for _ in range(waiters)])
    conn.commit()
    conn.autocommit = True
    conn.execute("ANALYZE")
    conn.execute("SELECT pg_stat_reset()")
    with conn.transaction():
        done = job_admin.cancel(conn, [first.id])
    assert done.count == waiters + 1
    conn.execute("SELECT pg_stat_force_next_flush()")
    conn.execute("SELECT 1")
    read = count_of(
        conn,
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
        " WHERE relname IN ('jobs', 'job_waits')",
    )
    assert waiters <= read <= 20 * waiters


def test_a_clock_far_ahead_drops_no_history(conn: Connection) -> None:
    today = job_history.today(conn)
    job_history.make_partitions(conn, today)
    conn.execute(
        "INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, errors,"
        " created_at, scheduled_at, finished_at, tags) VALUES (gen_random_uuid(), 'work', 'work', 'completed', 2, 1, 3,"
        " '{}', '[]', now(), now(), now(), '{}')"
    )
    ahead = today + dt.timedelta(days=400)
    job_history.make_partitions(conn, ahead)
    assert job_history.drop_partitions(conn, ahead) == []
    assert count_of(conn, "SELECT count(*) FROM job_history") == 1
    # with the days in between, as time really passes, it goes
    for day in range(20):
        job_history.make_partitions(conn, today + dt.timedelta(days=day))
    assert f"job_history_{today:%Y%m%d}" in job_history.drop_partitions(conn, today + dt.timedelta(days=15))
    assert count_of(conn, "SELECT count(*) FROM job_history") == 0
