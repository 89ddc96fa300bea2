"""Periodic jobs: what is to run and when. Pure data, its validation and its jitter."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from lumiliod.domain.errors import Shape
from lumiliod.domain.jobs import NewJob

MAX_EVERY_S = 366 * 86_400
MAX_JITTER_S = 86_400

_MAX_CRON_CHARS = 200
_MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Timing:
    """When: by a cron expression of five fields in a time zone, or every so many seconds.

    Each time is put off by up to ``jitter_s`` seconds (:meth:`fires_at`). The zone means nothing to an interval.

    Raises:
        Shape: ``bad_timing`` unless it is exactly one of the two, ``bad_cron``, ``bad_interval``, ``bad_jitter``.
            Whether the zone exists and the expression ever comes true is told by :func:`lumiliod.jobs.slots.first`.
    """

    cron: str | None = None
    every_s: int | None = None
    time_zone: str = "UTC"
    jitter_s: int = 0

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every_s is None):
            raise Shape("a schedule has either a cron expression or an interval", code="bad_timing")
        cron = self.cron
        if cron is not None and not (len(cron) <= _MAX_CRON_CHARS and cron.isprintable() and len(cron.split()) == 5):
            raise Shape("a cron expression has five fields: minute hour day month weekday", code="bad_cron")
        if self.every_s is not None and not 1 <= self.every_s <= MAX_EVERY_S:
            raise Shape(f"an interval is between 1 and {MAX_EVERY_S} seconds", code="bad_interval")
        longest_s = min(MAX_JITTER_S, self.every_s or MAX_JITTER_S)
        if not 0 <= self.jitter_s <= longest_s:
            raise Shape(f"this schedule's jitter is between 0 and {longest_s} seconds", code="bad_jitter")

    def zone(self) -> ZoneInfo:
        """Return the time zone.

        Raises:
            Shape: there is none of this name (``bad_time_zone``).
        """
        return zone_named(self.time_zone)

    def fires_at(self, name: str, slot_at: dt.datetime) -> dt.datetime:
        """Return when the schedule called ``name`` fires for a slot: from nought to ``jitter_s`` whole seconds later.

        Whoever computes it finds the same moment.
        """
        told = f"{name} {slot_at.astimezone(dt.UTC).isoformat()}".encode()
        digest = hashlib.blake2b(told, digest_size=8).digest()
        return slot_at + dt.timedelta(seconds=int.from_bytes(digest) % (self.jitter_s + 1))


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which a schedule is due: ``at`` by its cron expression or interval, ``fires_at`` with its jitter."""

    at: dt.datetime
    fires_at: dt.datetime


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        Shape: there is none of this name (``bad_time_zone``).
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
        raise Shape(f"there is no time zone {name!r}", code="bad_time_zone") from error


def is_name(text: str) -> bool:
    """Tell whether a schedule can be called ``text``: it is to be shown, and to be part of a URL's path."""
    return 0 < len(text) <= _MAX_NAME_CHARS and "/" not in text and text.isprintable()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A periodic job as code declares it.

    ``job`` is what is enqueued each time, with an id of its own. Its kind, queue, arguments, priority,
    attempts, unique key and repository are kept.

    Raises:
        Shape: ``bad_name``; see :func:`is_name`.
    """

    name: str
    timing: Timing
    job: NewJob

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise Shape(f"{self.name!r} is no name of a schedule", code="bad_name")
