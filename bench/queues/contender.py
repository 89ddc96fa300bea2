"""What a job queue must be able to do to be measured. Each call runs in a process of its own."""

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.measuring.process_tree import cpu_s
from bench.queues.server import Place

WARMUP_SAMPLES = 3
SETTLE_S = 0.5
"""How long a worker that is to be idle is left alone before jobs come."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Seconds that enqueuing took: one by one, and all at once."""

    single_s: float
    bulk_s: float


@dataclass(frozen=True, slots=True)
class Drained:
    """Jobs finished within the window of a drain, its length, and the CPU that worker and server used in it."""

    jobs: int
    wall_s: float
    python_s: float
    postgres_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """A job enqueued: monotonic times before its enqueuing and after its commit."""

    number: int
    called_s: float
    committed_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """A handler's start."""

    number: int
    at_s: float


class Contender(Protocol):
    """A job queue on PostgreSQL. A job carries its number, and does nothing."""

    def install(self, place: Place) -> None:
        """Make the tables in an empty database."""
        ...

    def enqueue(self, place: Place, single: int, bulk: int) -> Enqueued:
        """Enqueue ``single`` jobs in a transaction each, then ``bulk`` jobs as fast as it can be done."""
        ...

    def drain(self, place: Place, concurrency: int, warmup: int, jobs: int) -> Drained:
        """Enqueue ``warmup + jobs`` jobs, then do them all; the window opens as the last of the warm-up begins."""
        ...

    def listen(self, place: Place, samples: int, ready: Callable[[], None]) -> list[Started]:
        """Run a worker, say when it idles, and tell when each of the jobs numbered from 0 to ``samples`` began."""
        ...

    def send(self, place: Place, gaps_s: list[float]) -> list[Sent]:
        """Enqueue one job after each of ``gaps_s``, from a process that runs no job."""
        ...


class Window:
    """The clock of a drain: handlers say that they begin, and the window opens after the warm-up."""

    def __init__(self, place: Place, warmup: int) -> None:
        self.opened_at = 0.0
        self._place = place
        self._warmup = warmup
        self._begun = 0
        self._python_s = self._postgres_s = 0.0

    def begin(self) -> None:
        """Count the start of a handler."""
        self._begun += 1
        if self._begun == self._warmup:
            self._postgres_s = cpu_s(self._place.postmaster)
            self._python_s = own_cpu_s()
            self.opened_at = time.time()

    def close(self, count: Callable[[float], tuple[int, float]]) -> Drained:
        """Close the window; ``count(since)`` asks the table how many jobs ended since then, and when the last did."""
        python_s, postgres_s = own_cpu_s() - self._python_s, cpu_s(self._place.postmaster) - self._postgres_s
        jobs, last_at = count(self.opened_at)
        return Drained(jobs, last_at - self.opened_at, python_s, postgres_s)


def own_cpu_s() -> float:
    """Return the CPU time of this process, all its threads, without its children."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
