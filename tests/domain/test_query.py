"""The query grammar: what it takes, what it refuses, and that it never breaks."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.errors import Shape
from lumiliod.domain.query import Filter, Near, Query, Rating, parse


def test_words_and_filters() -> None:
    query = parse('type:photo camera:"X-T5 II" after:2024-05 rating:>=4 near:47.3,8.5,10km "Sunset over" wäter')
    assert query.words == ("sunset", "over", "water")
    assert query.filters == (
        Filter("type", "photo"),
        Filter("camera", "X-T5 II"),
        Filter("after", datetime(2024, 5, 1, tzinfo=UTC).replace(tzinfo=None)),
        Filter("rating", Rating(">=", 4)),
        Filter("near", Near(47.3, 8.5, 10.0)),
    )


def test_nothing_matches_everything() -> None:
    assert parse("  ") == Query((), ())


@pytest.mark.parametrize(
    "text",
    [
        "type:film", "after:yesterday", "after:2024-13", "before:2024-02-30", "rating:9", "near:91,0", "near:1,2,0km",
        "liked:maybe", "colour:red", 'camera:""', '"open', "missing:soul", "x" * 3000, "type:photo " * 21, "a\0b",
    ],
)  # fmt: skip
def test_refuses(text: str) -> None:
    with pytest.raises(Shape) as caught:
        parse(text)
    assert caught.value.code == "bad_query"


def test_a_mistake_names_what_is_known() -> None:
    with pytest.raises(Shape, match="known are after, before, camera"):
        parse("colour:red")


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(Shape):
        assert all(word.isalnum() for word in parse(text).words)
