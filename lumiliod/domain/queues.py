"""Quiet hours: between which times of which zone nothing of a queue begins. Pure rules."""

import datetime as dt
import re

from lumiliod.domain.errors import Shape
from lumiliod.domain.schedules import zone_named

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def quiet_hours(text: str, zone: str) -> tuple[dt.time, dt.time, str]:
    """Read hours such as ``22:00-06:30``; they may span midnight.

    Raises:
        Shape: they are none (``bad_quiet_hours``), or there is no such zone (``bad_time_zone``).
    """
    found = _HOURS.fullmatch(text)
    if found is None:
        raise Shape("quiet hours are written as 22:00-06:30", code="bad_quiet_hours")
    begin, end = dt.time(int(found[1]), int(found[2])), dt.time(int(found[3]), int(found[4]))
    if begin == end:
        raise Shape("quiet hours begin and end at different times; pausing is for ever", code="bad_quiet_hours")
    zone_named(zone)
    return begin, end, zone


def quiet_text(begin: dt.time, end: dt.time) -> str:
    """Write hours as :func:`quiet_hours` reads them."""
    return f"{begin:%H:%M}-{end:%H:%M}"
