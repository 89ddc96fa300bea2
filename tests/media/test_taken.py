from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.media import TzSource
from lumiliod.domain.taken import EARLIEST_YEAR, FUTURE_TOLERANCE, gps_offset, parse_offset, parse_time, taken_from_tags

NOW = datetime(2026, 1, 1, tzinfo=UTC)
quarters = st.integers(-14 * 4, 14 * 4).map(lambda n: timedelta(minutes=15 * n))
times = st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2025-12-01")).map(
    lambda t: t.replace(microsecond=0)
)


def offset_text(offset: timedelta) -> str:
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def exif(moment: datetime) -> str:
    return f"{moment:%Y:%m:%d %H:%M:%S}"


@given(times, quarters)
def test_offset_tag_is_believed(local: datetime, offset: timedelta) -> None:
    tags = {"ExifIFD:DateTimeOriginal": exif(local), "ExifIFD:OffsetTimeOriginal": offset_text(offset)}
    taken = taken_from_tags(tags, NOW)
    assert taken is not None
    assert (taken.local, taken.utc) == (local, local.replace(tzinfo=timezone(offset)).astimezone(UTC))
    assert taken.tz_source is TzSource.OFFSET_TAG


@given(times, quarters, st.integers(-100, 100))
def test_gps_clock_names_the_zone(local: datetime, offset: timedelta, lag_s: int) -> None:
    gps = (local - offset + timedelta(seconds=lag_s)).replace(tzinfo=UTC)
    tags = {"ExifIFD:DateTimeOriginal": exif(local), "Composite:GPSDateTime": exif(gps) + "Z"}
    taken = taken_from_tags(tags, NOW)
    assert taken is not None
    assert taken.tz_source is TzSource.GPS
    assert taken.local - taken.utc.replace(tzinfo=None) == offset


@given(times, times)
def test_gps_offset_is_a_zone_or_nothing(local: datetime, gps: datetime) -> None:
    offset = gps_offset(local, gps.replace(tzinfo=UTC))
    if offset is not None:
        assert abs(offset) <= timedelta(hours=14)
        assert offset % timedelta(minutes=15) == timedelta()
        assert abs(local - gps - offset) <= timedelta(seconds=120)


names = st.sampled_from([
    "Composite:SubSecDateTimeOriginal", "ExifIFD:DateTimeOriginal", "ExifIFD:OffsetTimeOriginal", "Keys:CreationDate",
    "QuickTime:CreateDate", "Track1:MediaCreateDate", "XMP-photoshop:DateCreated", "Composite:GPSDateTime",
    "GPS:GPSDateStamp", "GPS:GPSTimeStamp", "IFD0:ModifyDate", "System:FileModifyDate", "ExifIFD:OffsetTime",
])  # fmt: skip
values = st.one_of(
    st.text(max_size=40),
    st.datetimes(timezones=st.none() | st.timezones()).map(str),
    st.datetimes().map(lambda t: t.strftime("%Y:%m:%d %H:%M:%S")),
    st.from_regex(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?", fullmatch=True),
    st.from_regex(r"[+-]\d\d:\d\d", fullmatch=True),
    st.integers(),
    st.none(),
)


@given(st.dictionaries(names, values))
def test_whatever_is_said_the_answer_is_believable(tags: dict[str, object]) -> None:
    taken = taken_from_tags(tags, NOW)
    if taken is not None:
        assert taken.utc.tzinfo is not None
        assert taken.local.tzinfo is None
        assert taken.utc <= NOW + FUTURE_TOLERANCE
        assert taken.local.year >= EARLIEST_YEAR
        assert abs(taken.local - taken.utc.replace(tzinfo=None)) <= timedelta(hours=14)
        if taken.tz_source is TzSource.UNKNOWN:
            assert taken.local == taken.utc.replace(tzinfo=None)


@given(st.text())
def test_no_text_makes_the_parsers_raise(text: str) -> None:
    parse_time(text)
    parse_offset(text)


@pytest.mark.parametrize(
    "value",
    [
        "0000:00:00 00:00:00", "2020:00:10 10:00:00", "1825:12:31 10:00:00", "2026:01:04 00:00:00",
        "    :  :     :  :  ",
        "2020:02:31 00:00:00", "2020:01:01 24:00:00", "2020", "",
    ],
)  # fmt: skip
def test_impossible_times_are_passed_over(value: str) -> None:
    assert taken_from_tags({"ExifIFD:DateTimeOriginal": value}, NOW) is None
    fallback = {"ExifIFD:DateTimeOriginal": value, "XMP-photoshop:DateCreated": "2019:05:06 07:08:09"}
    taken = taken_from_tags(fallback, NOW)
    assert taken is not None
    assert taken.local == datetime.fromisoformat("2019-05-06T07:08:09")


def test_modification_times_are_never_capture_times() -> None:
    tags = {"IFD0:ModifyDate": "2020:01:01 00:00:00", "System:FileModifyDate": "2020:01:01 00:00:00+01:00"}
    assert taken_from_tags(tags, NOW) is None


def test_quicktime_container_time_is_utc_and_zero_is_nothing() -> None:
    taken = taken_from_tags({"QuickTime:CreateDate": "2019:02:15 21:13:20+00:00"}, NOW)
    assert taken is not None
    assert taken.tz_source is TzSource.UTC
    assert taken.utc == datetime(2019, 2, 15, 21, 13, 20, tzinfo=UTC)
    for empty in ("0000:00:00 00:00:00", "1904:01:01 00:00:00+00:00", "1970:01:01 00:00:00+00:00"):
        assert taken_from_tags({"QuickTime:CreateDate": empty}, NOW) is None


def test_a_phones_film_keeps_its_zone() -> None:
    tags = {"QuickTime:CreateDate": "2026:01:01 10:00:00+00:00", "Keys:CreationDate": "2025:12:30 11:00:00+01:00"}
    taken = taken_from_tags(tags, NOW)
    assert taken is not None
    assert taken.tz_source is TzSource.OFFSET_TAG
    assert taken.utc == datetime(2025, 12, 30, 10, tzinfo=UTC)


def test_offset_of_the_last_change_yields_to_gps() -> None:
    tags = {"ExifIFD:DateTimeOriginal": "2020:06:01 12:00:00", "ExifIFD:OffsetTime": "+02:00"}
    taken = taken_from_tags(tags, NOW)
    assert taken is not None
    assert taken.utc.hour == 10
    taken = taken_from_tags(tags | {"Composite:GPSDateTime": "2020:06:01 09:00:10Z"}, NOW)
    assert taken is not None
    assert (taken.utc.hour, taken.tz_source) == (9, TzSource.GPS)
