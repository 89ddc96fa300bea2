"""Failures: what waits for something that is away, and what is told of an error."""

import datetime as dt
import logging

import psycopg
import pytest
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError, Permanent, Refused, Unavailable
from lumiliod.domain.jobs import PUT_OFF_MAX_S, ClaimedJob, FailedAttempt
from lumiliod.jobs import failures
from lumiliod.jobs.engine import Fenced, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from tests.jobs.conftest import Serving, enqueue, state_of, until

WORK = JobSpec("work", "work", max_attempts=2)
SECRET = "47.3769,8.5417"


def at_once(conn: Connection) -> None:
    conn.execute("UPDATE jobs SET scheduled_at = now() WHERE state = 'retryable'")


async def test_what_is_away_never_costs_an_attempt(database: Database, serving: Serving) -> None:
    tries = 0

    async def run(_: Running) -> None:
        nonlocal tries
        tries += 1
        if tries <= 25:
            raise Unavailable("the disk is away", code="disk_away")

    delays: list[float] = []
    async with serving([Kind("work", "work", each(run))], keeper_period_s=0.05) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        for number in range(25):
            await until(lambda number=number: tries > number)  # type: ignore[misc]  # bound now
            row = await state_of(database, job_id, "retryable", errors=min(number + 1, 20))
            assert row.attempt == 0
            delays.append((row.scheduled_at - dt.datetime.now(dt.UTC)).total_seconds())
            await engine.call(at_once)
        row = await state_of(database, job_id, "completed")
    assert row.attempt == 1
    assert len(row.errors) == 20
    assert {error["code"] for error in row.errors} == {"disk_away"}
    assert delays[:8] == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300], abs=2)
    assert max(delays) <= PUT_OFF_MAX_S


async def test_the_delay_begins_anew_and_heeds_what_was_asked(database: Database, serving: Serving) -> None:
    script: list[Exception] = [Unavailable("away"), Unavailable("away"), ZeroDivisionError(), Unavailable("away")]
    script.append(Unavailable("away", after_s=1000.0))

    async def run(_: Running) -> None:
        raise script.pop(0)

    delays: list[float] = []
    async with serving([Kind("work", "work", each(run))], keeper_period_s=0.05) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        for failures_told in range(1, 6):
            row = await state_of(database, job_id, "retryable", errors=failures_told)
            delays.append((row.scheduled_at - dt.datetime.now(dt.UTC)).total_seconds())
            if script:
                await engine.call(at_once)
        last = await state_of(database, job_id, "retryable")
    assert last.attempt == 1
    assert [delays[0], delays[1], *delays[3:]] == pytest.approx([5, 10, 5, 1000], abs=2)


async def test_failing_what_was_taken_away_is_fenced(database: Database, serving: Serving) -> None:
    outcome: list[str] = []

    async def run(running: Running) -> None:
        await database.call(lambda conn: conn.execute("UPDATE jobs SET token = nextval('job_token')"))
        try:
            await running.fail(Permanent("no"))
        except Fenced:
            outcome.append("fenced")
        await running.fail(Permanent("ended already"))

    async with serving([Kind("work", "work", each(run))]) as engine:
        await engine.call(enqueue, [WORK.new({})])
        await until(lambda: outcome)
    assert outcome == ["fenced"]


def break_a_constraint(conn: Connection) -> None:
    conn.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), %s, 'nobody')", (SECRET,))


@pytest.mark.parametrize("where", ["effect", "handler", "group", "on_discard"])
async def test_nothing_of_a_row_is_told(
    database: Database, serving: Serving, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    async def run(running: Running) -> None:
        if where == "effect":
            await running.complete(break_a_constraint)
        elif where == "on_discard":
            raise Permanent("no")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.call, break_a_constraint)
            if where == "group":
                nursery.start_soon(database.call, break_a_constraint)

    def on_discard(conn: Connection, _job: ClaimedJob, _failed: FailedAttempt) -> None:
        break_a_constraint(conn)

    kind = Kind("work", "work", each(run), on_discard=on_discard if where == "on_discard" else None)
    async with serving([kind]) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        row = await state_of(database, job_id, "retryable", "discarded")
    formatted = [logging.Formatter().format(record) + str(record.__dict__) for record in caplog.records]
    assert row.errors
    assert formatted
    assert SECRET not in str(row.errors)
    assert not [line for line in formatted if SECRET in line]
    if where != "on_discard":
        assert "users_role_check" in str(row.errors) or row.errors[0]["code"] != "internal"


async def test_an_error_of_the_database_in_an_effect_is_ours(database: Database, serving: Serving) -> None:
    def effect(conn: Connection) -> None:
        conn.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'serialization_failure'; END $$")

    seen: list[BaseException] = []

    async def run(running: Running) -> None:
        try:
            await running.complete(effect)
        except BaseException as error:
            seen.append(error)
            raise

    async with serving([Kind("work", "work", each(run))]) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        row = await state_of(database, job_id, "retryable")
    assert isinstance(seen[0], LumilioError)
    assert row.errors[0]["code"] == "database_busy"


async def test_a_failure_is_written_when_the_database_can_again(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the way, a full disk too, neither ends the service nor loses the failure."""
    tries: list[int] = []
    real = db_jobs.fail

    def fail(*args: object) -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise Refused("the disk is full", code="no_space")
        if len(tries) == 2:
            raise psycopg.errors.InternalError_("odd")
        return real(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(db_jobs, "fail", fail)
    monkeypatch.setattr("lumiliod.jobs.engine.FAILURE_WRITE_PERIOD_S", 0.01)

    async def run(_: Running) -> None:
        raise Permanent("no", code="corrupt")

    async with serving([Kind("work", "work", each(run))]) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        row = await state_of(database, job_id, "discarded")
    assert len(tries) == 3
    assert row.errors[0]["code"] == "corrupt"


def test_only_the_gist_of_a_group_is_described() -> None:
    group = ExceptionGroup("all", [ValueError("one"), Permanent("two")])
    job = ClaimedJob(*([None] * 11))  # type: ignore[arg-type]  # nothing of it is looked at
    assert failures.described(group, job, "w").message == "one; two"


def test_a_group_means_what_can_be_tried_again() -> None:
    away, corrupt, defect = Unavailable("away"), Permanent("corrupt"), ValueError("x")
    assert failures.single(ExceptionGroup("", [corrupt, ExceptionGroup("", [away])])) is away
    assert failures.single(ExceptionGroup("", [ExceptionGroup("", [defect])])) is defect
    mixed = ExceptionGroup("", [away, defect])
    assert failures.single(mixed) is mixed
