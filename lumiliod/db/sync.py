"""Runs that bring the library in step with a disk: what each was, found and ended with, kept within a bound."""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import RepoPath, RepositoryId, path_bytes, uuid7
from lumiliod.domain.sync import SyncCounts, SyncScope, SyncStatus, SyncType

Q = Queries(__file__)

KEPT_RUNS, KEPT_DAYS = 1000, 90
"""Of each repository's runs so many are kept, and for so long; always the last one of everything."""

OPEN_MAX = 1000
"""Scans that wait, of which is told."""


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One run; ``folder`` is a path's bytes, empty for the root."""

    id: UUID
    repository_id: RepositoryId
    type: str
    scope: str
    folder: bytes
    status: str
    found: int
    added: int
    changed: int
    moved: int
    missing: int
    ignored: int
    error: str | None
    note: str | None
    job_id: UUID | None
    started_at: dt.datetime
    finished_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class OpenScan:
    """A scan, or the plan of one, that waits or runs."""

    id: UUID
    kind: str
    state: str
    repository_id: RepositoryId
    progress: dict[str, Any] | None
    args: dict[str, Any]


def begin(
    conn: Connection,
    repository_id: RepositoryId,
    type_: SyncType = SyncType.MANUAL,
    scope: SyncScope = SyncScope.FULL,
    folder: RepoPath | None = None,
    job_id: UUID | None = None,
) -> UUID:
    """Open the record of one run; runs that a killed daemon left open are closed as failed."""
    conn.execute(Q["abandon"], {"repository_id": repository_id, "scope": scope})
    operation = uuid7()
    params = {"id": operation, "repository_id": repository_id, "type": type_, "scope": scope, "job_id": job_id}
    conn.execute(Q["begin"], {**params, "folder": path_bytes(folder or RepoPath(""))})
    return operation


def end(
    conn: Connection,
    operation: UUID,
    counts: SyncCounts,
    status: SyncStatus,
    *,
    note: str | None = None,
    error: str | None = None,
) -> None:
    """Close the record of one run, and forget those that are beyond the bound.

    Args:
        conn: a transaction.
        operation: the run.
        counts: what it found.
        status: how it ended.
        note: what a person should know of it.
        error: why it failed, where it did.
    """
    params = {**asdict(counts), "id": operation, "status": status, "note": note, "error": error}
    row = conn.execute(Q["end"], params).fetchone()
    if row is not None:
        conn.execute(Q["forget_idle"], {"repository_id": row[0]})
        conn.execute(Q["forget_old"], {"repository_id": row[0], "count": KEPT_RUNS, "days": KEPT_DAYS})


def last_full_s(conn: Connection, repository_id: RepositoryId) -> float:
    """Return how long the last scan of everything took, in seconds; 0 when there was none."""
    row = conn.execute(Q["last_full_s"], {"repository_id": repository_id}).fetchone()
    return float(row[0]) if row else 0.0


def unscanned(conn: Connection, after: UUID, count: int) -> list[RepositoryId]:
    """Return repositories beyond ``after`` whose last scan did not end, or that had none, and that no job scans."""
    rows = conn.execute(Q["unscanned"], {"after": after, "count": count})
    return [RepositoryId(row[0]) for row in rows]


def page(
    conn: Connection,
    *,
    repository_id: RepositoryId | None = None,
    type_: SyncType | None = None,
    status: SyncStatus | None = None,
    before: UUID | None = None,
    count: int,
) -> list[OperationRow]:
    """Return runs that began before the one called ``before``, the newest first."""
    params = {"repository_id": repository_id, "type": type_, "status": status, "before": before, "count": count}
    with conn.cursor(row_factory=class_row(OperationRow)) as cursor:
        return cursor.execute(Q["page"], params).fetchall()


def one(conn: Connection, operation: UUID) -> OperationRow | None:
    """Return one run."""
    with conn.cursor(row_factory=class_row(OperationRow)) as cursor:
        return cursor.execute(Q["one"], {"id": operation}).fetchone()


def last_of_everything(conn: Connection) -> dict[RepositoryId, OperationRow]:
    """Return the last scan of everything that has ended, of each repository that had one."""
    with conn.cursor(row_factory=class_row(OperationRow)) as cursor:
        return {row.repository_id: row for row in cursor.execute(Q["last_of_everything"])}


def open_scans(conn: Connection) -> list[OpenScan]:
    """Return the scans, and plans of scans, that wait or run, the oldest first, at most ``OPEN_MAX``."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return [OpenScan(**row) for row in cursor.execute(Q["open_scans"], {"count": OPEN_MAX})]


def is_known(conn: Connection, repository_id: RepositoryId, folder: RepoPath) -> bool:
    """Tell whether any file was ever recorded below a folder."""
    prefix = path_bytes(folder)
    params = {"repository_id": repository_id, "after": prefix + b"/", "until": prefix + b"0"}
    row = conn.execute(Q["is_known"], params).fetchone()
    return bool(row and row[0])
