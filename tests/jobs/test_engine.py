"""The engine: each job's effect exactly once, retries, discards, fencing, draining."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
import trio

from lumiliod.db import job_admin, job_history, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.job_admin import JobRow
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Permanent, Retryable
from lumiliod.domain.jobs import NewJob, Retries
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Fenced, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from tests.jobs.conftest import Serving, enqueue, state_of

WORK = JobSpec("work", "work", max_attempts=3)


def new(number: int = 0, **options: object) -> NewJob:
    return WORK.new({"number": number}, **options)  # type: ignore[arg-type]  # options are the test's own


def note(number: int, conn: Connection) -> dict[str, int]:
    """An effect that shows how often it took place."""
    conn.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), %s, 'user')", (f"{number:05}",))
    return {"number": number}


def noted(conn: Connection) -> list[int]:
    return [int(row[0]) for row in conn.execute("SELECT name FROM users ORDER BY name")]


async def do_note(running: Running) -> None:
    await running.complete(partial(note, running.args["number"]))


async def test_every_job_takes_effect_once(database: Database, serving: Serving) -> None:
    async with serving([Kind("work", "work", each(do_note))], concurrency=5) as engine:
        ids = await engine.call(enqueue, [new(number) for number in range(200)])
        for job_id in ids:
            await state_of(database, job_id, "completed")
    assert await database.call(noted) == list(range(200))
    assert engine.totals["work"].completed == 200
    row = await database.call(job_admin.show, ids[7])
    assert row is not None
    assert row.result == {"number": 7}
    assert row.attempt == 1


async def test_batches_of_one_kind(database: Database, serving: Serving) -> None:
    sizes: list[int] = []

    async def run(jobs: Sequence[Running]) -> None:
        sizes.append(len(jobs))
        for job in jobs:
            if job.args["number"] == 3:
                await job.fail(Permanent("three", code="odd"))

    async with serving([Kind("work", "work", run, batch=8)], concurrency=1) as engine:
        ids = await engine.call(enqueue, [new(number) for number in range(20)])
        states = [(await state_of(database, job_id, "completed", "discarded")).state for job_id in ids]
    assert states.count("discarded") == 1
    assert states[3] == "discarded"
    assert max(sizes) == 8
    assert sum(sizes) == 20


async def test_retry_then_success(database: Database, serving: Serving) -> None:
    async def flaky(running: Running) -> None:
        if running.job.attempt == 1:
            raise Retryable("not now", code="busy")
        await do_note(running)

    async with serving([Kind("work", "work", each(flaky))]) as engine:
        [job_id] = await engine.call(enqueue, [new(1)])
        row = await state_of(database, job_id, "completed")
    assert row.attempt == 2
    assert [error["code"] for error in row.errors] == ["busy"]


async def test_permanent_is_discarded_at_once_with_its_reason(database: Database, serving: Serving) -> None:
    discarded: list[str] = []

    async def hopeless(_: Running) -> None:
        raise Permanent("cannot be", code="corrupt")

    def on_discard(conn: Connection, _job: object, failed: object) -> None:
        discarded.append(failed.code)  # type: ignore[attr-defined]  # a FailedAttempt
        note(42, conn)

    kind = Kind("work", "work", each(hopeless), on_discard=on_discard)
    async with serving([kind]) as engine:
        [job_id] = await engine.call(enqueue, [new(1)])
        row = await state_of(database, job_id, "discarded")
    assert (row.attempt, discarded) == (1, ["corrupt"])
    assert await database.call(noted) == [42]


async def test_a_defect_is_retried_then_discarded(database: Database, serving: Serving) -> None:
    async def broken(_: Running) -> None:
        raise ZeroDivisionError("oops")

    spec = JobSpec("work", "work", max_attempts=1)
    async with serving([Kind("work", "work", each(broken))]) as engine:
        [job_id] = await engine.call(enqueue, [spec.new({})])
        row = await state_of(database, job_id, "discarded")
    assert row.errors[0]["error_class"] == "ZeroDivisionError"
    assert row.errors[0]["traceback_digest"]


async def test_a_failed_effect_leaves_nothing(database: Database, serving: Serving) -> None:
    def effect(conn: Connection) -> dict[str, int]:
        note(1, conn)
        raise Permanent("after all not", code="odd")

    async def run(running: Running) -> None:
        await running.complete(effect)

    async with serving([Kind("work", "work", each(run)), Kind("good", "work", each(do_note))]) as engine:
        bad, good = await engine.call(enqueue, [new(), JobSpec("good", "work").new({"number": 7})])
        assert (await state_of(database, bad, "discarded")).errors[0]["code"] == "odd"
        await state_of(database, good, "completed")
    assert await database.call(noted) == [7]


async def test_an_unknown_kind_is_left_to_others_and_told_of(
    database: Database, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    nobodys = JobSpec("nobody", "work")
    lost = await database.call(enqueue, [nobodys.new({}), nobodys.new({})])
    async with serving([Kind("work", "work", each(do_note))], keeper_period_s=0.05) as engine:
        [known] = await engine.call(enqueue, [new(1, priority=4)])
        await state_of(database, known, "completed")
        await trio.sleep(0.3)
        assert engine.unknown_kinds == {"nobody"}
    assert (await state_of(database, lost[0], "available")).attempt == 0
    assert [record.__dict__["kind"] for record in caplog.records if "no plugin" in record.message] == ["nobody"]


async def test_a_unique_key_is_open_once(database: Database, serving: Serving) -> None:
    first = await database.call(enqueue, [new(1, unique_key="k"), new(2, unique_key="other")])
    assert len(first) == 2
    assert await database.call(enqueue, [new(3, unique_key="k")]) == []
    async with serving([Kind("work", "work", each(do_note))]):
        await state_of(database, first[0], "completed")
    assert len(await database.call(enqueue, [new(4, unique_key="k")])) == 1


async def test_urgent_first_then_oldest(database: Database, serving: Serving) -> None:
    order: list[int] = []

    async def run(running: Running) -> None:
        order.append(running.args["number"])

    jobs = [new(1, priority=3), new(2, priority=1), new(3, priority=2), new(4, priority=1)]
    ids = await database.call(enqueue, jobs)
    async with serving([Kind("work", "work", each(run))], concurrency=1):
        for job_id in ids:
            await state_of(database, job_id, "completed")
    assert order == [2, 4, 3, 1]


async def test_scheduled_jobs_wait(database: Database, serving: Serving) -> None:
    job_id = new().id

    def schedule(conn: Connection) -> tuple[dt.datetime, JobRow | None]:
        later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.6)
        job = NewJob(id=job_id, kind="work", queue="work", args={"number": 1}, scheduled_at=later)
        enqueue(conn, [job])
        return later, job_admin.show(conn, job_id)

    async with serving([Kind("work", "work", each(do_note))]) as engine:
        later, row = await engine.call(schedule)
        assert row is not None
        assert row.state == "scheduled"
        done = await state_of(database, job_id, "completed")
    assert done.attempted_at is not None
    assert done.attempted_at >= later


async def test_a_lost_worker_cannot_write(database: Database, serving: Serving) -> None:
    """Its row reaped and its job given to another, its late result is refused and has no effect."""
    entered, go_on, refused = trio.Event(), trio.Event(), trio.Event()

    async def slow(running: Running) -> None:
        if running.job.attempt == 1 and not entered.is_set():
            entered.set()
            await go_on.wait()
            try:
                await running.complete(partial(note, 1))
            except Fenced:
                refused.set()
                raise
        else:
            await running.complete(partial(note, 2))

    others: BaseExceptionGroup[Retryable] | None = None
    try:
        async with serving([Kind("work", "work", each(slow))]) as engine:
            [job_id] = await engine.call(enqueue, [new()])
            await entered.wait()

            def steal(conn: Connection) -> None:
                conn.execute("DELETE FROM workers")
                workers.rescue(conn)
                other = Engine(database, []).lease.worker_id
                workers.register_worker(conn, other, "elsewhere", 1, 1, 60)
                [claimed] = db_jobs.claim_suspect(conn, other, "work", ["work"]) or []
                assert claimed.id == job_id
                note(2, conn)
                assert db_jobs.complete(conn, [db_jobs.Completion(claimed.id, claimed.token, None, 1.0)]) == {job_id}

            await database.call(steal)
            go_on.set()
            with trio.fail_after(10):
                await refused.wait()
    except* Retryable as lost:  # its own beat may come before its end: then it starts over
        others = lost.subgroup(lambda error: getattr(error, "code", "lease_lost") != "lease_lost")
    assert others is None
    assert await database.call(noted) == [2]


async def test_jobs_of_a_dead_worker_come_back(database: Database, serving: Serving) -> None:
    def die_holding(conn: Connection) -> None:
        dead = Engine(database, []).lease.worker_id
        workers.register_worker(conn, dead, "elsewhere", 1, 4711, 3600)
        assert len(db_jobs.claim(conn, dead, "work", {"work": 10}) or []) == 1

    [job_id] = await database.call(enqueue, [new(5)])
    await database.call(die_holding)
    async with serving([Kind("work", "work", each(do_note))], lease_s=0.5):
        row = await state_of(database, job_id, "completed")
    assert row.errors[0]["code"] == "worker_lost"
    assert row.attempt == 1
    assert await database.call(noted) == [5]


async def test_stopping_finishes_what_runs_and_returns_the_rest(database: Database, serving: Serving) -> None:
    entered, go_on = trio.Event(), trio.Event()

    async def run(running: Running) -> None:
        entered.set()
        await go_on.wait()
        await do_note(running)

    async with serving([Kind("work", "work", each(run))], concurrency=1) as engine:
        ids = await engine.call(enqueue, [new(number) for number in range(6)])
        await entered.wait()
        go_on_soon = trio.current_time() + 0.2
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.sleep_until(go_on_soon)
                go_on.set()

            nursery.start_soon(later)
    rows = [await database.call(job_admin.show, job_id) for job_id in ids]
    states = [row.state for row in rows if row is not None]
    assert states.count("running") == 0
    assert states[0] == "completed"
    assert all(row.attempt == 0 for row in rows if row is not None and row.state == "available")


async def sleep_in_the_server(running: Running) -> None:
    await running._host.database.call(lambda conn: conn.execute("SELECT pg_sleep(60)"))


async def sleep_in_a_nursery(_: Running) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)


async def raise_when_cancelled(_: Running) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("on the way out")


async def sleep(_: Running) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("endless", [sleep, sleep_in_the_server, sleep_in_a_nursery, raise_when_cancelled])
async def test_what_outlasts_the_grace_period_is_given_back(
    database: Database, serving: Serving, endless: Callable[[Running], Awaitable[None]]
) -> None:
    entered = trio.Event()

    async def run(running: Running) -> None:
        entered.set()
        await endless(running)

    async with serving([Kind("work", "work", each(run))], grace_s=0.2) as engine:
        engine.leave = partial(leave_what_is_held, engine)  # type: ignore[method-assign]
        [job_id] = await engine.call(enqueue, [new()])
        await entered.wait()
        await trio.sleep(0.1)
    row = await database.call(job_admin.show, job_id)
    assert row is not None
    assert (row.state, row.attempt, row.errors) == ("available", 0, [])


async def leave_what_is_held(engine: Engine) -> None:
    """Leave, and give nothing back on the way: only what the lane itself gave back counts."""
    await trio.to_thread.run_sync(engine.lease.stop)


async def test_a_job_past_its_limit_is_retried(database: Database, serving: Serving) -> None:
    async def endless(_: Running) -> None:
        await trio.sleep_forever()

    async with serving([Kind("work", "work", each(endless), limit_s=0.1)]) as engine:
        [job_id] = await engine.call(enqueue, [new()])
        row = await state_of(database, job_id, "retryable")
    assert row.errors[0]["code"] == "job_timeout"


async def test_results_survive_the_database_going_away(database: Database, serving: Serving) -> None:
    """Every connection is cut while a job runs: its result is written after all, once."""
    entered, go_on = trio.Event(), trio.Event()

    async def run(running: Running) -> None:
        if not entered.is_set():
            entered.set()
            await go_on.wait()
        await do_note(running)

    def cut(conn: Connection) -> None:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async with serving([Kind("work", "work", each(run))]) as engine:
        [job_id] = await engine.call(enqueue, [new(1)])
        await entered.wait()
        await database.call(cut)
        go_on.set()
        await state_of(database, job_id, "completed")
    assert await database.call(noted) == [1]


async def test_partitions_are_made_and_dropped(database: Database) -> None:
    day = dt.date(2031, 3, 1)

    def finish(conn: Connection) -> None:
        conn.execute(
            "INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, errors,"
            " created_at, scheduled_at, finished_at, tags) SELECT gen_random_uuid(), 'work', 'work', 'completed',"
            " 2, 1, 3, '{}', '[]', at, at, at, '{}' FROM (VALUES (timestamptz '2031-01-01'), ('2031-02-27')) v (at)"
        )

    def others(conn: Connection) -> list[object]:
        return [row[0].day for row in conn.execute("SELECT finished_at FROM job_history_other")]

    await database.call(finish)
    made = await database.call(job_history.make_partitions, day)
    assert made[0] == "job_history_20310301"
    assert await database.call(job_history.make_partitions, day) == []
    assert await database.call(job_history.drop_partitions, day) == []
    assert await database.call(others) == [27]
    far = day + dt.timedelta(days=30)
    assert await database.call(job_history.drop_partitions, far) == []
    await database.call(job_history.make_partitions, far - dt.timedelta(days=2))
    assert "job_history_20310301" in await database.call(job_history.drop_partitions, far)


async def test_the_history_is_kept_as_long_as_configured(database: Database) -> None:
    today = dt.datetime.now(dt.UTC).date()

    def days(conn: Connection) -> set[str]:
        return {row[0] for row in conn.execute(job_history.Q["partitions"])}

    for age_days in (2, 5):
        await database.call(partial(job_history.make_partitions, ahead_days=0), today - dt.timedelta(days=age_days))
    engine = Engine(database, [], history_days=3)
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        await nursery.start(partial(service.serve, engine, {"work": 1}, stop=stop, grace_s=1.0))
        stop.set()
    kept = await database.call(days)
    assert f"job_history_{today - dt.timedelta(days=2):%Y%m%d}" in kept
    assert f"job_history_{today - dt.timedelta(days=5):%Y%m%d}" not in kept


@pytest.mark.parametrize("attempt", [1, 2, 5, 50])
def test_backoff_doubles_within_bounds(attempt: int) -> None:
    expected = min(2.0 * 2 ** (attempt - 1), 3600.0)
    assert 0.8 * expected <= Retries().delay_s(attempt) <= 1.2 * expected
