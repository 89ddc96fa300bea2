"""What is measured, as Prometheus wants to be told: names end in units, and no label has a value per file or job.

A scrape reads what the process knows anyway. Of the database it asks the counts of ``/status``, for at most a
twentieth of the time, and little else.
"""

import math
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from lumiliod import __version__
from lumiliod.db import assets, findings, held, job_admin, mirrors
from lumiliod.db import sync as db_sync
from lumiliod.db.held import HeldRow
from lumiliod.db.pool import Connection
from lumiliod.db.sync import OperationRow
from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.domain.ids import RepositoryId
from lumiliod.jobs.commits import DURATIONS_MS
from lumiliod.library.live import COUNTS_SHARE
from lumiliod.library.memory_use import Use, memory_use
from lumiliod.runtime import Runtime

COUNTS_LEAST_S = 5.0
"""How old counts may be in any case."""

DATABASE_S = 5.0
"""How long a scrape waits for the database; Prometheus itself waits ten seconds."""

MEMORY_LEAST_S = 5.0

SERVICE_STATES = ("starting", "ready", "degraded", "failed", "stopped")
REPOSITORY_STATES = ("online", "offline", "detached")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSeen:
    """What the API counted: answers by method and status, problems by code, and what is open now."""

    answers: Mapping[tuple[str, int], int]
    problems: Mapping[str, int]
    open_requests: int
    open_connections: int
    event_readers: int


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the database counted."""

    jobs: list[tuple[str, str, str, int]] = field(default_factory=list[tuple[str, str, str, int]])
    assets: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    findings: int = 0
    mirrors_away: int = 0
    held: list[HeldRow] = field(default_factory=list[HeldRow])
    scans: dict[RepositoryId, OperationRow] = field(default_factory=dict[RepositoryId, OperationRow])


class Metrics:
    """Everything that is measured of one daemon, in a registry of its own."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._counts: _Counts | None = None
        self._count_at_s = self._memory_at_s = -math.inf
        self._memory: Use = {}
        self._looking = trio.Lock()

    async def text(self, api: ApiSeen) -> tuple[str, bytes]:
        """Return the media type and the text of a scrape; what the database does not say now is left out."""
        async with self._looking:
            await self._look()
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Told([*self._of_process(), *self._of_jobs(), *self._of_library(), *_of_api(api)]))
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)

    async def _look(self) -> None:
        if trio.current_time() >= self._memory_at_s:
            self._memory = await trio.to_thread.run_sync(memory_use)
            self._memory_at_s = trio.current_time() + MEMORY_LEAST_S
        if trio.current_time() < self._count_at_s:
            return
        try:
            with trio.move_on_after(DATABASE_S) as limit:
                self._counts, cost_s = await self._rt.db.glance(DATABASE_S, _read)
                self._count_at_s = trio.current_time() + max(COUNTS_LEAST_S, cost_s / COUNTS_SHARE)
            is_busy = limit.cancelled_caught
        except Unavailable:
            self._counts, is_busy = None, False
        except LumilioError:
            is_busy = True
        if is_busy:
            # not away: what it said last is better than nothing
            self._count_at_s = trio.current_time() + DATABASE_S / COUNTS_SHARE

    def _of_process(self) -> Iterable[Metric]:
        health = self._rt.health.snapshot()
        yield InfoMetricFamily(
            "lumilio_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version(), "machine": platform.machine()},
        )
        yield _gauge(
            "lumilio_up",
            "Whether all is well: 1, 0.5 where a service is degraded, 0 where one has failed.",
            ([((), {"ok": 1.0, "degraded": 0.5}.get(health.status, 0.0))]),
        )
        yield _gauge(
            "lumilio_event_loop_lag_seconds",
            "Worst delay of the event loop in the last ten seconds.",
            [((), health.loop_lag_ms / 1000)],
        )
        yield _gauge(
            "lumilio_service_state",
            "Which state a service is in.",
            [
                ((service.name, state), float(service.state == state))
                for service in health.services
                for state in SERVICE_STATES
            ],
            "service",
            "state",
        )
        yield _gauge(
            "lumilio_service_recent_restarts",
            "Restarts of a service within a minute.",
            [((service.name,), float(service.restarts)) for service in health.services],
            "service",
        )
        yield _gauge(
            "lumilio_memory_bytes",
            "Memory of the daemon and of what it started; what is shared counts once.",
            [((what,), float(size)) for what, size in sorted(self._memory.items())],
            "process",
        )
        pool = self._rt.db
        yield _gauge(
            "lumilio_database_pool_connections",
            "Connections to the database; callers that wait for one.",
            [((state,), float(count)) for state, count in pool.connections.items()],
            "state",
        )
        yield _gauge("lumilio_database_pool_size", "Connections that may be in use at once.", [((), float(pool.size))])

    def _of_jobs(self) -> Iterable[Metric]:
        engine = self._rt.jobs
        durations = HistogramMetricFamily(
            "lumilio_job_duration_seconds", "How long jobs took that this process completed.", labels=["kind"]
        )
        for kind, total in sorted(engine.totals.items()):
            so_far, buckets = 0, list[tuple[str, float]]()
            for limit_ms, count in zip(DURATIONS_MS, total.durations, strict=True):
                so_far += count
                buckets.append(("+Inf" if limit_ms == math.inf else f"{limit_ms / 1000:g}", so_far))
            durations.add_metric([kind], buckets, total.run_ms / 1000)
        yield durations
        failures = CounterMetricFamily(
            "lumilio_job_failures", "Attempts that failed in this process.", labels=["kind", "code"]
        )
        for (kind, code), count in sorted(engine.failures.items()):
            failures.add_metric([kind, code], count)
        yield failures
        yield _gauge(
            "lumilio_queue_allowed_jobs",
            "Jobs of a queue that may run at once in this process, 0 while paused.",
            [((state.name,), float(state.allowed)) for state in engine.queues.states()],
            "queue",
        )
        yield _gauge(
            "lumilio_pending_job_ends", "Ends of jobs that are not written yet.", [((), float(engine.commits.backlog))]
        )
        if self._counts is not None:
            yield _gauge(
                "lumilio_jobs",
                "Jobs that have not ended, and those that were discarded.",
                [((kind, queue, state), float(count)) for kind, queue, state, count in sorted(self._counts.jobs)],
                "kind",
                "queue",
                "state",
            )

    def _of_library(self) -> Iterable[Metric]:
        rows = self._rt.repositories.rows()
        yield _gauge(
            "lumilio_repository_state",
            "Which state a repository is in.",
            [((row.name, state), float(row.status == state)) for row in rows for state in REPOSITORY_STATES],
            "repository",
            "state",
        )
        watched = self._rt.watched
        yield _gauge(
            "lumilio_repository_watched",
            "Whether changes are noticed as they happen.",
            [((row.name,), float(row.id in watched and watched[row.id].state == "watching")) for row in rows],
            "repository",
        )
        counts = self._counts
        if counts is None:
            return
        names = {row.id: row.name for row in rows}
        yield _gauge(
            "lumilio_assets",
            "Assets outside of the trash.",
            [((type_, status), float(count)) for type_, status, count in sorted(counts.assets)],
            "type",
            "status",
        )
        yield _gauge("lumilio_open_findings", "What is wrong with originals or copies.", [((), float(counts.findings))])
        yield _gauge("lumilio_away_mirrors", "Mirrors that could not be reached.", [((), float(counts.mirrors_away))])
        yield _gauge(
            "lumilio_held_files",
            "Files whose deletion is held until a person decides.",
            [
                ((names[one.repository_id], one.state), float(one.files))
                for one in counts.held
                if one.repository_id in names
            ],
            "repository",
            "state",
        )
        ended = [
            (names[id_], scan) for id_, scan in counts.scans.items() if id_ in names and scan.finished_at is not None
        ]
        yield _gauge(
            "lumilio_last_scan_end_timestamp_seconds",
            "When the last scan of everything ended.",
            [((name,), scan.finished_at.timestamp()) for name, scan in ended if scan.finished_at is not None],
            "repository",
        )
        yield _gauge(
            "lumilio_last_scan_duration_seconds",
            "How long the last scan of everything took.",
            [
                ((name,), (scan.finished_at - scan.started_at).total_seconds())
                for name, scan in ended
                if scan.finished_at is not None
            ],
            "repository",
        )
        yield _gauge(
            "lumilio_last_scan_files",
            "Files that the last scan of everything found.",
            [((name,), float(scan.found)) for name, scan in ended],
            "repository",
        )


