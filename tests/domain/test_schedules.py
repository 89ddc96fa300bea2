"""Timings are checked when they are made; jitter is bounded and the same for everybody."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.schedules import MAX_EVERY_S, MAX_JITTER_S, Schedule, Timing

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "bad_timing"),
        ({"cron": "0 3 * * *", "every_s": 60}, "bad_timing"),
        ({"cron": ""}, "bad_cron"),
        ({"cron": "@daily"}, "bad_cron"),
        ({"cron": "0 0 3 * * *"}, "bad_cron"),
        ({"cron": "0 3 * * *\n"}, "bad_cron"),
        ({"cron": "1," * 200 + "1 3 * * *"}, "bad_cron"),
        ({"every_s": 0}, "bad_interval"),
        ({"every_s": -60}, "bad_interval"),
        ({"every_s": MAX_EVERY_S + 1}, "bad_interval"),
        ({"every_s": 60, "jitter_s": 61}, "bad_jitter"),
        ({"every_s": 60, "jitter_s": -1}, "bad_jitter"),
        ({"cron": "0 3 * * *", "jitter_s": MAX_JITTER_S + 1}, "bad_jitter"),
    ],
)
def test_what_is_no_timing(given: dict[str, object], code: str) -> None:
    with pytest.raises(Shape) as caught:
        Timing(**given)  # type: ignore[arg-type]  # on purpose of any kind
    assert caught.value.code == code


@pytest.mark.parametrize(
    "name", ["Nowhere/Else", "", "Europe", "../../etc/passwd", "/etc/passwd", "a\0b", "\udc80", "é"]
)
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(Shape) as caught:
        Timing(every_s=60, time_zone=name).zone()
    assert caught.value.code == "bad_time_zone"


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "\udc80", "x" * 201])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Shape) as caught:
        Schedule(name, Timing(every_s=60), NewJob(JobId(uuid7()), "scan", "maintenance"))
    assert caught.value.code == "bad_name"


@given(st.text(min_size=1, max_size=20), st.datetimes(timezones=st.just(dt.UTC)), st.integers(0, 3600))
def test_jitter_is_bounded_and_the_same_for_everybody(name: str, slot_at: dt.datetime, jitter_s: int) -> None:
    if slot_at.year > 9990 or not name.isprintable():
        return
    timing = Timing(every_s=3600, jitter_s=jitter_s)
    fires_at = timing.fires_at(name, slot_at)
    assert dt.timedelta() <= fires_at - slot_at <= dt.timedelta(seconds=jitter_s)
    elsewhere = Timing(cron="* * * * *", time_zone="Asia/Tokyo", jitter_s=jitter_s)
    assert elsewhere.fires_at(name, slot_at.astimezone(elsewhere.zone())) == fires_at


def test_jitter_spreads() -> None:
    timing = Timing(every_s=3600, jitter_s=600)
    moments = {timing.fires_at(f"scan:{number}", NOON) for number in range(50)}
    assert len(moments) > 30
    assert Timing(every_s=3600).fires_at("scan:1", NOON) == NOON
