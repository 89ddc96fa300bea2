"""Pages of jobs, in either direction from any place of an order, and what the jobs are about."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.job_admin import JobRow
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import JobId, path_from_bytes, shown
from lumiliod.domain.jobs import JobFilter

Q = Queries(__file__)

_COLUMNS = [field.name for field in fields(JobRow)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins, itself not included: a job and, in an order that has them, its rank."""

    id: UUID
    rank: str | None = None


def page(conn: Connection, wanted: JobFilter, *, before: UUID | None, count: int) -> list[JobRow]:
    """Return the jobs that ``wanted`` names, newest first, created before ``before``; ids and age do not count."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(Q["page"], {**asdict(wanted), "before": before, "count": count}).fetchall()


def oldest(conn: Connection, wanted: JobFilter, *, after: UUID | None, count: int) -> list[JobRow]:
    """Return the jobs that ``wanted`` names, oldest first, created after ``after``; ids and age do not count."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(Q["page_oldest"], {**asdict(wanted), "after": after, "count": count}).fetchall()


def ranked(
    conn: Connection, wanted: JobFilter, by: str, *, after: Place | None, count: int, back: bool = False
) -> list[tuple[JobRow, str]]:
    """Return open and discarded jobs in the order of ``by``, each with its rank there; ``back``: from the other end.

    Args:
        conn: the connection.
        wanted: which jobs; ids and age do not count.
        by: ``kind | queue | state | cause | priority | attempt | scheduled``; the same rank goes by age.
        after: where to begin.
        count: how many at most.
        back: in the opposite order.
    """
    place = {"id": after.id if after else None, "rank": after.rank if after else None}
    params = {**asdict(wanted), **place, "by": by, "count": count}
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(Q["ranked_back" if back else "ranked"], params).fetchall()
    return [(JobRow(**{name: row[name] for name in _COLUMNS}), row["rank"]) for row in rows]


def about(conn: Connection, rows: Sequence[JobRow]) -> dict[JobId, str]:
    """Return what jobs are about: a path in its repository, else the name of an upload; some are about nothing."""
    told = {row.id: name for row in rows if isinstance(name := row.args.get("filename"), str)}
    params = {
        "ids": [row.id for row in rows],
        "assets": [row.asset_id for row in rows],
        "files": [_uuid(row.args.get("file")) for row in rows],
    }
    for job_id, path, name in conn.execute(Q["about"], params) if rows else ():
        told[JobId(job_id)] = path_from_bytes(path) if path is not None else name
    for row in rows:
        if row.id not in told and isinstance(folder := row.args.get("folder"), str) and folder:
            told[row.id] = folder
    return {job_id: shown(name) for job_id, name in told.items()}


def _uuid(value: object) -> UUID | None:
    with suppress(ValueError):
        return UUID(value) if isinstance(value, str) else None
    return None
