"""What waits for what, who stands for whom, and what survives the way into the table."""

import dataclasses
import datetime as dt
import enum
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumiliod.db import job_admin, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Conflict, Permanent
from lumiliod.domain.ids import uuid7
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, JobFilter, JobState, NewJob, OnConflict
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from tests.jobs.conftest import Serving, enqueue, state_of

T = TypeVar("T")

WORK = JobSpec("work", "work", max_attempts=3)
HOUR = dt.timedelta(hours=1)


def new(number: int = 0, **options: Any) -> NewJob:
    return WORK.new({"number": number}, **options)


def state(conn: Connection, job: NewJob) -> str:
    return row_of(conn, job).state


def row_of(conn: Connection, job: NewJob) -> job_admin.JobRow:
    row = job_admin.show(conn, job.id)
    assert row is not None
    return row


def worker(conn: Connection) -> UUID:
    """Register a worker and return its id; nobody looks whether it lives."""
    worker_id = uuid7()
    workers.register_worker(conn, worker_id, "here", 1, 4711, 3600)
    return worker_id


def claimed(conn: Connection, count: int = 100) -> list[ClaimedJob]:
    return db_jobs.claim(conn, worker(conn), "work", {"work": count}) or []


def do(conn: Connection, *jobs: ClaimedJob) -> None:
    ends = [db_jobs.Completion(job.id, job.token, None, 1.0) for job in jobs]
    assert db_jobs.complete(conn, ends) == {job.id for job in jobs}


def names(jobs: Sequence[ClaimedJob]) -> list[int]:
    return [job.args["number"] for job in jobs]


def left_over(conn: Connection) -> tuple[int, ...]:
    """Count what only serves waiting: waits, groups, and jobs that wait."""
    row = conn.execute(
        "SELECT (SELECT count(*) FROM job_waits), (SELECT count(*) FROM job_groups),"
        " (SELECT count(*) FROM jobs WHERE waits_for > 0)"
    ).fetchone()
    assert row is not None
    return row


# one after the other


async def test_a_chain_in_one_batch_runs_in_its_order(database: Database, serving: Serving) -> None:
    order: list[int] = []

    async def run(running: Running) -> None:
        await trio.sleep(0.01)
        order.append(running.args["number"])

    chain: list[NewJob] = []
    for number in range(8):
        chain.append(new(number, after=[chain[-1].id] if chain else []))
    async with serving([Kind("work", "work", each(run))], concurrency=5) as engine:
        await engine.call(enqueue, chain)
        await state_of(database, chain[-1].id, "completed")
    assert order == list(range(8))
    assert await database.call(left_over) == (0, 0, 0)


