"""Periodic jobs on the wire."""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType


class Schedule(Struct, kw_only=True):
    """A periodic job: due by ``cron`` in ``time_zone`` or every ``every_s`` seconds, and up to ``jitter_s`` later.

    ``repository`` is the name of the one it is about. While it is paused, ``next_at`` is when it would have run.
    """

    name: str
    kind: str
    queue: str
    repository: str | None
    cron: str | None
    every_s: int | None
    time_zone: str
    jitter_s: int
    paused: bool
    next_at: datetime
    last_fire_at: datetime | None
    last_job_id: UUID | None


class ScheduleList(Struct, kw_only=True):
    """All periodic jobs, by name."""

    items: list[Schedule]


class ScheduleChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /schedules/{name}``: what is not given stays; ``cron`` and ``every_s`` replace each other."""

    paused: bool | UnsetType = UNSET
    cron: str | UnsetType = UNSET
    every_s: int | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    jitter_s: int | UnsetType = UNSET


class RunTicket(Struct, kw_only=True):
    """The answer to a request to run now: the job, or the one that was under way already."""

    task_id: UUID
