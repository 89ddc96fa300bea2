"""The capture-time rule: when was this original made, and how do we know its time zone?

The input is a tag set as exiftool names it (``group:name`` to value, family 1 groups, numeric
output, QuickTime times in UTC). The rule never guesses silently: :class:`TzSource` says where the
zone came from, and a time that nobody can have pressed the shutter at is passed over.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone

from lumiliod.domain.media import Taken, TzSource

EARLIEST_YEAR = 1826
"""Niépce's "View from the Window at Le Gras", the oldest photograph."""
FUTURE_TOLERANCE = timedelta(days=2)
"""Clocks run ahead and time zones differ; later than this is a wrong clock."""
LARGEST_OFFSET = timedelta(hours=14)
"""Pacific/Kiritimati, UTC+14."""
ZONE_STEP = timedelta(minutes=15)
"""Every zone in use is a multiple of a quarter of an hour from UTC."""
GPS_TOLERANCE = timedelta(seconds=120)
"""How far a satellite fix may lie from the shutter for their difference to name a zone."""
EMPTY_CLOCKS = frozenset({datetime(1904, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)})
"""QuickTime's and Unix's zero: a container time nobody set."""

_TIME = re.compile(
    r"\s*(?P<year>\d{4})[:/.-](?P<month>\d{2})[:/.-](?P<day>\d{2})"
    r"(?:[T ]+(?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?(?:\s*DST)?\s*",
    re.ASCII,
)
_ZONE = re.compile(r"\s*(?:(?P<utc>Z|UTC)|(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2}))\s*", re.ASCII)

# A name alone matches any group; True where an offset tag may carry the zone the value lacks.
_CAPTURE_TIMES = (
    ("SubSecDateTimeOriginal", True),
    ("DateTimeOriginal", True),
    ("CreationDate", False),
    ("DateTimeCreated", False),
    ("DateCreated", False),
    ("SubSecCreateDate", True),
    ("CreateDate", True),
    ("DateTimeDigitized", True),
    ("CreationTime", False),
)
_OFFSETS = ("OffsetTimeOriginal", "OffsetTimeDigitized")
_WEAK_OFFSET = "OffsetTime"  # of the last change; cameras that write no other mean the capture too
_CONTAINER_TIMES = ("CreateDate", "MediaCreateDate", "TrackCreateDate")
_CONTAINER_GROUP = re.compile(r"QuickTime|Track\d+")


def taken_from_tags(tags: Mapping[str, object], now: datetime) -> Taken | None:
    """Return when the original was made, or None where nothing believable is said.

    Preference: EXIF capture time (with its sub-seconds and offset), QuickTime or ASF creation
    date, IPTC and XMP creation, EXIF digitised time, and last the QuickTime container time, which
    is UTC by definition. Modification times are never read. A local time without an offset takes
    its zone from the GPS clock when the two differ by a whole zone, else from ``OffsetTime``.

    Args:
        tags: ``group:name`` to value; values other than strings are passed over.
        now: the present, aware; later times are refused.
    """
    names: dict[str, list[tuple[str, str]]] = {}
    for key, value in tags.items():
        if isinstance(value, str):
            group, _, name = key.rpartition(":")
            names.setdefault(name, []).append((group, value))
    gps, offsets = next(_gps_times(names), None), _zones(names)
    for name, has_offset_tag in _CAPTURE_TIMES:
        zones = offsets if has_offset_tag else (None, None)
        for group, value in names.get(name, ()):
            if name in _CONTAINER_TIMES and _CONTAINER_GROUP.fullmatch(group):
                continue
            taken = _taken(value, zones, gps, now)
            if taken is not None:
                return taken
    for name in _CONTAINER_TIMES:
        for group, value in names.get(name, ()):
            if _CONTAINER_GROUP.fullmatch(group):
                taken = _container_taken(value, now)
                if taken is not None:
                    return taken
    return None


