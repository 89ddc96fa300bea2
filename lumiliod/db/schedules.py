"""The tables of periodic jobs. When they fire is decided in ``jobs/schedule.py``."""

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.schedules import Schedule, Slot, Timing

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A periodic job: what it enqueues, when it is due next, when it last ran."""

    name: str
    kind: str
    queue: str
    args: dict[str, Any]
    priority: int
    max_attempts: int
    unique_key: str | None
    repository_id: UUID | None
    cron: str | None
    every_s: int | None
    time_zone: str
    jitter_s: int
    slot_at: dt.datetime
    next_at: dt.datetime
    last_fire_at: dt.datetime | None
    last_job_id: JobId | None
    paused_at: dt.datetime | None
    changed_at: dt.datetime | None
    created_at: dt.datetime

    @property
    def timing(self) -> Timing:
        """Return when it is due.

        Raises:
            Shape: the row holds what this version does not allow.
        """
        return Timing(self.cron, self.every_s, self.time_zone, self.jitter_s)

    def job(self) -> NewJob:
        """Make its job, with an id of its own."""
        return NewJob(
            id=JobId(uuid7()),
            kind=self.kind,
            queue=self.queue,
            args=self.args,
            priority=self.priority,
            max_attempts=self.max_attempts,
            unique_key=self.unique_key,
            repository_id=self.repository_id,
        )


def now(conn: Connection) -> dt.datetime:
    """Return the time of this transaction by the database's clock."""
    row = conn.execute(Q["now"]).fetchone()
    assert row is not None
    at: dt.datetime = row[0]
    return at.astimezone(dt.UTC)


def declare(conn: Connection, planned: Sequence[tuple[Schedule, Slot]]) -> None:
    """Insert schedules with their first slot, or bring them up to date; what a person changed stays.

    The slot is taken over only where the timing is new. Nothing is written where nothing changed.
    """
    told = [_told(schedule, slot) for schedule, slot in sorted(planned, key=lambda one: one[0].name)]
    params = {"schedules": json.dumps(told, default=str)}
    conn.execute(Q["declare"], params)
    conn.execute(Q["retime"], params)


def _told(schedule: Schedule, slot: Slot) -> dict[str, Any]:
    kept = ("kind", "queue", "args", "priority", "max_attempts", "unique_key", "repository_id")
    job = {field: getattr(schedule.job, field) for field in kept}
    when = {"slot_at": slot.at, "next_at": slot.fires_at}
    return {"name": schedule.name, **job, **asdict(schedule.timing), **when}


def undeclare(conn: Connection, prefix: str, keep: Collection[str]) -> list[str]:
    """Remove the schedules whose name begins with ``prefix``, save those in ``keep``; return their names."""
    return [row[0] for row in conn.execute(Q["undeclare"], {"prefix": prefix, "keep": list(keep)})]


def due(conn: Connection) -> list[ScheduleRow]:
    """Lock and return the schedules whose moment has come, save those that another process has."""
    with conn.cursor(row_factory=class_row(ScheduleRow)) as cursor:
        return cursor.execute(Q["due"]).fetchall()


def next_due_s(conn: Connection) -> float | None:
    """Return seconds until the next schedule is due; negative when overdue, None when there is none."""
    row = conn.execute(Q["next_due"]).fetchone()
    return row[0] if row else None


def fire(conn: Connection, slots: Mapping[str, dt.datetime]) -> set[str]:
    """Write down that schedules fire for a slot each; return the names of those that had not fired for it."""
    rows = conn.execute(Q["fire"], {"names": list(slots), "slots": list(slots.values())})
    return {row[0] for row in rows}


def note_jobs(conn: Connection, fired: Mapping[str, tuple[dt.datetime, JobId]]) -> None:
    """Write down which jobs came of the slots that fired."""
    slots, job_ids = [slot for slot, _ in fired.values()], [job_id for _, job_id in fired.values()]
    conn.execute(Q["note_jobs"], {"names": list(fired), "slots": slots, "job_ids": job_ids})
    note_last(conn, dict(zip(fired, job_ids, strict=True)))


def note_last(conn: Connection, jobs: Mapping[str, JobId]) -> None:
    """Write down that schedules ran now, and as which jobs."""
    conn.execute(Q["note_last"], {"names": list(jobs), "job_ids": list(jobs.values())})


def advance(conn: Connection, following: Mapping[str, Slot]) -> None:
    """Set the next slots of schedules."""
    slots, fires = [slot.at for slot in following.values()], [slot.fires_at for slot in following.values()]
    conn.execute(Q["advance"], {"names": list(following), "slots": slots, "fires": fires})


def forget_fires(conn: Connection, names: Collection[str], keep: int) -> None:
    """Delete all but the latest ``keep`` fires of each schedule."""
    conn.execute(Q["forget_fires"], {"names": list(names), "keep": keep})


def listed(conn: Connection) -> list[ScheduleRow]:
    """Return every schedule, by name."""
    with conn.cursor(row_factory=class_row(ScheduleRow)) as cursor:
        return cursor.execute(Q["listed"], {"name": None}).fetchall()


def show(conn: Connection, name: str) -> ScheduleRow | None:
    """Return one schedule."""
    with conn.cursor(row_factory=class_row(ScheduleRow)) as cursor:
        return cursor.execute(Q["listed"], {"name": name}).fetchone()


def take(conn: Connection, name: str) -> ScheduleRow | None:
    """Lock and return one schedule."""
    with conn.cursor(row_factory=class_row(ScheduleRow)) as cursor:
        return cursor.execute(Q["take"], {"name": name}).fetchone()


def set_timing(conn: Connection, name: str, timing: Timing, slot: Slot) -> None:
    """Give a schedule the timing a person chose, and its next slot."""
    when = {"slot_at": slot.at, "next_at": slot.fires_at}
    conn.execute(Q["set_timing"], {"name": name, **asdict(timing), **when})


def set_paused(conn: Connection, name: str, paused: bool) -> None:
    """Pause a schedule or let it go on; since when it is paused stays."""
    conn.execute(Q["set_paused"], {"name": name, "paused": paused})
