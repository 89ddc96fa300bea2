"""The job table: one function per verb of the engine. ``jobs/`` decides when; people's verbs are in ``job_admin``."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from lumiliod.db.encoding import ENCODER, NULL, array_literal, copied, dumped, dumped_all, write_rows
from lumiliod.db.errors import as_ours, cause, described
from lumiliod.db.job_waits import add_waits, join_groups, leave_groups, release_waiting, unmet
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.db.waking import note, wake_again, wakes
from lumiliod.domain.errors import Permanent
from lumiliod.domain.ids import JobId, uuid7_texts
from lumiliod.domain.jobs import (
    PUT_OFF_FIRST_S,
    PUT_OFF_MAX_S,
    ClaimedJob,
    FailedAttempt,
    NewJob,
    NewJobs,
    OnConflict,
)

Q = Queries(__file__)

COPY_MIN = 20
"""From so many jobs on COPY is quicker than a statement."""

COPY_PART = 500
"""Rows sent at once: the server reads them while the next ones are made."""

PRIORITIES = 4


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished attempt: its job, its right to say so, its result and its run time in milliseconds."""

    id: JobId
    token: int
    result: dict[str, Any] | None
    run_ms: float


# enqueuing


def enqueue(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    """Insert ``jobs`` in their order; return id to queue of those that are now to be done.

    One whose unique key is open already is left out, or its open twin changed and returned, as its
    ``on_conflict`` says. What a job comes ``after`` must have been enqueued before, or stand before
    it in ``jobs``; an id that nobody knows any more counts as ended.

    Raises:
        Conflict: ``predecessor_cancelled``, a job that one of ``jobs`` comes after was cancelled.
    """
    if len(jobs) >= COPY_MIN and all(map(_is_plain, jobs)):
        return _copy(conn, jobs)
    enqueued: dict[JobId, str] = {}
    run: list[NewJob] = []
    standing: set[UUID] = set()
    twins: dict[UUID, UUID] = {}
    awaited = {on for job in jobs for on in job.after}
    for job in jobs:
        if standing.intersection(job.after):
            enqueued |= _insert(conn, run)
            twins |= _twins(conn, [one for one in run if one.id in awaited and one.id not in enqueued])
            run, standing = [], set()
        # what comes after one that was left out comes after the one that does its work
        run.append(job._replace(after=tuple(twins.get(on, on) for on in job.after)) if twins else job)
        standing.add(job.id)
        if job.group_id is not None:
            standing.add(job.group_id)
    return enqueued | _insert(conn, run)


def _twins(conn: Connection, left_out: Sequence[NewJob]) -> dict[UUID, UUID]:
    found = {job.id: open_by_key(conn, job.kind, job.unique_key) for job in left_out if job.unique_key is not None}
    return {job_id: twin for job_id, twin in found.items() if twin is not None}


def _is_plain(job: NewJob) -> bool:
    return job.unique_key is None and job.scheduled_at is None and job.group_id is None and not job.after


def enqueue_many(conn: Connection, jobs: NewJobs) -> int:
    """Insert many jobs of one kind at once, each due now; return how many."""
    head = f"{copied(jobs.kind)}\t{copied(jobs.queue)}\t{jobs.priority}\t{jobs.max_attempts}\t"
    tail = f"\t{jobs.repository_id or NULL}\t{copied(array_literal(jobs.tags))}"
    texts = dumped_all(jobs.args)
    with conn.cursor() as cursor, cursor.copy(Q["copy_many"]) as copy:
        for start in range(0, len(texts), COPY_PART):
            part = texts[start : start + COPY_PART]
            ids = uuid7_texts(len(part))
            write_rows(copy, "".join([f"{id_}\t{head}{text}{tail}\n" for id_, text in zip(ids, part, strict=True)]))
    if texts:
        wakes(conn).queues.add(jobs.queue)
    return len(texts)


def _copy(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    texts = dumped_all([job.args for job in jobs])
    rows = "".join(
        [
            f"{job.id}\t{copied(job.kind)}\t{copied(job.queue)}\t{job.priority}\t{job.max_attempts}\t{text}\t"
            f"{job.asset_id or NULL}\t{job.repository_id or NULL}\t{job.parent_id or NULL}\t"
            f"{copied(array_literal(job.tags)) if job.tags else '{}'}\n"
            for job, text in zip(jobs, texts, strict=True)
        ]
    )
    with conn.cursor() as cursor, cursor.copy(Q["copy"]) as copy:
        write_rows(copy, rows)
    enqueued = {job.id: job.queue for job in jobs}
    wakes(conn).queues.update(enqueued.values())
    return enqueued


def _insert(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    if not jobs:
        return {}
    still = unmet(conn, {on for job in jobs for on in job.after})
    waits = {job.id: sorted(still.intersection(job.after)) for job in jobs if job.after}
    enqueued: dict[JobId, str] = {}
    for how, group in _by_conflict(jobs):
        rows = _rows(group, waits)
        if how is OnConflict.KEEP:
            found = conn.execute(Q["enqueue"], {"jobs": rows}).fetchall()
        else:
            found = _replace(conn, group, waits, only_time=how is OnConflict.RESCHEDULE)
        note(conn, [(queue, state) for _, queue, state in found])
        enqueued |= {JobId(row[0]): row[1] for row in found}
    add_waits(conn, {job_id: on_ids for job_id, on_ids in waits.items() if job_id in enqueued})
    join_groups(conn, [job.group_id for job in jobs if job.group_id is not None and job.id in enqueued])
    return enqueued


def _by_conflict(jobs: Sequence[NewJob]) -> Iterator[tuple[OnConflict, list[NewJob]]]:
    """Split ``jobs`` into runs that one statement can insert; of replacing ones under one key the last counts."""
    for how, same in groupby(jobs, key=lambda job: job.on_conflict if job.unique_key is not None else OnConflict.KEEP):
        run = list(same)
        yield how, run if how is OnConflict.KEEP else list({(job.kind, job.unique_key): job for job in run}.values())


def _replace(
    conn: Connection, jobs: Sequence[NewJob], waits: Mapping[JobId, Sequence[UUID]], *, only_time: bool
) -> list[tuple[Any, ...]]:
    """Insert jobs that take the place of what waits under their keys; again, while one is claimed in between."""
    found: list[tuple[Any, ...]] = []
    left = list(jobs)
    while left:
        conn.execute(Q["let_go"], {"kinds": [job.kind for job in left], "keys": [job.unique_key for job in left]})
        params = {"jobs": _rows(left, waits), "only_time": only_time}
        placed = conn.execute(Q["enqueue_replacing"], params).fetchall()
        found += [row[:3] for row in placed]
        # a claim passes over those that wait already, which this holds
        ours = {job.id for job in left}
        wake_again(conn, {queue for id_, queue, state, *_ in placed if id_ not in ours and state == "available"})
        keys = {(row[3], row[4]) for row in placed}
        left = [job for job in left if (job.kind, job.unique_key) not in keys]
    return found


def _rows(jobs: Sequence[NewJob], waits: Mapping[JobId, Sequence[UUID]]) -> str:
    """Return jobs as a JSON array of rows.

    Raises:
        Permanent: a name holds what is no text (``bad_value``).
    """
    try:
        return ENCODER.encode([_row(job, len(waits.get(job.id, ()))) for job in jobs]).decode()
    except UnicodeEncodeError as error:
        raise Permanent("a name of a job is no text", code="bad_value") from error


def _row(job: NewJob, waits_for: int) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "args": msgspec.Raw(dumped(job.args).encode()),
        "unique_key": job.unique_key,
        "scheduled_at": job.scheduled_at,
        "waits_for": waits_for,
        "awaited": False,
        "group_id": job.group_id,
        "asset_id": job.asset_id,
        "repository_id": job.repository_id,
        "parent_id": job.parent_id,
        "tags": list(job.tags),
    }


def open_by_key(conn: Connection, kind: str, unique_key: str) -> JobId | None:
    """Return the open job of ``kind`` with ``unique_key``."""
    row = conn.execute(Q["open_by_key"], {"kind": kind, "unique_key": unique_key}).fetchone()
    return JobId(row[0]) if row else None


# transactions of others


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


# claiming


def claim(
    conn: Connection,
    worker_id: UUID,
    queue: str,
    wanted: Mapping[str, int],
    floors: Mapping[str, Sequence[int]] | None = None,
) -> list[ClaimedJob] | None:
    """Take available jobs, up to ``wanted[kind]`` of each kind, most urgent and oldest first.

    Args:
        conn: the connection.
        worker_id: who takes them.
        queue: of which queue; nothing comes from one that is paused.
        wanted: how many of each kind.
        floors: by kind, for each priority, the lowest ``seq`` to look at: rows below are passed over
            without being read. Without it every row is looked at.

    None when there is no such worker: it was reaped.
    """
    lines = [(floors or {}).get(kind, _NO_FLOOR) for kind in wanted]
    urgent, normal, low, idle = ([floor[n] for floor in lines] for n in range(PRIORITIES))
    params = {
        "worker_id": worker_id,
        "queue": queue,
        "kinds": list(wanted),
        "counts": list(wanted.values()),
        "urgent": urgent,
        "normal": normal,
        "low": low,
        "idle": idle,
    }
    jobs = [ClaimedJob(*row) for row in conn.execute(Q["claim"], params)]
    if not jobs and conn.execute(Q["is_worker"], {"worker_id": worker_id}).fetchone() is None:
        return None
    return sorted(jobs, key=lambda job: (job.priority, job.seq))


_NO_FLOOR = (0,) * PRIORITIES


def claim_suspect(conn: Connection, worker_id: UUID, queue: str, kinds: Sequence[str]) -> list[ClaimedJob] | None:
    """Take one available job that was held by a worker that died, and write down that it runs.

    None when there is no such worker: it was reaped.
    """
    params = {"worker_id": worker_id, "queue": queue, "kinds": list(kinds)}
    jobs = [ClaimedJob(*row) for row in conn.execute(Q["claim_suspect"], params)]
    if not jobs and conn.execute(Q["is_worker"], {"worker_id": worker_id}).fetchone() is None:
        return None
    return jobs


# ending


def hold(conn: Connection, held: Sequence[ClaimedJob]) -> set[JobId]:
    """Lock those attempts that are still ours, so that nobody takes them away before the commit; return their jobs."""
    if not held:
        return set()
    params = {"ids": [job.id for job in held], "tokens": [job.token for job in held]}
    return {JobId(row[0]) for row in conn.execute(Q["hold"], params)}


def complete(conn: Connection, completions: Sequence[Completion]) -> set[JobId]:
    """Move jobs to the history; return those that were still ours. The others were fenced off."""
    rows = conn.execute(
        Q["complete"],
        {
            "ids": [c.id for c in completions],
            "tokens": [c.token for c in completions],
            "results": [None if c.result is None else dumped(c.result) for c in completions],
            "run_ms": [c.run_ms for c in completions],
        },
    ).fetchall()
    awaited = [row[0] for row in rows if row[1]]
    groups = [row[2] for row in rows if row[2] is not None]
    if awaited or groups:
        release_waiting(conn, awaited + leave_groups(conn, groups))
    return {JobId(row[0]) for row in rows}


def fail(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, after_s: float | None) -> bool:
    """Record a failed attempt; retry after a while, or discard without one. False when the job is no longer ours."""
    params = {"id": job_id, "token": token, "after_s": after_s, "error": _kept(error)}
    return conn.execute(Q["fail"], params).fetchone() is not None


def put_off(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, after_s: float | None) -> bool:
    """Give an attempt back and try again later, ``after_s`` from now and each time in a row after twice as long.

    False when the job is no longer ours.
    """
    params = {
        "id": job_id,
        "token": token,
        "after_s": after_s or PUT_OFF_FIRST_S,
        "max_s": PUT_OFF_MAX_S,
        "error": _kept(error),
    }
    return conn.execute(Q["put_off"], params).fetchone() is not None


def _kept(error: FailedAttempt) -> Jsonb:
    return Jsonb([{key: value for key, value in asdict(error).items() if value is not None}], dumps=dumped)


def release(conn: Connection, held: Sequence[ClaimedJob]) -> None:
    """Give attempts back, as if they had never begun."""
    if held:
        params = {"ids": [job.id for job in held], "tokens": [job.token for job in held]}
        wake_again(conn, {row[0] for row in conn.execute(Q["release"], params)})


def set_progress(conn: Connection, job_id: JobId, token: int, progress: dict[str, Any]) -> None:
    """Write how far a running job is."""
    conn.execute(Q["progress"], {"id": job_id, "token": token, "progress": Jsonb(progress, dumps=dumped)})


# time


def promote(conn: Connection) -> float | None:
    """Make due jobs available; return the seconds until the next is due (see :func:`next_due_s`)."""
    due_s = next_due_s(conn)
    if due_s is None or due_s > 0:
        return due_s
    wake_again(conn, {row[0] for row in conn.execute(Q["promote"])})
    return next_due_s(conn)


def hasten(conn: Connection, repository_id: UUID, *, but: str = "", code: str = "") -> None:
    """Let the jobs of a repository that were put off go on at once.

    Args:
        conn: a transaction.
        repository_id: theirs.
        but: a kind that is left out.
        code: why they were, if only such are meant.
    """
    conn.execute(Q["hasten"], {"repository_id": repository_id, "but": but, "code": code})
    wakes(conn).later = True


def next_due_s(conn: Connection) -> float | None:
    """Return seconds until the next scheduled or retryable job is due; negative when overdue."""
    row = conn.execute(Q["next_due"]).fetchone()
    return row[0] if row else None
