"""The log: what it says in each style, what the journal is told, and how often the same is said."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from lumiliod.daemon import journal, log_limits, logs
from lumiliod.daemon.log_limits import Limits
from lumiliod.domain.logged import logged

ODD = "two\nlines \x1b[31m \u202e \udcff"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Return the root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:], logger.level = handlers, level
    logging.captureWarnings(capture=False)


class Journald:
    """A socket that takes what the journal is sent."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20.0)

    def take(self) -> dict[str, str]:
        """Return the fields of the next record."""
        data, files, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        for file in files:
            with os.fdopen(file, "rb") as sealed:
                sealed.seek(0)
                data = sealed.read()
        fields: dict[str, str] = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, separator, value = line.partition(b"=")
            if not separator:
                length = int.from_bytes(data[:8], "little")
                value, data = data[8 : 8 + length], data[9 + length :]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    taking = Journald(tmp_path / "journal")
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))
    yield taking
    taking.socket.close()


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_is_one_line(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    with logged(request="r1"), logged(job="j1", kind="ingest"):
        logging.getLogger("a").warning("it failed", extra={"path": ODD, "kind": "its own"})
    [line] = said(capsys)
    assert line.split(" ", 1)[1] == (
        r'warning it failed request=r1 job=j1 kind="its own" path="two\nlines \x1b[31m \u202e \udcff"'
    )
    logging.getLogger("a").info("outside")
    assert said(capsys)[0].endswith(" info outside")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a.jpg", "a.jpg"),
        ("a job=j2", '"a job=j2"'),
        ("a=b", '"a=b"'),
        ('say "a"', r'"say \"a\""'),
        ("", '""'),
        (7, "7"),
    ],
)
def test_a_value_is_no_other_field(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], value: object, told: str
) -> None:
    logs.configure("info", "text")
    logging.getLogger("a").info("met", extra={"path": value, "code": 7})
    assert said(capsys)[0].endswith(f"info met path={told} code=7")


