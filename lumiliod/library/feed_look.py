"""What has happened since the last look: one short transaction, whatever the number of readers."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import trio

from lumiliod.contract.feed import (
    AssetChange,
    AssetsEvent,
    HealthEvent,
    JobsEvent,
    SyncEvent,
    Topic,
)
from lumiliod.contract.jobs import Progress
from lumiliod.contract.status import JobCount, ServiceHealth
from lumiliod.db import job_admin
from lumiliod.db import sync as db_sync
from lumiliod.db.pool import Connection
from lumiliod.db.sync import OpenScan, OperationRow
from lumiliod.domain.errors import LumilioError
from lumiliod.jobs.endings import Gathered
from lumiliod.library import sync
from lumiliod.library.feed import LINGER_S, PERIOD_S
from lumiliod.library.live import COUNTS_SHARE, live_queues
from lumiliod.library.queues import by_queue
from lumiliod.runtime import Runtime

RUNS = 100
"""Of so many runs of scans, the newest, beginnings and ends are noticed."""

ASK_PERIOD_S = 20.0
"""How often other processes are asked to go on telling what ends there."""

OF_MANY = frozenset({"purge", "relayout", "prune"})
"""Kinds of job that are about more assets than their rows name."""

Count = tuple[str, str, str, int]


@dataclass
class _Runs:
    """Runs as they were told last, those that had ended by then without their rows."""

    known: dict[UUID, str] = field(default_factory=dict[UUID, str])
    progress: dict[UUID, Progress | None] = field(default_factory=dict[UUID, Progress | None])
    is_first: bool = True


class Looks:
    """Compares what is with what was, topic by topic; the first look tells how jobs and services are."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._counts: list[Count] = []
        self._count_at_s = self._ask_at_s = -math.inf
        self._told_jobs: JobsEvent | None = None
        self._told_services: dict[str, tuple[str, str | None, int]] = {}
        self._runs = _Runs()

    async def health(self, topics: frozenset[str]) -> list[tuple[Topic, msgspec.Struct]]:
        """Return what is new of the services, whatever the database does."""
        await trio.lowlevel.checkpoint()
        # as below, nothing waits between what is taken and what is told
        if "health" in topics and (health := self._health()) is not None:
            return [("health", health)]
        return []

    async def look(self, topics: frozenset[str]) -> list[tuple[Topic, msgspec.Struct]]:
        """Return what else is new of ``topics``; what the database knows only while it can be asked."""
        await self._listen()
        runs, scans = await self._asked("jobs" in topics, "sync" in topics)
        # from here on nothing waits: who looks for all may go at any moment, and others would miss what was taken
        gathered = self._rt.jobs.endings.take()
        told: list[tuple[Topic, msgspec.Struct]] = []
        if "jobs" in topics and (jobs := self._jobs(gathered)) is not None:
            told.append(("jobs", jobs))
        if "assets" in topics and (assets := _assets(gathered)) is not None:
            told.append(("assets", assets))
        if runs is not None:
            for change in self._sync(runs, scans):
                told.append(("sync", change))
        return told

    async def _asked(self, jobs: bool, runs: bool) -> tuple[list[OperationRow] | None, list[OpenScan]]:
        """Count the jobs when that is due, and return the newest runs; None when the database did not say."""
        with_counts = jobs and trio.current_time() >= self._count_at_s
        if not with_counts and not runs:
            return None, []
        try:
            counts, cost_s, rows, scans = await self._rt.db.call(_read, with_counts, runs)
        except LumilioError:
            # its own health says so
            return None, []
        if counts is not None:
            self._counts = sorted(counts)
            self._count_at_s = trio.current_time() + cost_s / COUNTS_SHARE - PERIOD_S
        return rows, scans

    async def _listen(self) -> None:
        """Have gathered what ends, here and elsewhere."""
        self._rt.jobs.endings.listen(LINGER_S + PERIOD_S)
        if trio.current_time() >= self._ask_at_s:
            with suppress(LumilioError):
                if await self._rt.jobs.listen():
                    self._ask_at_s = trio.current_time() + ASK_PERIOD_S

    def _jobs(self, gathered: Gathered) -> JobsEvent | None:
        now = JobsEvent(
            queues=live_queues(self._rt, by_queue(self._counts)),
            counts=[JobCount(kind=kind, queue=queue, state=state, count=n) for kind, queue, state, n in self._counts],
            completed={},
            discarded={},
        )
        if now == self._told_jobs and not gathered.completed and not gathered.discarded:
            return None
        self._told_jobs = now
        completed, discarded = dict(gathered.completed), dict(gathered.discarded)
        return msgspec.structs.replace(now, completed=completed, discarded=discarded)

    def _health(self) -> HealthEvent | None:
        snapshot = self._rt.health.snapshot()
        now = {one.name: (one.state, one.reason, one.restarts) for one in snapshot.services}
        changed: list[ServiceHealth] = [
            one for one in snapshot.services if self._told_services.get(one.name) != now[one.name]
        ]
        gone = sorted(self._told_services.keys() - now.keys())
        self._told_services = now
        if not changed and not gone:
            return None
        return HealthEvent(status=snapshot.status, services=changed, gone=gone)

    def _sync(self, runs: Sequence[OperationRow], scans: Sequence[OpenScan]) -> Iterator[SyncEvent]:
        """Yield what is new of each run, the oldest first."""
        before, self._runs = self._runs, _Runs(is_first=False)
        progress = {scan.id: msgspec.convert(scan.progress, Progress | None) for scan in scans}
        for row in reversed(runs):
            seen, far = before.known.get(row.id), progress.get(row.job_id) if row.job_id is not None else None
            self._runs.known[row.id] = row.status
            self._runs.progress[row.id] = far
            if before.is_first:
                continue
            if row.status != "running":
                if seen != row.status:
                    yield SyncEvent(phase="ended", operation=sync.wire_operation(self._rt, row), progress=None)
            elif seen is None:
                yield SyncEvent(phase="begun", operation=sync.wire_operation(self._rt, row), progress=far)
            elif far is not None and far != before.progress.get(row.id):
                yield SyncEvent(phase="progress", operation=sync.wire_operation(self._rt, row), progress=far)


def _assets(gathered: Gathered) -> AssetsEvent | None:
    is_whole = gathered.is_whole and not any(kind in OF_MANY for kind in gathered.completed)
    if not gathered.assets and is_whole:
        return None
    changes = [AssetChange(id=asset_id, by=kind) for asset_id, kind in gathered.assets.items()]
    return AssetsEvent(assets=changes, is_whole=is_whole)


def _read(
    conn: Connection, with_counts: bool, with_runs: bool
) -> tuple[list[Count] | None, float, list[OperationRow] | None, list[OpenScan]]:
    counts, began_s = None, time.monotonic()
    if with_counts:
        counts = job_admin.counts(conn)
    cost_s = time.monotonic() - began_s
    if not with_runs:
        return counts, cost_s, None, []
    runs = db_sync.page(conn, count=RUNS)
    is_running = any(row.status == "running" for row in runs)
    return counts, cost_s, runs, db_sync.open_scans(conn) if is_running else []
