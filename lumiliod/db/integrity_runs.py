"""Passes over the files: how far each is, and what it cost and gave."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db import findings
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import uuid7

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class Run:
    """One pass of a job, as far as it came; without a budget it reads everything."""

    id: UUID
    job_id: UUID
    kind: str
    mirror_id: UUID | None
    budget_bytes: int | None
    files: int
    read_bytes: int
    found: int
    unstable: int
    walked: bool
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Spent:
    """What one check cost and gave: bytes, seconds, findings."""

    read_bytes: int = 0
    read_s: float = 0.0
    found: int = 0
    unstable: int = 0


def begin_run(
    conn: Connection, job_id: UUID, kind: str, *, mirror_id: UUID | None = None, budget_bytes: int | None = None
) -> Run:
    """Begin a pass, or go on with the one this job began; its budget stays then."""
    params = {"id": uuid7(), "job_id": job_id, "kind": kind, "mirror_id": mirror_id, "budget_bytes": budget_bytes}
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        run = cursor.execute(Q["begin_run"], params).fetchone()
    assert run is not None
    return run


def run_of_job(conn: Connection, job_id: UUID, mirror_id: UUID | None = None) -> Run | None:
    """Return the pass a job began."""
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(Q["run_of_job"], {"job_id": job_id, "mirror_id": mirror_id}).fetchone()


def last_scrub(conn: Connection, job_id: UUID, mirror_id: UUID | None = None) -> tuple[int, float] | None:
    """Return the bytes that the last scrub of another job left of its budget, and how many seconds ago it began."""
    row = conn.execute(Q["last_scrub"], {"job_id": job_id, "mirror_id": mirror_id}).fetchone()
    return (row[0], row[1]) if row else None


def count(conn: Connection, run_id: UUID, spent: Spent) -> None:
    """Add one check to a pass."""
    params = {"id": run_id, "read_bytes": spent.read_bytes, "read_s": spent.read_s}
    conn.execute(Q["count"], {**params, "found": spent.found, "unstable": spent.unstable})


def count_found(conn: Connection, run_id: UUID, found: int, *, walked: bool) -> None:
    """Add findings that cost no reading to a pass; ``walked``: it has looked for orphans, too."""
    conn.execute(Q["count_found"], {"id": run_id, "found": found, "walked": walked})


def end_run(conn: Connection, run_id: UUID, keep_days: int) -> None:
    """End a pass, close findings that do not hold any more and forget passes older than ``keep_days``."""
    conn.execute(Q["end_run"], {"id": run_id})
    findings.close_settled(conn)
    conn.execute(Q["forget_runs"], {"days": keep_days})


def speed(conn: Connection) -> tuple[float | None, dt.datetime | None]:
    """Return the bytes a second of the last passes, and when the last one began."""
    row = conn.execute(Q["speed"]).fetchone()
    assert row is not None
    return (None if row[0] is None else float(row[0])), row[1]
