"""The engine: wakes lanes, claims for them, writes how their jobs end.

One engine per process. Everything that enqueues goes through :meth:`Engine.call`, so that a lane
of this process starts without a look at the database.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar, TypeVarTuple

import outcome
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db import waking, workers
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs import calls, failures
from lumiliod.jobs.commits import Commits, Request, StageTotal, elapsed_ms
from lumiliod.jobs.endings import Endings, Gathered
from lumiliod.jobs.ends import Effect, Fenced, Result, Together
from lumiliod.jobs.keeper import PERIOD_S, Keeper
from lumiliod.jobs.kind import Kind
from lumiliod.jobs.lease import Lease
from lumiliod.jobs.queues import Queues
from lumiliod.jobs.running import Running

__all__ = ["Effect", "Engine", "Fenced", "Result", "Running", "StageTotal", "Together"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FAILURE_WRITE_PERIOD_S = 1.0
LEAVE_TIMEOUT_S = 10.0

TELLING_S = 90.0
"""How long other processes are told what ends here after one asked; it asks again in time."""

TELL_PERIOD_S = 0.5

CAUSES_MAX = 500
OTHER = ("other", "other")
"""More kinds and codes than that are counted as this."""

BACKLOG_MAX = 2000
"""Ends not yet written, beyond which nothing more is claimed."""


class Lane(Protocol):
    """What the engine asks of its lanes."""

    queue: str

    def wake(self, *, again: bool) -> None:
        """Look for work; ``again``: also among what is older than the last claim."""
        ...

    def drop(self, tokens: frozenset[int]) -> None:
        """Let go of attempts that were taken away: those that run are cancelled."""
        ...

    def go_on(self) -> None:
        """Look again: ends were written, or no suspect runs in this process now."""
        ...

    async def end_overdue(self) -> None:
        """Fail what ran out of its time and does not end."""
        ...


class Engine:
    """Runs the jobs of the kinds it was given; see :func:`lumiliod.jobs.worker.run_lane` for the lanes.

    Args:
        database: where the job table is.
        kinds: what this process can do; jobs of other kinds are left to others (see ``unknown_kinds``).
        lease_s: how long a worker may be silent before its jobs are given to another.
        keeper_period_s: how often the table is looked at for what no event announces.
        history_days: how long finished jobs are remembered.
    """

    def __init__(
        self,
        database: Database,
        kinds: Iterable[Kind],
        *,
        lease_s: float = 30.0,
        keeper_period_s: float = PERIOD_S,
        history_days: int = 14,
    ) -> None:
        self.database = database
        self.kinds = {kind.name: kind for kind in kinds}
        self.lost = trio.Event()
        self.queues = Queues(self.go_on)
        self.lanes: list[Lane] = []
        self.suspect_runs = False
        self._lease_s = lease_s
        self.lease = Lease(database, lease_s, self.lost.set)
        self.endings = Endings()
        self.failures: Counter[tuple[str, str]] = Counter()
        """Attempts that failed in this process, by kind and code."""
        self.commits = Commits(self._write_results, self._written, self.endings.completed)
        self.keeper = Keeper(self, keeper_period_s, lease_s, history_days)

    @property
    def totals(self) -> dict[str, StageTotal]:
        """Return the work finished in this process, by kind."""
        return self.commits.totals

    @property
    def unknown_kinds(self) -> set[str]:
        """Return the kinds of waiting jobs that no plugin here provides, as of the keeper's last round."""
        return self.keeper.unknown

    # waking

    def wake(self, queues: Iterable[str], *, again: bool = False) -> None:
        """Let the lanes of ``queues`` look for work; ``again``: also among what is older than their last claim."""
        names = frozenset(queues)
        for lane in self.lanes:
            if lane.queue in names:
                lane.wake(again=again)

    def heard(self, payload: str) -> None:
        """Act on what another process said; empty: anything may have been missed."""
        said = calls.read(payload)
        if said is None:
            self.wake([lane.queue for lane in self.lanes], again=True)
            self.keeper.look_soon()
            return
        self.wake(said.queues)
        self.wake(said.again, again=True)
        if said.settings:
            self.keeper.look_soon()
        if said.tokens:
            self.drop(said.tokens)
        if said.by is not None and said.by != self.lease.worker_id:
            if said.listens:
                self.endings.tell(TELLING_S)
            self.endings.add(said.gathered)

    async def call(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run a transaction like ``Database.call``, then wake the lanes it enqueued for."""
        woken = waking.Woken()
        try:
            return await self.database.call(self._tracked, woken, fn, *args)
        finally:
            if woken.later:
                self.keeper.soon()
            self.wake(woken.queues - woken.again)
            self.wake(woken.again, again=True)

    def _tracked(self, conn: Connection, woken: waking.Woken, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        waking.take_woken(conn)
        try:
            value = fn(conn, *args)
        finally:
            # what is rolled back has held jobs, too, and claims have passed over them
            found = waking.take_woken(conn)
            woken.queues, woken.again, woken.later = found.queues, found.again, found.later
        if self.keeper.others and (found.queues or found.again):
            waking.notify(conn, calls.written(calls.Call(queues=found.queues - found.again, again=found.again)))
        return value

    async def _write_results(self, fn: Callable[[Connection, list[Request]], None], group: list[Request]) -> None:
        await self.call(fn, group)

    # taking away

    async def told(self, *, tokens: Sequence[int] = (), settings: bool = False) -> None:
        """Make known, here and to other processes, attempts that were cancelled and settings that changed.

        Raises:
            Retryable: the database is away; this process knows all the same.
        """
        self.drop(frozenset(tokens))
        if settings:
            self.keeper.look_soon()
        if self.keeper.others:
            for part in calls.parts(calls.Call(tokens=frozenset(tokens), settings=settings)):
                await self.database.once(waking.notify, calls.written(part))

    async def listen(self) -> bool:
        """Ask the other processes, if there are any, to tell what ends there; to be asked again before long.

        Raises:
            Retryable: the database is away.
        """
        if self.keeper.others:
            await self.database.once(waking.notify, calls.written(calls.Call(listens=True, by=self.lease.worker_id)))
        return self.keeper.others

    async def tell_endings(self) -> None:
        """Tell another process what ends here while it listens, twice a second at most; a service."""
        while True:
            asked = self.endings.asked
            while self.endings.tells:
                await trio.sleep(TELL_PERIOD_S)
                if gathered := self.endings.take():
                    said = calls.Call(by=self.lease.worker_id, gathered=gathered)
                    payload = calls.written(said)
                    if len(payload.encode()) > calls.PAYLOAD_BYTES:
                        said = calls.Call(by=self.lease.worker_id, gathered=Gathered(is_whole=False))
                        payload = calls.written(said)
                    # a hint: the counts say it, too
                    with suppress(LumilioError):
                        await self.database.once(waking.notify, payload)
            await asked.wait()

    def drop(self, tokens: frozenset[int]) -> None:
        """Let go of attempts that were taken away: those that run here are cancelled."""
        if tokens:
            for lane in self.lanes:
                lane.drop(tokens)

    def suspect_ended(self) -> None:
        """Let another suspect run."""
        self.suspect_runs = False
        self.go_on()

    def go_on(self) -> None:
        """Let every lane look again at what it may do."""
        for lane in self.lanes:
            lane.go_on()

    async def end_overdue(self) -> None:
        """Fail what ran out of its time and does not end."""
        for lane in self.lanes:
            await lane.end_overdue()

    # holding

    async def register(self) -> None:
        """Begin as a new worker: a lease of its own, holding nothing.

        Raises:
            Retryable: the database is away.
        """
        self.lost = lost = trio.Event()
        loop = trio.lowlevel.current_trio_token()
        self.lease = Lease(
            self.database,
            self._lease_s,
            lambda: loop.run_sync_soon(lost.set),
            lambda tokens: loop.run_sync_soon(self.drop, tokens),
            loop,
        )
        self.suspect_runs = False
        await trio.to_thread.run_sync(self.lease.start)
        # the others notify only whom they know of
        await self.database.once(waking.notify, calls.written(calls.Call(settings=True)))

    async def leave(self) -> None:
        """Give the lease back, and with it whatever is held although its lane has ended."""
        try:
            if self.lease.registered:
                await self.call(workers.release_strays, self.lease.worker_id)
        except LumilioError as error:
            log.warning("could not give jobs back; the lease will", extra={"code": error.code})
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_TIMEOUT_S):
                await trio.to_thread.run_sync(self.lease.stop)

    async def claim_suspect(self, queue: str, kinds: Sequence[str]) -> list[ClaimedJob]:
        """Claim one job that was held by a worker that died, unless this process runs one already.

        Raises:
            Retryable: the database is away.
        """
        if self.suspect_runs:
            return []
        self.suspect_runs = True
        jobs: list[ClaimedJob] | None = []
        try:
            if self.lease.idle and not self.lease.is_sound:
                await trio.to_thread.run_sync(self.lease.ensure)
            jobs = await self.database.call(db_jobs.claim_suspect, self.lease.worker_id, queue, kinds)
        finally:
            if not jobs:
                # a lane that wanted one meanwhile was sent away
                self.suspect_ended()
        if jobs is None:
            self.lost.set()
            return []
        self.lease.hold(job.token for job in jobs)
        return jobs

    async def claim(
        self, queue: str, wanted: Mapping[str, int], floors: Mapping[str, Sequence[int]] | None = None
    ) -> list[ClaimedJob]:
        """Claim jobs for a lane, as :func:`lumiliod.db.jobs.claim` does.

        Raises:
            Retryable: the database is away.
        """
        if self.lease.idle and not self.lease.is_sound:
            await trio.to_thread.run_sync(self.lease.ensure)
        jobs = await self.database.once(db_jobs.claim, self.lease.worker_id, queue, wanted, floors)
        if jobs is None:
            self.lost.set()
            return []
        self.lease.hold(job.token for job in jobs)
        return jobs

    def _written(self, jobs: Sequence[ClaimedJob]) -> None:
        self.lease.drop(job.token for job in jobs)
        if self.commits.backlog + len(jobs) >= BACKLOG_MAX:
            self.go_on()

    # finishing

    def end(self, running: Running) -> None:
        """End a job that has neither effect nor result; it is written soon, with others."""
        running.finished = running.deferred = True
        self.commits.end(running.job, elapsed_ms(running.began_s))

    async def commit(self, running: Running, effect: Effect | None, result: Result | None) -> Result | None:
        """Queue one completion for the next group commit and wait for it."""
        request, done = self._ask(running, effect, result)
        await done.wait()
        return request.value.unwrap()

    async def finish_all(self, pairs: Sequence[tuple[Running, Effect]]) -> list[Result | LumilioError | None]:
        """End several jobs, each with its effect, in as few commits as can be; return what became of each.

        That is the effect's result, or the error the job has been failed with: nothing is left to do
        for any of them. One's error does not touch the others.
        """
        requests = [self._ask(running, effect, None) for running, effect in pairs]
        ends: list[Result | LumilioError | None] = []
        for (running, _), (request, done) in zip(pairs, requests, strict=True):
            await done.wait()
            if isinstance(request.value, outcome.Error):
                ends.append(await self._ended(running, request.value.error))
            else:
                ends.append(request.value.value)
            running.finished = True
        return ends

    async def _ended(self, running: Running, error: BaseException) -> LumilioError:
        if isinstance(error, Fenced):
            return error
        if not isinstance(error, LumilioError):
            failures.log_defect("job raised", error, kind=running.job.kind)
        if not await self.fail(running, error):
            return Fenced("this attempt was taken away")
        return error if isinstance(error, LumilioError) else Retryable("the job raised", code="internal")

    def _ask(self, running: Running, effect: Effect | None, result: Result | None) -> tuple[Request, trio.Event]:
        done = trio.Event()
        request = Request(running.job, elapsed_ms(running.began_s), effect, result, done)
        self.commits.ask(request)
        return request, done

    async def fail(self, running: Running, error: BaseException) -> bool:
        """Record a failed attempt: another one, later, or discarded. False when the job is no longer ours."""
        job = running.job
        failed = failures.described(error, job, str(self.lease.worker_id))
        troubled = False
        while True:
            try:
                ours, again = await self.call(failures.write, job, error, failed, self.kinds.get(job.kind))
                break
            except Exception as trouble:
                # the lease is renewed while this waits, so nobody else would ever end this attempt
                if not troubled:
                    failures.log_defect("a failure could not be written yet", trouble, job=str(job.id), kind=job.kind)
                troubled = True
                await trio.sleep(FAILURE_WRITE_PERIOD_S)
        if ours:
            cause = (job.kind, failed.code)
            self.failures[cause if cause in self.failures or len(self.failures) < CAUSES_MAX else OTHER] += 1
            told = {"job": str(job.id), "kind": job.kind, "code": failed.code, "retry": again}
            log.log(logging.INFO if again else logging.WARNING, "job failed", extra=told)
        if ours and not again:
            self.endings.discarded(job)
        if again:
            self.keeper.soon()
        return ours
