"""Our engine, as the daemon runs it: lease, keeper, group commit, history, LISTEN."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import trio

from bench.queues.contender import SETTLE_S, WARMUP_SAMPLES, Drained, Enqueued, Sent, Started, Window
from bench.queues.server import Place, tidy
from lumiliod.db import jobs as db_jobs
from lumiliod.db import migrate, pool, waking
from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each

KIND = "noop"
QUEUE = "bench"
SPEC = JobSpec(kind=KIND, queue=QUEUE)
POOL_SIZE = 8
"""As the daemon has it by default (config/lumiliod.toml)."""

CHUNK = 2000


def new_jobs(numbers: Iterable[int]) -> list[NewJob]:
    """Make jobs that carry their number."""
    return [SPEC.new({"n": number}) for number in numbers]


class Own:
    """Lumilio."""

    def install(self, place: Place) -> None:
        """Migrate."""
        with psycopg.connect(place.conninfo, autocommit=True) as conn:
            migrate.migrate(conn, migrate.load(migrate.folder()))

    def enqueue(self, place: Place, single: int, bulk: int) -> Enqueued:
        """One connection; ``enqueue`` with a commit for each, and with one for all."""
        with psycopg.connect(place.conninfo) as conn:
            for job in new_jobs(range(20)):
                db_jobs.enqueue(conn, [job])
                conn.commit()
            db_jobs.enqueue_many(conn, SPEC.many([{"n": number} for number in range(100)]))
            conn.commit()
            tidy(place)
            began = time.perf_counter()
            for number in range(single):
                db_jobs.enqueue(conn, [SPEC.new({"n": number})])
                conn.commit()
            single_s = time.perf_counter() - began
            tidy(place)
            began = time.perf_counter()
            db_jobs.enqueue_many(conn, SPEC.many([{"n": number} for number in range(bulk)]))
            conn.commit()
            return Enqueued(single_s, time.perf_counter() - began)

    def drain(self, place: Place, concurrency: int, warmup: int, jobs: int) -> Drained:
        """Enqueue, then serve until all that carry a number are completed."""
        fill(place, warmup + jobs)
        tidy(place)
        window = Window(place, warmup)
        trio.run(work_off, place, concurrency, warmup + jobs, window)
        return window.close(partial(_finished, place))

    def listen(self, place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
        """Serve until all have come."""
        return trio.run(_listen, place, samples, ready)

    def send(self, place: Place, gaps_s: list[float]) -> list[Sent]:
        """Enqueue through an engine that runs nothing, as another process on the same tables does."""
        return trio.run(_send, place, gaps_s)

    def listen_to_itself(self, place: Place, gaps_s: list[float]) -> tuple[list[Started], list[Sent]]:
        """Serve, and enqueue in the same process, as the daemon mostly does."""
        return trio.run(_listen_to_itself, place, gaps_s)


def fill(place: Place, count: int) -> None:
    """Enqueue ``count`` jobs, in transactions of a moderate size."""
    with psycopg.connect(place.conninfo) as conn:
        for start in range(0, count, CHUNK):
            db_jobs.enqueue(conn, new_jobs(range(start, min(start + CHUNK, count))))
            conn.commit()


async def work_off(
    place: Place, concurrency: int, count: int, window: Window, *, work: Callable[[int], Awaitable[None]] | None = None
) -> None:
    """Serve until ``count`` jobs that carry a number are done and written; ``work`` is told how many have begun."""
    ended = trio.Event()
    seen = 0

    async def handle(running: Running) -> None:
        nonlocal seen
        if "n" in running.args:
            window.begin()
            seen += 1
            if seen == count:
                ended.set()
            if work is not None:
                await work(seen)

    async with serving(place, [Kind(KIND, QUEUE, each(handle))], {QUEUE: concurrency}):
        await ended.wait()


@asynccontextmanager
async def serving(place: Place, kinds: Iterable[Kind], concurrency: dict[str, int]) -> AsyncIterator[Engine]:
    """Run an engine with everything the daemon puts around it."""
    stop = trio.Event()
    async with pool.opened(place.conninfo, pool_size=POOL_SIZE, statement_timeout_s=60.0) as database:
        engine = Engine(database, kinds)
        async with trio.open_nursery() as lanes:
            await lanes.start(partial(service.serve, engine, concurrency, stop=stop, grace_s=5.0))
            async with trio.open_nursery() as intake:
                hear = partial(listen, database, [waking.CHANNEL], lambda _, payload: engine.heard(payload))
                await intake.start(hear)
                yield engine
                intake.cancel_scope.cancel()
            stop.set()


def _finished(place: Place, since: float) -> tuple[int, float]:
    statement = """SELECT count(*), extract(epoch FROM max(finished_at))::float8 FROM job_history
                   WHERE finished_at > to_timestamp(%s) AND kind = %s AND args ? 'n'"""
    with psycopg.connect(place.conninfo) as conn:
        row = conn.execute(statement, [since, KIND]).fetchone()
    assert row is not None
    return row[0], row[1]


class _Starts:
    """The starts seen by a worker; ``ended`` once all are there."""

    def __init__(self, samples: int) -> None:
        self.seen: list[Started] = []
        self.warm = trio.Event()
        self.ended = trio.Event()
        self._samples = samples

    def kind(self) -> Kind:
        """Return the kind whose handler notes when it begins."""

        async def handle(running: Running) -> None:
            self.seen.append(Started(running.args["n"], time.monotonic()))
            if len(self.seen) == WARMUP_SAMPLES:
                self.warm.set()
            if len(self.seen) == WARMUP_SAMPLES + self._samples:
                self.ended.set()

        return Kind(KIND, QUEUE, each(handle))


async def _warm(engine: Engine, starts: _Starts) -> None:
    for number in range(WARMUP_SAMPLES):
        await engine.call(_enqueue, -1 - number)
        await trio.sleep(0.1)
    await starts.warm.wait()
    await trio.sleep(SETTLE_S)


def _enqueue(conn: Connection, number: int) -> None:
    db_jobs.enqueue(conn, new_jobs([number]))


async def _listen(place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
    starts = _Starts(samples)
    async with serving(place, [starts.kind()], {QUEUE: 10}) as engine:
        await _warm(engine, starts)
        ready()
        await starts.ended.wait()
    return starts.seen


async def _send(place: Place, gaps_s: list[float]) -> list[Sent]:
    async with serving(place, [], {}) as engine:
        return await _sent(engine, gaps_s)


async def _listen_to_itself(place: Place, gaps_s: list[float]) -> tuple[list[Started], list[Sent]]:
    starts = _Starts(len(gaps_s))
    async with serving(place, [starts.kind()], {QUEUE: 10}) as engine:
        await _warm(engine, starts)
        sent = await _sent(engine, gaps_s)
        await starts.ended.wait()
    return starts.seen, sent


async def _sent(engine: Engine, gaps_s: list[float]) -> list[Sent]:
    sent = []
    for number, gap_s in enumerate(gaps_s):
        await trio.sleep(gap_s)
        called_s = time.monotonic()
        await engine.call(_enqueue, number)
        sent.append(Sent(number, called_s, time.monotonic()))
    return sent
