"""Jobs as people see them and what people do with them: one function per verb."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.job_waits import join_groups, leave_groups, release_waiting, wait_again
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.db.waking import wake_again
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import ClaimedJob, JobFilter, JobState

Q = Queries(__file__)

NIL = UUID(int=0)

TABLED = (
    JobState.AVAILABLE,
    JobState.SCHEDULED,
    JobState.RUNNING,
    JobState.RETRYABLE,
    JobState.DISCARDED,
)
"""The states of jobs that have not ended; a discarded one waits for a person."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as people see it; ``result`` only once it is completed, ``waits_on`` what must end before it begins."""

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
    unique_key: str | None
    cause: str | None
    tags: list[str]
    parent_id: UUID | None
    group_id: UUID | None
    worker_id: UUID | None
    waits_on: list[UUID]


@dataclass(frozen=True, slots=True)
class RunningRow:
    """A job that runs now."""

    id: JobId
    kind: str
    queue: str
    priority: int
    attempt: int
    attempted_at: dt.datetime
    progress: dict[str, Any] | None
    repository_id: UUID | None
    asset_id: UUID | None
    worker_id: UUID


@dataclass(frozen=True, slots=True)
class CauseRow:
    """Failed jobs of a kind that failed for the same reason; ``message`` and ``example`` are the newest's."""

    kind: str
    cause: str
    count: int
    discarded: int
    first_at: dt.datetime
    last_at: dt.datetime
    error_class: str
    message: str
    example: JobId


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How many jobs were cancelled, those that waited for them included, and the tokens of those that ran."""

    count: int
    tokens: list[int]


def find(
    conn: Connection, wanted: JobFilter, states: Sequence[JobState], *, after: UUID = NIL, count: int = 1000
) -> list[JobId]:
    """Lock and return a page of the jobs in one of ``states`` that ``wanted`` names, by id, past ``after``.

    One that another transaction holds this moment is passed over.
    """
    chosen = [state for state in states if wanted.state is None or state == wanted.state]
    return [JobId(row[0]) for row in conn.execute(Q["find"], {**_params(wanted, after, count), "states": chosen})]


def matching(conn: Connection, wanted: JobFilter, states: Sequence[JobState]) -> int:
    """Count the jobs in one of ``states`` that ``wanted`` names, those that others hold this moment included."""
    chosen = [state for state in states if wanted.state is None or state == wanted.state]
    row = conn.execute(Q["matching"], {**_params(wanted, NIL, 0), "states": chosen}).fetchone()
    return row[0] if row else 0


def find_cancelled(conn: Connection, wanted: JobFilter, *, after: UUID = NIL, count: int = 1000) -> list[JobId]:
    """Lock and return a page of the cancelled jobs that ``wanted`` names; see :func:`find`."""
    return [JobId(row[0]) for row in conn.execute(Q["find_cancelled"], _params(wanted, after, count))]


def matching_cancelled(conn: Connection, wanted: JobFilter) -> int:
    """Count the cancelled jobs that ``wanted`` names."""
    row = conn.execute(Q["matching_cancelled"], _params(wanted, NIL, 0)).fetchone()
    return row[0] if row else 0


def _params(wanted: JobFilter, after: UUID, count: int) -> dict[str, Any]:
    ids = None if wanted.ids is None else list(wanted.ids)
    return {**asdict(wanted), "ids": ids, "after": after, "count": count}


def cancel(conn: Connection, ids: Sequence[UUID]) -> Cancelled:
    """End jobs as cancelled, whatever their state; what waits for one of them ends with it.

    A result of one that runs is refused from now on: its worker is to be told its token.
    """
    count, tokens = 0, list[int]()
    ended, code = list(ids), None
    while ended:
        params = {"ids": ended, "reason": code, "message": "a job that this one waits for was cancelled"}
        rows = conn.execute(Q["cancel"], params).fetchall()
        count += len(rows)
        tokens += [row[1] for row in rows if row[1] is not None]
        release_waiting(conn, leave_groups(conn, [row[4] for row in rows if row[4] is not None]))
        awaited = [row[0] for row in rows if row[3]]
        ended = [row[0] for row in conn.execute(Q["waiting_on"], {"ids": awaited})] if awaited else []
        code = "predecessor_cancelled"
    return Cancelled(count, tokens)


def discard(conn: Connection, ids: Sequence[UUID], code: str, message: str) -> list[ClaimedJob]:
    """Give up jobs that wait, with a reason; return them. Those that run or have ended are left."""
    with conn.cursor(row_factory=class_row(ClaimedJob)) as cursor:
        return cursor.execute(Q["discard"], {"ids": list(ids), "code": code, "message": message}).fetchall()


def retry(conn: Connection, ids: Sequence[UUID]) -> list[JobId]:
    """Let failed, discarded, scheduled and cancelled jobs begin anew, at once; return those that do.

    Not one whose unique key another open job has: that one does the work.
    """
    rows = conn.execute(Q["retry"], {"ids": list(ids)}).fetchall()
    revived = conn.execute(Q["revive"], {"ids": list(ids)}).fetchall()
    join_groups(conn, [row[2] for row in revived if row[2] is not None])
    wait_again(conn, {row[0]: row[3] for row in revived if row[3]})
    wake_again(conn, {row[1] for row in [*rows, *revived]})
    return [JobId(row[0]) for row in [*rows, *revived]]


def causes(conn: Connection, *, kind: str | None = None, count: int = 100) -> list[CauseRow]:
    """Group what failed, and waits for another attempt or for a person, by why; the most frequent first."""
    with conn.cursor(row_factory=class_row(CauseRow)) as cursor:
        return cursor.execute(Q["causes"], {"kind": kind, "count": count}).fetchall()


def counts(conn: Connection) -> list[tuple[str, str, str, int]]:
    """Count the rows of the job table by kind, queue and state."""
    found: Counter[tuple[str, str, str]] = Counter()
    for kind, queue, state, count in conn.execute(Q["counts"]):
        found[kind, queue, state] += count
    return [(*key, count) for key, count in found.items()]


def show(conn: Connection, job_id: JobId) -> JobRow | None:
    """Return one job, open or finished."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(Q["show"], {"id": job_id}).fetchone()


def running(conn: Connection, *, count: int = 500) -> list[RunningRow]:
    """Return the jobs that run now, the oldest attempt first."""
    with conn.cursor(row_factory=class_row(RunningRow)) as cursor:
        return cursor.execute(Q["running"], {"count": count}).fetchall()


def open_of_kind(conn: Connection, kind: str) -> list[dict[str, Any]]:
    """Return id, state, repository_id and progress of the open jobs of ``kind`` with unique keys, oldest first."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(Q["open_of_kind"], {"kind": kind}).fetchall()
