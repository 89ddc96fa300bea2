"""PgQueuer on asyncpg and uvloop, as its own command line runs it."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import asyncpg  # type: ignore[import-untyped]  # it has no annotations that count as such
import psycopg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from bench.queues.contender import SETTLE_S, WARMUP_SAMPLES, Drained, Enqueued, Sent, Started, Window
from bench.queues.server import Place, tidy

NOOP = "noop"


async def _connect(place: Place) -> "asyncpg.Connection":
    return await asyncpg.connect(host=place.sockets, database=place.name, user="lumilio")


class Pgqueuer:
    """PgQueuer."""

    def install(self, place: Place) -> None:
        """Make its tables, with the autovacuum settings it recommends."""

        async def run() -> None:
            connection = await _connect(place)
            queries = Queries.from_asyncpg_connection(connection)
            await queries.install()
            await queries.optimize_autovacuum()
            await connection.close()

        uvloop.run(run())

    def enqueue(self, place: Place, single: int, bulk: int) -> Enqueued:
        """One connection; ``enqueue`` for each, and with lists for all."""
        return uvloop.run(_enqueue(place, single, bulk))

    def drain(self, place: Place, concurrency: int, warmup: int, jobs: int) -> Drained:
        """Run in drain mode, with batches of the size of ``concurrency``."""
        window = Window(place, warmup)
        uvloop.run(_drain(place, concurrency, warmup + jobs, window))
        return window.close(partial(_finished, place))

    def listen(self, place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
        """Run a worker until all have come."""
        return uvloop.run(_listen(place, samples, ready))

    def send(self, place: Place, gaps_s: list[float]) -> list[Sent]:
        """Enqueue."""
        return uvloop.run(_send(place, gaps_s))


def _payload(number: int) -> bytes:
    return b'{"n":%d}' % number


async def _enqueue_one(queries: Queries, number: int) -> None:
    await queries.enqueue(NOOP, _payload(number))


async def _enqueue_all(queries: Queries, count: int) -> None:
    await queries.enqueue([NOOP] * count, [_payload(number) for number in range(count)], [0] * count)


async def _enqueue(place: Place, single: int, bulk: int) -> Enqueued:
    connection = await _connect(place)
    queries = Queries.from_asyncpg_connection(connection)
    for number in range(20):
        await _enqueue_one(queries, number)
    await _enqueue_all(queries, 100)
    await asyncio.to_thread(tidy, place)
    began = time.perf_counter()
    for number in range(single):
        await _enqueue_one(queries, number)
    single_s = time.perf_counter() - began
    await asyncio.to_thread(tidy, place)
    began = time.perf_counter()
    await _enqueue_all(queries, bulk)
    bulk_s = time.perf_counter() - began
    await connection.close()
    return Enqueued(single_s, bulk_s)


async def _drain(place: Place, concurrency: int, count: int, window: Window) -> None:
    connection = await _connect(place)
    await _enqueue_all(Queries.from_asyncpg_connection(connection), count)
    await asyncio.to_thread(tidy, place)
    worker = PgQueuer.from_asyncpg_connection(connection)

    @worker.entrypoint(NOOP)
    async def noop(_job: Job) -> None:
        window.begin()

    await worker.run(mode=QueueExecutionMode.drain, batch_size=concurrency, dequeue_timeout=timedelta(seconds=1))
    await connection.close()


def _finished(place: Place, since: float) -> tuple[int, float]:
    statement = """SELECT count(*), extract(epoch FROM max(created))::float8 FROM pgqueuer_log
                   WHERE status = 'successful' AND created > to_timestamp(%s)"""
    with psycopg.connect(place.conninfo) as conn:
        row = conn.execute(statement, [since]).fetchone()
    assert row is not None
    return row[0], row[1]


async def _listen(place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
    seen: list[Started] = []
    warm, ended = asyncio.Event(), asyncio.Event()
    connection = await _connect(place)
    worker = PgQueuer.from_asyncpg_connection(connection)

    @worker.entrypoint(NOOP)
    async def noop(job: Job) -> None:
        at_s = time.monotonic()
        seen.append(Started(int((job.payload or b"")[5:-1]), at_s))
        if len(seen) == WARMUP_SAMPLES:
            warm.set()
        if len(seen) == WARMUP_SAMPLES + samples:
            ended.set()

    running = asyncio.create_task(worker.run(batch_size=10))
    await _send(place, [0.1] * WARMUP_SAMPLES)
    await warm.wait()
    await asyncio.sleep(SETTLE_S)
    ready()
    await ended.wait()
    worker.shutdown.set()
    await asyncio.wait([running])
    await connection.close()
    return seen


async def _send(place: Place, gaps_s: list[float]) -> list[Sent]:
    sent = []
    connection = await _connect(place)
    queries = Queries.from_asyncpg_connection(connection)
    for number, gap_s in enumerate(gaps_s):
        await asyncio.sleep(gap_s)
        called_s = time.monotonic()
        await _enqueue_one(queries, number)
        sent.append(Sent(number, called_s, time.monotonic()))
    await connection.close()
    return sent
