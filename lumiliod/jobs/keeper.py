"""The keeper: promotes due jobs, rescues those nobody works on, fires schedules, keeps the history's partitions."""

import datetime as dt
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, TypeVarTuple
from uuid import UUID

import trio

from lumiliod.db import job_history, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.db.queues import QueueRow
from lumiliod.db.workers import Other
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.jobs import FailedAttempt
from lumiliod.jobs import failures, schedule
from lumiliod.jobs.kind import Kind
from lumiliod.jobs.lease import BEATS, Lease
from lumiliod.jobs.queues import Queues

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PERIOD_S = 60.0
SHARED_PERIOD_S = 30.0
"""With other workers on the table: they know of us, and notify, only after a period of theirs."""

TROUBLE_PERIOD_S = 1.0
SLEEP_MIN_S = 0.05
OVERDUE_TIMEOUT_S = 5.0
"""How long a round waits for what cannot be written now; the next one tries again."""


class Host(Protocol):
    """What the keeper needs of its engine."""

    database: Database
    kinds: dict[str, Kind]
    queues: Queues

    async def call(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run a transaction, then wake the lanes it has work for."""
        ...

    def wake(self, queues: Iterable[str], *, again: bool = False) -> None:
        """Let the lanes of ``queues`` look for work."""
        ...

    async def end_overdue(self) -> None:
        """Fail what ran out of its time and does not end."""
        ...


class Keeper:
    """Sees to what no event announces. An idle period costs one statement, and writes nothing."""

    def __init__(self, host: Host, period_s: float, lease_s: float, history_days: int) -> None:
        self.others = False
        self.unknown: set[str] = set()
        self._host = host
        self._period_s = period_s
        self._lease_s = lease_s
        self._history_days = history_days
        self._due = trio.Event()
        self._look = False
        self._day: dt.date | None = None
        self._watch = _Watch(lease_s)
        self._strays: dict[int, float] = {}

    def soon(self) -> None:
        """Say that a job was scheduled."""
        self._due.set()

    def look_soon(self) -> None:
        """Say that anything may have changed: settings of queues, schedules, other workers."""
        self._look = True
        self._due.set()

    async def run(self, lease: Lease, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the table for the worker of ``lease``; a service. Ready after the first round, even a vain one."""
        period_at = 0.0
        fire_at: float | None = None
        ready = troubled = False
        while True:
            self._due = trio.Event()
            now = trio.current_time()
            self._host.queues.refresh(dt.datetime.now(dt.UTC))
            try:
                due_s: float | None = 0.0
                if self._look or now >= period_at:
                    self._look = False
                    due_s, fire_s, period_s = await self._round(lease)
                    period_at = now + period_s
                    fire_at = None if fire_s is None else now + fire_s
                if fire_at is not None and now >= fire_at:
                    fire_s = await self._fire(lease)
                    fire_at = None if fire_s is None else now + fire_s
                if due_s is not None and due_s <= 0:
                    due_s = await self._host.call(db_jobs.promote)
                quiet_s = self._host.queues.until_change_s(dt.datetime.now(dt.UTC))
                ends = [period_at, fire_at, *(None if end_s is None else now + end_s for end_s in (due_s, quiet_s))]
                sleep_s = min(end - now for end in ends if end is not None)
                troubled = False
            except LumilioError as error:
                if not troubled:
                    log.warning("the job table cannot be kept now", extra={"code": error.code, "reason": error.message})
                troubled = True
                sleep_s = TROUBLE_PERIOD_S
                # while the database was away nobody could beat
                self._watch.forget()
            if not ready:
                ready = True
                task_status.started()
            with trio.move_on_after(max(sleep_s, SLEEP_MIN_S)):
                await self._due.wait()

    async def _round(self, lease: Lease) -> tuple[float | None, float | None, float]:
        """Look at everything once and act where something is to be done.

        Returns seconds until the next job is due, until the next schedule is, and until the next round.
        """
        with trio.move_on_after(OVERDUE_TIMEOUT_S):
            await self._host.end_overdue()
        seen = await self._host.database.once(workers.look, lease.worker_id, lease.tokens)
        self.others = bool(seen.others)
        self._host.queues.load(_setting(row) for row in seen.settings)
        orphans = seen.orphans
        self._report({kind for _, kind in seen.waiting if kind not in self._host.kinds})
        gone = self._watch.gone(seen.others, trio.current_time())
        if gone:
            # a transaction of its own, before the rescue: that one must see every claim of the dead
            orphans = await self._host.call(workers.reap_workers, lease.worker_id, gone) > 0 or orphans
        if orphans:
            await self._host.call(self._rescue)
        # one that is seen for the first time may be a claim whose answer is on its way
        now = trio.current_time()
        self._strays = {token: self._strays.get(token, now) for token in seen.strays}
        lost = [token for token, since in self._strays.items() if now - since >= self._period_s]
        if lost:
            strays = await self._host.call(workers.release_strays, lease.worker_id, lost)
            log.warning("jobs held by mistake were given back", extra={"count": strays})
        queues = {queue for queue, kind in seen.waiting if kind in self._host.kinds}
        self._host.wake(queues, again=True)
        await self._keep_history()
        return seen.due_s, seen.fire_s, self._rest_s(seen.others)

    def _rest_s(self, others: Sequence[Other]) -> float:
        if any(other.holds or other.dead for other in others):
            return min(self._period_s, self._lease_s / BEATS)
        return min(self._period_s, SHARED_PERIOD_S, self._lease_s) if others else self._period_s

    async def _fire(self, lease: Lease) -> float | None:
        """Enqueue what schedules say when this worker is the leader; return seconds until the next is due."""
        if not await trio.to_thread.run_sync(lease.lead):
            return None
        fired = await self._host.call(schedule.fire_due)
        return fired.next_due_s

    async def _keep_history(self) -> None:
        if self._day == dt.datetime.now(dt.UTC).date():
            return
        try:
            today = await self._host.database.once(job_history.today)
            await self._host.database.call(job_history.make_partitions, today)
            await self._host.database.call(partial(job_history.drop_partitions, keep_days=self._history_days), today)
            self._day = dt.datetime.now(dt.UTC).date()
        except LumilioError as error:
            # what has no partition of its own goes to the default one; the next round tries again
            log.warning("the history's partitions cannot be kept now", extra={"code": error.code})

    def _rescue(self, conn: Connection) -> None:
        for one in workers.rescue(conn):
            if one.poison:
                log.warning("a job that ends its workers is discarded", extra={"job": str(one.job.id)})
                kind = self._host.kinds.get(one.job.kind)
                failed = FailedAttempt(
                    "poison",
                    "every worker that ran this job alone died",
                    "WorkerLost",
                    one.job.attempt,
                    dt.datetime.now(dt.UTC),
                )
                failures.discard(conn, kind.on_discard if kind else None, one.job, failed)

    def _report(self, kinds: set[str]) -> None:
        for kind in sorted(kinds - self.unknown):
            log.warning("jobs wait that no plugin here can do", extra={"kind": kind})
        self.unknown = kinds


class _Watch:
    """Remembers since when another worker's lease has not been renewed, by this process's own clock.

    The database's clock may jump: a lease that it says is over ends only when this process has watched
    it long enough to have missed a beat, and one that it says lasts for hours ends all the same. A free
    lock may mean that the server was restarted: whoever lives takes it again with its next beat. Only
    of a process of this machine that is gone everything is known at once.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._since: dict[UUID, tuple[dt.datetime, float]] = {}
        self._host = socket.gethostname()

    def forget(self) -> None:
        """Begin anew: what was seen until now says nothing any more."""
        self._since.clear()

    def gone(self, others: Sequence[Other], now_s: float) -> list[Other]:
        """Return those that are dead, or hold jobs and were silent for too long."""
        watched = {other.id: other for other in others if other.holds or other.dead}
        since = {
            one: (other.expires_at, now_s)
            if one not in self._since or self._since[one][0] != other.expires_at
            else self._since[one]
            for one, other in watched.items()
        }
        self._since = since
        return [
            other
            for one, other in watched.items()
            if (other.dead and other.host == self._host and not _is_alive(other.pid))
            or now_s - since[one][1] >= self._lease_s / (2 if other.expired or other.dead else 1)
        ]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _setting(row: Mapping[str, Any]) -> QueueRow:
    def time(text: str | None) -> dt.time | None:
        return None if text is None else dt.time.fromisoformat(text)

    return QueueRow(
        name=row["name"],
        paused_at=None if row["paused_at"] is None else dt.datetime.fromisoformat(row["paused_at"]),
        concurrency=row["concurrency"],
        quiet_from=time(row["quiet_from"]),
        quiet_until=time(row["quiet_until"]),
        quiet_zone=row["quiet_zone"],
    )
