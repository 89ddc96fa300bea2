"""The engine: commits results in groups, wakes lanes, rescues what dead workers held.

One engine per process. Everything that enqueues goes through :meth:`Engine.call`, so that a lane
of this process starts without a look at the database.
"""

import datetime as dt
import hashlib
import logging
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple

import outcome
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Conflict, LumilioError, Permanent, Retryable
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, backoff_s
from lumiliod.jobs.kind import Kind, OnDiscard
from lumiliod.jobs.lease import Lease

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Result = dict[str, Any]
Effect = Callable[[Connection], Result | None]

COMMIT_GROUP_MAX = 64
KEEPER_PERIOD_S = 60.0
FAILURE_WRITE_PERIOD_S = 1.0
PROGRESS_PERIOD_S = 1.0


class Fenced(LumilioError):
    """An attempt was taken away: its result was refused and nothing of it took effect."""

    default_code = "fenced"


class Running:
    """One job in the hands of its handler."""

    def __init__(self, engine: "Engine", job: ClaimedJob) -> None:
        self.job = job
        self.finished = False
        self._engine = engine
        self._started = time.monotonic()
        self._reported = 0.0

    @property
    def args(self) -> Mapping[str, Any]:
        """Return the job's arguments."""
        return self.job.args

    def begin(self) -> None:
        """Start the clock of this attempt."""
        self._started = time.monotonic()

    @property
    def run_ms(self) -> float:
        """Return how long this attempt has run, milliseconds."""
        return (time.monotonic() - self._started) * 1000

    async def complete(self, effect: Effect | None = None, *, result: Result | None = None) -> Result | None:
        """Commit ``effect`` and the end of this job in one transaction; return the effect's result.

        What ``effect(connection)`` returns is kept as the job's result. When it raises, nothing is
        committed and the error is raised here.

        Raises:
            Fenced: the job was taken away from this worker meanwhile.
        """
        value = await self._engine.commit(self, effect, result)
        self.finished = True
        return value

    async def fail(self, error: LumilioError) -> None:
        """End this attempt with ``error``: retried or discarded as its class says."""
        self.finished = True
        await self._engine.fail(self, error)

    async def progress(self, done: int, total: int | None = None, unit: str = "", text: str = "") -> None:
        """Report how far this job is; written at most once a second."""
        now = time.monotonic()
        if now - self._reported >= PROGRESS_PERIOD_S:
            self._reported = now
            seen = {"done": done, "total": total, "unit": unit, "text": text}
            await self._engine.database.call(db_jobs.set_progress, self.job.id, self.job.token, seen)


@dataclass(eq=False)
class _Request:
    running: Running
    effect: Effect | None
    result: Result | None
    done: trio.Event = field(default_factory=trio.Event)
    value: outcome.Value[Result | None] | outcome.Error = field(
        default_factory=lambda: outcome.Error(Retryable("the result was not written"))
    )


@dataclass
class StageTotal:
    """Work finished by one kind in this process."""

    completed: int = 0
    run_ms: float = 0.0


