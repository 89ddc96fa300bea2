"""The job table: one function per verb. The engine in ``jobs/`` decides when."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, NewJob
from lumiliod.domain.text import storable

Q = Queries(__file__)

CHANNEL = "lumilio_jobs"
"""Notification channel; the payload is a queue's name."""

LATER = ""
"""Stands among queue names for jobs whose time has not come."""


_woken: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as people see it; ``result`` only once it is completed."""

    id: JobId
    kind: str
    queue: str
    state: str
    priority: int
    attempt: int
    max_attempts: int
    args: dict[str, Any]
    result: dict[str, Any] | None
    errors: list[dict[str, Any]]
    asset_id: UUID | None
    repository_id: UUID | None
    created_at: dt.datetime
    scheduled_at: dt.datetime
    attempted_at: dt.datetime | None
    finished_at: dt.datetime | None
    progress: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished attempt: its job, its right to say so, its result and its run time in milliseconds."""

    id: JobId
    token: int
    result: dict[str, Any] | None
    run_ms: float


def enqueue(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    """Insert ``jobs``; return id to queue of those inserted. One whose unique key is open already is left out."""
    if not jobs:
        return {}
    rows = conn.execute(Q["enqueue"], {"jobs": json.dumps([asdict(job) for job in jobs], default=str)})
    inserted = [(JobId(row[0]), row[1], row[2]) for row in rows]
    woken = _woken.setdefault(conn, set())
    woken.update(queue if state == "available" else LATER for _, queue, state in inserted)
    return {job_id: queue for job_id, queue, _ in inserted}


def take_woken(conn: Connection) -> set[str]:
    """Return, once, the queues that got jobs on this connection since the last call; ``LATER`` for scheduled ones."""
    return _woken.pop(conn, set())


def open_by_key(conn: Connection, kind: str, unique_key: str) -> JobId | None:
    """Return the open job of ``kind`` with ``unique_key``."""
    row = conn.execute(Q["open_by_key"], {"kind": kind, "unique_key": unique_key}).fetchone()
    return JobId(row[0]) if row else None


def notify(conn: Connection, queues: Iterable[str]) -> None:
    """Wake other processes' lanes; at most one notification per queue, delivered at commit."""
    for queue in set(queues):
        conn.execute(Q["notify"], {"queue": queue})


def claim(conn: Connection, worker_id: UUID, queue: str, count: int) -> list[ClaimedJob]:
    """Take up to ``count`` available jobs, most urgent and oldest first; none when the worker was reaped."""
    with conn.cursor(row_factory=class_row(ClaimedJob)) as cursor:
        cursor.execute(Q["claim"], {"worker_id": worker_id, "queue": queue, "count": count})
        return sorted(cursor.fetchall(), key=lambda job: (job.priority, job.seq))


def complete(conn: Connection, completions: Sequence[Completion]) -> set[JobId]:
    """Move jobs to the history; return those that were still ours. The others were fenced off."""
    rows = conn.execute(
        Q["complete"],
        {
            "ids": [c.id for c in completions],
            "tokens": [c.token for c in completions],
            "results": [None if c.result is None else json.dumps(c.result, default=str) for c in completions],
            "run_ms": [c.run_ms for c in completions],
        },
    )
    return {JobId(row[0]) for row in rows}


def fail(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, retry_at: dt.datetime | None) -> bool:
    """Record a failed attempt; retry at a time, or discard without one. False when the job is no longer ours."""
    kept = {key: storable(value) for key, value in asdict(error).items() if value is not None}
    params = {"id": job_id, "token": token, "retry_at": retry_at, "error": Jsonb([kept], dumps=_dumps)}
    return conn.execute(Q["fail"], params).fetchone() is not None


def release(conn: Connection, held: Sequence[ClaimedJob]) -> None:
    """Give attempts back, as if they had never begun."""
    if held:
        conn.execute(Q["release"], {"ids": [job.id for job in held], "tokens": [job.token for job in held]})


def set_progress(conn: Connection, job_id: JobId, token: int, progress: dict[str, Any]) -> None:
    """Write how far a running job is."""
    conn.execute(Q["progress"], {"id": job_id, "token": token, "progress": Jsonb(progress)})


def promote(conn: Connection) -> list[str]:
    """Make due jobs available; return their queues."""
    return [row[0] for row in conn.execute(Q["promote"])]


def next_due_s(conn: Connection) -> float | None:
    """Return seconds until the next scheduled or retryable job is due; negative when overdue."""
    row = conn.execute(Q["next_due"]).fetchone()
    return row[0] if row else None


def register_worker(conn: Connection, worker_id: UUID, host: str, pid: int, lock_key: int, lease_s: float) -> None:
    """Insert the worker's row: its lease."""
    params = {"id": worker_id, "host": host, "pid": pid, "lock_key": lock_key, "lease_s": lease_s}
    conn.execute(Q["register_worker"], params)


def lock_worker(conn: Connection, lock_key: int) -> bool:
    """Take the session lock that ends when this connection's process dies."""
    row = conn.execute(Q["lock_worker"], {"lock_key": lock_key}).fetchone()
    return bool(row and row[0])


def beat(conn: Connection, worker_id: UUID, lease_s: float) -> bool:
    """Renew the lease; False when it is gone: cancel everything and leave."""
    return conn.execute(Q["beat"], {"id": worker_id, "lease_s": lease_s}).fetchone() is not None


def retire_worker(conn: Connection, worker_id: UUID) -> None:
    """Delete the worker's row; its jobs must have been released before."""
    conn.execute(Q["retire_worker"], {"id": worker_id})


def reap_workers(conn: Connection, self_id: UUID) -> int:
    """Delete the rows of dead or stuck workers; their jobs are found by :func:`rescue` in a later transaction."""
    return conn.execute(Q["reap_workers"], {"self": self_id}).rowcount


def rescue(conn: Connection) -> list[str]:
    """Make the jobs of vanished workers available again; return their queues."""
    return [row[0] for row in conn.execute(Q["rescue"])]


def other_workers(conn: Connection, self_id: UUID) -> bool:
    """Tell whether another process works on this table, and so may sleep until notified."""
    row = conn.execute(Q["other_workers"], {"self": self_id}).fetchone()
    return bool(row and row[0])


def counts(conn: Connection) -> list[tuple[str, str, str, int]]:
    """Count the rows of the job table by kind, queue and state."""
    return [(kind, queue, state, count) for kind, queue, state, count in conn.execute(Q["counts"])]


def show(conn: Connection, job_id: JobId) -> JobRow | None:
    """Return one job, open or finished."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(Q["show"], {"id": job_id}).fetchone()


def page(
    conn: Connection, *, state: str | None, kind: str | None, queue: str | None, before: UUID | None, count: int
) -> list[JobRow]:
    """Return jobs newest first, created before ``before``."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        params = {"state": state, "kind": kind, "queue": queue, "before": before, "count": count}
        return cursor.execute(Q["page"], params).fetchall()


def open_of_kind(conn: Connection, kind: str) -> list[dict[str, Any]]:
    """Return id, state, repository_id and progress of the open jobs of ``kind``, oldest first."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(Q["open_of_kind"], {"kind": kind}).fetchall()


def keep_partitions(conn: Connection, today: dt.date, *, ahead_days: int = 3, keep_days: int = 14) -> list[str]:
    """Make the history's partitions for the coming days and drop those past keeping; return what changed."""
    conn.execute(Q["lock_partitions"])
    existing = {row[0] for row in conn.execute(Q["partitions"])}
    changed = []
    for offset in range(ahead_days + 1):
        day = today + dt.timedelta(days=offset)
        name = f"job_history_{day:%Y%m%d}"
        occupied = conn.execute(
            Q["partition_occupied"], {"since": _midnight(day), "until": _midnight(day + dt.timedelta(days=1))}
        ).fetchone()
        if name in existing or occupied:
            continue
        statement = sql.SQL("CREATE TABLE {} PARTITION OF job_history FOR VALUES FROM ({}) TO ({})")
        bounds = (sql.Literal(_midnight(day)), sql.Literal(_midnight(day + dt.timedelta(days=1))))
        conn.execute(statement.format(sql.Identifier(name), *bounds))
        changed.append(name)
    oldest = f"job_history_{today - dt.timedelta(days=keep_days):%Y%m%d}"
    for name in sorted(existing):
        if name < oldest:
            conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            changed.append(name)
    return changed


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def _dumps(value: object) -> str:
    return json.dumps(value, default=str)
