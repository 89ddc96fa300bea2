"""Quiet hours: when they begin and end."""

import datetime as dt
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from lumiliod.db.queues import QueueRow
from lumiliod.jobs.queues import Queues

ZONES = ["UTC", "Europe/Zurich", "America/St_Johns", "Asia/Kathmandu", "Mars/Olympus"]
MOMENTS = st.integers(1_500_000_000, 2_200_000_000).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC))


@given(st.times(), st.times(), st.sampled_from(ZONES), MOMENTS)
def test_nothing_changes_before_it_is_told(begin: dt.time, end: dt.time, zone: str, now: dt.datetime) -> None:
    queues = Queues()
    queues.configure({"work": 3})
    queues.load([QueueRow("work", quiet_from=begin, quiet_until=end, quiet_zone=zone)])
    change_s = queues.until_change_s(now)
    if zone == "Mars/Olympus":
        assert change_s is None
        return
    assert change_s is not None
    # a day of a zone is as long as 25 hours
    assert 0 < change_s <= 90_000
    queues.refresh(now)
    before = queues.allowed("work")
    if begin == end:
        return
    last = dt.timedelta(seconds=change_s) - dt.timedelta(microseconds=1)
    step = dt.timedelta(minutes=30)
    # a zone that changes its offset meanwhile may skip, or repeat, a piece of these hours
    count = int((last + step * 2) / step) + 1
    offsets = {(now + step * n).astimezone(ZoneInfo(zone)).utcoffset() for n in range(count)}
    if len(offsets) > 1:
        return
    for at in (now + last / 2, now + last):
        queues.refresh(at)
        assert queues.allowed("work") == before
    queues.refresh(now + dt.timedelta(seconds=change_s))
    assert queues.allowed("work") == 3 - before


def test_the_nearest_of_several_counts_and_without_any_there_is_none() -> None:
    queues = Queues()
    now = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert queues.until_change_s(now) is None
    own = QueueRow("work", quiet_from=dt.time(20), quiet_until=dt.time(23), quiet_zone="UTC")
    everything = QueueRow("*", quiet_from=dt.time(11), quiet_until=dt.time(12, 30), quiet_zone="UTC")
    queues.load([own, everything])
    assert queues.until_change_s(now) == 1800
    queues.load([own])
    assert queues.until_change_s(now) == 8 * 3600
