"""The job table: one function per verb. The engine in ``jobs/`` decides when."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from lumiliod.db.errors import as_ours, cause, described
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import PUT_OFF_FIRST_S, PUT_OFF_MAX_S, ClaimedJob, FailedAttempt, NewJob
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


@dataclass(frozen=True, slots=True)
class Rescued:
    """A job whose worker died; ``poison`` when it was discarded for that."""

    poison: bool
    job: ClaimedJob


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to see to.

    Other workers, which sleep until notified; jobs without a worker; jobs of this worker that it does
    not know of; seconds until the next job is due; (queue, kind) of the available jobs.
    """

    others: bool
    orphans: bool
    strays: bool
    due_s: float | None
    waiting: list[tuple[str, str]]


def enqueue(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    """Insert ``jobs``; return id to queue of those inserted. One whose unique key is open already is left out."""
    if not jobs:
        return {}
    rows = conn.execute(Q["enqueue"], {"jobs": json.dumps([asdict(job) for job in jobs], default=str)})
    inserted = [(JobId(row[0]), row[1], row[2]) for row in rows]
    woken = _woken.setdefault(conn, set())
    woken.update(queue if state == "available" else LATER for _, queue, state in inserted)
    return {job_id: queue for job_id, queue, _ in inserted}


@contextmanager
def translating() -> Iterator[None]:
    """Raise the database's errors as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise as_ours(error) from cause(error)


@contextmanager
def savepoint(conn: Connection) -> Iterator[None]:
    """Undo what is done within, and only that, when it raises; see :func:`translating`."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        # psycopg's block would be the transaction itself, and commit at its end
        conn.execute(Q["begin"])
    with translating(), conn.transaction():
        yield


def told(error: BaseException) -> str | None:
    """Return what may be told of an error of the database, which quotes rows otherwise; None for any other."""
    return described(error) if isinstance(error, psycopg.Error) else None


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


def waiting_kinds(conn: Connection, queue: str, kinds: Sequence[str]) -> list[str]:
    """Return those of ``kinds`` that have available jobs in ``queue``; locks nothing."""
    return [row[0] for row in conn.execute(Q["waiting_kinds"], {"queue": queue, "kinds": list(kinds)})]


def claim(conn: Connection, worker_id: UUID, queue: str, wanted: Mapping[str, int]) -> list[ClaimedJob] | None:
    """Take available jobs, up to ``wanted[kind]`` of each kind, most urgent and oldest first.

    None when there is no such worker: it was reaped.
    """
    with conn.cursor(row_factory=class_row(ClaimedJob)) as cursor:
        params = {"worker_id": worker_id, "queue": queue, "kinds": list(wanted), "counts": list(wanted.values())}
        jobs = cursor.execute(Q["claim"], params).fetchall()
    if not jobs and conn.execute(Q["is_worker"], {"worker_id": worker_id}).fetchone() is None:
        return None
    return sorted(jobs, key=lambda job: (job.priority, job.seq))


def mark_started(conn: Connection, held: Sequence[ClaimedJob]) -> None:
    """Write down that suspect jobs run now: if this worker dies too, they are why."""
    conn.execute(Q["mark_started"], {"ids": [job.id for job in held], "tokens": [job.token for job in held]})


def complete(conn: Connection, completions: Sequence[Completion]) -> set[JobId]:
    """Move jobs to the history; return those that were still ours. The others were fenced off."""
    rows = conn.execute(
        Q["complete"],
        {
            "ids": [c.id for c in completions],
            "tokens": [c.token for c in completions],
            "results": [None if c.result is None else _dumps(c.result) for c in completions],
            "run_ms": [c.run_ms for c in completions],
        },
    )
    return {JobId(row[0]) for row in rows}


def fail(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, retry_at: dt.datetime | None) -> bool:
    """Record a failed attempt; retry at a time, or discard without one. False when the job is no longer ours."""
    params = {"id": job_id, "token": token, "retry_at": retry_at, "error": _kept(error)}
    return conn.execute(Q["fail"], params).fetchone() is not None


def put_off(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, after_s: float) -> bool:
    """Give an attempt back and try again later, the later the more often in a row; at least ``after_s`` from now.

    False when the job is no longer ours.
    """
    params = {
        "id": job_id,
        "token": token,
        "after_s": after_s,
        "first_s": PUT_OFF_FIRST_S,
        "max_s": PUT_OFF_MAX_S,
        "error": _kept(error),
    }
    return conn.execute(Q["put_off"], params).fetchone() is not None


def _kept(error: FailedAttempt) -> Jsonb:
    return Jsonb([{key: value for key, value in asdict(error).items() if value is not None}], dumps=_dumps)


def release(conn: Connection, held: Sequence[ClaimedJob]) -> None:
    """Give attempts back, as if they had never begun."""
    if held:
        conn.execute(Q["release"], {"ids": [job.id for job in held], "tokens": [job.token for job in held]})


def release_strays(conn: Connection, worker_id: UUID, tokens: Sequence[int], older_s: float) -> list[str]:
    """Give back what this worker holds by none of ``tokens``, claimed over ``older_s`` seconds ago; return queues."""
    params = {"worker_id": worker_id, "tokens": list(tokens), "older_s": older_s}
    return [row[0] for row in conn.execute(Q["release_strays"], params)]


def set_progress(conn: Connection, job_id: JobId, token: int, progress: dict[str, Any]) -> None:
    """Write how far a running job is."""
    conn.execute(Q["progress"], {"id": job_id, "token": token, "progress": Jsonb(progress, dumps=_dumps)})


def promote(conn: Connection) -> tuple[list[str], float | None]:
    """Make due jobs available; return their queues and the seconds until the next is due (see :func:`next_due_s`)."""
    due_s = next_due_s(conn)
    if due_s is None or due_s > 0:
        return [], due_s
    queues = [row[0] for row in conn.execute(Q["promote"])]
    return queues, next_due_s(conn)


def hasten(conn: Connection, repository_id: UUID) -> None:
    """Let the jobs that were put off while a repository was away go on at once."""
    conn.execute(Q["hasten"], {"repository_id": repository_id})
    _woken.setdefault(conn, set()).add(LATER)


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


def relock_worker(conn: Connection, worker_id: UUID, lock_key: int, lease_s: float) -> bool:
    """Say that the worker's lock is now another one, and renew its lease; False when it is gone."""
    params = {"id": worker_id, "lock_key": lock_key, "lease_s": lease_s}
    return conn.execute(Q["relock"], params).fetchone() is not None


def retire_worker(conn: Connection, worker_id: UUID) -> None:
    """Delete the worker's row; its jobs must have been released before."""
    conn.execute(Q["retire_worker"], {"id": worker_id})


def reap_workers(conn: Connection, self_id: UUID) -> int:
    """Delete the rows of dead or stuck workers; their jobs are found by :func:`rescue` in a later transaction."""
    return conn.execute(Q["reap_workers"], {"self": self_id}).rowcount


def rescue(conn: Connection) -> list[Rescued]:
    """Take the jobs of vanished workers from them: available again, or discarded when they killed too many."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(Q["rescue"]).fetchall()
    return [Rescued(poison=row.pop("poison"), job=ClaimedJob(**row)) for row in rows]


def look(conn: Connection, self_id: UUID, tokens: Sequence[int], older_s: float) -> Look:
    """Return what a worker that holds ``tokens`` has to see to; writes nothing. See :func:`release_strays`."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["look"], {"self": self_id, "tokens": list(tokens), "older_s": older_s}).fetchone()
    assert row is not None
    row["waiting"] = [(queue, kind) for queue, kind in row["waiting"]]
    return Look(**row)


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


def make_partitions(conn: Connection, today: dt.date, *, ahead_days: int = 3) -> list[str]:
    """Make the history's partitions for the coming days; return their names."""
    conn.execute(Q["lock_partitions"])
    existing = {row[0] for row in conn.execute(Q["partitions"])}
    made = []
    for offset in range(ahead_days + 1):
        day = today + dt.timedelta(days=offset)
        name = f"job_history_{day:%Y%m%d}"
        bounds = (_midnight(day), _midnight(day + dt.timedelta(days=1)))
        if (
            name in existing
            or conn.execute(Q["partition_occupied"], {"since": bounds[0], "until": bounds[1]}).fetchone()
        ):
            continue
        statement = sql.SQL("CREATE TABLE {} PARTITION OF job_history FOR VALUES FROM ({}) TO ({})")
        conn.execute(statement.format(sql.Identifier(name), *map(sql.Literal, bounds)))
        made.append(name)
    return made


def drop_partitions(conn: Connection, today: dt.date, *, keep_days: int = 14) -> list[str]:
    """Drop the history that is older than ``keep_days``; return the names of dropped partitions.

    A transaction of its own: it waits for readers, and what must be made must not wait with it.
    """
    conn.execute(Q["wait_shortly"])
    conn.execute(Q["lock_partitions"])
    oldest = today - dt.timedelta(days=keep_days)
    conn.execute(Q["forget_other"], {"before": _midnight(oldest)})
    past = sorted(row[0] for row in conn.execute(Q["partitions"]) if row[0] < f"job_history_{oldest:%Y%m%d}")
    for name in past:
        conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return past


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def _dumps(value: object) -> str:
    return json.dumps(storable(value), default=_text)


def _text(value: object) -> str:
    return str(storable(str(value)))
