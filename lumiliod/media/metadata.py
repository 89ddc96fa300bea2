"""From a tag set to the columns of an asset: one reading for exiftool's tags and for the quick ones."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from lumiliod.domain.media import Identified, Metadata, Taken
from lumiliod.domain.taken import taken_from_tags
from lumiliod.media.media_type import Inspected, shown_size
from lumiliod.media.regions import regions

HIGHEST_M, LOWEST_M = 100_000.0, -12_000.0
"""Altitudes between the deepest trench and the edge of space; what lies beyond is an overflow."""
MAX_KEYWORDS = 500
MAX_TEXT_CHARACTERS = 4096
MAX_IDENTIFIER_CHARACTERS = 200

_DESCRIPTIVE = ("title", "description", "keywords", "regions", "artist")
_SIDECAR_TIMES = ("XMP-exif:DateTimeOriginal", "XMP-photoshop:DateCreated")
"""What programs write that were told another time; what else a sidecar has is when it was written."""

_LENS = re.compile(r"(\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def metadata_from_tags(tags: Mapping[str, object], now: datetime) -> Metadata:
    """Return what a tag set (``group:name``, numeric values) says; what it does not say, or says absurdly, is None."""
    names: dict[str, list[object]] = {}
    for key, value in sorted(tags.items(), key=_rank):
        names.setdefault(key.rpartition(":")[2], []).append(value)
    orientation = _whole(names, "Orientation")
    orientation = orientation if orientation in range(1, 9) else None
    width, height = _shown(tags, names, orientation or 1)
    latitude, longitude = _place(names)
    return Metadata(
        width=width,
        height=height,
        duration_s=_positive(names, "Duration"),
        orientation=orientation,
        taken=taken_from_tags(tags, now),
        latitude=latitude,
        longitude=longitude,
        altitude_m=_within(_number(names, "GPSAltitude"), LOWEST_M, HIGHEST_M) if latitude is not None else None,
        camera_make=_text(names, "Make", "AndroidMake"),
        camera_model=_text(names, "Model", "AndroidModel"),
        lens_model=_lens(names),
        iso=_iso(names),
        f_number=_positive(names, "FNumber", "Aperture"),
        exposure_s=_positive(names, "ExposureTime"),
        focal_length_mm=_positive(names, "FocalLength"),
        rating=_rating(names),
        title=_text(names, "Title", "ObjectName", "XPTitle"),
        description=_text(names, "Description", "ImageDescription", "Caption-Abstract", "XPComment"),
        keywords=_keywords(names),
        content_id=_identifier(names, "ContentIdentifier", "MediaGroupUUID"),
        burst_id=_identifier(names, "BurstUUID", "BurstID"),
        artist=_text(names, "Artist", "Author", "Creator", "By-line"),
        album=_text(names, "Album"),
        regions=regions(tags, orientation or 1),
        tags=tags,
    )


def described(metadata: Metadata, sidecar: Metadata) -> Metadata:
    """Return ``metadata`` with what a sidecar says of the file: it was written later, by who could not write that.

    It has the last word on words, stars, places, regions, and the time where its clock says another: the same time is
    better told by the file, with its zone. All its tags are kept beside the file's, as ``Sidecar:...``.
    """
    told = {name: value for name in _DESCRIPTIVE if (value := getattr(sidecar, name))}
    if sidecar.rating is not None:
        told["rating"] = sidecar.rating
    if sidecar.latitude is not None:
        told |= {name: getattr(sidecar, name) for name in ("latitude", "longitude", "altitude_m")}
    said = sidecar.taken if any(key in sidecar.tags for key in _SIDECAR_TIMES) else None
    if said is not None and (metadata.taken is None or not _is_same_time(said, metadata.taken)):
        told["taken"] = said
    tags = {f"Sidecar:{key}": value for key, value in sidecar.tags.items() if key.startswith("XMP-")}
    return replace(metadata, tags={**metadata.tags, **tags}, **told)


def _is_same_time(one: Taken, other: Taken) -> bool:
    """Tell whether two clocks say the same to the second; programs leave out what is less."""
    return abs(one.local - other.local) < timedelta(seconds=1)


def merged(metadata: Metadata, identified: Identified | None, inspected: Inspected | None) -> Metadata:
    """Return ``metadata`` with what the decoders measured: their sizes, durations and codecs are the truth."""
    known = inspected.identified if inspected is not None else identified
    if known is not None:
        if known.width and known.height:
            metadata = replace(metadata, width=known.width, height=known.height)
        metadata = replace(metadata, duration_s=known.duration_s or metadata.duration_s)
        metadata = replace(metadata, taken=metadata.taken or known.taken)
    if inspected is not None:
        metadata = replace(metadata, video_codec=inspected.video_codec, audio_codec=inspected.audio_codec)
    return metadata


def _rank(tag: tuple[str, object]) -> int:
    """Return what is believed first: EXIF's exposure before the maker's own, signed coordinates before their parts."""
    group = tag[0].rpartition(":")[0]
    return 0 if group == "ExifIFD" else 1 if group == "Composite" else 2


def _values(names: Mapping[str, list[object]], *wanted: str) -> Iterator[object]:
    for name in wanted:
        yield from names.get(name, ())


def _number(names: Mapping[str, list[object]], *wanted: str) -> float | None:
    """Return the first finite number said under any of the names; a text's first number counts."""
    for value in _values(names, *wanted):
        if isinstance(value, str):
            match = _NUMBER.match(value.strip())
            value = float(match[0]) if match else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _whole(names: Mapping[str, list[object]], *wanted: str) -> int | None:
    number = _number(names, *wanted)
    return int(number) if number is not None and abs(number) < 2**31 else None


