"""Queues and workers on the wire."""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType


class QuietHours(Struct, kw_only=True, forbid_unknown_fields=True):
    """The hours in which nothing begins, such as ``22:00-06:30``: the first included, the second not."""

    hours: str
    time_zone: str = "UTC"


class Queue(Struct, kw_only=True):
    """A lane of jobs.

    ``configured`` of its jobs run at once, or ``concurrency`` when a person said so; ``allowed`` of them
    now: none while it is ``paused``, in ``quiet hours``, or when nobody here does its work (``not served``).
    """

    name: str
    concurrency: int
    configured: int
    allowed: int
    reason: str | None
    paused_at: datetime | None
    quiet: QuietHours | None
    counts: dict[str, int]
    """Its jobs by state."""


class QueueList(Struct, kw_only=True):
    """Queues by name, and what was said of all of them at once."""

    items: list[Queue]
    paused_at: datetime | None
    quiet: QuietHours | None


class QueueChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /queues/{name}``: what is not given stays, null is as configured."""

    concurrency: int | UnsetType | None = UNSET
    quiet: QuietHours | UnsetType | None = UNSET


class Worker(Struct, kw_only=True):
    """A process that does jobs, and how many it holds; ``own`` is the one that answers."""

    id: UUID
    host: str
    pid: int
    started_at: datetime
    held: int
    own: bool


class WorkerList(Struct, kw_only=True):
    """All workers, the oldest first."""

    items: list[Worker]