def parse_time(text: str) -> tuple[datetime, timedelta | None] | None:
    """Return the naive wall-clock time ``text`` says and its offset from UTC, or None where it says neither.

    Understands exiftool's ``YYYY:MM:DD hh:mm:ss.fff±hh:mm`` and ISO 8601; a date alone is midnight.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    numbers = [int(match[part] or 0) for part in ("year", "month", "day", "hour", "minute", "second")]
    microsecond = int((match["fraction"] or "0").ljust(6, "0")[:6])
    try:
        local = datetime(*numbers, microsecond)  # type: ignore[arg-type, call-arg]  # noqa: DTZ001  # wall clock
    except ValueError:  # month 0, 24:00, 31 February
        return None
    return local, parse_offset(match["zone"] or "")


def parse_offset(text: str) -> timedelta | None:
    """Return the offset from UTC that ``text`` (``+02:00``, ``-0330``, ``Z``) names, or None."""
    match = _ZONE.fullmatch(text)
    if match is None:
        return None
    if match["utc"]:
        return timedelta()
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
    if offset > LARGEST_OFFSET or int(match["minutes"]) > 59:
        return None
    return -offset if match["sign"] == "-" else offset


def gps_offset(local: datetime, gps: datetime) -> timedelta | None:
    """Return the zone that explains ``local`` (naive) against the satellites' ``gps`` (aware), or None."""
    difference = local - gps.astimezone(UTC).replace(tzinfo=None)
    offset = ZONE_STEP * round(difference / ZONE_STEP)
    if abs(difference - offset) > GPS_TOLERANCE or abs(offset) > LARGEST_OFFSET:
        return None
    return offset


def _zones(names: Mapping[str, list[tuple[str, str]]]) -> tuple[timedelta | None, timedelta | None]:
    """Return the offset tags of the capture time, and the weak one of the last change."""
    strong = (parse_offset(text) for name in _OFFSETS for _, text in names.get(name, ()))
    weak = (parse_offset(text) for _, text in names.get(_WEAK_OFFSET, ()))
    return next((o for o in strong if o is not None), None), next((o for o in weak if o is not None), None)


def _taken(
    value: str, zones: tuple[timedelta | None, timedelta | None], gps: datetime | None, now: datetime
) -> Taken | None:
    parsed = parse_time(value)
    if parsed is None:
        return None
    local, offset = parsed
    source = TzSource.OFFSET_TAG
    if offset is None:
        offset = zones[0]
    if offset is None and gps is not None:
        offset, source = gps_offset(local, gps), TzSource.GPS
    if offset is None:
        offset, source = zones[1], TzSource.OFFSET_TAG
    if offset is None:
        offset, source = timedelta(), TzSource.UNKNOWN
    if not EARLIEST_YEAR <= local.year < 9999:
        return None
    utc = local.replace(tzinfo=timezone(offset)).astimezone(UTC)
    return Taken(utc=utc, local=local, tz_source=source) if utc <= now + FUTURE_TOLERANCE else None


def _container_taken(value: str, now: datetime) -> Taken | None:
    parsed = parse_time(value)
    if parsed is None or not EARLIEST_YEAR <= parsed[0].year < 9999:
        return None
    utc = parsed[0].replace(tzinfo=timezone(parsed[1] or timedelta())).astimezone(UTC)
    if utc.replace(microsecond=0) in EMPTY_CLOCKS or utc > now + FUTURE_TOLERANCE:
        return None
    return Taken(utc=utc, local=utc.replace(tzinfo=None), tz_source=TzSource.UTC)


def _gps_times(names: Mapping[str, list[tuple[str, str]]]) -> Iterator[datetime]:
    """Yield the satellites' clock: ``GPSDateTime``, else date and time stamps put together."""
    texts = [value for _, value in names.get("GPSDateTime", ())]
    if "GPSDateStamp" in names and "GPSTimeStamp" in names:
        texts.append(f"{names['GPSDateStamp'][0][1]} {names['GPSTimeStamp'][0][1]}")
    for text in texts:
        parsed = parse_time(text)
        if parsed is not None and 1980 <= parsed[0].year < 9999:  # GPS time begins in 1980
            yield parsed[0].replace(tzinfo=timezone(parsed[1] or timedelta())).astimezone(UTC)
