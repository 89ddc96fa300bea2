"""Lanes: how much they take, and who gets the next slot."""

import contextlib
import math
import random
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Conflict, Unavailable
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import ClaimedJob, OnConflict
from lumiliod.jobs import buffer, service, worker
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from tests.jobs.conftest import Serving, enqueue, state_of, until

MANY = JobSpec("many", "work")
SINGLE = JobSpec("single", "work")


def held(conn: Connection) -> dict[str, int]:
    return dict(conn.execute("SELECT kind, count(*) FROM jobs WHERE state = 'running' GROUP BY kind").fetchall())


async def test_a_lane_holds_no_more_than_it_can_use_soon(database: Database, serving: Serving) -> None:
    go_on = trio.Event()
    running: Counter[str] = Counter()

    async def single(_: Running) -> None:
        running["single"] += 1
        await go_on.wait()

    async def many(jobs: Sequence[Running]) -> None:
        running["many"] += 1
        assert len(jobs) <= 16
        await go_on.wait()

    ids = await database.call(enqueue, [SINGLE.new({}) for _ in range(100)])
    ids += await database.call(enqueue, [MANY.new({}) for _ in range(200)])
    kinds = [Kind("single", "work", each(single)), Kind("many", "work", many, batch=16)]
    async with serving(kinds, concurrency=4):
        await until(lambda: running.total() == 4)
        await trio.sleep(0.2)
        now = await database.call(held)
        # four units run and at most eight wait
        assert now["single"] + -(-now["many"] // 16) <= 12
        # neither kind keeps the other out
        assert running == {"single": 2, "many": 2}
        go_on.set()
        for job_id in ids:
            await state_of(database, job_id, "completed")


async def test_batches_do_not_starve_single_jobs(database: Database, serving: Serving) -> None:
    """Single jobs that come after hundreds for batches need not wait for all of those."""
    order: list[str] = []

    async def single(_: Running) -> None:
        order.append("single")

    async def many(_: Sequence[Running]) -> None:
        order.append("many")

    ids = await database.call(enqueue, [MANY.new({}) for _ in range(320)])
    ids += await database.call(enqueue, [SINGLE.new({}) for _ in range(10)])
    kinds = [Kind("single", "work", each(single)), Kind("many", "work", many, batch=16)]
    async with serving(kinds, concurrency=1):
        for job_id in ids:
            await state_of(database, job_id, "completed")
    assert order.count("many") == 20
    last = max(place for place, name in enumerate(order) if name == "single")
    # one each in turn, but for batches that go on while a claim is on its way
    assert last <= 25


async def test_a_handlers_own_time_out_is_not_the_jobs(database: Database, serving: Serving) -> None:
    async def run(_: Running) -> None:
        with trio.fail_after(0.01):
            await trio.sleep_forever()

    async with serving([Kind("single", "work", each(run))]) as engine:
        [job_id] = await engine.call(enqueue, [SINGLE.new({})])
        row = await state_of(database, job_id, "retryable")
    assert row.errors[0]["code"] == "internal"


async def test_a_failure_that_was_not_written_gives_the_job_back(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while its failure waits for the database: the job is not left as running."""
    token = trio.lowlevel.current_trio_token()
    entered = trio.Event()

    def fail(*_: object) -> bool:
        token.run_sync_soon(entered.set)
        raise Unavailable("away")

    monkeypatch.setattr(db_jobs, "fail", fail)

    async def run(_: Running) -> None:
        raise ValueError("x")

    async with serving([Kind("single", "work", each(run))], grace_s=0.1) as engine:
        [job_id] = await engine.call(enqueue, [SINGLE.new({})])
        await entered.wait()
    row = await state_of(database, job_id, "available", "running")
    assert (row.state, row.attempt) == ("available", 0)


async def test_what_comes_during_a_claim_is_not_missed(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[JobId] = []
    real = Engine.claim

    async def claim(engine: Engine, *args: Any) -> list[ClaimedJob]:
        claimed = await real(engine, *args)
        if claimed and not late:
            late.extend(await engine.call(enqueue, [SINGLE.new({})]))
        return claimed

    monkeypatch.setattr(Engine, "claim", claim)

    async def nothing(_: Running) -> None:
        pass

    async with serving([Kind("single", "work", each(nothing))]) as engine:
        [job_id] = await engine.call(enqueue, [SINGLE.new({})])
        await state_of(database, job_id, "completed")
        with trio.fail_after(3):
            await state_of(database, late[0], "completed")


def rests(engine: Engine) -> bool:
    """Tell whether no lane is to look for anything before it is woken."""
    lanes = [lane for lane in engine.lanes if isinstance(lane, worker._Lane)]
    assert lanes
    return not any(lane.above or lane.below or lane.confirm or lane.confirm_at_s < math.inf for lane in lanes)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_somebody_holds_while_a_lane_looks_is_not_missed(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """Whoever asks once more for a job that waits holds it until the end of the transaction: a claim passes it over."""
    # nothing but being woken finds it, and what it looks for then is found at once, whatever looking costs
    monkeypatch.setattr(buffer, "FULL_MAX_S", math.inf)
    monkeypatch.setattr(buffer, "FULL_SHARE", math.inf)
    ran: list[object] = []
    is_held, is_passed = threading.Event(), threading.Event()

    async def run(job: Running) -> None:
        ran.append(job.args["name"])

    def hold(conn: Connection) -> None:
        db_jobs.enqueue(conn, [MANY.new({}, unique_key="once", on_conflict=OnConflict.RESCHEDULE)])
        is_held.set()
        assert is_passed.wait(60)
        if fails:
            raise Conflict("it is not to be")

    async def ask_once_more(engine: Engine) -> None:
        with pytest.raises(Conflict) if fails else contextlib.nullcontext():
            await engine.call(hold)

    await database.call(enqueue, [MANY.new({"name": "held"}, unique_key="once")])
    engine = Engine(database, [Kind("many", "work", each(run))], keeper_period_s=3600.0)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_once_more, engine)
        await trio.to_thread.run_sync(is_held.wait, 60)
        await nursery.start(partial(service.serve, engine, {"work": 2}, stop=stop, grace_s=5.0))
        await engine.call(enqueue, [MANY.new({"name": "other"})])
        await until(lambda: ran == ["other"] and rests(engine))
        is_passed.set()
        await until(lambda: ran == ["other", "held"])
        stop.set()


async def test_a_lane_looks_once_more_after_a_claim_that_was_all_there_was(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody held while everything was read, who told nobody of it, is found a little later."""
    monkeypatch.setattr(buffer, "FULL_MAX_S", math.inf)
    ran: list[object] = []
    is_held, is_passed = threading.Event(), threading.Event()

    async def run(job: Running) -> None:
        ran.append(job.args["name"])

    def hold(conn: Connection) -> None:
        conn.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [held])
        is_held.set()
        assert is_passed.wait(60)

    [held, _] = await database.call(enqueue, [MANY.new({"name": name}) for name in ("held", "other")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.call, hold)
        await trio.to_thread.run_sync(is_held.wait, 60)
        async with serving([Kind("many", "work", each(run))], keeper_period_s=3600.0):
            await until(lambda: ran == ["other"])
            is_passed.set()
            await until(lambda: ran == ["other", "held"])


@pytest.mark.parametrize("kinds", [1, 2, 7])
async def test_no_kind_is_forgotten(database: Database, serving: Serving, kinds: int) -> None:
    """Whatever the order and the sizes in which kinds run dry and come back, the lane goes on to the end."""
    done: Counter[str] = Counter()

    async def run(jobs: Sequence[Running]) -> None:
        done[jobs[0].job.kind] += len(jobs)
        if done.total() % 3 == 0:
            await trio.sleep(0.001)

    names = [f"kind{number}" for number in range(kinds)]
    rng = random.Random(kinds)
    async with serving([Kind(name, "work", run, batch=1 + 5 * (n % 3)) for n, name in enumerate(names)]) as engine:
        sent: Counter[str] = Counter()
        for _ in range(60):
            name, count = rng.choice(names), rng.choice([1, 2, 3, 30])
            sent[name] += count
            await engine.call(enqueue, [JobSpec(name, "work").new({}) for _ in range(count)])
            await trio.sleep(rng.choice([0, 0, 0.01, 0.05]))
        await until(lambda: done == sent)
        await until(lambda: engine.lease.idle)
    assert {name: engine.totals[name].completed for name in sent} == sent
