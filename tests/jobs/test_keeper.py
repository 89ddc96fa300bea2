"""The keeper: an idle engine is silent, and nothing stays held that nobody works on."""

from collections import Counter
from functools import partial
from typing import Any

import psycopg
import pytest
import trio

from lumiliod.db import job_admin, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Refused
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import DEATHS_MAX, ClaimedJob, FailedAttempt
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from lumiliod.jobs.worker import run_lane
from tests.jobs.conftest import Serving, enqueue, state_of, until

WORK = JobSpec("work", "work", max_attempts=3)

counted: Counter[str] = Counter()


class CountingCursor(psycopg.Cursor[Any]):
    """Counts what is sent."""

    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        counted[str(query).strip().splitlines()[0]] += 1
        return super().execute(query, *args, **options)


class CountingDatabase(Database):
    """A pool whose statements are counted."""

    def connect(self, *, autocommit: bool = False) -> Connection:
        conn = super().connect(autocommit=autocommit)
        conn.cursor_factory = CountingCursor
        return conn


async def nothing(_: Running) -> None:
    pass


def xids(conn: Connection) -> int:
    row = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
    assert row is not None
    return int(row[0])


async def test_an_idle_engine_reads_once_a_period_and_writes_nothing(
    conninfo: str, database: Database, serving: Serving
) -> None:
    counting = CountingDatabase(conninfo)
    kinds = [Kind(f"kind{number}", f"queue{number}", each(nothing)) for number in range(5)]
    try:
        async with serving(kinds, keeper_period_s=0.5, lease_s=0.3, database=counting) as engine:
            [job_id] = await engine.call(enqueue, [JobSpec("kind1", "queue1").new({})])
            await state_of(database, job_id, "completed")
            # each lane looks once more, a second later, before it sleeps
            await trio.sleep(2.5)
            before, after, most = 0, 1, 0.0
            for _ in range(5):  # the server's own housekeeping takes one now and then; a lane may be late to sleep
                counted.clear()
                began = trio.current_time()
                before = await database.call(xids)
                await trio.sleep(4)
                after = await database.call(xids)
                # one look a period
                most = (trio.current_time() - began) / 0.5 + 1
                if after == before and sum(counted.values()) <= most:
                    break
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await counting.close()
    assert after == before
    # and two to leave
    assert sum(counted.values()) <= most + 2, counted


async def test_an_empty_claim_takes_no_transaction_id(database: Database) -> None:
    engine = Engine(database, [Kind("work", "work", each(nothing))])

    def claim(conn: Connection) -> object:
        workers.register_worker(conn, engine.lease.worker_id, "here", 1, 4711, 60)
        conn.commit()
        assert db_jobs.claim(conn, engine.lease.worker_id, "work", {"work": 1}) == []
        row = conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        return row and row[0]

    assert await database.call(claim) is None


async def test_work_that_nobody_announced_is_found(database: Database, serving: Serving) -> None:
    async with serving([Kind("work", "work", each(nothing))], keeper_period_s=0.2):
        await trio.sleep(0.1)
        [job_id] = await database.call(enqueue, [WORK.new({})])
        await state_of(database, job_id, "completed")


async def test_what_is_held_by_mistake_is_given_back(database: Database, serving: Serving) -> None:
    """The commit of a claim succeeded, its answer was lost: the worker lives and knows nothing of the job."""
    entered = trio.Event()

    async def run(running: Running) -> None:
        if running.args.get("long"):
            entered.set()
            await trio.sleep(1.2)

    async with serving([Kind("work", "work", each(run))], keeper_period_s=0.3) as engine:
        [long] = await engine.call(enqueue, [WORK.new({"long": True})])
        await entered.wait()
        [job_id] = await database.call(enqueue, [WORK.new({})])
        claimed = await database.call(db_jobs.claim, engine.lease.worker_id, "work", {"work": 1})
        assert claimed is not None
        assert [job.id for job in claimed] == [job_id]
        row = await state_of(database, job_id, "completed")
        assert (await state_of(database, long, "completed")).attempt == 1
    assert (row.attempt, row.errors) == (1, [])


