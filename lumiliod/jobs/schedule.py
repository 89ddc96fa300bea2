"""Periodic jobs: declared by code, paused and retimed by people, fired by whoever keeps the job table.

Plain functions of a connection. The only clock is the database's. Each slot of a schedule fires once:
the row of ``job_fires`` says so, however many processes look and however the clock jumps. What was
missed meanwhile is caught up once, for the latest slot.
"""

import datetime as dt
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lumiliod.db import jobs as db_jobs
from lumiliod.db import schedules as db_schedules
from lumiliod.db.pool import Connection
from lumiliod.db.schedules import ScheduleRow
from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.schedules import Schedule, Slot, Timing, is_name
from lumiliod.jobs import slots

log = logging.getLogger(__name__)

FIRES_KEPT = 100
"""Fires remembered of each schedule."""

BROKEN_WAIT = dt.timedelta(hours=1)
"""How long one that cannot be evaluated is left alone."""


@dataclass(frozen=True, slots=True)
class Fired:
    """How many schedules fired, and the seconds until the next is due; None when none is."""

    count: int
    next_due_s: float | None


def declare(conn: Connection, schedules: Sequence[Schedule]) -> None:
    """Insert or bring up to date what code wants to run; a person's pause and timing stay.

    A new schedule begins now, and so does one whose timing the code has changed.

    Raises:
        Shape: a timing cannot be evaluated (``bad_cron``, ``bad_time_zone``).
    """
    if schedules:
        now = db_schedules.now(conn)
        db_schedules.declare(conn, [(one, slots.first(one.name, one.timing, now)) for one in schedules])


def undeclare(conn: Connection, prefix: str, *, keep: Collection[str] = ()) -> list[str]:
    """Remove the schedules whose name begins with ``prefix``, save those in ``keep``; return their names."""
    return db_schedules.undeclare(conn, prefix, keep)


def fire_due(conn: Connection) -> Fired:
    """Enqueue a job for every schedule whose moment has come, and set when it comes next.

    One transaction: a slot has fired exactly when its job exists. Where the schedule's unique key is
    open already, that job is the slot's.
    """
    now = db_schedules.now(conn)
    rows = {row.name: row for row in db_schedules.due(conn)}
    firing: dict[str, dt.datetime] = {}
    following: dict[str, Slot] = {}
    for name, row in rows.items():
        try:
            firing[name], following[name] = slots.turn(name, row.timing, row.slot_at, now)
        except Shape as error:
            log.error("a schedule cannot be evaluated", extra={"schedule": name, "code": error.code})
            following[name] = Slot(row.slot_at, now + BROKEN_WAIT)
    fired: set[str] = set()
    if rows:
        fired = db_schedules.fire(conn, firing)
        jobs = {name: (firing[name], _enqueued(conn, rows[name].job())) for name in firing if name in fired}
        db_schedules.note_jobs(conn, jobs)
        db_schedules.advance(conn, following)
        db_schedules.forget_fires(conn, fired, FIRES_KEPT)
    return Fired(len(fired), next_due_s(conn))


def next_due_s(conn: Connection) -> float | None:
    """Return seconds until the next schedule is due; negative when overdue, None when there is none."""
    return db_schedules.next_due_s(conn)


def run_now(conn: Connection, name: str) -> JobId:
    """Enqueue a schedule's job now, paused or not, and return its id, or that of the open one; no slot is used up.

    Raises:
        NotFound: ``schedule_not_found``.
    """
    job_id = _enqueued(conn, take(conn, name).job())
    db_schedules.note_last(conn, {name: job_id})
    return job_id


def set_paused(conn: Connection, name: str, paused: bool) -> None:
    """Pause a schedule or let it go on; what it missed while it was paused is not caught up.

    Raises:
        NotFound: ``schedule_not_found``.
        Shape: it is to go on and cannot be evaluated.
    """
    row = take(conn, name)
    now = db_schedules.now(conn)
    if not paused and row.paused_at is not None and row.next_at <= now:
        following = slots.following(name, row.timing, row.slot_at, max(now, row.slot_at))
        db_schedules.advance(conn, {name: following})
    db_schedules.set_paused(conn, name, paused)


def set_timing(conn: Connection, name: str, timing: Timing) -> None:
    """Give a schedule a timing that declarations do not overwrite; it begins now.

    Raises:
        NotFound: ``schedule_not_found``.
        Shape: the timing cannot be evaluated (``bad_cron``, ``bad_time_zone``).
    """
    take(conn, name)
    db_schedules.set_timing(conn, name, timing, slots.first(name, timing, db_schedules.now(conn)))


def listed(conn: Connection) -> list[ScheduleRow]:
    """Return every schedule, by name."""
    return db_schedules.listed(conn)


def take(conn: Connection, name: str) -> ScheduleRow:
    """Lock and return one schedule, to change it.

    Raises:
        NotFound: ``schedule_not_found``.
    """
    return _found(name, db_schedules.take(conn, name) if is_name(name) else None)


def show(conn: Connection, name: str) -> ScheduleRow:
    """Return one schedule.

    Raises:
        NotFound: ``schedule_not_found``.
    """
    return _found(name, db_schedules.show(conn, name) if is_name(name) else None)


def _found(name: str, row: ScheduleRow | None) -> ScheduleRow:
    if row is None:
        raise NotFound(f"there is no schedule {name!r}", code="schedule_not_found")
    return row


def _enqueued(conn: Connection, job: NewJob) -> JobId:
    """Enqueue a job and return its id, or that of the open one with its unique key."""
    while job.id not in db_jobs.enqueue(conn, [job]):
        existing = db_jobs.open_by_key(conn, job.kind, job.unique_key or "")
        if existing is not None:
            return existing
    return job.id
