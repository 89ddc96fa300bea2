"""procrastinate, with its own connector and defaults."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import procrastinate
import psycopg
from procrastinate.tasks import Task
from procrastinate.types import JSONDict

from bench.queues.contender import SETTLE_S, WARMUP_SAMPLES, Drained, Enqueued, Sent, Started, Window
from bench.queues.server import Place, tidy

CHUNK = 1000


def _app(place: Place, connections: int) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=place.conninfo, min_size=1, max_size=connections)
    return procrastinate.App(connector=connector)


class Procrastinate:
    """procrastinate."""

    def install(self, place: Place) -> None:
        """Apply its schema."""

        async def run() -> None:
            async with _app(place, 2).open_async() as app:
                await app.schema_manager.apply_schema_async()

        asyncio.run(run())

    def enqueue(self, place: Place, single: int, bulk: int) -> Enqueued:
        """One connection; ``defer_async`` for each, and ``batch_defer_async`` in chunks."""
        return asyncio.run(_enqueue(place, single, bulk))

    def drain(self, place: Place, concurrency: int, warmup: int, jobs: int) -> Drained:
        """Run a worker that ends when the queue is empty."""
        window = Window(place, warmup)
        asyncio.run(_drain(place, concurrency, warmup + jobs, window))
        return window.close(partial(_finished, place))

    def listen(self, place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
        """Run a worker until all have come."""
        return asyncio.run(_listen(place, samples, ready))

    def send(self, place: Place, gaps_s: list[float]) -> list[Sent]:
        """Defer."""
        return asyncio.run(_send(place, gaps_s))


def _noop(app: procrastinate.App, begin: Callable[[int], None] = lambda _: None) -> Task[Any, Any, Any]:
    @app.task(name="noop")
    async def noop(n: int) -> None:
        begin(n)

    return noop


async def _enqueue(place: Place, single: int, bulk: int) -> Enqueued:
    async with _app(place, 1).open_async() as app:
        noop = _noop(app)
        for number in range(20):
            await noop.defer_async(n=number)
        await noop.batch_defer_async(*_arguments(range(100)))
        await asyncio.to_thread(tidy, place)
        began = time.perf_counter()
        for number in range(single):
            await noop.defer_async(n=number)
        single_s = time.perf_counter() - began
        await asyncio.to_thread(tidy, place)
        began = time.perf_counter()
        await _fill(noop, bulk)
        return Enqueued(single_s, time.perf_counter() - began)


async def _fill(noop: Task[Any, Any, Any], count: int) -> None:
    for start in range(0, count, CHUNK):
        await noop.batch_defer_async(*_arguments(range(start, min(start + CHUNK, count))))


def _arguments(numbers: Iterable[int]) -> list[JSONDict]:
    return [{"n": number} for number in numbers]


async def _drain(place: Place, concurrency: int, count: int, window: Window) -> None:
    async with _app(place, connections(concurrency)).open_async() as app:
        await _fill(_noop(app, lambda _: window.begin()), count)
        await asyncio.to_thread(tidy, place)
        await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)


def connections(concurrency: int) -> int:
    """Return how many connections the worker gets."""
    return min(concurrency, 10) + 1


def _finished(place: Place, since: float) -> tuple[int, float]:
    statement = """SELECT count(*), extract(epoch FROM max(at))::float8 FROM procrastinate_events
                   WHERE type = 'succeeded' AND at > to_timestamp(%s)"""
    with psycopg.connect(place.conninfo) as conn:
        row = conn.execute(statement, [since]).fetchone()
    assert row is not None
    return row[0], row[1]


async def _listen(place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
    seen: list[Started] = []
    warm, ended = asyncio.Event(), asyncio.Event()

    def begin(number: int) -> None:
        seen.append(Started(number, time.monotonic()))
        if len(seen) == WARMUP_SAMPLES:
            warm.set()
        if len(seen) == WARMUP_SAMPLES + samples:
            ended.set()

    async with _app(place, connections(10)).open_async() as app:
        noop = _noop(app, begin)
        worker = asyncio.create_task(app.run_worker_async(concurrency=10, install_signal_handlers=False))
        for number in range(WARMUP_SAMPLES):
            await noop.defer_async(n=-1 - number)
            await asyncio.sleep(0.1)
        await warm.wait()
        await asyncio.sleep(SETTLE_S)
        ready()
        await ended.wait()
        worker.cancel()
        await asyncio.wait([worker])
    return seen


async def _send(place: Place, gaps_s: list[float]) -> list[Sent]:
    sent = []
    async with _app(place, 1).open_async() as app:
        noop = _noop(app)
        for number, gap_s in enumerate(gaps_s):
            await asyncio.sleep(gap_s)
            called_s = time.monotonic()
            await noop.defer_async(n=number)
            sent.append(Sent(number, called_s, time.monotonic()))
    return sent