async def test_groups_one_after_the_other_in_one_batch(database: Database, serving: Serving) -> None:
    """Ten jobs, then ten that come after all of those, then one that comes after all of these."""
    order: list[int] = []

    async def run(running: Running) -> None:
        await trio.sleep(0.001 * (running.args["number"] % 3))
        order.append(running.args["number"])

    first, second = uuid7(), uuid7()
    batch = [new(number, group_id=first) for number in range(10)]
    batch += [new(number, group_id=second, after=[first]) for number in range(10, 20)]
    batch += [new(20, after=[first, second])]
    async with serving([Kind("work", "work", each(run))], concurrency=4) as engine:
        await engine.call(enqueue, batch)
        await state_of(database, batch[-1].id, "completed")
    assert [number // 10 for number in order] == sorted(number // 10 for number in order)
    assert sorted(order) == list(range(21))
    assert await database.call(left_over) == (0, 0, 0)


def test_a_diamond_waits_for_both_sides(conn: Connection) -> None:
    top = new(0)
    left, right = new(1, after=[top.id]), new(2, after=[top.id])
    bottom = new(3, after=[left.id, right.id, top.id])
    db_jobs.enqueue(conn, [top, left, right, bottom])
    assert set(row_of(conn, bottom).waits_on) == {top.id, left.id, right.id}
    [got] = claimed(conn)
    do(conn, got)
    both = claimed(conn)
    assert names(both) == [1, 2]
    do(conn, both[1])
    assert claimed(conn) == []
    do(conn, both[0])
    assert names(claimed(conn)) == [3]
    assert left_over(conn) == (0, 0, 0)


def test_what_has_ended_or_never_was_is_not_waited_for(conn: Connection) -> None:
    db_jobs.enqueue(conn, [done := new(0)])
    do(conn, *claimed(conn))
    db_jobs.enqueue(conn, [late := new(1, after=[done.id, uuid7()])])
    assert state(conn, late) == "available"


def test_time_and_predecessors_must_both_have_come(conn: Connection) -> None:
    first = new(0)
    second = new(1, after=[first.id], scheduled_at=dt.datetime.now(dt.UTC) + HOUR)
    db_jobs.enqueue(conn, [first, second])
    due_s = db_jobs.next_due_s(conn)
    assert due_s is None
    do(conn, *claimed(conn))
    assert state(conn, second) == "scheduled"
    due_s = db_jobs.promote(conn)
    assert due_s is not None
    assert due_s > 3000
    conn.execute("UPDATE jobs SET scheduled_at = now()")
    db_jobs.promote(conn)
    assert names(claimed(conn)) == [1]


def test_a_predecessor_that_fails_and_is_retried_is_waited_for(conn: Connection) -> None:
    first = new(0)
    db_jobs.enqueue(conn, [first, second := new(1, after=[first.id])])
    [got] = claimed(conn)
    failed = FailedAttempt("odd", "it failed", "Odd", 1, dt.datetime.now(dt.UTC))
    db_jobs.fail(conn, got.id, got.token, failed, 0.0)
    assert state(conn, second) == "scheduled"
    db_jobs.promote(conn)
    do(conn, *claimed(conn))
    assert state(conn, second) == "available"


async def test_a_discarded_predecessor_is_waited_for_until_it_is_retried(database: Database, serving: Serving) -> None:
    hopeless = True

    async def run(running: Running) -> None:
        if running.args["number"] == 0 and hopeless:
            raise Permanent("cannot be", code="odd")

    group = uuid7()
    batch = [first := new(0, group_id=group), second := new(1, after=[first.id]), third := new(2, after=[group])]
    async with serving([Kind("work", "work", each(run))]) as engine:
        await engine.call(enqueue, batch)
        await state_of(database, first.id, "discarded")
        assert await database.call(state, second) == "scheduled"
        assert await database.call(state, third) == "scheduled"
        hopeless = False
        await engine.call(job_admin.retry, [first.id])
        for job in batch:
            await state_of(database, job.id, "completed")
    assert await database.call(left_over) == (0, 0, 0)


# cancelled


def test_a_cancelled_predecessor_cancels_all_that_follow(conn: Connection) -> None:
    chain = [new(0)]
    for number in range(1, 5):
        chain.append(new(number, after=[chain[-1].id]))
    free = new(9)
    db_jobs.enqueue(conn, [*chain, free])
    [running, _] = claimed(conn)
    cancelled = job_admin.cancel(conn, [chain[0].id])
    assert (cancelled.count, cancelled.tokens) == (5, [running.token])
    assert [state(conn, job) for job in chain] == ["cancelled"] * 5
    assert [error["code"] for error in row_of(conn, chain[4]).errors] == ["predecessor_cancelled"]
    assert row_of(conn, chain[0]).errors == []
    assert state(conn, free) == "running"
    assert left_over(conn) == (0, 0, 0)
    assert db_jobs.complete(conn, [db_jobs.Completion(running.id, running.token, None, 1.0)]) == set()


def test_one_cancelled_job_does_not_keep_its_group_from_ending(conn: Connection) -> None:
    group = uuid7()
    members = [new(number, group_id=group) for number in range(3)]
    db_jobs.enqueue(conn, [*members, after := new(9, after=[group])])
    job_admin.cancel(conn, [members[0].id])
    first, second = claimed(conn)
    do(conn, first)
    assert state(conn, after) == "scheduled"
    do(conn, second)
    assert state(conn, after) == "available"
    assert left_over(conn) == (0, 0, 0)


def test_nothing_comes_after_a_cancelled_job(conn: Connection) -> None:
    db_jobs.enqueue(conn, [gone := new(0)])
    job_admin.cancel(conn, [gone.id])
    conn.commit()
    with pytest.raises(Conflict) as raised:
        db_jobs.enqueue(conn, [new(1), new(2, after=[gone.id])])
    assert raised.value.code == "predecessor_cancelled"
    conn.rollback()
    assert claimed(conn) == []


def test_of_cancelled_jobs_under_one_key_the_newest_is_retried_and_no_other_is_lost(conn: Connection) -> None:
    jobs = [new(number, unique_key="k") for number in range(3)]
    for job in jobs:
        db_jobs.enqueue(conn, [job])
        job_admin.cancel(conn, [job.id])
    assert job_admin.retry(conn, [job.id for job in jobs]) == [jobs[2].id]
    assert [row.state for row in map(partial(job_admin.show, conn), [job.id for job in jobs]) if row] == [
        "cancelled",
        "cancelled",
        "available",
    ]


def test_a_cancelled_chain_that_is_retried_keeps_its_order(conn: Connection) -> None:
    first = new(0)
    db_jobs.enqueue(conn, [first, second := new(1, after=[first.id])])
    job_admin.cancel(conn, [first.id])
    assert set(job_admin.retry(conn, [first.id, second.id])) == {first.id, second.id}
    assert names(claimed(conn)) == [0]


# two at the same time


@contextmanager
def another(conninfo: str, blocked: Connection) -> Iterator[tuple[Connection, Callable[..., "Future[Any]"]]]:
    """Give a second connection, and a function that begins a call there and returns once that waits for ``blocked``."""
    with psycopg.connect(conninfo) as conn, ThreadPoolExecutor(1) as threads:

        def begin(fn: Callable[..., T], *args: Any) -> "Future[T]":
            future = threads.submit(fn, conn, *args)
            waited = threading.Event()
            query = "SELECT %s = ANY (pg_blocking_pids(%s))"
            with psycopg.connect(conninfo, autocommit=True) as watching:
                for _ in range(2000):
                    row = watching.execute(query, (blocked.info.backend_pid, conn.info.backend_pid)).fetchone()
                    if row and row[0]:
                        return future
                    if future.done():
                        break
                    waited.wait(0.005)
            future.result()
            raise AssertionError("it did not have to wait")

        yield conn, begin


def completion(jobs: Sequence[ClaimedJob]) -> list[db_jobs.Completion]:
    return [db_jobs.Completion(job.id, job.token, None, 1.0) for job in jobs]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_predecessor_that_ends_this_moment_was_waited_for(conn: Connection, conninfo: str, grouped: bool) -> None:
    """The end is under way: the follower waits for it to be committed, and then for nothing."""
    group = uuid7() if grouped else None
    db_jobs.enqueue(conn, [first := new(0, group_id=group)])
    jobs = claimed(conn)
    conn.commit()
    with another(conninfo, conn) as (second, begin):
        do(conn, *jobs)
        follower = new(1, after=[group or first.id])
        future = begin(db_jobs.enqueue, [follower])
        conn.commit()
        future.result(10)
        second.commit()
    assert state(conn, follower) == "available"
    assert left_over(conn) == (0, 0, 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_follower_that_comes_this_moment_is_released(conn: Connection, conninfo: str, grouped: bool) -> None:
    """The follower is under way: the end waits for it to be committed, and then lets it go on."""
    group = uuid7() if grouped else None
    db_jobs.enqueue(conn, [first := new(0, group_id=group)])
    jobs = claimed(conn)
    conn.commit()
    with another(conninfo, conn) as (second, begin):
        follower = new(1, after=[group or first.id])
        db_jobs.enqueue(conn, [follower])
        future = begin(db_jobs.complete, completion(jobs))
        conn.commit()
        assert future.result(10) == {first.id}
        second.commit()
    assert state(conn, follower) == "available"
    assert left_over(conn) == (0, 0, 0)


def test_a_follower_that_comes_while_its_predecessor_is_cancelled_is_refused(conn: Connection, conninfo: str) -> None:
    db_jobs.enqueue(conn, [first := new(0)])
    conn.commit()
    with another(conninfo, conn) as (second, begin):
        job_admin.cancel(conn, [first.id])
        future = begin(db_jobs.enqueue, [new(1, after=[first.id])])
        conn.commit()
        with pytest.raises(Conflict):
            future.result(10)
        second.rollback()


@pytest.mark.parametrize("grouped", [False, True])
def test_the_last_two_that_are_waited_for_end_at_the_same_moment(
    conn: Connection, conninfo: str, grouped: bool
) -> None:
    group = uuid7() if grouped else None
    members = [new(number, group_id=group) for number in range(2)]
    follower = new(9, after=[group] if group else [job.id for job in members])
    db_jobs.enqueue(conn, [*members, follower])
    one, other = claimed(conn)
    conn.commit()
    with another(conninfo, conn) as (second, begin):
        do(conn, one)
        future = begin(db_jobs.complete, completion([other]))
        conn.commit()
        assert future.result(10) == {other.id}
        second.commit()
    assert state(conn, follower) == "available"
    assert left_over(conn) == (0, 0, 0)


def test_a_group_that_ends_while_another_job_joins_it(conn: Connection, conninfo: str) -> None:
    """It ends, and begins anew with the job that came a moment too late: the follower need not wait for that."""
    group = uuid7()
    db_jobs.enqueue(conn, [new(0, group_id=group), follower := new(9, after=[group])])
    jobs = claimed(conn)
    conn.commit()
    with another(conninfo, conn) as (second, begin):
        do(conn, *jobs)
        future = begin(db_jobs.enqueue, [late := new(1, group_id=group)])
        conn.commit()
        future.result(10)
        second.commit()
    assert (state(conn, follower), state(conn, late)) == ("available", "available")
    assert conn.execute("SELECT open FROM job_groups").fetchall() == [(1,)]


@pytest.mark.parametrize("act", ["cancel", "discard"])
def test_what_waits_is_taken_away_while_its_predecessor_ends(conn: Connection, conninfo: str, act: str) -> None:
    """Whichever comes first, or if one of them has to be done again: nothing is lost and nothing waits for ever."""
    db_jobs.enqueue(conn, [first := new(0), follower := new(1, after=[first.id])])
    jobs = claimed(conn)
    conn.commit()

    def take_away(conn: Connection) -> object:
        found = job_admin.find(conn, JobFilter(ids=(follower.id,)), (JobState.SCHEDULED,))
        if act == "cancel":
            return job_admin.cancel(conn, found)
        return job_admin.discard(conn, found, "odd", "not wanted")

    with another(conninfo, conn) as (second, begin):
        take_away(conn)
        future = begin(db_jobs.complete, completion(jobs))
        conn.commit()
        assert future.result(10) == {first.id}
        second.commit()
    assert state(conn, follower) == {"cancel": "cancelled", "discard": "discarded"}[act]
    assert left_over(conn) == (0, 0, 0)


# standing for one another


@pytest.mark.parametrize("before", ["available", "scheduled", "retryable", "waiting"])
@pytest.mark.parametrize("how", [OnConflict.REPLACE, OnConflict.RESCHEDULE])
def test_an_open_job_is_changed_and_keeps_its_place(conn: Connection, before: str, how: OnConflict) -> None:
    first = new(0)
    times = {"scheduled": dt.datetime.now(dt.UTC) + HOUR}
    job = new(
        1,
        unique_key="k",
        tags=["old"],
        scheduled_at=times.get(before),
        after=[first.id] if before == "waiting" else [],
    )
    db_jobs.enqueue(conn, [first, job, follower := new(2, after=[job.id])])
    if before == "retryable":
        failed = FailedAttempt("odd", "it failed", "Odd", 1, dt.datetime.now(dt.UTC))
        for got in claimed(conn):
            db_jobs.fail(conn, got.id, got.token, failed, 3600.0)
    later = new(3, unique_key="k", on_conflict=how, priority=1, tags=["new"])
    assert list(db_jobs.enqueue(conn, [later])) == [job.id]
    row = row_of(conn, job)
    replaced = how is OnConflict.REPLACE
    assert row.state == ("scheduled" if before == "waiting" else "available")
    assert (row.args["number"], row.priority, row.tags) == ((3, 1, ["new"]) if replaced else (1, 2, ["old"]))
    assert row.attempt == (1 if before == "retryable" and not replaced else 0)
    assert job_admin.show(conn, later.id) is None
    assert row_of(conn, follower).waits_on == [job.id]
    assert state(conn, follower) == "scheduled"


@pytest.mark.parametrize("how", [OnConflict.REPLACE, OnConflict.RESCHEDULE])
async def test_one_that_runs_is_not_touched_and_followed(database: Database, serving: Serving, how: OnConflict) -> None:
    entered, go_on = trio.Event(), trio.Event()
    seen: list[int] = []

    async def run(running: Running) -> None:
        if running.args["number"] == 1:
            entered.set()
            await go_on.wait()
        seen.append(running.args["number"])

    async with serving([Kind("work", "work", each(run))]) as engine:
        await engine.call(enqueue, [first := new(1, unique_key="k")])
        await entered.wait()
        later = dt.datetime.now(dt.UTC) + HOUR
        second = new(2, unique_key="k", on_conflict=how, scheduled_at=later)
        assert await engine.call(enqueue, [second]) == [second.id]
        # it has the key now: it is the one that is changed, and left out for
        assert await engine.call(enqueue, [new(3, unique_key="k")]) == []
        sooner = new(4, unique_key="k", on_conflict=how)
        assert await engine.call(enqueue, [sooner]) == [second.id]
        await state_of(database, second.id, "completed")
        go_on.set()
        await state_of(database, first.id, "completed")
    assert seen == [4 if how is OnConflict.REPLACE else 2, 1]


def test_one_that_lost_its_key_while_it_ran_may_fail_beside_its_successor(conn: Connection) -> None:
    db_jobs.enqueue(conn, [first := new(1, unique_key="k")])
    [got] = claimed(conn)
    db_jobs.enqueue(conn, [second := new(2, unique_key="k", on_conflict=OnConflict.REPLACE)])
    failed = FailedAttempt("odd", "it failed", "Odd", 1, dt.datetime.now(dt.UTC))
    assert db_jobs.fail(conn, got.id, got.token, failed, 0.0)
    db_jobs.promote(conn)
    assert names(claimed(conn)) == [1, 2]
    assert row_of(conn, first).unique_key is None
    assert row_of(conn, second).unique_key == "k"


@pytest.mark.parametrize("how", [OnConflict.REPLACE, OnConflict.RESCHEDULE])
def test_what_replaces_a_job_that_is_claimed_this_moment_is_not_lost(
    conn: Connection, conninfo: str, how: OnConflict
) -> None:
    """The open job is being claimed: it counts as running, so the new one is enqueued behind it."""
    db_jobs.enqueue(conn, [new(1, unique_key="k")])
    worker_id = worker(conn)
    conn.commit()
    with another(conninfo, conn) as (other, begin):
        assert names(db_jobs.claim(conn, worker_id, "work", {"work": 1}) or []) == [1]
        future = begin(db_jobs.enqueue, [second := new(2, unique_key="k", on_conflict=how)])
        conn.commit()
        assert list(future.result(10)) == [second.id]
        other.commit()
    assert state(conn, second) == "available"


def test_of_two_that_come_at_the_same_moment_one_stays(conn: Connection, conninfo: str) -> None:
    with another(conninfo, conn) as (other, begin):
        db_jobs.enqueue(conn, [first := new(1, unique_key="k")])
        future = begin(db_jobs.enqueue, [new(2, unique_key="k")])
        conn.commit()
        assert future.result(10) == {}
        other.commit()
    assert [job.id for job in claimed(conn)] == [first.id]


def test_of_several_that_replace_in_one_batch_the_last_counts(conn: Connection) -> None:
    batch = [new(number, unique_key="k", on_conflict=OnConflict.REPLACE) for number in range(3)]
    assert len(db_jobs.enqueue(conn, batch)) == 1
    assert names(claimed(conn)) == [2]


# tags


def test_tags_are_found_and_outlive_the_job(conn: Connection) -> None:
    tagged = [new(number, tags=["all", f"n{number}"]) for number in range(3)]
    db_jobs.enqueue(conn, [*tagged, new(9)])
    ids = [job.id for job in tagged]
    assert job_admin.find(conn, JobFilter(tag="all"), job_admin.TABLED) == ids
    assert job_admin.find(conn, JobFilter(tag="n1"), job_admin.TABLED) == ids[1:2]
    assert job_admin.find(conn, JobFilter(tag="none"), job_admin.TABLED) == []
    do(conn, claimed(conn, 1)[0])
    assert row_of(conn, tagged[0]).tags == ["all", "n0"]
    job_admin.cancel(conn, ids[1:2])
    assert job_admin.find_cancelled(conn, JobFilter(tag="all")) == ids[1:2]
    job_admin.retry(conn, ids[1:2])
    assert row_of(conn, tagged[1]).tags == ["all", "n1"]


# into the table

ODD = [
    "a\tb",
    "a\nb\r",
    "\\",
    "\\.",
    "\\N",
    "NULL",
    "",
    '"',
    "'",
    "{}",
    "{a,b}",
    ",",
    '{"a": "b"}',
    "\x01\x7f\x85\u2028",
    "é😀",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_characters_survive_however_many_are_enqueued(conn: Connection, text: str) -> None:
    """One goes in by a statement, many by COPY."""
    spec = JobSpec(f"kind {text}", f"queue {text}")
    args = {"text": text, text: [text, {"deep": text}]}
    for count in (1, db_jobs.COPY_MIN + 1):
        jobs = [spec.new(args, tags=[text, "plain", text]) for _ in range(count)]
        assert len(db_jobs.enqueue(conn, jobs)) == count
        row = row_of(conn, jobs[-1])
        assert (row.kind, row.queue, row.args, row.tags) == (spec.kind, spec.queue, args, [text, "plain", text])
    conn.execute("DELETE FROM jobs")
    assert db_jobs.enqueue_many(conn, spec.many([args] * 3, tags=[text])) == 3
    rows = conn.execute("SELECT kind, queue, args, tags FROM jobs").fetchall()
    assert rows == [(spec.kind, spec.queue, args, [text])] * 3


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.parametrize("where", ["kind", "queue", "tag", "key"])
async def test_what_cannot_be_kept_is_refused_and_nothing_of_it_stays(
    database: Database, text: str, where: str
) -> None:
    kind, queue = text if where == "kind" else "work", text if where == "queue" else "work"
    for count in (1, db_jobs.COPY_MIN + 1):
        key = text if where == "key" else None
        jobs = [
            JobSpec(kind, queue).new({}, tags=[text] if where == "tag" else [], unique_key=key) for _ in range(count)
        ]
        with pytest.raises(Permanent) as raised:
            await database.call(enqueue, [*jobs])
        assert raised.value.code == "bad_value"
    assert await database.call(lambda conn: conn.execute("SELECT count(*) FROM jobs").fetchone()) == (0,)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\0"])
def test_arguments_lose_what_cannot_be_kept(conn: Connection, text: str) -> None:
    expected = text.replace("\0", "").replace("\ud800", "?")
    for count in (1, db_jobs.COPY_MIN + 1):
        jobs = [WORK.new({"text": text, "deep": [{text: text}]}) for _ in range(count)]
        db_jobs.enqueue(conn, jobs)
        assert row_of(conn, jobs[-1]).args == {"text": expected, "deep": [{expected: expected}]}


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int = 1


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.timedelta(seconds=1),
        b"bytes",
        {1, 2},
        Colour.RED,
        Point(),
        uuid.UUID(int=1),
        10**30,
        float("nan"),
        {None: 1},
        {True: 1},
        {1: 1},
    ],
    ids=repr,
)
def test_arguments_are_kept_alike_however_many_are_enqueued(conn: Connection, value: object) -> None:
    one, many = [WORK.new({"value": value})], [WORK.new({"value": value}) for _ in range(db_jobs.COPY_MIN + 1)]
    db_jobs.enqueue(conn, one)
    db_jobs.enqueue(conn, many)
    assert row_of(conn, one[0]).args == row_of(conn, many[0]).args


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.floats(allow_nan=False)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
KEPT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(args=st.dictionaries(st.text(), JSON, max_size=3), tags=st.lists(KEPT, max_size=3), kind=KEPT.filter(bool))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_any_arguments_and_tags_are_kept_alike(
    conn: Connection, args: Mapping[str, Any], tags: list[str], kind: str
) -> None:
    spec = JobSpec(kind, "work")
    one, many = [spec.new(args, tags=tags)], [spec.new(args, tags=tags) for _ in range(db_jobs.COPY_MIN)]
    db_jobs.enqueue(conn, one)
    db_jobs.enqueue(conn, many)
    rows = [row_of(conn, one[0]), row_of(conn, many[-1])]
    assert rows[0].args == rows[1].args
    assert [row.tags for row in rows] == [tags, tags]
    assert [row.kind for row in rows] == [kind, kind]
