"""The slots of timings: strictly one after the other, through changes to and from summer time."""

import datetime as dt
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lumiliod.domain.errors import Shape
from lumiliod.domain.schedules import Timing
from lumiliod.jobs import slots

ZONES = ("Europe/Zurich", "America/New_York", "UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    some = st.lists(number, min_size=1, max_size=3).map(lambda numbers: ",".join(map(str, numbers)))
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), some, ranges, st.integers(1, high).map("*/{}".format))


CRONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)).map(" ".join)
FREQUENT = st.tuples(fields(0, 59), fields(0, 23)).map(lambda two: f"{two[0]} {two[1]} * * *")
ZONE = st.sampled_from(ZONES)
INSTANTS = st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
SUMMER_AND_WINTER = st.sampled_from(
    [
        utc(text)
        for text in (
            "2026-03-29 01:00:00",  # Zurich
            "2026-10-25 01:00:00",
            "2026-03-08 07:00:00",  # New York
            "2026-11-01 06:00:00",
            "2026-04-04 15:00:00",  # Lord Howe, by half an hour
            "2026-10-03 15:30:00",
            "2026-09-06 04:00:00",  # Santiago, at midnight
        )
    ]
)
NEAR = st.tuples(SUMMER_AND_WINTER, st.integers(-200, 200)).map(lambda two: two[0] + dt.timedelta(minutes=two[1]))
EVERY = st.integers(1, 10_000)


def following(timing: Timing, slot_at: dt.datetime, count: int) -> list[dt.datetime]:
    found = [slot_at]
    for _ in range(count):
        found.append(slots.following("x", timing, found[-1], found[-1]).at)
    return found


@given(CRONS, ZONE, st.one_of(INSTANTS, NEAR))
@example("* * * * *", "Europe/Zurich", utc("2026-10-25 00:59:59.999999"))
def test_the_next_is_later_and_by_the_expression(cron: str, zone: str, now: dt.datetime) -> None:
    timing = Timing(cron=cron, time_zone=zone)
    with suppress(Shape):  # 31 February
        slot = slots.first("x", timing, now)
        assert slot.at > now
        assert slot.at.utcoffset() == dt.timedelta()
        assert slot.at.second == slot.at.microsecond == 0


@given(FREQUENT, st.sampled_from(["Europe/Zurich", "America/New_York"]), NEAR)
@example("30 2 * * *", "Europe/Zurich", utc("2026-10-24 20:00"))
@example("15,45 2 * * *", "Europe/Zurich", utc("2026-03-28 20:00"))
@example("0 2,3 * * *", "Europe/Zurich", utc("2026-03-28 20:00"))
def test_no_time_comes_twice_and_none_is_passed_over(cron: str, zone: str, now: dt.datetime) -> None:
    """Wherever one begins to look, the times are the same ones."""
    timing = Timing(cron=cron, time_zone=zone)
    times = following(timing, now, 12)
    assert all(one < next_ for one, next_ in pairwise(times))
    for begin_s in (1, 1800, 3600, 7200):
        begin = now + dt.timedelta(seconds=begin_s)
        assert slots.first("x", timing, begin).at == next((at for at in times[1:] if at > begin), times[-1]) or (
            begin >= times[-1]
        )


@pytest.mark.parametrize(
    ("zone", "cron", "day", "expected"),
    [
        # the hour that is skipped: when the gap ends, once
        ("Europe/Zurich", "30 2 * * *", "2026-03-28 12:00", ["03-29 01:00", "03-30 00:30"]),
        ("Europe/Zurich", "15,45 2 * * *", "2026-03-28 12:00", ["03-29 01:00", "03-30 00:15"]),
        ("America/New_York", "30 2 * * *", "2026-03-07 12:00", ["03-08 07:00", "03-09 06:30"]),
        # the hour that is shown twice: the first time
        ("Europe/Zurich", "30 2 * * *", "2026-10-24 12:00", ["10-25 00:30", "10-26 01:30"]),
        ("Europe/Zurich", "30 2 * * *", "2026-10-25 00:45", ["10-26 01:30"]),
        ("Europe/Zurich", "45 2 * * *", "2026-10-25 01:10", ["10-26 01:45"]),
        ("America/New_York", "30 1 * * *", "2026-10-31 12:00", ["11-01 05:30", "11-02 06:30"]),
        # the wall clock otherwise
        ("Europe/Zurich", "0 3 * * *", "2026-03-27 12:00", ["03-28 02:00", "03-29 01:00", "03-30 01:00"]),
        ("UTC", "0 3 * * 1", "2026-03-27 12:00", ["03-30 03:00", "04-06 03:00"]),
        ("UTC", "0 0 29 2 *", "2026-03-27 12:00", ["02-29 00:00"]),
        # stars follow the elapsed time
        ("Europe/Zurich", "*/30 * * * *", "2026-10-25 00:15", ["10-25 00:30", "10-25 01:00", "10-25 01:30"]),
        ("Europe/Zurich", "0 * * * *", "2026-03-29 00:30", ["03-29 01:00", "03-29 02:00"]),
    ],
)
def test_summer_time(zone: str, cron: str, day: str, expected: list[str]) -> None:
    times = following(Timing(cron=cron, time_zone=zone), utc(day), len(expected))[1:]
    assert [at.strftime("%m-%d %H:%M") for at in times] == expected


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 31 2 *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 */10 2 MON#5",  # the 29th is none of 1, 11, 21 and 31
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a b c d e",
        "9999999999999999999999 * * * *",
    ],
)
def test_what_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(Shape) as caught:
        slots.first("x", Timing(cron=cron), utc("2026-01-01 00:00"))
    assert caught.value.code == "bad_cron"


