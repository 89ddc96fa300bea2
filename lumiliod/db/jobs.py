"""The job table: one function per verb of the engine. ``jobs/`` decides when; people's verbs are in ``job_admin``."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from lumiliod.db.errors import as_ours, cause, described
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.errors import Conflict
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
from lumiliod.domain.text import storable

Q = Queries(__file__)

CHANNEL = "lumilio_jobs"
"""Notification channel; what its payloads say is up to the engine."""

COPY_MIN = 20
"""From so many jobs on COPY is quicker than a statement."""

COPY_PART = 500
"""Rows sent at once: the server reads them while the next ones are made."""

PRIORITIES = 4


@dataclass(slots=True)
class Woken:
    """What a transaction left for others to do.

    Queues that got jobs; queues that got jobs *back*, older than those just claimed; whether any job
    was given a time.
    """

    queues: set[str] = field(default_factory=set[str])
    again: set[str] = field(default_factory=set[str])
    later: bool = False


_woken: WeakKeyDictionary[Connection, Woken] = WeakKeyDictionary()


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
    for job in jobs:
        if standing.intersection(job.after):
            enqueued |= _insert(conn, run)
            run, standing = [], set()
        run.append(job)
        standing.add(job.id)
        if job.group_id is not None:
            standing.add(job.group_id)
    return enqueued | _insert(conn, run)


def _is_plain(job: NewJob) -> bool:
    return job.unique_key is None and job.scheduled_at is None and job.group_id is None and not job.after


def enqueue_many(conn: Connection, jobs: NewJobs) -> int:
    """Insert many jobs of one kind at once, each due now; return how many."""
    head = f"{_copied(jobs.kind)}\t{_copied(jobs.queue)}\t{jobs.priority}\t{jobs.max_attempts}\t"
    tail = f"\t{jobs.repository_id or _NULL}\t{_copied(_array(jobs.tags))}"
    texts = _encoded(jobs.args)
    with conn.cursor() as cursor, cursor.copy(Q["copy_many"]) as copy:
        for start in range(0, len(texts), COPY_PART):
            part = texts[start : start + COPY_PART]
            ids = uuid7_texts(len(part))
            copy.write("".join([f"{id_}\t{head}{text}{tail}\n" for id_, text in zip(ids, part, strict=True)]))
    if texts:
        _wakes(conn).queues.add(jobs.queue)
    return len(texts)


def _encoded(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each of ``values`` as JSON that PostgreSQL takes, escaped for COPY."""
    try:
        lines = _ENCODER.encode_lines(values).decode()
    except (TypeError, ValueError, OverflowError):
        return [_copied(_dumps(value)) for value in values]
    if "\\u0000" in lines:
        return [_copied(_dumps(value)) for value in values]
    return lines.replace("\\", "\\\\").split("\n")[:-1]


_ENCODER = msgspec.json.Encoder(enc_hook=str)


def _copy(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    texts = _encoded([job.args for job in jobs])
    rows = "".join(
        [
            f"{job.id}\t{_copied(job.kind)}\t{_copied(job.queue)}\t{job.priority}\t{job.max_attempts}\t{text}\t"
            f"{job.asset_id or _NULL}\t{job.repository_id or _NULL}\t{job.parent_id or _NULL}\t"
            f"{_copied(_array(job.tags)) if job.tags else '{}'}\n"
            for job, text in zip(jobs, texts, strict=True)
        ]
    )
    with conn.cursor() as cursor, cursor.copy(Q["copy"]) as copy:
        copy.write(rows)
    enqueued = {job.id: job.queue for job in jobs}
    _wakes(conn).queues.update(enqueued.values())
    return enqueued


_NULL = "\\N"
_COPIED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(text: str) -> str:
    """Return ``text`` as COPY's text format wants it."""
    return text.translate(_COPIED) if "\\" in text or not text.isprintable() else text


def _array(items: Sequence[str]) -> str:
    quoted = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in quoted) + "}"


def _insert(conn: Connection, jobs: Sequence[NewJob]) -> dict[JobId, str]:
    if not jobs:
        return {}
    unmet = _unmet(conn, {on for job in jobs for on in job.after})
    waits = {job.id: sorted(unmet.intersection(job.after)) for job in jobs if job.after}
    enqueued: dict[JobId, str] = {}
    for how, group in _by_conflict(jobs):
        rows = json.dumps([_row(job, len(waits.get(job.id, ()))) for job in group], default=_text)
        if how is OnConflict.KEEP:
            found = conn.execute(Q["enqueue"], {"jobs": rows}).fetchall()
        else:
            keys = {"kinds": [job.kind for job in group], "keys": [job.unique_key for job in group]}
            conn.execute(Q["let_go"], keys)
            params = {"jobs": rows, "only_time": how is OnConflict.RESCHEDULE}
            found = conn.execute(Q["enqueue_replacing"], params).fetchall()
        _note(conn, [(queue, state) for _, queue, state in found])
        enqueued |= {JobId(row[0]): row[1] for row in found}
    added = [(on, job_id) for job_id, on_ids in waits.items() if job_id in enqueued for on in on_ids]
    if added:
        on_ids, job_ids = zip(*added, strict=True)
        conn.execute(Q["add_waits"], {"on_ids": list(on_ids), "job_ids": list(job_ids)})
    join_groups(conn, [job.group_id for job in jobs if job.group_id is not None and job.id in enqueued])
    return enqueued


def _by_conflict(jobs: Sequence[NewJob]) -> Iterator[tuple[OnConflict, list[NewJob]]]:
    """Split ``jobs`` into runs that one statement can insert; of replacing ones under one key the last counts."""
    for how, same in groupby(jobs, key=lambda job: job.on_conflict if job.unique_key is not None else OnConflict.KEEP):
        run = list(same)
        yield how, run if how is OnConflict.KEEP else list({(job.kind, job.unique_key): job for job in run}.values())


