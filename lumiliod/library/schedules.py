"""Periodic jobs as people see and change them."""

from uuid import UUID

from msgspec import UNSET

from lumiliod.contract.schedules import RunTicket, Schedule, ScheduleChange, ScheduleList
from lumiliod.db.pool import Connection
from lumiliod.db.schedules import ScheduleRow
from lumiliod.domain.schedules import Timing
from lumiliod.jobs import schedule
from lumiliod.runtime import Runtime


async def list_all(rt: Runtime) -> ScheduleList:
    """Return every periodic job, by name."""
    return ScheduleList(items=[_wire(rt, row) for row in await rt.db.call(schedule.listed)])


async def show(rt: Runtime, name: str) -> Schedule:
    """Return one periodic job.

    Raises:
        NotFound: there is none of this name.
    """
    return _wire(rt, await rt.db.call(schedule.show, name))


async def change(rt: Runtime, name: str, wanted: ScheduleChange) -> Schedule:
    """Pause a periodic job, let it go on, or change when it runs; code does not overwrite that.

    Raises:
        NotFound: there is none of this name.
        Shape: the new timing is not right.
    """
    row = await rt.jobs.call(_change, name, wanted)
    await rt.jobs.told(settings=True)
    return _wire(rt, row)


async def run(rt: Runtime, name: str) -> RunTicket:
    """Enqueue a periodic job's work now; work that waits already is the answer.

    Raises:
        NotFound: there is none of this name.
    """
    return RunTicket(task_id=await rt.jobs.call(schedule.run_now, name))


def _change(conn: Connection, name: str, wanted: ScheduleChange) -> ScheduleRow:
    row = schedule.take(conn, name)
    timing = _changed(row, wanted)
    if timing is not None:
        schedule.set_timing(conn, name, timing)
    if wanted.paused is not UNSET:
        schedule.set_paused(conn, name, wanted.paused)
    return schedule.show(conn, name)


def _changed(row: ScheduleRow, wanted: ScheduleChange) -> Timing | None:
    """Return the timing that is wanted, None when nothing is said of it."""
    said = (wanted.cron, wanted.every_s, wanted.time_zone, wanted.jitter_s)
    if all(one is UNSET for one in said):
        return None
    cron = None if wanted.cron is UNSET else wanted.cron
    every_s = None if wanted.every_s is UNSET else wanted.every_s
    if cron is None and every_s is None:
        cron, every_s = row.cron, row.every_s
    zone = row.time_zone if wanted.time_zone is UNSET else wanted.time_zone
    jitter_s = _jitter_s(row, every_s) if wanted.jitter_s is UNSET else wanted.jitter_s
    return Timing(cron, every_s, zone, jitter_s)


def _jitter_s(row: ScheduleRow, every_s: int | None) -> int:
    """Return the jitter that goes with a new interval: the same share of it, or as much as it allows."""
    if every_s is None:
        return row.jitter_s
    if row.every_s is None:
        return min(row.jitter_s, every_s)
    return row.jitter_s * every_s // row.every_s


def _wire(rt: Runtime, row: ScheduleRow) -> Schedule:
    return Schedule(
        name=row.name,
        kind=row.kind,
        queue=row.queue,
        repository=_repository(rt, row.repository_id),
        cron=row.cron,
        every_s=row.every_s,
        time_zone=row.time_zone,
        jitter_s=row.jitter_s,
        paused=row.paused_at is not None,
        next_at=row.next_at,
        last_fire_at=row.last_fire_at,
        last_job_id=row.last_job_id,
    )


def _repository(rt: Runtime, repository_id: UUID | None) -> str | None:
    return next((row.name for row in rt.repositories.rows() if row.id == repository_id), None)