async def test_a_release_that_failed_is_made_up_for(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(_conn: Connection, _held: object) -> None:
        raise Refused("the disk is full", code="no_space")

    monkeypatch.setattr(db_jobs, "release", release)
    entered = trio.Event()

    async def endless(_: Running) -> None:
        entered.set()
        await trio.sleep_forever()

    async with serving([Kind("work", "work", each(endless))], grace_s=0.1) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        await entered.wait()
    row = await state_of(database, job_id, "available")
    assert (row.attempt, row.errors) == (0, [])


async def test_trouble_does_not_end_the_service(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real_look, real_claim = workers.look, db_jobs.claim
    troubles = Counter[str]()

    def look(*args: Any) -> workers.Look:
        troubles["look"] += 1
        if troubles["look"] in {1, 2}:
            raise Refused("the disk is full", code="no_space")
        return real_look(*args)

    def claim(*args: Any) -> list[ClaimedJob] | None:
        troubles["claim"] += 1
        if troubles["claim"] <= 2:
            raise Refused("the disk is full", code="no_space")
        return real_claim(*args)

    monkeypatch.setattr(workers, "look", look)
    monkeypatch.setattr(db_jobs, "claim", claim)
    monkeypatch.setattr("lumiliod.jobs.keeper.TROUBLE_PERIOD_S", 0.05)
    async with serving([Kind("work", "work", each(nothing))], keeper_period_s=0.2) as engine:
        [job_id] = await engine.call(enqueue, [WORK.new({})])
        await state_of(database, job_id, "completed")
    told = [record.message for record in caplog.records]
    assert told.count("the job table cannot be kept now") == 1
    assert told.count("cannot claim now") == 1


def die(conn: Connection, *, suspect: bool = False, prefetched: int = 10) -> list[JobId]:
    """Be a worker that claims everything, or one suspect, and dies; return what it held."""
    dead = uuid7()
    workers.register_worker(conn, dead, "elsewhere", 1, 4711, 3600)
    if suspect:
        jobs = db_jobs.claim_suspect(conn, dead, "work", ["work"]) or []
    else:
        jobs = db_jobs.claim(conn, dead, "work", {"work": prefetched}) or []
    conn.execute("DELETE FROM workers WHERE id = %s", (dead,))
    return [job.id for job in jobs]


def due(conn: Connection) -> None:
    conn.execute("UPDATE jobs SET state = 'available' WHERE state = 'retryable'")


async def test_a_job_that_ends_its_workers_is_discarded_and_its_neighbours_are_not(
    database: Database, serving: Serving
) -> None:
    poison, neighbour = await database.call(enqueue, [WORK.new({}), WORK.new({})])
    discarded: list[str] = []

    def on_discard(_conn: Connection, job: ClaimedJob, failed: FailedAttempt) -> None:
        discarded.append(f"{job.id} {failed.code}")

    # the first death accuses all that it held, the others prove it of one
    for number in range(DEATHS_MAX):
        assert poison in await database.call(partial(die, suspect=number > 0))
        await database.call(workers.rescue)
        row = await state_of(database, poison, "available", "retryable")
        assert row.attempt == 0
        await database.call(due)
    assert await database.call(partial(die, suspect=True)) == [poison]
    async with serving([Kind("work", "work", each(nothing), on_discard=on_discard)]):
        row = await state_of(database, poison, "discarded")
        other = await state_of(database, neighbour, "completed")
    assert row.errors[-1]["code"] == "poison"
    assert discarded == [f"{poison} poison"]
    assert other.attempt == 1


async def test_suspects_are_marked_when_they_start(database: Database, serving: Serving) -> None:
    seen: list[bool] = []

    async def run(running: Running) -> None:
        rows = await database.call(
            lambda conn: conn.execute("SELECT started FROM jobs WHERE id = %s", (running.job.id,)).fetchall()
        )
        seen.append(rows[0][0])

    suspect, _ = await database.call(enqueue, [WORK.new({}), WORK.new({}, priority=4)])
    assert await database.call(partial(die, prefetched=1)) == [suspect]
    await database.call(workers.rescue)
    async with serving([Kind("work", "work", each(run))], concurrency=1):
        await state_of(database, suspect, "completed")
        await until(lambda: len(seen) == 2)
    assert seen == [True, False]


async def test_a_suspect_holds_up_nobody(database: Database, serving: Serving) -> None:
    """While one runs, the others wait wherever they are, and all that is no suspect goes on."""
    long = JobSpec("long", "long")
    entered, go_on = trio.Event(), trio.Event()
    running: list[JobId] = []

    async def run_long(_: Running) -> None:
        entered.set()
        await go_on.wait()

    async def run(running_: Running) -> None:
        running.append(running_.job.id)

    await database.call(enqueue, [long.new({})])
    suspects = await database.call(enqueue, [WORK.new({}) for _ in range(9)])
    await database.call(lambda conn: conn.execute("UPDATE jobs SET suspect = true"))
    kinds = [Kind("long", "long", each(run_long)), Kind("work", "work", each(run)), Kind("rest", "work", each(run))]
    async with serving(kinds, concurrency=2, queues=["long"]) as first:
        await entered.wait()
        normal = await database.call(enqueue, [WORK.new({}) for _ in range(50)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(run_lane, first, "work"))
            first.queues.configure({"long": 2, "work": 2})
            await until(lambda: len(running) >= 50)
            await until(lambda: first.lease.tokens and len(first.lease.tokens) == 1)
            counted.clear()
            await trio.sleep(0.3)
            assert sorted(running) == sorted(normal)
            go_on.set()
            await until(lambda: set(suspects) <= set(running))
            nursery.cancel_scope.cancel()
    assert sorted(running) == sorted([*normal, *suspects])


def explained(conn: Connection, query: str, **params: object) -> str:
    return "\n".join(row[0] for row in conn.execute(f"EXPLAIN {query}".encode(), params))


async def test_what_is_polled_is_read_from_an_index(database: Database, conninfo: str) -> None:
    def fill(conn: Connection) -> None:
        conn.execute(
            "INSERT INTO jobs (id, kind, queue, max_attempts, state, finished_at, args)"
            " SELECT gen_random_uuid(), 'kind' || n %% 4, 'queue', 3, CASE WHEN n %% 50 = 0 THEN 'discarded' ELSE"
            " 'available' END, CASE WHEN n %% 50 = 0 THEN now() END, jsonb_build_object('filler', repeat('x', 200))"
            " FROM generate_series(1, 20000) n",
            (),
        )

    await database.call(fill)
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE jobs")
        assert "Index Only Scan using jobs_to_claim" in explained(conn, job_admin.Q["counts"])
        assert "jobs_unique_open" in explained(conn, job_admin.Q["open_of_kind"], kind="scan")
        assert "Seq Scan on jobs" not in explained(conn, workers.Q["look"], self=uuid7(), tokens=[1])
        floors: dict[str, object] = {key: [0] for key in ["urgent", "normal", "low", "idle"]}
        claim = explained(
            conn, db_jobs.Q["claim"], worker_id=uuid7(), queue="queue", kinds=["kind1"], counts=[5], **floors
        )
        assert "Seq Scan on jobs" not in claim
        assert "Tid Scan on jobs" in claim
