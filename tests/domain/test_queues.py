import datetime as dt
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lumiliod.domain.errors import Shape
from lumiliod.domain.queues import quiet_hours, quiet_text

MINUTES = st.times().map(lambda time: time.replace(second=0, microsecond=0))


@given(MINUTES, MINUTES)
def test_hours_are_read_as_they_are_written(begin: dt.time, end: dt.time) -> None:
    assume(begin != end)
    assert quiet_hours(quiet_text(begin, end), "Europe/Zurich") == (begin, end, "Europe/Zurich")


@pytest.mark.parametrize("text", ["", "22:00", "22-6", "24:00-06:00", "22:60-06:00", "22:00-22:00", "٢٢:٠٠-٠٦:٠٠"])
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(Shape, match="quiet hours"):
        quiet_hours(text, "UTC")


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    for hours, zone in ((text, "UTC"), ("22:00-06:30", text)):
        with suppress(Shape):
            quiet_hours(hours, zone)
