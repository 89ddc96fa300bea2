"""The one query grammar of API, command line, console and smart albums.

::

    type:photo camera:"X-T5" after:2024-05 before:2024-08 rating:>=4 near:47.3,8.5,10km sunset over water

``field:value`` filters, with quotes around values that hold spaces; everything else is a word.
All of it must hold. ``after`` and ``before`` look at the local capture time: ``after:2024-05``
is from 1 May 2024 on, ``before:2024-08`` is until the end of July.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lumiliod.domain.errors import Shape
from lumiliod.domain.text import words as split_words

MAX_QUERY_CHARS = 2000
MAX_FILTERS = 20

_TOKEN = re.compile(
    r"""\s*(?:(?P<field>[a-z_]+):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s"]+))|"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+))"""
)
_DATE = re.compile(r"^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?$")
_NEAR = re.compile(r"^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?)(km|m))?$")
_RATING = re.compile(r"^(>=|<=|>|<|=)?([0-5])$")

COMPARISONS = {None: "=", "=": "=", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
NEAR_DEFAULT_KM = 1.0


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: a field of the grammar and its decoded value."""

    field: str
    value: object


@dataclass(frozen=True, slots=True)
class Near:
    """A circle on the earth, degrees and kilometres."""

    latitude: float
    longitude: float
    radius_km: float


@dataclass(frozen=True, slots=True)
class Rating:
    """A comparison with the rating."""

    comparison: str
    stars: int


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: folded words and filters, all of which must hold."""

    words: tuple[str, ...]
    filters: tuple[Filter, ...]


def parse(text: str) -> Query:
    """Parse a query.

    Raises:
        Shape: ``bad_query``, naming the part that is not understood.
    """
    if len(text) > MAX_QUERY_CHARS:
        raise Shape(f"a query has at most {MAX_QUERY_CHARS} characters", code="bad_query")
    if "\0" in text:
        raise Shape("a query cannot hold NUL", code="bad_query")
    words: list[str] = []
    filters: list[Filter] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Shape(f"the quote at position {position + 1} is not closed", code="bad_query")
        position = match.end()
        field = match["field"]
        if field is None:
            words.extend(split_words(match["phrase"] or match["word"] or ""))
            continue
        value = match["quoted"] if match["quoted"] is not None else match["value"]
        decode = FIELDS.get(field)
        if decode is None:
            known = ", ".join(sorted(FIELDS))
            raise Shape(f"no field {field!r} to search by; known are {known}", code="bad_query")
        filters.append(Filter(field, decode(field, value)))
    if len(filters) > MAX_FILTERS:
        raise Shape(f"a query has at most {MAX_FILTERS} filters", code="bad_query")
    return Query(tuple(words), tuple(filters))


def _text(field: str, value: str) -> str:
    if not value:
        raise _bad(field, value, "some text")
    return value


def _choice(*choices: str) -> Callable[[str, str], str]:
    def decode(field: str, value: str) -> str:
        if value.lower() not in choices:
            raise _bad(field, value, " or ".join(choices))
        return value.lower()

    return decode


def _flag(field: str, value: str) -> bool:
    if value.lower() not in {"true", "false", "yes", "no"}:
        raise _bad(field, value, "true or false")
    return value.lower() in {"true", "yes"}


def _date(field: str, value: str) -> datetime:
    match = _DATE.match(value)
    try:
        if match:
            return datetime(int(match[1]), int(match[2] or 1), int(match[3] or 1))  # noqa: DTZ001 - local time is meant
    except ValueError:
        pass
    raise _bad(field, value, "a date such as 2024, 2024-05 or 2024-05-31")


def _near(field: str, value: str) -> Near:
    match = _NEAR.match(value)
    if match:
        latitude, longitude = float(match[1]), float(match[2])
        radius_km = float(match[3]) / (1000 if match[4] == "m" else 1) if match[3] else NEAR_DEFAULT_KM
        if abs(latitude) <= 90 and abs(longitude) <= 180 and 0 < radius_km <= 20_100:
            return Near(latitude, longitude, radius_km)
    raise _bad(field, value, "latitude,longitude,radius such as 47.3,8.5,10km")


def _rating(field: str, value: str) -> Rating:
    match = _RATING.match(value)
    if match is None:
        raise _bad(field, value, "0 to 5, with >, >=, < or <= before it")
    return Rating(COMPARISONS[match[1]], int(match[2]))


def _bad(field: str, value: str, wanted: str) -> Shape:
    return Shape(f"{field}:{value} is not understood: {wanted} is expected", code="bad_query")


FIELDS: dict[str, Callable[[str, str], object]] = {
    "type": _choice("photo", "video", "audio"),
    "status": _choice("processing", "ready", "undecodable"),
    "name": _text,
    "camera": _text,
    "lens": _text,
    "tag": _text,
    "in": _text,
    "after": _date,
    "before": _date,
    "rating": _rating,
    "liked": _flag,
    "missing": _choice("gps", "date", "camera"),
    "near": _near,
}
"""Fields and the decoder of their values."""