@given(st.text(alphabet="0123456789*/-,#LWlw MONFEB²é?@", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(Shape):
        assert slots.first("x", Timing(cron=text), utc("2026-01-01 00:00")).at > utc("2026-01-01 00:00")


def test_a_zone_must_exist_even_for_an_interval() -> None:
    with pytest.raises(Shape) as caught:
        slots.first("x", Timing(every_s=60, time_zone="Nowhere"), utc("2026-01-01 00:00"))
    assert caught.value.code == "bad_time_zone"


@given(EVERY, INSTANTS, st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_intervals_do_not_drift(every_s: int, began: dt.datetime, lates_s: list[int]) -> None:
    """However late each is looked at, all slots are whole intervals from the first."""
    timing = Timing(every_s=every_s)
    begin = slots.first("x", timing, began)
    assert dt.timedelta() < begin.at - began <= dt.timedelta(seconds=every_s)
    slot = begin
    for late_s in lates_s:
        now = slot.fires_at + dt.timedelta(seconds=late_s)
        fired, slot = slots.turn("x", timing, slot.at, now)
        assert fired <= now < slot.fires_at
        assert (slot.at - begin.at) % dt.timedelta(seconds=every_s) == dt.timedelta()
        assert slot.at - fired == dt.timedelta(seconds=every_s)


@given(EVERY, st.data(), INSTANTS, st.integers(0, 1_000_000))
def test_missed_intervals_are_one_turn(every_s: int, data: st.DataObject, slot_at: dt.datetime, late_s: int) -> None:
    timing = Timing(every_s=every_s, jitter_s=data.draw(st.integers(0, min(every_s, 3600))))
    now = timing.fires_at("x", slot_at) + dt.timedelta(seconds=late_s)
    fired, slot = slots.turn("x", timing, slot_at, now)
    assert fired >= slot_at
    assert timing.fires_at("x", fired) <= now < slot.fires_at


@given(FREQUENT, ZONE, st.one_of(INSTANTS, NEAR), st.integers(0, 7200), st.integers(0, 400_000))
def test_missed_times_are_one_turn(cron: str, zone: str, begin: dt.datetime, jitter_s: int, late_s: int) -> None:
    """The one that fires is the latest whose moment has passed; the next one's has not."""
    timing = Timing(cron=cron, time_zone=zone, jitter_s=jitter_s)
    first = slots.first("x", timing, begin)
    now = first.fires_at + dt.timedelta(seconds=late_s)
    fired, slot = slots.turn("x", timing, first.at, now)
    assert first.at <= fired < slot.at
    assert timing.fires_at("x", fired) <= now < slot.fires_at


def test_years_of_missed_minutes_are_not_counted() -> None:
    timing = Timing(cron="* * * * *", time_zone="Europe/Zurich", jitter_s=30)
    now = utc("2026-07-01 12:00:40")
    fired, slot = slots.turn("x", timing, utc("1970-01-01 00:00"), now)
    assert (fired, slot.at) == (utc("2026-07-01 12:00"), utc("2026-07-01 12:01"))
    rare = Timing(cron="0 0 29 2 *")
    assert slots.turn("x", rare, utc("1972-02-29 00:00"), now)[0] == utc("2024-02-29 00:00")


def test_a_slot_ahead_of_the_clock_is_still_the_one_that_fires() -> None:
    """Only the moment of a due row is looked at: its slot may lie ahead when the clock went back."""
    now = utc("2026-07-01 12:00")
    for timing in (Timing(every_s=3600), Timing(cron="0 * * * *")):
        fired, slot = slots.turn("x", timing, utc("2026-07-01 13:00"), now)
        assert (fired, slot.at) == (utc("2026-07-01 13:00"), utc("2026-07-01 14:00"))
