"""The keeper: promotes due jobs, rescues those nobody works on, keeps the history's partitions."""

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.jobs import FailedAttempt
from lumiliod.jobs import failures
from lumiliod.jobs.kind import Kind
from lumiliod.jobs.lease import Lease

log = logging.getLogger(__name__)

PERIOD_S = 60.0
SHARED_PERIOD_S = 30.0
"""With other workers on the table: they know of us, and notify, only after a period of theirs."""

TROUBLE_PERIOD_S = 1.0
SLEEP_MIN_S = 0.05


class Keeper:
    """Sees to what no event announces. An idle period costs one statement, and writes nothing."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind],
        wake: Callable[[Iterable[str]], None],
        period_s: float,
        history_days: int,
    ) -> None:
        self.others = False
        self.unknown: set[str] = set()
        self._database = database
        self._kinds = kinds
        self._wake = wake
        self._period_s = period_s
        self._history_days = history_days
        self._due = trio.Event()
        self._day: dt.date | None = None

    def soon(self) -> None:
        """Say that a job was scheduled."""
        self._due.set()

    async def run(self, lease: Lease, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the table for the worker of ``lease``; a service. Ready after the first round, even a vain one."""
        period_at = 0.0
        ready = troubled = False
        while True:
            self._due = trio.Event()
            now = trio.current_time()
            try:
                due_s: float | None = 0.0
                if now >= period_at:
                    due_s = await self._round(lease)
                    period_at = now + (min(self._period_s, SHARED_PERIOD_S) if self.others else self._period_s)
                if due_s is not None and due_s <= 0:
                    queues, due_s = await self._database.call(db_jobs.promote)
                    self._wake(set(queues))
                sleep_s = min(period_at - now, self._period_s if due_s is None else due_s)
                troubled = False
            except LumilioError as error:
                if not troubled:
                    log.warning("the job table cannot be kept now", extra={"code": error.code, "reason": error.message})
                troubled = True
                sleep_s = TROUBLE_PERIOD_S
            if not ready:
                ready = True
                task_status.started()
            with trio.move_on_after(max(sleep_s, SLEEP_MIN_S)):
                await self._due.wait()

    async def _round(self, lease: Lease) -> float | None:
        """Look at everything once and act where something is to be done; return when the next job is due."""
        seen = await self._database.call(db_jobs.look, lease.worker_id, lease.tokens, self._period_s)
        self.others = seen.others
        orphans = seen.orphans
        queues = {queue for queue, kind in seen.waiting if kind in self._kinds}
        self._report({kind for _, kind in seen.waiting if kind not in self._kinds})
        if seen.others:
            # a transaction of its own, before the rescue: that one must see every claim of the dead
            orphans = await self._database.call(db_jobs.reap_workers, lease.worker_id) > 0 or orphans
        if orphans:
            queues |= await self._database.call(self._rescue)
        if seen.strays:
            strays = await self._database.call(db_jobs.release_strays, lease.worker_id, lease.tokens, self._period_s)
            log.warning("jobs held by mistake were given back", extra={"count": len(strays)})
            queues |= set(strays)
        self._wake(queues)
        await self._keep_history()
        return seen.due_s

    async def _keep_history(self) -> None:
        today = dt.datetime.now(dt.UTC).date()
        if self._day == today:
            return
        try:
            await self._database.call(db_jobs.make_partitions, today)
            await self._database.call(partial(db_jobs.drop_partitions, keep_days=self._history_days), today)
            self._day = today
        except LumilioError as error:
            # what has no partition of its own goes to the default one; the next round tries again
            log.warning("the history's partitions cannot be kept now", extra={"code": error.code})

    def _rescue(self, conn: Connection) -> set[str]:
        rescued = db_jobs.rescue(conn)
        for one in rescued:
            if one.poison:
                log.warning("a job that ends its workers is discarded", extra={"job": str(one.job.id)})
                kind = self._kinds.get(one.job.kind)
                failed = FailedAttempt(
                    "poison",
                    "every worker that ran this job died",
                    "WorkerLost",
                    one.job.attempt,
                    dt.datetime.now(dt.UTC),
                )
                failures.discard(conn, kind.on_discard if kind else None, one.job, failed)
        return {one.job.queue for one in rescued}

    def _report(self, kinds: set[str]) -> None:
        for kind in sorted(kinds - self.unknown):
            log.warning("jobs wait that no plugin here can do", extra={"kind": kind})
        self.unknown = kinds
