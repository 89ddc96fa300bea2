"""A lane: one queue, its own concurrency, work prefetched so that no slot waits for the database."""

import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.domain.logged import logged
from lumiliod.jobs.buffer import Buffer, Floors, Pace, shares
from lumiliod.jobs.engine import BACKLOG_MAX, Engine, Fenced, Running
from lumiliod.jobs.failures import log_defect, single
from lumiliod.jobs.kind import Kind

log = logging.getLogger(__name__)

CLAIM_RETRY_MIN_S = 0.5
CLAIM_RETRY_MAX_S = 10.0
RELEASE_TIMEOUT_S = 5.0
CONFIRM_S = 1.0
OVERDUE_S = 30.0
"""How long a handler may take to end after its time was up; then its jobs are failed without it."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A running lane, to its owner: ``stop`` ends claiming; ``ended`` is set when its jobs are done and it is over."""

    stop: Callable[[], None]
    ended: trio.Event


async def run_lane(
    engine: Engine,
    queue: str,
    *,
    task_status: trio.TaskStatus[Drain] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the jobs of ``queue``, as many units at once as ``engine.queues`` allows, until stopped or cancelled.

    A unit is one job, or a batch of one kind. ``started`` hands out a :class:`Drain`. Jobs claimed
    but not begun are given back on stopping and while the queue is paused; cancelling also gives
    back those that run.

    Raises:
        Retryable: the lease was lost; everything of this lane was cancelled, the supervisor starts it again.
    """
    lane = _Lane(engine, queue)
    ended = trio.Event()
    engine.lanes.append(lane)
    try:
        task_status.started(Drain(lane.stop, ended))
        await lane.run()
    finally:
        engine.lanes.remove(lane)
        ended.set()


@dataclass(eq=False, slots=True)
class _Unit:
    """Jobs that run together, and the scope that ends them."""

    kind: Kind
    jobs: list[Running]
    scope: trio.CancelScope
    """Ends when their time is up; cancelled before that when one of them was taken away."""
    overdue_at_s: float
    taken: bool = False


class _Lane:
    def __init__(self, engine: Engine, queue: str) -> None:
        self.engine = engine
        self.queue = queue
        kinds = [kind for kind in engine.kinds.values() if kind.queue == queue]
        self.batches = {kind.name: kind.batch for kind in kinds}
        self.buffer = Buffer(self.batches, {kind.name: kind.together for kind in kinds if kind.together is not None})
        self.pace = Pace()
        self.floors = Floors()
        self.hot: set[str] = set()
        self.above = self.below = True
        """Whether there may be work above the floors, and below them."""
        self.suspects = True
        """Whether there may be jobs that were held by workers that died."""
        self.confirm = True
        """Whether to look once more, a little later, before sleeping: a claim passes over what is locked."""
        self.confirm_at_s = math.inf
        self.low = 0
        self.active: Counter[str] = Counter()
        self.units: set[_Unit] = set()
        self.slots = 0
        self.idle_slots = trio.lowlevel.ParkingLot()
        self.stopping = False
        self.changed = trio.Event()

    def stop(self) -> None:
        self.stopping = True
        self.changed.set()

    # what the engine asks

    def drop(self, tokens: frozenset[int]) -> None:
        dropped = self.buffer.drop(tokens)
        self.engine.lease.drop(job.token for job in dropped)
        if any(job.suspect for job in dropped):
            self.engine.suspect_ended()
        for unit in self.units:
            if any(running.job.token in tokens and not running.finished for running in unit.jobs):
                unit.taken = True
                unit.scope.cancel()
        self.changed.set()

    def wake(self, *, again: bool) -> None:
        self.above = True
        self.below = self.below or again
        self.suspects = self.suspects or again
        self.confirm = True
        self.changed.set()

    def go_on(self) -> None:
        self.changed.set()
        self.idle_slots.unpark(count=1)

    async def end_overdue(self) -> None:
        for unit in [unit for unit in self.units if trio.current_time() > unit.overdue_at_s]:
            log.error("a handler does not end", extra={"queue": self.queue, "kind": unit.kind.name})
            unit.overdue_at_s = math.inf
            await self._fail(unit.jobs, Retryable("the job does not end when its time is up", code="job_stuck"))

    # running

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_lease)
                async with trio.open_nursery() as slots:
                    await self._feed(slots)
                    await self._give_back()
                    self.idle_slots.unpark_all()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_TIMEOUT_S):
                await self._give_back()

    async def _watch_lease(self) -> None:
        await self.engine.lost.wait()
        raise Retryable("this worker was declared dead; starting over", code="lease_lost")

    async def _feed(self, slots: trio.Nursery) -> None:
        """Keep as many slots as are allowed, and work in the buffer for them."""
        retry_s = CLAIM_RETRY_MIN_S
        while not self.stopping:
            self.changed = trio.Event()
            allowed = self.engine.queues.allowed(self.queue)
            self._fit(slots, allowed)
            until_s: float | None = None
            if trio.current_time() >= self.confirm_at_s:
                self.confirm_at_s = math.inf
                self.below = True
            if allowed == 0:
                await self._give_back()
            elif (self.above or self.below or self.suspects) and self._wants_more(allowed):
                full = self.floors.is_full_due(self.below)
                if self.above or full or self._wants_suspect(allowed):
                    try:
                        got = await self._claim_suspect(allowed)
                        if self.above or full:
                            got = await self._claim(allowed, full=full) or got
                    except LumilioError as error:
                        if retry_s == CLAIM_RETRY_MIN_S:
                            log.warning("cannot claim now", extra={"queue": self.queue, "code": error.code})
                        await self._pause(retry_s)
                        retry_s = min(retry_s * 2, CLAIM_RETRY_MAX_S)
                        self.above = self.below = self.suspects = True
                        continue
                    retry_s = CLAIM_RETRY_MIN_S
                    if got:
                        continue
                if self.below:
                    until_s = max(self.floors.full_due_s - trio.current_time(), 0.0)
            if self.confirm and not (self.above or self.below):
                self.confirm = False
                self.confirm_at_s = trio.current_time() + CONFIRM_S
            if until_s is None and self.confirm_at_s < math.inf:
                until_s = max(self.confirm_at_s - trio.current_time(), 0.0)
            await self._pause(until_s)

    def _fit(self, slots: trio.Nursery, allowed: int) -> None:
        while self.slots < allowed:
            self.slots += 1
            slots.start_soon(self._slot)
        if self.slots > allowed:
            self.idle_slots.unpark(count=self.slots - allowed)

    def _wants_more(self, allowed: int) -> bool:
        if not self.batches or self.engine.commits.backlog >= BACKLOG_MAX:
            return False  # of a backlog, the committer says when it is gone
        ahead = self.pace.ahead()
        self.low = ahead // 2
        return self.buffer.units + self.active.total() - allowed <= self.low

    def _wants_suspect(self, allowed: int) -> bool:
        return self.suspects and not self.engine.suspect_runs and self.active.total() < allowed

    async def _claim_suspect(self, allowed: int) -> bool:
        if not self._wants_suspect(allowed):
            return False
        self.suspects = False
        jobs = await self.engine.claim_suspect(self.queue, list(self.batches))
        if jobs:
            self.suspects = True
            self.buffer.add(jobs)
            self.idle_slots.unpark(count=1)
        return bool(jobs)

    async def _claim(self, allowed: int, *, full: bool) -> bool:
        """Claim once, everything or above the floors; tell whether that gave something."""
        limit = allowed + self.pace.ahead()
        free = limit - self.buffer.units - self.active.total()
        wanted = shares(self.buffer.units_by_kind(), self.buffer.batches, free, limit, self.hot)
        if not wanted:
            await trio.lowlevel.checkpoint()
            return False
        began_s = trio.current_time()
        # what is announced while the claim looks may be missed by it, and sets them again
        self.above = False
        self.below = self.below and not full
        jobs = await self.engine.claim(self.queue, wanted, None if full else self.floors.lines)
        self.floors.claimed(wanted, jobs, full=full, cost_s=trio.current_time() - began_s)
        found = Counter(job.kind for job in jobs)
        self.hot = set(found)
        if any(found[kind] >= count for kind, count in wanted.items()):
            self.above = True
        elif len(wanted) < len(self.batches):
            # of the kinds left out there is work in hand: they are asked for again when it is done
            self.above = bool(jobs) or self.buffer.units > 0
        elif not full:
            # nothing is left above the floors; what came to lie below has to be looked for
            self.below = True
        if jobs:
            self.buffer.add(jobs)
            self.idle_slots.unpark(count=self.buffer.units)
        return bool(jobs)

    async def _pause(self, timeout_s: float | None) -> None:
        """Wait for a change in this lane, a wake-up or the time-out."""
        with trio.move_on_after(math.inf if timeout_s is None else timeout_s):
            await self.changed.wait()

    # units

    async def _slot(self) -> None:
        """Run one unit after the other, while there is room for this slot."""
        try:
            while not self.stopping and self.slots <= (allowed := self.engine.queues.allowed(self.queue)):
                jobs = self.buffer.next_unit(self.active, allowed - self.active.total())
                if jobs:
                    await self._run_unit(jobs)
                else:
                    await self.idle_slots.park()
        finally:
            self.slots -= 1

    async def _run_unit(self, jobs: list[ClaimedJob]) -> None:
        kind = self.engine.kinds[jobs[0].kind]
        suspect = jobs[0].suspect
        running = [Running(self.engine, job) for job in jobs]
        ends_s = trio.current_time() + kind.limit_s
        unit = _Unit(kind, running, trio.CancelScope(deadline=ends_s), ends_s + OVERDUE_S)
        self.units.add(unit)
        self.active[kind.name] += 1
        try:
            with logged(kind=kind.name, job=",".join(str(job.id) for job in jobs)):
                await self._run_jobs(unit)
        except BaseExceptionGroup as group:
            # cancelled; what was raised on the way out is told, and its jobs are given back like the others
            cancelled, rest = group.split(trio.Cancelled)
            if cancelled is None:
                raise
            if rest is not None:
                log_defect("a cancelled job raised", rest, kind=kind.name)
            raise cancelled from None
        finally:
            self.units.discard(unit)
            self.active[kind.name] -= 1
            self.pace.finished()
            # whatever happened: no attempt stays open that nobody works on
            unfinished = [one.job for one in running if not one.finished]
            if unfinished:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_TIMEOUT_S):
                    await self._release(unfinished)
            self.engine.lease.drop(one.job.token for one in running if not one.deferred)
            if suspect and not unfinished:
                self.engine.suspect_ended()
            if self.buffer.units <= self.low:
                self.changed.set()

    async def _run_jobs(self, unit: _Unit) -> None:
        try:
            with unit.scope:
                await unit.kind.run(unit.jobs)
                for running in unit.jobs:
                    if not running.finished:
                        self.engine.end(running)
            # a handler that never waits must not keep the others from their turn
            await trio.lowlevel.checkpoint()
            if unit.scope.cancelled_caught and not unit.taken:
                await self._fail(unit.jobs, Retryable("the job took longer than its limit", code="job_timeout"))
        except trio.Cancelled:
            raise
        except BaseException as error:
            # even one that means to end the process: a job is not to be believed in that
            if isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[0] is not None:
                raise
            if unit.taken:
                # it was to end; what it raised on the way says nothing of those that ran beside it
                log_defect("a job that was taken away raised", error, kind=unit.kind.name)
            else:
                await self._fail(unit.jobs, single(error))

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

    # giving back

    async def _give_back(self) -> None:
        await self._release(self.buffer.drain())

    async def _release(self, jobs: list[ClaimedJob]) -> None:
        if not jobs:
            return
        try:
            await self.engine.call(db_jobs.release, jobs)
        except LumilioError as error:
            # no longer held in memory, the keeper gives them back
            log.warning("could not give jobs back now", extra={"count": len(jobs), "code": error.code})
        finally:
            self.engine.lease.drop(job.token for job in jobs)
            if any(job.suspect for job in jobs):
                self.engine.suspect_ended()