def _row(job: NewJob, waits_for: int) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "args": storable(job.args),
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


def _unmet(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Return those of ``ids`` that have not ended, each held so that it cannot end before this commits."""
    if not ids:
        return set()
    params = {"ids": sorted(ids)}
    unmet = {row[0] for row in conn.execute(Q["await_jobs"], params)}
    unmet |= {row[0] for row in conn.execute(Q["await_groups"], params)}
    cancelled = conn.execute(Q["cancelled_of"], {"ids": [one for one in ids if one not in unmet]}).fetchone()
    if cancelled is not None:
        raise Conflict(
            f"the job {cancelled[0]}, which was to be waited for, was cancelled", code="predecessor_cancelled"
        )
    return unmet


def open_by_key(conn: Connection, kind: str, unique_key: str) -> JobId | None:
    """Return the open job of ``kind`` with ``unique_key``."""
    row = conn.execute(Q["open_by_key"], {"kind": kind, "unique_key": unique_key}).fetchone()
    return JobId(row[0]) if row else None


# waking


def take_woken(conn: Connection) -> Woken:
    """Return, once, what was left to do on this connection since the last call."""
    return _woken.pop(conn, None) or Woken()


def wake_again(conn: Connection, queues: Iterable[str]) -> None:
    """Note that ``queues`` got jobs back that are older than what they may have claimed since."""
    _wakes(conn).again.update(queues)


def notify(conn: Connection, payload: str) -> None:
    """Tell other processes; delivered at commit."""
    conn.execute(Q["notify"], {"channel": CHANNEL, "payload": payload})


def _wakes(conn: Connection) -> Woken:
    return _woken.setdefault(conn, Woken())


def _note(conn: Connection, found: Iterable[tuple[str, str]]) -> None:
    """Note the queues of jobs by their state: available now, or later."""
    wakes = _wakes(conn)
    for queue, state in found:
        if state == "available":
            wakes.queues.add(queue)
        else:
            wakes.later = True


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


def mark_started(conn: Connection, held: Sequence[ClaimedJob]) -> None:
    """Write down that suspect jobs run now: if this worker dies too, they are why."""
    conn.execute(Q["mark_started"], {"ids": [job.id for job in held], "tokens": [job.token for job in held]})


# ending


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
    ).fetchall()
    awaited = [row[0] for row in rows if row[1]]
    groups = [row[2] for row in rows if row[2] is not None]
    if awaited or groups:
        release_waiting(conn, awaited + leave_groups(conn, groups))
    return {JobId(row[0]) for row in rows}


def join_groups(conn: Connection, group_ids: Sequence[UUID]) -> None:
    """Count one more open job for each of ``group_ids``."""
    if group_ids:
        conn.execute(Q["join_groups"], {"ids": list(group_ids)})


def leave_groups(conn: Connection, group_ids: Sequence[UUID]) -> list[UUID]:
    """Count one end for each of ``group_ids``; return the groups that have ended with that."""
    if not group_ids:
        return []
    ids = list(group_ids)
    counts = {group: ids.count(group) for group in set(ids)}
    # locked first: the statements after see what others counted meanwhile
    found = conn.execute(Q["lock_groups"], {"ids": sorted(counts)}).fetchall()
    ended = [group for group, still_open in found if still_open <= counts[group]]
    conn.execute(Q["leave_groups"], {"ids": ids})
    conn.execute(Q["end_groups"], {"ids": ended})
    return ended


def release_waiting(conn: Connection, ended: Sequence[UUID]) -> None:
    """Let what waited for these jobs and groups go on."""
    if ended:
        found = conn.execute(Q["release_waiting"], {"ids": list(ended)}).fetchall()
        _note(conn, [(queue, state) for queue, state, waits_for in found if waits_for == 0])
        wake_again(conn, {queue for queue, state, _ in found if state == "available"})


def fail(conn: Connection, job_id: JobId, token: int, error: FailedAttempt, after_s: float | None) -> bool:
    """Record a failed attempt; retry after a while, or discard without one. False when the job is no longer ours."""
    params = {"id": job_id, "token": token, "after_s": after_s, "error": _kept(error)}
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
        params = {"ids": [job.id for job in held], "tokens": [job.token for job in held]}
        wake_again(conn, {row[0] for row in conn.execute(Q["release"], params)})


def set_progress(conn: Connection, job_id: JobId, token: int, progress: dict[str, Any]) -> None:
    """Write how far a running job is."""
    conn.execute(Q["progress"], {"id": job_id, "token": token, "progress": Jsonb(progress, dumps=_dumps)})


# time


def promote(conn: Connection) -> float | None:
    """Make due jobs available; return the seconds until the next is due (see :func:`next_due_s`)."""
    due_s = next_due_s(conn)
    if due_s is None or due_s > 0:
        return due_s
    wake_again(conn, {row[0] for row in conn.execute(Q["promote"])})
    return next_due_s(conn)


def hasten(conn: Connection, repository_id: UUID) -> None:
    """Let the jobs that were put off while a repository was away go on at once."""
    conn.execute(Q["hasten"], {"repository_id": repository_id})
    _wakes(conn).later = True


def next_due_s(conn: Connection) -> float | None:
    """Return seconds until the next scheduled or retryable job is due; negative when overdue."""
    row = conn.execute(Q["next_due"]).fetchone()
    return row[0] if row else None


def _dumps(value: object) -> str:
    return json.dumps(storable(value), default=_text)


def _text(value: object) -> str:
    return str(storable(str(value)))