def _positive(names: Mapping[str, list[object]], *wanted: str) -> float | None:
    number = _number(names, *wanted)
    return number if number is not None and 0 < number < 1e9 else None


def _within(number: float | None, lowest: float, highest: float) -> float | None:
    return number if number is not None and lowest <= number <= highest else None


def _text(names: Mapping[str, list[object]], *wanted: str) -> str | None:
    for value in _values(names, *wanted):
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value).strip()
            if text:
                return text[:MAX_TEXT_CHARACTERS]
    return None


def _lens(names: Mapping[str, list[object]]) -> str | None:
    """Return the lens's name, else its focal lengths and apertures; a number alone is a maker's code, or a length."""
    for name in ("LensModel", "CameraLensModel", "Lens", "LensInfo"):
        for value in _values(names, name):
            text = str(value).strip()
            if any(character.isalpha() for character in text):
                return text[:MAX_TEXT_CHARACTERS]
            if match := _LENS.fullmatch(text):
                shortest, longest, *apertures = match.groups()
                lengths = shortest if shortest == longest else f"{shortest}-{longest}"
                return f"{lengths} mm f/{'-'.join(dict.fromkeys(apertures))}"
    return None


def _identifier(names: Mapping[str, list[object]], *wanted: str) -> str | None:
    """Return a text that can identify something; a long one is none of those, and would not fit an index."""
    text = _text(names, *wanted)
    return text if text is not None and len(text) <= MAX_IDENTIFIER_CHARACTERS else None


def _shown(
    tags: Mapping[str, object], names: Mapping[str, list[object]], orientation: int
) -> tuple[int | None, int | None]:
    width, height = _whole(names, "ImageWidth", "ExifImageWidth"), _whole(names, "ImageHeight", "ExifImageHeight")
    if width is None or height is None or width <= 0 or height <= 0:
        return None, None
    mime_type = tags.get("File:MIMEType")
    if isinstance(mime_type, str) and mime_type.startswith(("video/", "image/hei", "image/avif")):
        # the container's rotation counts, in degrees; an EXIF orientation beside it does not
        return (height, width) if (_whole(names, "Rotation") or 0) % 180 else (width, height)
    return shown_size(width, height, orientation)


def _place(names: Mapping[str, list[object]]) -> tuple[float | None, float | None]:
    """Return latitude and longitude; nothing for 0, 0 and for places that are not on Earth."""
    latitude = _within(_number(names, "GPSLatitude"), -90.0, 90.0)
    longitude = _within(_number(names, "GPSLongitude"), -180.0, 180.0)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _iso(names: Mapping[str, list[object]]) -> int | None:
    """Return the sensitivity; Nikon writes a pair such as ``0 200``."""
    for value in _values(names, "ISO"):
        for word in reversed(str(value).split()):
            if word.replace(".", "", 1).isdecimal() and 1 <= float(word) < 2**31:
                return int(float(word))
    return None


def _rating(names: Mapping[str, list[object]]) -> int | None:
    """Return 0 to 5 stars; XMP's -1 (rejected) is no rating."""
    rating = _whole(names, "Rating")
    return rating if rating is not None and 0 <= rating <= 5 else None


def _keywords(names: Mapping[str, list[object]]) -> tuple[str, ...]:
    """Return the keywords of all vocabularies, each once, in order."""
    found: dict[str, None] = {}
    for value in _values(names, "Subject", "Keywords", "XPKeywords"):
        for word in value if isinstance(value, list) else str(value).split(";"):
            text = str(word).strip()
            if text:
                found[text[:MAX_TEXT_CHARACTERS]] = None
    return tuple(found)[:MAX_KEYWORDS]
