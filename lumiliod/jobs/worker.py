"""A lane: one queue, its own concurrency, work prefetched so that no slot waits for the database."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.engine import Engine, Fenced, Running, Share
from lumiliod.jobs.failures import log_defect, single
from lumiliod.jobs.kind import Kind

log = logging.getLogger(__name__)

CLAIM_RETRY_MIN_S = 0.5
CLAIM_RETRY_MAX_S = 10.0
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
        self.prefetch = 2 * concurrency
        self.buffer = _Buffer({kind.name: kind.batch for kind in engine.kinds.values()})
        self.active: Counter[str] = Counter()
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
                await self._release(self.buffer.drain())

    async def _watch_lease(self) -> None:
        await self.engine.lost.wait()
        raise Retryable("this worker was declared dead; starting over", code="lease_lost")

    async def _feed(self, units: trio.Nursery) -> None:
        dry = False
        retry_s = CLAIM_RETRY_MIN_S
        while not self.stopping:
            self.changed = trio.Event()
            while self.buffer.units and self.active.total() < self.concurrency:
                self._start_unit(units)
            woken = self.engine.lane_event(self.queue)
            if not dry and self.buffer.units < self.prefetch // 2 + 1:
                try:
                    got, more = await self.engine.claim(self.queue, self.buffer.sharing(self.prefetch))
                except LumilioError as error:
                    if retry_s == CLAIM_RETRY_MIN_S:
                        log.warning("cannot claim now", extra={"queue": self.queue, "code": error.code})
                    await self._pause(woken, retry_s)
                    retry_s = min(retry_s * 2, CLAIM_RETRY_MAX_S)
                    continue
                retry_s = CLAIM_RETRY_MIN_S
                self.buffer.add(got)
                # what was announced since the claim looked may have been missed by it
                dry = not more and not woken.is_set()
                if got:
                    continue
            if await self._pause(woken, None):
                dry = False

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
        jobs = self.buffer.next_unit(self.active)
        kind = self.engine.kinds[jobs[0].kind]
        self.active[kind.name] += 1
        units.start_soon(self._run_unit, kind, [Running(self.engine, job) for job in jobs])

    async def _run_unit(self, kind: Kind, jobs: list[Running]) -> None:
        try:
            await self._run_jobs(kind, jobs)
        except BaseExceptionGroup as group:
            # cancelled; what was raised on the way out is told, and its jobs are given back like the others
            cancelled, rest = group.split(trio.Cancelled)
            if cancelled is None or not isinstance(rest, ExceptionGroup | None):
                raise
            if rest is not None:
                log_defect("a cancelled job raised", rest, kind=kind.name)
            raise cancelled from None
        finally:
            # whatever happened: no attempt stays open that nobody works on
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_TIMEOUT_S):
                await self._release([running.job for running in jobs if not running.finished])
            self.engine.lease.drop(running.job.token for running in jobs)
            self.active[kind.name] -= 1
            self.changed.set()

    async def _run_jobs(self, kind: Kind, jobs: list[Running]) -> None:
        for running in jobs:
            running.begin()
        try:
            suspects = [running.job for running in jobs if running.job.suspect]
            if suspects:
                await self.engine.database.call(db_jobs.mark_started, suspects)
            with trio.move_on_after(kind.limit_s) as limit:
                await kind.run(jobs)
                for running in jobs:
                    if not running.finished:
                        await running.complete()
            if limit.cancelled_caught:
                await self._fail(jobs, Retryable("the job took longer than its limit", code="job_timeout"))
        except Exception as error:
            await self._fail(jobs, single(error))

    async def _fail(self, jobs: list[Running], error: BaseException) -> None:
        if isinstance(error, Fenced):
            log.warning("a result was refused: the job was taken away", extra={"queue": self.queue})
            return
        if not isinstance(error, LumilioError):
            log_defect("job raised", error, kind=jobs[0].job.kind)
        for running in jobs:
            if not running.finished:
                await self.engine.fail(running, error)
                running.finished = True

    async def _release(self, jobs: list[ClaimedJob]) -> None:
        try:
            if jobs:
                await self.engine.database.call(db_jobs.release, jobs)
        except LumilioError as error:
            # no longer held in memory, the keeper gives them back
            log.warning("could not give jobs back now", extra={"count": len(jobs), "code": error.code})
        finally:
            self.engine.lease.drop(job.token for job in jobs)


class _Buffer:
    """Claimed jobs that wait for a slot, by kind; counted in units, as slots are."""

    def __init__(self, batches: Mapping[str, int]) -> None:
        self._batches = batches
        self._jobs: dict[str, deque[ClaimedJob]] = {}
        self._turns: Counter[str] = Counter()
        self._turn = 0

    @property
    def units(self) -> int:
        """Return how many units the buffered jobs make."""
        return sum(self._units().values())

    def _units(self) -> dict[str, int]:
        return {kind: -(-len(jobs) // self._batches[kind]) for kind, jobs in self._jobs.items()}

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        """Put jobs in their kind's line: the most urgent first, then the oldest."""
        for kind in {job.kind for job in jobs}:
            line = [*self._jobs.get(kind, ()), *(job for job in jobs if job.kind == kind)]
            self._jobs[kind] = deque(sorted(line, key=_order))

    def next_unit(self, active: Mapping[str, int]) -> list[ClaimedJob]:
        """Take a unit of the most urgent kind; among equals the one that has the fewest slots, then that waited most.

        So a kind that fills batches does not keep another from its share of the slots.
        """
        kind = min(
            (kind for kind, jobs in self._jobs.items() if jobs),
            key=lambda kind: (
                self._jobs[kind][0].priority,
                active.get(kind, 0),
                self._turns[kind],
                self._jobs[kind][0].seq,
            ),
        )
        self._turn += 1
        self._turns[kind] = self._turn
        line = self._jobs[kind]
        return [line.popleft() for _ in range(min(len(line), self._batches[kind]))]

    def drain(self) -> list[ClaimedJob]:
        """Take everything."""
        jobs = [job for line in self._jobs.values() for job in line]
        self._jobs.clear()
        return jobs

    def sharing(self, limit: int) -> Share:
        """Return what fills this buffer up to ``limit`` units, kinds that have work sharing it evenly."""
        return partial(_shares, self._units(), self._batches, limit)


def _shares(buffered: Mapping[str, int], batches: Mapping[str, int], limit: int, waiting: list[str]) -> dict[str, int]:
    free = limit - sum(buffered.values())
    each = max(1, limit // len(waiting))
    wanted: dict[str, int] = {}
    for kind in sorted(waiting, key=lambda kind: buffered.get(kind, 0)):
        units = min(each - buffered.get(kind, 0), free)
        if units > 0:
            free -= units
            wanted[kind] = units * batches[kind]
    return wanted


def _order(job: ClaimedJob) -> tuple[int, int]:
    return job.priority, job.seq
