"""The engine: wakes lanes, claims for them, writes how their jobs end.

One engine per process. Everything that enqueues goes through :meth:`Engine.call`, so that a lane
of this process starts without a look at the database.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs import failures
from lumiliod.jobs.commits import Commits, Effect, Fenced, Request, Result, StageTotal
from lumiliod.jobs.keeper import PERIOD_S, Keeper
from lumiliod.jobs.kind import Kind
from lumiliod.jobs.lease import Lease

__all__ = ["Effect", "Engine", "Fenced", "Result", "Running", "Share", "StageTotal"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Share = Callable[[list[str]], Mapping[str, int]]
"""Given the kinds that have work: how many jobs of each to take."""

FAILURE_WRITE_PERIOD_S = 1.0
PROGRESS_PERIOD_S = 1.0
LEAVE_TIMEOUT_S = 10.0


class Running:
    """One job in the hands of its handler."""

    def __init__(self, engine: "Engine", job: ClaimedJob) -> None:
        self.job = job
        self.finished = False
        self.began_s = time.monotonic()
        self._engine = engine
        self._reported = 0.0

    @property
    def args(self) -> Mapping[str, Any]:
        """Return the job's arguments."""
        return self.job.args

    def begin(self) -> None:
        """Start the clock of this attempt."""
        self.began_s = time.monotonic()

    async def complete(self, effect: Effect | None = None, *, result: Result | None = None) -> Result | None:
        """Commit ``effect`` and the end of this job in one transaction; return the effect's result.

        What ``effect(connection)`` returns is kept as the job's result. When it raises, nothing is
        committed and the error is raised here. Several jobs at once: :meth:`Engine.finish_all`.

        Raises:
            Fenced: the job was taken away from this worker meanwhile.
        """
        value = await self._engine.commit(self, effect, result)
        self.finished = True
        return value

    async def fail(self, error: LumilioError) -> None:
        """End this attempt with ``error``: retried or discarded as its class says. Does nothing when it has ended.

        Raises:
            Fenced: the job was taken away from this worker meanwhile.
        """
        if self.finished:
            return
        ours = await self._engine.fail(self, error)
        self.finished = True
        if not ours:
            raise Fenced("this attempt was taken away")

    async def progress(self, done: int, total: int | None = None, unit: str = "", text: str = "") -> None:
        """Report how far this job is; written at most once a second."""
        now = time.monotonic()
        if now - self._reported >= PROGRESS_PERIOD_S:
            self._reported = now
            seen = {"done": done, "total": total, "unit": unit, "text": text}
            await self._engine.database.call(db_jobs.set_progress, self.job.id, self.job.token, seen)


