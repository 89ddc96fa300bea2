"""What is going on, for all who watch: looked at while somebody does, told whenever it has changed."""

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import msgspec
import trio

from lumiliod.contract.events import Event
from lumiliod.contract.live import LiveJobs, LiveQueue, Trouble
from lumiliod.db import job_admin
from lumiliod.db.job_admin import RunningRow
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, NotFound, Retryable
from lumiliod.domain.jobs import JobState
from lumiliod.library import convert, tasks
from lumiliod.library.queues import Counts, by_queue
from lumiliod.runtime import Runtime

PERIOD_S = 1.0
JOB_PERIOD_S = 0.5

COUNTS_SHARE = 0.05
"""The share of the time that counting all jobs may take."""

WATCHERS_MAX = 64

ENDED = (JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED)


@dataclass(frozen=True, slots=True)
class Told:
    """What a look found: under which name it is told, and whether it is the last."""

    name: str
    content: msgspec.Struct
    last: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """What is told at one moment, encoded once for all; the event's number grows with each."""

    event: Event
    last: bool


class Watchers:
    """How many watch: each costs a connection and looks at the database."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one who watches.

        Raises:
            Retryable: there are too many.
        """
        if self.count >= WATCHERS_MAX:
            raise Retryable(f"{self.count} watch already", code="too_many_watchers", after_s=10.0)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Live:
    """One look after the other, shared by all who watch; nothing runs while nobody does.

    Who watches does three things within :meth:`watched`: run :meth:`keep` in a task of its own, take what
    is told by :meth:`after`, and go. One of the watchers looks for all, and when it goes another takes
    over. Whoever is slow misses moments, never the newest.

    Args:
        look: returns what is so; the error it raises is told as ``trouble``, unless nothing can end that.
        period_s: seconds between two looks.
        watchers: those who watch, whatever it is.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Told]], period_s: float = PERIOD_S, watchers: Watchers | None = None
    ) -> None:
        self._look = look
        self._period_s = period_s
        self._looking = trio.Lock()
        self._changed = trio.Event()
        self._told: Told | None = None
        self._moment: Moment | None = None
        self._number = 0
        self.watchers = 0
        self._watchers = watchers or Watchers()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count one who watches.

        Raises:
            Retryable: there are too many.
        """
        with self._watchers.one_more():
            self.watchers += 1
            try:
                yield
            finally:
                self.watchers -= 1
                if not self.watchers:
                    self._told = self._moment = None

    async def keep(self) -> None:
        """Look now and then, or wait until it is one's turn to; returns after the last look."""
        async with self._looking:
            while self._moment is None or not self._moment.last:
                try:
                    told = await self._look()
                except NotFound as error:
                    told = Told("trouble", Trouble(code=error.code, message=error.message), last=True)
                except LumilioError as error:
                    told = Told("trouble", Trouble(code=error.code, message=error.message))
                self._tell(told)
                await trio.sleep(self._period_s)

    async def after(self, number: int) -> Moment:
        """Return the newest moment once there is one after ``number``; 0 begins."""
        while self._moment is None or self._moment.event.number <= number:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()
        return self._moment

    def _tell(self, told: Told) -> None:
        if told != self._told:
            self._told = told
            self._number += 1
            self._moment = Moment(Event(told.name, self._number, msgspec.json.encode(told.content)), told.last)
            self._changed.set()
            self._changed = trio.Event()


def of_everything(rt: Runtime, watchers: Watchers) -> Live:
    """Watch the running jobs and the queues."""
    return Live(_Everything(rt).look, watchers=watchers)


def of_job(rt: Runtime, job_id: UUID, watchers: Watchers) -> Live:
    """Watch one job until it has ended, which is told as ``end``."""

    async def look() -> Told:
        job = await tasks.show(rt, job_id)
        ended = job.state in ENDED
        return Told("end" if ended else "job", job, ended)

    return Live(look, JOB_PERIOD_S, watchers)


class _Everything:
    """Reads what runs at every look, and counts the rest as often as its cost allows."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._counts: Counts = {}
        self._count_at_s = -math.inf

    async def look(self) -> Told:
        """Return the running jobs and the queues."""
        running, counts, cost_s = await self._rt.db.call(_read, trio.current_time() >= self._count_at_s)
        if counts is not None:
            self._counts = counts
            self._count_at_s = trio.current_time() + cost_s / COUNTS_SHARE - PERIOD_S
        queues = live_queues(self._rt, self._counts)
        return Told("jobs", LiveJobs(running=[convert.running_job(row) for row in running], queues=queues))


def live_queues(rt: Runtime, counts: Counts) -> list[LiveQueue]:
    """Return the queues that this process serves, and others that have jobs, by name."""
    states = {state.name: state for state in rt.jobs.queues.states()}
    return [
        LiveQueue(
            name=name,
            allowed=states[name].allowed if name in states else 0,
            reason=states[name].reason if name in states else None,
            counts=dict(counts.get(name, {})),
        )
        for name in sorted({*states, *counts})
    ]


def _read(conn: Connection, with_counts: bool) -> tuple[list[RunningRow], Counts | None, float]:
    running = job_admin.running(conn)
    if not with_counts:
        return running, None, 0.0
    began_s = time.monotonic()
    return running, by_queue(job_admin.counts(conn)), time.monotonic() - began_s