class Engine:
    """Runs the jobs of the kinds it was given; see :func:`lumiliod.jobs.worker.run_lane` for the lanes."""

    def __init__(self, database: Database, kinds: Iterable[Kind], *, lease_s: float = 30.0) -> None:
        self.database = database
        self.kinds = {kind.name: kind for kind in kinds}
        self.lost = trio.Event()
        self.totals: dict[str, StageTotal] = defaultdict(StageTotal)
        self._lease_s = lease_s
        self.lease = Lease(database, lease_s, self.lost.set)
        self._held = 0
        self._lanes: dict[str, trio.Event] = {}
        self._requests: list[_Request] = []
        self._requested = trio.Event()
        self._keeper_due = trio.Event()
        self._others = False

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
            self._keeper_due.set()
        self.wake(queues - {db_jobs.LATER})
        return value

    def _tracked(self, conn: Connection, queues: set[str], fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        db_jobs.take_woken(conn)
        value = fn(conn, *args)
        queues |= db_jobs.take_woken(conn)
        if self._others:
            db_jobs.notify(conn, queues - {db_jobs.LATER})
        return value

    # holding

    def hold(self, count: int) -> None:
        """Count jobs held by this process up or down; the lease beats while there are any."""
        self._held += count
        self.lease.holding(self._held)

    @property
    def idle(self) -> bool:
        """Tell whether no job is held."""
        return self._held == 0

    async def register(self) -> None:
        """Begin as a new worker: a lease of its own, holding nothing."""
        self.lost = lost = trio.Event()
        token = trio.lowlevel.current_trio_token()
        self._held = 0
        self.lease = Lease(self.database, self._lease_s, lambda: token.run_sync_soon(lost.set))
        await trio.to_thread.run_sync(self.lease.start)

    async def leave(self) -> None:
        """Give the lease back; whatever was held has been released or finished."""
        await trio.to_thread.run_sync(self.lease.stop)

    async def claim(self, queue: str, count: int) -> list[ClaimedJob]:
        """Claim jobs for a lane.

        Raises:
            Retryable: the database is away.
        """
        jobs = await self.database.call(self._claim, queue, count, self.idle)
        if jobs is None:
            self.lost.set()
            return []
        self.hold(len(jobs))
        return jobs

    def _claim(self, conn: Connection, queue: str, count: int, idle: bool) -> list[ClaimedJob] | None:
        jobs = db_jobs.claim(conn, self.lease.worker_id, queue, count)
        # after idling the row may have expired: renewing it belongs to the claim, and only when something was claimed
        if jobs and idle and not self.lease.renew(conn):
            return None
        return jobs

    # finishing

    async def commit(self, running: Running, effect: Effect | None, result: Result | None) -> Result | None:
        """Queue one completion for the next group commit and wait for it."""
        request = _Request(running, effect, result)
        self._requests.append(request)
        self._requested.set()
        await request.done.wait()
        return request.value.unwrap()

    async def committer(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit results, everything that is waiting in one transaction; a service."""
        task_status.started()
        while True:
            await self._requested.wait()
            group, self._requests = self._requests[:COMMIT_GROUP_MAX], self._requests[COMMIT_GROUP_MAX:]
            if not self._requests:
                self._requested = trio.Event()
            with trio.CancelScope(shield=True):
                try:
                    await self.call(_write_group, group)
                except LumilioError as error:
                    for request in group:
                        request.value = outcome.Error(error)
                finally:
                    for request in group:
                        request.done.set()
            for request in group:
                if isinstance(request.value, outcome.Value):
                    total = self.totals[request.running.job.kind]
                    total.completed += 1
                    total.run_ms += request.running.run_ms
            await trio.lowlevel.checkpoint_if_cancelled()

    async def fail(self, running: Running, error: BaseException) -> None:
        """Record a failed attempt and decide between another one and discarding."""
        job = running.job
        failed = described(error, job, str(self.lease.worker_id))
        retry_at = _retry_at(error, job)
        on_discard = kind.on_discard if (kind := self.kinds.get(job.kind)) else None
        while True:
            try:
                ours = await self.call(_write_failure, job, failed, retry_at, on_discard)
                break
            except Retryable:
                # the lease is renewed while this waits, so nobody else would ever end this attempt
                await trio.sleep(FAILURE_WRITE_PERIOD_S)
            except Exception:
                if on_discard is None:
                    raise
                log.exception("on_discard raised", extra={"kind": job.kind})
                on_discard = None
        if ours:
            level = logging.WARNING if retry_at is None else logging.INFO
            log.log(
                level,
                "job failed",
                extra={"job": str(job.id), "kind": job.kind, "code": failed.code, "retry": retry_at is not None},
            )
        if retry_at is not None:
            self._keeper_due.set()

    # keeping

    async def keeper(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Promote due jobs, rescue those of dead workers, keep the history's partitions; a service."""
        reap_at = 0.0
        day: dt.date | None = None
        started = False
        while True:
            self._keeper_due = trio.Event()
            now = trio.current_time()
            try:
                if now >= reap_at:
                    await self._rescue()
                    reap_at = now + KEEPER_PERIOD_S
                today = dt.datetime.now(dt.UTC).date()
                if day != today:
                    await self.database.call(db_jobs.keep_partitions, today)
                    day = today
                self.wake(set(await self.database.call(db_jobs.promote)))
                due_s = await self.database.call(db_jobs.next_due_s)
            except Retryable:
                # the database is away: work pauses and goes on when it is back
                await trio.sleep(FAILURE_WRITE_PERIOD_S)
                continue
            if not started:
                task_status.started()
                started = True
            sleep_s = min(max(due_s if due_s is not None else KEEPER_PERIOD_S, 0.05), max(reap_at - now, 0.05))
            with trio.move_on_after(sleep_s):
                await self._keeper_due.wait()

    async def _rescue(self) -> None:
        await self.database.call(db_jobs.reap_workers, self.lease.worker_id)
        self.wake(set(await self.database.call(db_jobs.rescue)))
        self._others = await self.database.call(db_jobs.other_workers, self.lease.worker_id)


def _write_group(conn: Connection, group: list[_Request]) -> None:
    plain = [request for request in group if request.effect is None]
    if plain:
        ours = db_jobs.complete(conn, [_completion(request, request.result) for request in plain])
        for request in plain:
            if request.running.job.id in ours:
                request.value = outcome.Value(request.result)
            else:
                request.value = outcome.Error(Fenced("this attempt was taken away"))
    for request in group:
        if request.effect is not None:
            request.value = outcome.capture(_write_effect, conn, request, request.effect)
            if conn.closed or conn.broken:
                raise Retryable("the database went away while results were written", code="database_unavailable")


def _write_effect(conn: Connection, request: _Request, effect: Effect) -> Result | None:
    with conn.transaction():
        result = effect(conn)
        if result is None:
            result = request.result
        if request.running.job.id not in db_jobs.complete(conn, [_completion(request, result)]):
            raise Fenced("this attempt was taken away")
    return result


def _completion(request: _Request, result: Result | None) -> db_jobs.Completion:
    job = request.running.job
    return db_jobs.Completion(job.id, job.token, result, request.running.run_ms)


def _write_failure(
    conn: Connection,
    job: ClaimedJob,
    failed: FailedAttempt,
    retry_at: dt.datetime | None,
    on_discard: OnDiscard | None,
) -> bool:
    ours = db_jobs.fail(conn, job.id, job.token, failed, retry_at)
    if ours and retry_at is None and on_discard is not None:
        on_discard(conn, job, failed)
    return ours


def _retry_at(error: BaseException, job: ClaimedJob) -> dt.datetime | None:
    """Return when to try again, or None to discard; the error's class decides (domain/errors.py)."""
    if isinstance(error, LumilioError) and not isinstance(error, Retryable | Conflict):
        return None
    if job.attempt >= job.max_attempts:
        return None
    asked_s = error.after_s if isinstance(error, Retryable) else None
    delay_s = max(asked_s or 0.0, backoff_s(job.attempt))
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=delay_s)


def described(error: BaseException, job: ClaimedJob, worker: str) -> FailedAttempt:
    """Return what is kept of ``error``: never contents, and of a traceback only its digest."""
    code, message, digest = "internal", str(error)[:500] or type(error).__name__, None
    if isinstance(error, LumilioError):
        code, message = error.code, error.message
    else:
        frames = "".join(traceback.format_tb(error.__traceback__))
        digest = hashlib.sha256(frames.encode()).hexdigest()[:12]
    return FailedAttempt(
        code=code,
        message=message.replace("\0", "�"),
        error_class=type(error).__name__,
        attempt=job.attempt,
        at=dt.datetime.now(dt.UTC),
        worker=worker,
        traceback_digest=digest,
    )


def unknown_kind(job: ClaimedJob) -> Permanent:
    """Return the error for a job whose kind no plugin here provides."""
    return Permanent(f"no plugin provides jobs of kind {job.kind}", code="unknown_kind")