class Engine:
    """Runs the jobs of the kinds it was given; see :func:`lumiliod.jobs.worker.run_lane` for the lanes.

    Args:
        database: where the job table is.
        kinds: what this process can do; jobs of other kinds are left to others (see ``unknown_kinds``).
        lease_s: how long a worker may be silent before its jobs are given to another.
        keeper_period_s: how often the table is looked at for what no event announces.
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
        self._lease_s = lease_s
        self.lease = Lease(database, lease_s, self.lost.set)
        self._lanes: dict[str, trio.Event] = {}
        self.commits = Commits(self._write_results)
        self.keeper = Keeper(database, self.kinds, self.wake, keeper_period_s, history_days)

    @property
    def totals(self) -> dict[str, StageTotal]:
        """Return the work finished in this process, by kind."""
        return self.commits.totals

    @property
    def unknown_kinds(self) -> set[str]:
        """Return the kinds of waiting jobs that no plugin here provides, as of the keeper's last round."""
        return self.keeper.unknown

    # waking

    def lane_event(self, queue: str) -> trio.Event:
        """Return the event that is set when ``queue`` may have work; replaced after each setting."""
        return self._lanes.setdefault(queue, trio.Event())

    def wake(self, queues: Iterable[str]) -> None:
        """Let the lanes of ``queues`` look for work."""
        for queue in queues:
            self._lanes.setdefault(queue, trio.Event()).set()
            self._lanes[queue] = trio.Event()

    def wake_all(self) -> None:
        """Let every lane look for work."""
        self.wake(list(self._lanes))

    async def call(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run a transaction like ``Database.call``, then wake the lanes it enqueued for."""
        queues: set[str] = set()
        value = await self.database.call(self._tracked, queues, fn, *args)
        if db_jobs.LATER in queues:
            self.keeper.soon()
        self.wake(queues - {db_jobs.LATER})
        return value

    def _tracked(self, conn: Connection, queues: set[str], fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        db_jobs.take_woken(conn)
        value = fn(conn, *args)
        queues |= db_jobs.take_woken(conn)
        if self.keeper.others:
            db_jobs.notify(conn, queues - {db_jobs.LATER})
        return value

    async def _write_results(self, fn: Callable[[Connection, list[Request]], None], group: list[Request]) -> None:
        await self.call(fn, group)

    # holding

    async def register(self) -> None:
        """Begin as a new worker: a lease of its own, holding nothing.

        Raises:
            Retryable: the database is away.
        """
        self.lost = lost = trio.Event()
        token = trio.lowlevel.current_trio_token()
        self.lease = Lease(self.database, self._lease_s, lambda: token.run_sync_soon(lost.set))
        await trio.to_thread.run_sync(self.lease.start)

    async def leave(self) -> None:
        """Give the lease back, and with it whatever is held although its lane has ended."""
        try:
            if self.lease.registered:
                await self.database.call(db_jobs.release_strays, self.lease.worker_id, [], 0.0)
        except LumilioError as error:
            log.warning("could not give jobs back; the lease will", extra={"code": error.code})
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_TIMEOUT_S):
                await trio.to_thread.run_sync(self.lease.stop)

    async def claim(self, queue: str, share: Share) -> tuple[list[ClaimedJob], bool]:
        """Claim jobs for a lane; tell also whether there may be more.

        Raises:
            Retryable: the database is away.
        """
        idle = self.lease.idle
        if idle:
            await trio.to_thread.run_sync(self.lease.ensure)
        claimed = await self.database.call(self._claim, queue, share, idle)
        if claimed is None:
            self.lost.set()
            return [], False
        self.lease.hold(job.token for job in claimed[0])
        return claimed

    def _claim(self, conn: Connection, queue: str, share: Share, idle: bool) -> tuple[list[ClaimedJob], bool] | None:
        waiting = db_jobs.waiting_kinds(conn, queue, list(self.kinds))
        wanted = share(waiting) if waiting else {}
        if not wanted:
            return [], False
        jobs = db_jobs.claim(conn, self.lease.worker_id, queue, wanted)
        # after idling the row may have expired: renewing it belongs to the claim, and only when something was claimed
        if jobs is None or (jobs and idle and not self.lease.renew(conn)):
            return None
        found = dict.fromkeys(waiting, 0)
        for job in jobs:
            found[job.kind] += 1
        return jobs, any(found[kind] >= wanted.get(kind, 0) for kind in waiting)

    # finishing

    async def commit(self, running: Running, effect: Effect | None, result: Result | None) -> Result | None:
        """Queue one completion for the next group commit and wait for it."""
        request = self._ask(running, effect, result)
        await request.done.wait()
        return request.value.unwrap()

    async def finish_all(self, pairs: Sequence[tuple[Running, Effect]]) -> list[Result | LumilioError | None]:
        """End several jobs, each with its effect, in as few commits as can be; return what became of each.

        That is the effect's result, or the error the job has been failed with: nothing is left to do
        for any of them. One's error does not touch the others.
        """
        requests = [self._ask(running, effect, None) for running, effect in pairs]
        ends: list[Result | LumilioError | None] = []
        for (running, _), request in zip(pairs, requests, strict=True):
            await request.done.wait()
            try:
                ends.append(request.value.unwrap())
            except Exception as error:
                ends.append(await self._ended(running, error))
            running.finished = True
        return ends

    async def _ended(self, running: Running, error: Exception) -> LumilioError:
        if isinstance(error, Fenced):
            return error
        if not isinstance(error, LumilioError):
            failures.log_defect("job raised", error, kind=running.job.kind)
        if not await self.fail(running, error):
            return Fenced("this attempt was taken away")
        return error if isinstance(error, LumilioError) else Retryable("the job raised", code="internal")

    def _ask(self, running: Running, effect: Effect | None, result: Result | None) -> Request:
        request = Request(running.job, running.began_s, effect, result)
        self.commits.ask(request)
        return request

    async def fail(self, running: Running, error: BaseException) -> bool:
        """Record a failed attempt: another one, later, or discarded. False when the job is no longer ours."""
        job = running.job
        failed = failures.described(error, job, str(self.lease.worker_id))
        on_discard = kind.on_discard if (kind := self.kinds.get(job.kind)) else None
        troubled = False
        while True:
            try:
                ours, again = await self.call(failures.write, job, error, failed, on_discard)
                break
            except Exception as trouble:
                # the lease is renewed while this waits, so nobody else would ever end this attempt
                if not troubled:
                    failures.log_defect("a failure could not be written yet", trouble, job=str(job.id), kind=job.kind)
                troubled = True
                await trio.sleep(FAILURE_WRITE_PERIOD_S)
        if ours:
            told = {"job": str(job.id), "kind": job.kind, "code": failed.code, "retry": again}
            log.log(logging.INFO if again else logging.WARNING, "job failed", extra=told)
        if again:
            self.keeper.soon()
        return ours
