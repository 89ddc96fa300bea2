"""Workers: their leases, and what becomes of the jobs of those that are gone."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.db.waking import wake_again
from lumiliod.domain.jobs import DEATHS_MAX, ClaimedJob

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class Rescued:
    """A job whose worker died; ``poison`` when it was discarded for that."""

    poison: bool
    job: ClaimedJob


@dataclass(frozen=True, slots=True)
class Other:
    """Another worker, as the database sees it: its process is gone, its lease is over, it holds jobs."""

    id: UUID
    host: str
    pid: int
    expires_at: dt.datetime
    expired: bool
    dead: bool
    holds: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to see to.

    Other workers, which sleep until notified; jobs without a worker; the tokens of this worker's jobs that
    it does not know of; seconds until the next job and the next schedule are due; (queue, kind) of the
    available jobs; what people said of queues, as rows.
    """

    others: list[Other]
    orphans: bool
    strays: list[int]
    due_s: float | None
    fire_s: float | None
    waiting: list[tuple[str, str]]
    settings: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as people see it."""

    id: UUID
    host: str
    pid: int
    started_at: dt.datetime
    held: int


def register_worker(conn: Connection, worker_id: UUID, host: str, pid: int, lock_key: int, lease_s: float) -> None:
    """Insert the worker's row: its lease."""
    params = {"id": worker_id, "host": host, "pid": pid, "lock_key": lock_key, "lease_s": lease_s}
    conn.execute(Q["register_worker"], params)


def lock_worker(conn: Connection, lock_key: int) -> bool:
    """Take the session lock that ends when this connection's process dies."""
    row = conn.execute(Q["lock_worker"], {"lock_key": lock_key}).fetchone()
    return bool(row and row[0])


def beat(conn: Connection, worker_id: UUID, lease_s: float) -> frozenset[int] | None:
    """Renew the lease; return the tokens it holds. None when it is gone: cancel everything and leave."""
    row = conn.execute(Q["beat"], {"id": worker_id, "lease_s": lease_s}).fetchone()
    return None if row is None else frozenset(row[0])


def relock_worker(conn: Connection, worker_id: UUID, lock_key: int, lease_s: float) -> bool:
    """Say that the worker's lock is now another one, and renew its lease; False when it is gone."""
    params = {"id": worker_id, "lock_key": lock_key, "lease_s": lease_s}
    return conn.execute(Q["relock"], params).fetchone() is not None


def retire_worker(conn: Connection, worker_id: UUID) -> None:
    """Delete the worker's row; its jobs must have been released before."""
    conn.execute(Q["retire_worker"], {"id": worker_id})


def list_workers(conn: Connection) -> list[WorkerRow]:
    """Return all workers, the oldest first."""
    with conn.cursor(row_factory=class_row(WorkerRow)) as cursor:
        return cursor.execute(Q["list_workers"]).fetchall()


def reap_workers(conn: Connection, self_id: UUID, watched: Sequence[Other]) -> int:
    """Delete the rows of those workers that are dead or stuck and whose lease is still what it was when looked at.

    Their jobs are found by :func:`rescue` in a later transaction; what stuck ones ran is not to blame.
    """
    params = {
        "self": self_id,
        "watched": [other.id for other in watched],
        "leases": [other.expires_at for other in watched],
    }
    gone = {row[0] for row in conn.execute(Q["reap_workers"], params)}
    pardoned = [other.id for other in watched if other.id in gone and not other.dead]
    if pardoned:
        conn.execute(Q["pardon"], {"ids": pardoned})
    return len(gone)


def rescue(conn: Connection) -> list[Rescued]:
    """Take the jobs of vanished workers from them: available again, or discarded when they killed too many."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(Q["rescue"], {"deaths_max": DEATHS_MAX}).fetchall()
    rescued = [Rescued(poison=row.pop("poison"), job=ClaimedJob(**row)) for row in rows]
    wake_again(conn, {one.job.queue for one in rescued})
    return rescued


def release_strays(conn: Connection, worker_id: UUID, tokens: Sequence[int] | None = None) -> int:
    """Give back what this worker holds by these ``tokens``, or all that it holds; return how many."""
    params = {"worker_id": worker_id, "tokens": None if tokens is None else list(tokens)}
    queues = [row[0] for row in conn.execute(Q["release_strays"], params)]
    wake_again(conn, queues)
    return len(queues)


def look(conn: Connection, self_id: UUID, tokens: Sequence[int]) -> Look:
    """Return what a worker that holds ``tokens`` has to see to; writes nothing."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["look"], {"self": self_id, "tokens": list(tokens)}).fetchone()
    assert row is not None
    row["others"] = [
        Other(
            UUID(one["id"]),
            one["host"],
            one["pid"],
            dt.datetime.fromisoformat(one["expires_at"]),
            expired=one["expired"],
            dead=one["dead"],
            holds=one["holds"],
        )
        for one in row["others"]
    ]
    row["waiting"] = [(queue, kind) for queue, kind in row["waiting"]]
    return Look(**row)
