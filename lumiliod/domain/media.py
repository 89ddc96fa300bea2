"""What a file turns out to be: its type, its metadata and its derivatives. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class AssetType(StrEnum):
    """The three kinds of asset."""

    PHOTO = "photo"
    VIDEO = "video"
    AUDIO = "audio"


class TzSource(StrEnum):
    """Where the time zone of a capture time came from; ``unknown`` means local time only, treated as UTC."""

    OFFSET_TAG = "offset_tag"
    """An EXIF or XMP offset (``OffsetTimeOriginal``, or a zone written into the value)."""
    GPS = "gps"
    """Derived from the difference between GPS time (UTC) and local capture time."""
    UTC = "utc"
    """A container time defined as UTC (QuickTime ``CreateDate``)."""
    UNKNOWN = "unknown"


class TakenSource(StrEnum):
    """Which clock a capture time was read from, best first."""

    CAPTURE = "capture"
    FILE = "file"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Taken:
    """When an original was made.

    ``local`` is the naive wall-clock time at the place of capture; ``utc`` is the aware instant
    (local read as UTC where ``tz_source`` is ``unknown``).
    """

    utc: datetime
    local: datetime
    tz_source: TzSource
    source: TakenSource = TakenSource.CAPTURE


@dataclass(frozen=True, slots=True)
class Identified:
    """What the content of a file is, found by its bytes and never by its name.

    ``width`` and ``height`` are pixels as shown, after orientation. ``extension`` is the usual
    file name extension of the content, with the dot. ``taken`` is a quick reading of the
    capture time, good enough to place the file; exiftool's reading replaces it later.
    """

    type: AssetType
    mime_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class MotionVideo:
    """Where the film of a motion photo lies in the photo's file, in bytes."""

    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture that somebody named: left, top, width, height in shares of the upright picture, 0 to 1.

    ``type`` is ``face``, ``pet``, ``focus`` or ``barcode``.
    """

    name: str | None
    type: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Metadata:
    """Everything worth a column that a file says of itself; absent values are None.

    Sizes are pixels as shown (after orientation), angles degrees, altitude metres, exposure
    seconds, focal length millimetres. ``tags`` is exiftool's full tag set, group:name to value,
    JSON-encodable and bounded in size.
    """

    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    orientation: int | None = None
    taken: Taken | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    lens_model: str | None = None
    iso: int | None = None
    f_number: float | None = None
    exposure_s: float | None = None
    focal_length_mm: float | None = None
    rating: int | None = None
    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    content_id: str | None = None
    burst_id: str | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    artist: str | None = None
    album: str | None = None
    motion: MotionVideo | None = None
    regions: tuple[Region, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a picture looks like, in numbers; a film's are those of its poster."""

    phash: int | None
    """64-bit perceptual hash: pictures that look alike differ in few bits; None of a picture of one colour."""
    thumbhash: bytes
    """ThumbHash: what to show until the picture is there."""
    sharpness: float
    """Variance of the Laplacian of the luma, in squared levels of 255, at 1024 pixels on the long side."""
    brightness: float
    """Mean luma, 0 to 1."""
    dark_share: float
    """Share of the pixels that are black, 0 to 1."""
    bright_share: float
    """Share of the pixels that are blown out, 0 to 1."""


@dataclass(frozen=True, slots=True)
class WebVideo:
    """A version of a film for the web that was written: pixels as shown, seconds, bytes."""

    width: int
    height: int
    duration_s: float
    size_bytes: int
    copied_picture: bool
    """Whether the picture was taken over as it is, and only its container is another."""


@dataclass(frozen=True, slots=True)
class WebAudio:
    """A version of a sound for the web that was written: seconds, bytes."""

    duration_s: float
    size_bytes: int