class _Told:
    """Metrics as a collector has them."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _of_api(api: ApiSeen) -> Iterable[Metric]:
    answers = CounterMetricFamily("lumilio_api_requests", "Answers of the API.", labels=["method", "status"])
    for (method, status), count in sorted(api.answers.items()):
        answers.add_metric([method, str(status)], count)
    yield answers
    problems = CounterMetricFamily("lumilio_api_problems", "Problems that the API answered with.", labels=["code"])
    for code, count in sorted(api.problems.items()):
        problems.add_metric([code], count)
    yield problems
    yield _gauge("lumilio_api_open_requests", "Requests that are being answered.", [((), float(api.open_requests))])
    yield _gauge("lumilio_api_open_connections", "Open connections.", [((), float(api.open_connections))])
    yield _gauge("lumilio_api_event_readers", "Readers of server-sent events.", [((), float(api.event_readers))])


def _gauge(name: str, what: str, samples: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _read(conn: Connection) -> tuple[_Counts, float]:
    began_s = time.monotonic()
    counts = _Counts(
        jobs=job_admin.counts(conn),
        assets=assets.counts(conn),
        findings=sum(findings.counts(conn).values()),
        mirrors_away=sum(mirror.status != "online" for mirror in mirrors.all_rows(conn)),
        held=held.held(conn),
        scans=db_sync.last_of_everything(conn),
    )
    return counts, time.monotonic() - began_s
