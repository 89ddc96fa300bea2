"""A lane: one queue, its own concurrency, work prefetched so that no slot waits for the database."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.engine import Engine, Fenced, Running, unknown_kind
from lumiliod.jobs.kind import Kind

log = logging.getLogger(__name__)

POLL_MIN_S = 0.5
POLL_MAX_S = 30.0
RELEASE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Drain:
    """A running lane, to its owner: ``stop`` ends claiming; the lane returns when its jobs are done."""

    stop: Callable[[], None]


async def run_lane(
    engine: Engine,
    queue: str,
    concurrency: int,
    *,
    task_status: trio.TaskStatus[Drain] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the jobs of ``queue``, ``concurrency`` units at once, until told to stop or cancelled.

    A unit is one job, or a batch of one kind. ``started`` hands out a :class:`Drain`. Jobs claimed
    but not begun are given back on stopping; cancelling also gives back those that run.

    Raises:
        Retryable: the lease was lost; everything of this lane was cancelled, the supervisor starts it again.
    """
    lane = _Lane(engine, queue, concurrency)
    task_status.started(Drain(lane.stop))
    await lane.run()


class _Lane:
    def __init__(self, engine: Engine, queue: str, concurrency: int) -> None:
        self.engine = engine
        self.queue = queue
        self.concurrency = concurrency
        kinds = [kind for kind in engine.kinds.values() if kind.queue == queue]
        self.batch = max((kind.batch for kind in kinds), default=1)
        self.prefetch = 2 * concurrency * self.batch
        self.buffer: deque[ClaimedJob] = deque()
        self.active = 0
        self.stopping = False
        self.changed = trio.Event()

    def stop(self) -> None:
        self.stopping = True
        self.changed.set()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_lease)
                async with trio.open_nursery() as units:
                    await self._feed(units)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_TIMEOUT_S):
                await self._release(list(self.buffer))
            self.buffer.clear()

    async def _watch_lease(self) -> None:
        await self.engine.lost.wait()
        raise Retryable("this worker was declared dead; starting over", code="lease_lost")

    async def _feed(self, units: trio.Nursery) -> None:
        poll_s = POLL_MIN_S
        dry = False
        while not self.stopping:
            self.changed = trio.Event()
            while self.buffer and self.active < self.concurrency:
                self._start_unit(units)
            woken = self.engine.lane_event(self.queue)
            if not dry and len(self.buffer) < self.prefetch // 2 + 1:
                wanted = self.prefetch - len(self.buffer)
                try:
                    got = await self.engine.claim(self.queue, wanted)
                except Retryable:
                    await self._pause(woken, POLL_MIN_S)
                    continue
                self.buffer.extend(got)
                dry = len(got) < wanted
                if got:
                    poll_s = POLL_MIN_S
                    continue
            if await self._pause(woken, poll_s if dry else None):
                poll_s, dry = POLL_MIN_S, False
            elif dry and self.active == 0 and not self.buffer:
                poll_s, dry = min(poll_s * 2, POLL_MAX_S), False

    async def _pause(self, woken: trio.Event, timeout_s: float | None) -> bool:
        """Wait for a change in this lane, a wake-up (then True) or the time-out."""
        async with trio.open_nursery() as nursery:

            async def first(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            if timeout_s is not None:
                nursery.cancel_scope.deadline = trio.current_time() + timeout_s
            nursery.start_soon(first, woken)
            nursery.start_soon(first, self.changed)
        return woken.is_set()

    def _start_unit(self, units: trio.Nursery) -> None:
        job = self.buffer.popleft()
        kind = self.engine.kinds.get(job.kind)
        jobs = [job]
        if kind is not None and kind.batch > 1:
            same = [other for other in self.buffer if other.kind == job.kind][: kind.batch - 1]
            taken = {other.id for other in same}
            self.buffer = deque(other for other in self.buffer if other.id not in taken)
            jobs += same
        self.active += 1
        units.start_soon(self._run_unit, kind, [Running(self.engine, job) for job in jobs])

    async def _run_unit(self, kind: Kind | None, jobs: list[Running]) -> None:
        for running in jobs:
            running.begin()
        released = False
        try:
            if kind is None:
                for running in jobs:
                    await running.fail(unknown_kind(running.job))
                return
            try:
                with trio.fail_after(kind.limit_s):
                    await kind.run(jobs)
                for running in jobs:
                    if not running.finished:
                        await running.complete()
            except trio.TooSlowError:
                await self._fail(jobs, Retryable("the job took longer than its limit", code="job_timeout"))
            except Exception as error:
                await self._fail(jobs, _single(error))
        except trio.Cancelled:
            released = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_TIMEOUT_S):
                await self._release([running.job for running in jobs if not running.finished], held=len(jobs))
            raise
        finally:
            if not released:
                self.engine.hold(-len(jobs))
            self.active -= 1
            self.changed.set()

    async def _fail(self, jobs: list[Running], error: BaseException) -> None:
        if isinstance(error, Fenced):
            log.warning("a result was refused: the job was taken away", extra={"queue": self.queue})
            await self._release([running.job for running in jobs if not running.finished], held=0)
            return
        if not isinstance(error, LumilioError):
            log.error("job raised", exc_info=error, extra={"kind": jobs[0].job.kind})
        for running in jobs:
            if not running.finished:
                await self.engine.fail(running, error)
                running.finished = True

    async def _release(self, jobs: list[ClaimedJob], held: int | None = None) -> None:
        try:
            if jobs:
                await self.engine.database.call(db_jobs.release, jobs)
        except LumilioError:
            log.warning("could not give jobs back; the lease will", extra={"count": len(jobs)})
        finally:
            self.engine.hold(-(len(jobs) if held is None else held))


def _single(error: Exception) -> BaseException:
    """Unwrap exception groups of one, as nurseries make them."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = cast("BaseException", found.exceptions[0])
    return found
