"""Events are read as they were written, however the bytes arrive."""

from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.contract.events import ALIVE, Event, read, written

EVENTS = st.builds(
    Event,
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1),
    st.integers(min_value=1),
    st.text().map(msgspec.json.encode),
)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(st.lists(EVENTS), st.lists(st.integers(min_value=0, max_value=30)))
def test_a_stream_is_read_as_it_was_written(events: list[Event], sizes: list[int]) -> None:
    stream = b"retry: 2000\n\n" + ALIVE.join(written(event) for event in events) + ALIVE
    assert list(read(cut(stream, sizes))) == events


def test_what_is_not_whole_is_not_read() -> None:
    whole = written(Event("jobs", 1, b"{}"))
    assert list(read([whole, whole[:-1]])) == [Event("jobs", 1, b"{}")]
