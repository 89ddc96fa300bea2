"""The slots of a timing: which comes next, and which was the last to be missed.

A slot is an instant in UTC. Cron is what Debian's is (cronsim): a time that a change to summer time
skips comes when the gap ends, one that is shown twice comes the first time, ``*`` in the field of
minutes or hours follows the elapsed time. Intervals count from the slot before and so do not drift.

This is the only module that knows cronsim.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import takewhile

from cronsim import CronSim, CronSimError

from lumiliod.domain.errors import Shape
from lumiliod.domain.schedules import Slot, Timing

_FIRST_REACH_S = 3600
_REACH_FACTOR = 24


def first(name: str, timing: Timing, now: dt.datetime) -> Slot:
    """Return the first slot of a timing that begins now; an interval passes before its first.

    Raises:
        Shape: ``bad_time_zone``; ``bad_cron``, also when the expression never comes true (31 February).
    """
    timing.zone()
    return following(name, timing, now.replace(microsecond=0), now)


def following(name: str, timing: Timing, slot_at: dt.datetime, after: dt.datetime) -> Slot:
    """Return the first slot later than ``after``, counted from ``slot_at``.

    Raises:
        Shape: the timing cannot be evaluated.
    """
    if timing.every_s is not None:
        every = dt.timedelta(seconds=timing.every_s)
        at: dt.datetime | None = slot_at + every * ((after - slot_at) // every + 1)
    else:
        at = next(_ticks(timing, after), None)
    if at is None:
        raise Shape(f"the cron expression {timing.cron!r} never comes true", code="bad_cron")
    return Slot(at, timing.fires_at(name, at))


def turn(name: str, timing: Timing, slot_at: dt.datetime, now: dt.datetime) -> tuple[dt.datetime, Slot]:
    """Return the slot for which a due schedule fires now, and the next one.

    That is ``slot_at``, or the latest after it whose moment has passed, jitter included: however
    many were missed, one fires. The next one's moment is later than ``now``.

    Raises:
        Shape: the timing cannot be evaluated.
    """
    fired_at = _latest(name, timing, slot_at, now)
    return fired_at, following(name, timing, fired_at, fired_at)


def _latest(name: str, timing: Timing, slot_at: dt.datetime, now: dt.datetime) -> dt.datetime:
    if timing.every_s is not None:
        every = dt.timedelta(seconds=timing.every_s)
        passed = max(0, (now - slot_at) // every)
        if passed and timing.fires_at(name, slot_at + every * passed) > now:
            passed -= 1  # jitter is no longer than the interval
        return slot_at + every * passed
    # looking back a little first, so that years of missed minutes are not counted one by one
    reach = dt.timedelta(seconds=_FIRST_REACH_S + timing.jitter_s)
    while True:
        since = max(slot_at, now - reach)
        until_now = takewhile(lambda at: at <= now, _ticks(timing, since))
        passed_at = [at for at in until_now if timing.fires_at(name, at) <= now]
        if passed_at:
            return passed_at[-1]
        if since == slot_at:
            return slot_at
        reach *= _REACH_FACTOR


def _ticks(timing: Timing, after: dt.datetime) -> Iterator[dt.datetime]:
    """Yield the times of a cron expression that are later than ``after``, in order."""
    zone = timing.zone()
    last = after.astimezone(dt.UTC)
    try:
        # in the second of two equal hours cronsim begins with the first: what is not later is passed over
        for tick in CronSim(timing.cron or "", last.astimezone(zone)):
            at = tick.astimezone(dt.UTC)
            if at > last:
                last = at
                yield at
    except CronSimError as error:
        raise Shape(f"the cron expression {timing.cron!r} is not right: {error}", code="bad_cron") from error
