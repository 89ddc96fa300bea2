"""How long a claim of our engine takes while it works through a table full of dead rows."""

import statistics
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import trio

from bench.queues.contender import Window, quantile
from bench.queues.own import fill, work_off
from bench.queues.server import Place, tidy
from lumiliod.db import jobs as db_jobs
from lumiliod.jobs.engine import Engine

BEYOND = 3000
"""Jobs that still wait when the last claim is looked at."""

SETTLED = 2000
"""Slow jobs that begin before claims are looked at: a lane has claimed ahead what it did fast before."""

WORK_S = 0.02
"""How long a job takes while claims are looked at: a lane claims but what it does in a short while."""


def claims(place: Place, dead: int, measured: int, concurrency: int) -> dict[str, float]:
    """Drain ``dead`` jobs, then slower ones; tell of the claims made during the last ``measured`` of those, in ms.

    ``lane`` is what the lane waits for, ``statement`` the call that claims, both with their round
    trips, each with its median and p95; ``jobs`` is how many one got.
    """
    looked_from = dead + SETTLED
    fill(place, looked_from + measured + BEYOND)
    tidy(place)
    watch = _Watch()
    watch.statements()
    watch.lane()
    trio.run(_drain, place, concurrency, dead, looked_from + measured, watch)
    lane, statement = ([s for begun, s, _ in seen if begun > looked_from] for seen in (watch.lanes, watch.statement))
    return {
        "lane_ms": statistics.median(lane) * 1000,
        "lane_p95_ms": quantile(lane, 0.95) * 1000,
        "statement_ms": statistics.median(statement) * 1000,
        "statement_p95_ms": quantile(statement, 0.95) * 1000,
        "claims": len(statement),
        "jobs": statistics.median(size for begun, _, size in watch.statement if begun > looked_from),
    }


class _Watch:
    """Durations of claims, each with the number of jobs begun before, and how many it got."""

    def __init__(self) -> None:
        self.begun = 0
        self.lanes: list[tuple[int, float, int]] = []
        self.statement: list[tuple[int, float, int]] = []

    def statements(self) -> None:
        """Watch the function of the database layer."""
        original: Callable[..., Any] = db_jobs.claim

        @wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            claimed = original(*args, **kwargs)
            if claimed:
                self.statement.append((self.begun, time.perf_counter() - began, len(claimed)))
            return claimed

        setattr(db_jobs, "claim", timed)  # noqa: B010  # both type checkers refuse the plain assignment

    def lane(self) -> None:
        """Watch what a lane calls."""
        original: Callable[..., Any] = Engine.claim

        @wraps(original)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            claimed = await original(*args, **kwargs)
            if claimed:
                self.lanes.append((self.begun, time.perf_counter() - began, len(claimed)))
            return claimed

        setattr(Engine, "claim", timed)  # noqa: B010


async def _drain(place: Place, concurrency: int, dead: int, count: int, watch: _Watch) -> None:
    async def work(number: int) -> None:
        watch.begun = number
        if number > dead:
            await trio.sleep(WORK_S)

    await work_off(place, concurrency, count, Window(place, 1), work=work)
