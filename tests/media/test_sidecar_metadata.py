"""What a sidecar says of a file, beside what the file says of itself."""

from datetime import UTC, datetime

import pytest

from lumiliod.domain.media import Taken, TzSource
from lumiliod.media.metadata import described, metadata_from_tags

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FILE = metadata_from_tags(
    {
        "ExifIFD:DateTimeOriginal": "2026:05:01 12:00:00", "ExifIFD:OffsetTimeOriginal": "+02:00",
        "XMP-xmp:Rating": 1, "XMP-dc:Title": "own", "XMP-dc:Subject": ["kept"], "IFD0:Model": "X-T5",
        "GPS:GPSLatitude": 47.0, "GPS:GPSLongitude": 8.0,
    },
    NOW,
)  # fmt: skip


def test_it_has_the_last_word_on_what_it_says_alone() -> None:
    said = metadata_from_tags({"XMP-dc:Title": "told", "XMP-xmp:Rating": 0, "XMP-tiff:Model": "another"}, NOW)
    both = described(FILE, said)
    assert (both.title, both.rating, both.keywords, both.latitude) == ("told", 0, ("kept",), 47.0)
    assert both.camera_model == "X-T5", "what the camera was, the file knows"
    assert both.tags["Sidecar:XMP-dc:Title"] == "told"
    assert both.tags["XMP-dc:Title"] == "own"


def test_a_place_comes_whole() -> None:
    said = metadata_from_tags({"XMP-exif:GPSLatitude": 1.5, "XMP-exif:GPSLongitude": 2.5}, NOW)
    both = described(FILE, said)
    assert (both.latitude, both.longitude, both.altitude_m) == (1.5, 2.5, None)


@pytest.mark.parametrize(
    ("tags", "local", "source"),
    [
        ({}, "2026-05-01T12:00:00", TzSource.OFFSET_TAG),
        ({"XMP-exif:DateTimeOriginal": "2026:05:01 12:00:00.25"}, "2026-05-01T12:00:00", TzSource.OFFSET_TAG),
        ({"XMP-exif:DateTimeOriginal": "2026:05:01 13:00:00"}, "2026-05-01T13:00:00", TzSource.UNKNOWN),
        ({"XMP-photoshop:DateCreated": "2020:01:01 00:00:00Z"}, "2020-01-01T00:00:00", TzSource.OFFSET_TAG),
        ({"XMP-xmp:CreateDate": "2024:01:01 00:00:00"}, "2026-05-01T12:00:00", TzSource.OFFSET_TAG),
    ],
)
def test_the_time_is_the_sidecars_where_it_says_another(tags: dict[str, object], local: str, source: TzSource) -> None:
    taken = described(FILE, metadata_from_tags(tags, NOW)).taken
    assert isinstance(taken, Taken)
    assert (taken.local.isoformat(), taken.tz_source) == (local, source)