def test_frames_are_lines(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("a").error("job raised", extra={"frames": "  File a\n  File b\n", "code": 7})
    first, *frames = said(capsys)
    assert first.endswith("error job raised code=7")
    assert frames == ["  File a", "  File b"]


def test_json_is_one_object_a_line(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with logged(request="r1"):
        logging.getLogger("a").warning("it failed", extra={"path": "two\nlines"})
    [line] = said(capsys)
    entry = json.loads(line)
    assert {name: entry[name] for name in ("level", "logger", "message", "request", "path")} == {
        "level": "warning", "logger": "a", "message": "it failed", "request": "r1", "path": "two\nlines",
    }  # fmt: skip


def test_json_controls_no_terminal(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    name = "é\x9b2J\x7f \u202e \u2028 \udcff \U000e0001"
    logging.getLogger("a").warning("it failed", extra={"path": name})
    text = capsys.readouterr().err.removesuffix("\n")
    assert text.isprintable()
    assert "é" in text
    assert json.loads(text)["path"] == name


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_an_error_says_begins_no_line(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], style: logs.Style
) -> None:
    """The name of a file can neither look like a record nor control a terminal."""
    logs.configure("info", style)
    try:
        raise ValueError("no file a\n12:00:00 info all is well \x1b[2J\udcff\x9b")
    except ValueError:
        logging.getLogger("a").exception("it raised\n12:00:00 info too")
    text = capsys.readouterr().err
    first, *below = text.splitlines()
    assert all(line.startswith("  ") for line in below)
    assert "12:00:00 info all is well" in text
    assert "".join([first, *below]).isprintable()


async def test_tasks_and_threads_say_for_whom(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    with logged(request="r1"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, logging.getLogger("a").info, "in a thread")
    [line] = said(capsys)
    assert line.endswith("in a thread request=r1")


def test_the_journal_gets_fields(root: logging.Logger, journald: Journald) -> None:
    logs.configure("info", "journal", program="lumilio-test")
    with logged(job="j1"):
        logging.getLogger("lumiliod.a").warning("it failed", extra={"path": ODD, "odd name é": 1})
    told = journald.take()
    assert told["MESSAGE"].startswith('it failed job=j1 path="two\\nlines')
    assert (told["PRIORITY"], told["SYSLOG_IDENTIFIER"], told["LOGGER"]) == ("4", "lumilio-test", "lumiliod.a")
    assert (told["LUMILIO_JOB"], told["LUMILIO_ODD_NAME__"]) == ("j1", "1")
    assert told["LUMILIO_PATH"] == "two\nlines \x1b[31m \u202e \\udcff"
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("lumiliod.a").exception("it raised")
    told = journald.take()
    assert told["PRIORITY"] == "3"
    assert told["MESSAGE"].startswith("it raised\n  Traceback")


def test_a_record_larger_than_a_datagram_is_a_file(root: logging.Logger, journald: Journald) -> None:
    logs.configure("info", "journal")
    logging.getLogger("a").warning("large", extra={"what": "x" * 1_000_000})
    assert journald.take()["LUMILIO_WHAT"] == "x" * 1_000_000


def test_a_journal_that_went_is_replaced(
    root: logging.Logger, journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", "journal")
    journald.socket.close()
    logging.getLogger("a").warning("nobody listens")
    [line] = said(capsys)
    assert json.loads(line)["message"] == "nobody listens"


def test_a_journal_that_comes_back_is_used(
    root: logging.Logger, journald: Journald, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often something was said while it was away."""
    logs.configure("info", "journal")
    journald.socket.close()
    (tmp_path / "journal").unlink()
    for _ in range(3):
        logging.getLogger("a").warning("nobody listens")
    assert len(said(capsys)) == 3
    again = Journald(tmp_path / "journal")
    logging.getLogger("a").warning("back")
    assert again.take()["MESSAGE"] == "back"
    again.socket.close()


def test_a_journal_that_is_held_up_holds_up_nobody(
    root: logging.Logger, journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", "journal")
    logger = logging.getLogger("a")
    [handler] = root.handlers
    assert isinstance(handler, logs.JournalHandler)
    sent = 0
    while not handler.lost:
        logger.warning("one more")
        sent += 1
    logger.warning("lost, too")
    assert said(capsys) == []
    for _ in range(sent - 1):
        assert journald.take()["MESSAGE"] == "one more"
    logger.warning("the next")
    told = journald.take()
    assert told["MESSAGE"].startswith("the journal was held up")
    assert told["LUMILIO_COUNT"] == "2"
    assert journald.take()["MESSAGE"] == "the next"
    assert handler.lost == 0


def test_a_journal_that_is_not_there_is_json(
    root: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "none"))
    logs.configure("info", "journal")
    logging.getLogger("a").warning("here")
    assert json.loads(said(capsys)[0])["message"] == "here"


def test_the_journal_is_known_by_what_it_reads(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file:
        found = os.fstat(file.fileno())
        stream = f"{found.st_dev}:{found.st_ino}"
        assert journal.is_ours({"JOURNAL_STREAM": stream}, file.fileno())
        assert not journal.is_ours({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}, file.fileno())
        assert not journal.is_ours({"JOURNAL_STREAM": "nonsense"}, file.fileno())
        assert not journal.is_ours({}, file.fileno())
    assert not journal.is_ours({"JOURNAL_STREAM": stream}, 1_000_000)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(message: str, level: int = logging.WARNING, **fields: Any) -> logging.LogRecord:
    made = {"name": "a", "msg": message, "levelno": level, "levelname": logging.getLevelName(level)}
    return logging.makeLogRecord({**made, **fields})


def test_the_same_is_said_a_few_times_and_then_counted() -> None:
    told: list[logging.LogRecord] = []
    clock = Clock()
    limits = Limits(3, told.append, clock)
    passed = [limits.filter(record("no", code="a", n=n)) for n in range(10)]
    assert passed == [True] * 3 + [False] * 7
    assert limits.filter(record("no", code="b"))
    assert limits.filter(record("no", logging.ERROR, code="a"))
    assert all(limits.filter(record("no", logging.CRITICAL)) for _ in range(10))
    assert all(limits.filter(record("no", logging.DEBUG)) for _ in range(10))
    assert told == []
    clock.now_s = log_limits.WINDOW_S
    assert limits.filter(record("no", code="a"))
    [summary] = told
    assert vars(summary).items() >= {"said": "no", "code": "a", "count": 7, "levelno": logging.WARNING}.items()
    for _ in range(4):
        limits.filter(record("yes"))
    limits.close()
    assert [vars(one)["count"] for one in told] == [7, 1]


def test_what_is_left_out_is_told_though_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "WINDOW_S", 0.01)
    monkeypatch.setattr(log_limits, "CAUSES_MAX", 1)
    told: list[logging.LogRecord] = []
    summed_up = threading.Event()

    def tell(one: logging.LogRecord) -> None:
        told.append(one)
        summed_up.set()

    clock = Clock()
    limits = Limits(1, tell, clock)
    assert [limits.filter(record("no")) for _ in range(3)] == [True, False, False]
    assert all(limits.filter(record(f"another {n}")) for n in range(3))
    clock.now_s = 1.0
    assert summed_up.wait(60.0)
    assert vars(told[0])["count"] == 2
    limits.close()
