"""The one stream of what happens, on the wire: an event's name is its topic, but for ``reset`` and ``dropped``."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from msgspec import Struct

from lumiliod.contract.jobs import Progress
from lumiliod.contract.live import LiveQueue
from lumiliod.contract.status import JobCount, ServiceHealth
from lumiliod.contract.sync import SyncOperation

Topic = Literal["jobs", "assets", "sync", "health"]

TOPICS: tuple[Topic, ...] = ("jobs", "assets", "sync", "health")


class JobsEvent(Struct, kw_only=True):
    """How many jobs there are now, and how many have ended since the event of this name before.

    ``counts`` are open and dead jobs by kind, queue and state; ``queues`` the same summed up by queue, and how many of
    each may run at once. ``completed`` and ``discarded`` count ends by kind.
    """

    queues: list[LiveQueue]
    counts: list[JobCount]
    completed: dict[str, int]
    discarded: dict[str, int]


class AssetChange(Struct, kw_only=True):
    """An asset of which something is new: ``by`` is the kind of the job that ended for it last."""

    id: UUID
    by: str


class AssetsEvent(Struct, kw_only=True):
    """Assets that came, went or were understood; where not all are named, ``is_whole`` is false: ask anew."""

    assets: list[AssetChange]
    is_whole: bool


class SyncEvent(Struct, kw_only=True):
    """A run that began, goes on or has ended; ``progress`` only while it goes on. A short one only ends."""

    phase: Literal["begun", "progress", "ended"]
    operation: SyncOperation
    progress: Progress | None


class HealthEvent(Struct, kw_only=True):
    """The services whose state, reason or restarts changed, and the health of all: ``ok | degraded | failed``.

    ``gone`` are names of services that are told of no longer.
    """

    status: str
    services: list[ServiceHealth]
    gone: list[str]


class ResetEvent(Struct, kw_only=True):
    """Ask anew for whatever is shown: what follows goes on from here. The first event, unless nothing was missed.

    ``new``: nobody said where to go on; ``gap``: what happened since then is not known any more.
    """

    reason: Literal["new", "gap"]


class DroppedEvent(Struct, kw_only=True):
    """The last event for a reader that fell behind: its connection ends, and it may come again."""

    code: str
    message: str


EVENTS: Mapping[str, type[Struct]] = {
    "jobs": JobsEvent,
    "assets": AssetsEvent,
    "sync": SyncEvent,
    "health": HealthEvent,
    "reset": ResetEvent,
    "dropped": DroppedEvent,
}
