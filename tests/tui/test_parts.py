"""Parts of the console by themselves."""

import asyncio
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lumilio_tui import log_source
from lumilio_tui.job_filter import JobWanted, NotUnderstood, parse
from lumilio_tui.screens.overview import Stage
from lumilio_tui.text import LEFT_TO_RIGHT, safe, span, sparkline
from lumilio_tui.widgets.rows import cropped
from lumilio_tui.widgets.window import PAGES, Page, Window


@given(st.text())
def test_what_is_safe_controls_nothing(text: str) -> None:
    shown = safe(text)
    hidden = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert not any(unicodedata.category(character) in hidden for character in shown.removesuffix(LEFT_TO_RIGHT))
    assert safe(text, ascii_only=True).isascii()


def test_letters_from_right_to_left_end_where_they_end() -> None:
    assert safe("שלום.jpg") == "שלום.jpg" + LEFT_TO_RIGHT
    assert cell_len(safe("שלום.jpg")) == cell_len("שלום.jpg")
    assert safe("a\u202eb\x1b[2J\x07\n") == "a\\u202eb\\x1b[2J\\x07\\n"


def test_a_name_from_right_to_left_that_is_cropped_ends_where_it_ends() -> None:
    shown = cropped(safe("שלום" * 9), 10)
    assert cell_len(shown) == 10
    assert LEFT_TO_RIGHT in shown
    assert cropped("a" * 20, 10) == "a" * 9 + "~"


@given(
    rows=st.integers(min_value=0, max_value=900),
    size=st.integers(min_value=1, max_value=60),
    ways=st.lists(st.sampled_from(["after", "before", "first", "last", "again"]), max_size=60),
)
def test_a_window_is_a_stretch_of_the_rows(rows: int, size: int, ways: list[str]) -> None:
    def page(start: int, end: int) -> Page[int]:
        start, end = max(0, start), min(rows, end)
        return Page(range(start, end), f">{end}" if end < rows else None, f"<{start}" if start > 0 else None)

    async def fetch(cursor: str | None, last: bool) -> Page[int]:
        await asyncio.sleep(0)
        if cursor is None:
            return page(rows - size, rows) if last else page(0, size)
        place = int(cursor[1:])
        return page(place, place + size) if cursor[0] == ">" else page(place - size, place)

    async def main() -> None:
        window = Window[int](fetch)
        for way in ["first", *ways]:
            seen = window.items[:1]
            by = 0
            match way:
                case "after":
                    by = await window.after()
                case "before":
                    by = await window.before()
                case "again":
                    await window.again(len(window.items) // 2)
                case "last":
                    await window.last(rows)
                case _:
                    await window.first()
            items = window.items
            assert items == list(range(items[0], items[-1] + 1) if items else ())
            assert window.above == (items[0] if items else 0)
            assert len(items) <= PAGES * size
            if way in ("after", "before") and seen and items:
                assert items[0] == seen[0] - by
            assert window.is_at_start is (not items or items[0] == 0)
            assert window.is_at_end is (not items or items[-1] == rows - 1)

    asyncio.run(main())


def test_a_filter_of_jobs() -> None:
    kinds, queues = {"thumbnails", "ingest"}, {"media", "ingest"}

    def read(text: str) -> JobWanted:
        return parse(text, kinds=kinds, queues=queues)

    assert read("") == JobWanted()
    assert read("failed thumbnails media corrupt") == JobWanted("discarded", "thumbnails", "media", "corrupt")
    assert read("state:running repo:home tag:x") == JobWanted("running", repository="home", tag="x")
    for wrong in ("colour:red", "state:sleeping", "asset:7"):
        with pytest.raises(NotUnderstood):
            read(wrong)
    assert read("").selection().all
    assert not read("failed").selection().all


def test_lines_of_the_log() -> None:
    entry = log_source.entry
    told = entry(
        '{"at": "2026-06-01T12:00:00+00:00", "level": "warning", "logger": "x", "message": "job failed", "kind": "a"}'
    )
    assert (told.level, told.message, told.fields) == ("warning", "job failed", (("kind", "a"),))
    journal: dict[str, object] = {"MESSAGE": json.dumps({"level": "error", "message": "no"}), "PRIORITY": "6"}
    assert entry(json.dumps(journal)).level == "error"
    journal = {"MESSAGE": [104, 105, 255], "PRIORITY": "3", "__REALTIME_TIMESTAMP": "1780000000000000", "JOB": "7"}
    told = entry(json.dumps(journal))
    assert (told.level, told.message, told.fields) == ("error", "hi\\xff", (("job", "7"),))
    assert entry("12:00:00 info ready socket=/s").message == "ready socket=/s"
    for line in ("", "{", "[]", "7", '{"MESSAGE": null}', '{"level": 7, "message": {}}', "\x1b[2J", "[" * 5000):
        assert entry(line).level in log_source.LEVELS


def test_a_log_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("first\nsecond\npart")

    follower = log_source.Follower(str(path), lambda some: None, lambda why: None)
    read = follower.lines()
    assert next(read) == ["first", "second"]
    with path.open("a") as file:
        file.write("ial\n")
    assert next(read) == ["partial"]
    path.rename(tmp_path / "old")
    path.write_text("another file\n")
    assert next(read) == ["another file"]
    path.write_text("cut\n")
    assert next(read) == ["cut"]
    path.unlink()
    with pytest.raises(log_source.NoLog, match="No such file"):
        next(read)


def test_throughput_is_of_late_and_begins_anew_with_the_daemon() -> None:
    stage = Stage()
    assert stage.rate == 0
    for at in range(100):
        stage.note(float(at), at * 10)
    assert stage.rate == pytest.approx(10)
    stage.note(100.0, 3)
    assert stage.rate == 0
    stage.note(101.0, 8)
    assert stage.rate == pytest.approx(5)
    assert stage.rates == [pytest.approx(5)]


def test_bars_and_spans() -> None:
    assert sparkline([0, 1, 2], 3) == "▁▅█"
    assert sparkline([0, 0], 9) == "▁▁"
    assert sparkline([1, 2], 1, ascii_only=True) == "#"
    assert [span(s) for s in (-1, 5, 65, 3700, 90_000)] == ["0 s", "5 s", "1 min", "1 h 1 min", "1 d 1 h"]
