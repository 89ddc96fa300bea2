"""Group commit: one transaction for all, and one's defect is its own."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError, Permanent
from lumiliod.jobs.engine import Engine, Fenced, Running, Together
from lumiliod.jobs.kind import JobSpec, Kind
from tests.jobs.conftest import Serving, enqueue, state_of

WORK = JobSpec("work", "work", max_attempts=3)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", float("nan"), float("inf"), {"deep": ["\0"]}])
async def test_any_result_can_be_kept(database: Database, serving: Serving, bad: object) -> None:
    async def run(jobs: Sequence[Running]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                result = {"value": bad if job.args["number"] == 1 else 7}
                nursery.start_soon(partial(job.complete, result=result))

    async with serving([Kind("work", "work", run, batch=3)]) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(3)])
        rows = [await state_of(database, job_id, "completed") for job_id in ids]
    assert [row.attempt for row in rows] == [1, 1, 1]
    assert rows[0].result == {"value": 7}


async def test_a_result_that_cannot_be_kept_fails_alone(database: Database, serving: Serving) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    await check_alone(database, serving, circle)
    await check_alone(database, serving, {"n": int("9" * 4000)} | {str(n): "x" * 10 for n in range(1)}, ok=True)


async def check_alone(database: Database, serving: Serving, bad: dict[str, Any], *, ok: bool = False) -> None:
    async def run(jobs: Sequence[Running]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(end, job)

    async def end(job: Running) -> None:
        try:
            await job.complete(result=bad if job.args["number"] == 1 else {})
        except Exception:
            await job.fail(Permanent("not kept", code="not_kept"))

    async with serving([Kind("work", "work", run, batch=3)]) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(3)])
        rows = [await state_of(database, job_id, "completed", "discarded") for job_id in ids]
    assert [row.state for row in rows] == ["completed", "completed" if ok else "discarded", "completed"]


async def test_many_are_finished_at_once(database: Database, serving: Serving) -> None:
    """Each has its own outcome, and all are ended; in far fewer transactions than jobs."""
    seen: list[dict[str, Any] | LumilioError | None] = []
    transactions: set[int] = set()

    def effect(number: int, conn: Connection) -> dict[str, Any]:
        row = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        transactions.add(row[0])
        if number == 1:
            raise Permanent("odd", code="odd")
        if number == 2:
            raise ZeroDivisionError
        if number == 3:
            conn.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), '', 'user')")
        if number == 4:
            conn.execute("UPDATE jobs SET token = nextval('job_token') WHERE (args ->> 'number')::int = 4")
        return {"number": number}

    async def run(jobs: Sequence[Running]) -> None:
        engine = jobs[0]._host
        assert isinstance(engine, Engine)
        ends = await engine.finish_all([(job, partial(effect, job.args["number"])) for job in jobs])
        seen.extend(ends)
        assert all(job.finished for job in jobs)
        for job, end in zip(jobs, ends, strict=True):
            if isinstance(end, LumilioError):
                await job.fail(end)

    async with serving([Kind("work", "work", run, batch=16)], concurrency=1) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(16)])
        rows = [await state_of(database, job_id, *ENDED[number]) for number, job_id in enumerate(ids)]
    assert seen[0] == {"number": 0}
    assert [type(end) for end in seen].count(dict) == 12
    assert isinstance(seen[1], Permanent)
    assert isinstance(seen[4], Fenced)
    assert isinstance(seen[2], LumilioError)
    assert isinstance(seen[3], LumilioError)
    assert [len(row.errors) for row in rows[1:4]] == [1, 1, 1]
    assert rows[2].errors[0]["error_class"] == "ZeroDivisionError"
    assert len(transactions) == 2, "one that fails undoes them all, and they are written apart"


class Shared:
    """An effect that jobs share: which it was asked to write together, and of which that fails."""

    def __init__(self, bad: int | None = None) -> None:
        self.calls: list[list[int]] = []
        self._bad = bad

    def write(self, conn: Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
        self.calls.append(list(numbers))
        conn.execute(
            "INSERT INTO users (id, name, role) SELECT gen_random_uuid(), 'u' || n, 'user' FROM unnest(%s::int[]) n",
            (list(numbers),),
        )
        if self._bad in numbers:
            raise Permanent("odd", code="odd")
        return [{"number": number} for number in numbers]


@pytest.mark.parametrize("bad", [None, 1])
async def test_effects_of_one_kind_share_their_statements(
    database: Database, serving: Serving, bad: int | None
) -> None:
    """Whoever was taken away is not among them; where one fails, each is written by itself."""
    shared, other = Shared(bad), Shared()
    seen: list[dict[str, Any] | LumilioError | None] = []

    async def run(jobs: Sequence[Running]) -> None:
        engine = jobs[0]._host
        assert isinstance(engine, Engine)
        await database.call(take_away, 2)
        effects = [Together((shared if job.args["number"] < 4 else other).write, job.args["number"]) for job in jobs]
        seen.extend(await engine.finish_all(list(zip(jobs, effects, strict=True))))

    def take_away(conn: Connection, number: int) -> None:
        conn.execute("UPDATE jobs SET token = nextval('job_token') WHERE (args ->> 'number')::int = %s", (number,))

    async with serving([Kind("work", "work", run, batch=6)], concurrency=1) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(6)])
        ends = {1: "discarded" if bad else "completed", 2: "running"}
        for number, job_id in enumerate(ids):
            await state_of(database, job_id, ends.get(number, "completed"), "available" if number == 2 else "completed")
    assert shared.calls == ([[0, 1, 3]] if bad is None else [[0, 1, 3], [0], [1], [3]])
    assert other.calls == ([[4, 5]] if bad is None else [[4], [5]])
    assert isinstance(seen[2], Fenced)
    assert isinstance(seen[1], Permanent) == (bad is not None)
    good = [0, 3, 4, 5] if bad else [0, 1, 3, 4, 5]
    assert [seen[number] for number in good] == [{"number": number} for number in good]
    names = await database.call(lambda conn: [row[0] for row in conn.execute("SELECT name FROM users ORDER BY name")])
    assert [name for name in names if name.startswith("u")] == [f"u{number}" for number in good]


ENDED: dict[int, tuple[str, ...]] = {
    **dict.fromkeys(range(16), ("completed",)),
    1: ("discarded",),
    2: ("retryable",),
    3: ("retryable", "discarded"),
    4: ("running", "available"),
}


async def test_an_effect_that_waits_for_a_lock_waits_once_and_alone(database: Database, serving: Serving) -> None:
    tries: list[int] = []
    other = await trio.to_thread.run_sync(partial(database.connect, autocommit=True))

    def effect(number: int, conn: Connection) -> dict[str, Any]:
        tries.append(number)
        if number == 1:
            conn.execute("SET LOCAL lock_timeout = '200ms'")
            conn.execute("SELECT pg_advisory_xact_lock(4711)")
        return {"number": number}

    async def run(jobs: Sequence[Running]) -> None:
        engine = jobs[0]._host
        assert isinstance(engine, Engine)
        ends = await engine.finish_all([(job, partial(effect, job.args["number"])) for job in jobs])
        if len(jobs) == 3:
            assert tries.count(1) == 1
            held_up = next(end for job, end in zip(jobs, ends, strict=True) if job.args["number"] == 1)
            assert isinstance(held_up, LumilioError)
            assert held_up.code == "database_busy"
        for job, end in zip(jobs, ends, strict=True):
            if isinstance(end, LumilioError):
                other.execute("SELECT pg_advisory_unlock_all()")
                await job.fail(end)

    other.execute("SELECT pg_advisory_lock(4711)")
    try:
        async with serving([Kind("work", "work", run, batch=3)], concurrency=1) as engine:
            ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(3)])
            rows = [await state_of(database, job_id, "completed") for job_id in ids]
    finally:
        other.close()
    assert [row.result for row in rows] == [{"number": number} for number in range(3)]
    assert [len(row.errors) for row in rows] == [0, 1, 0]


async def test_a_group_in_which_one_fails_keeps_what_has_no_effect_in_one_statement(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[int] = []
    complete = db_jobs.complete

    def counted(conn: Connection, completions: Sequence[db_jobs.Completion]) -> set[Any]:
        statements.append(len(completions))
        return complete(conn, completions)

    def effect(_: Connection) -> None:
        raise ZeroDivisionError

    async def run(jobs: Sequence[Running]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(end, job)

    async def end(job: Running) -> None:
        if job.args["number"] == 0:
            with pytest.raises(ZeroDivisionError):
                await job.complete(effect)
            await job.fail(Permanent("odd", code="odd"))
        else:
            await job.complete(result={"number": job.args["number"]})

    monkeypatch.setattr(db_jobs, "complete", counted)
    async with serving([Kind("work", "work", run, batch=40)], concurrency=1) as engine:
        ids = await engine.call(enqueue, [WORK.new({"number": number}) for number in range(40)])
        rows = [await state_of(database, job_id, "completed", "discarded") for job_id in ids]
    assert [row.state for row in rows] == ["discarded"] + ["completed"] * 39
    assert max(statements) == 39
    assert len(statements) <= 3
