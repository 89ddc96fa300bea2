"""Where the daemon's log is read from, line by line, and what a line says."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

V = TypeVar("V")

UNIT = "lumiliod"
BEGIN_LINES = 1000
BEGIN_BYTES = 1 << 18
LINE_BYTES = 1 << 20
LOOK_S = 0.5
AGAIN_S = 5.0
"""After so long a log that could not be read is tried again."""
STOP_S = 2.0

LEVELS = ("debug", "info", "warning", "error", "critical")
_PRIORITIES = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_TEXT = re.compile(r"^(\d\d:\d\d:\d\d) (debug|info|warning|error|critical) (.*)$")
_OWN = ("at", "level", "logger", "message", "traceback")


class NoLog(Exception):
    """There is nothing to read from; the message says why, and what would help."""


@dataclass(frozen=True)
class Entry:
    """One line of the log: when, how grave, what, and its fields."""

    at: str
    level: str
    message: str
    fields: tuple[tuple[str, str], ...] = ()


def entry(line: str) -> Entry:
    """Read a line: the daemon's JSON, the journal's with or without it inside, or the daemon's text."""
    found = _object(line)
    if found is not None and "MESSAGE" in found:
        return _of_journal(found)
    if found is not None:
        return _of_daemon(found)
    if match := _TEXT.match(line):
        return Entry(match[1], match[2], match[3])
    return Entry("", "info", line)


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_daemon(found: dict[str, Any]) -> Entry:
    level = str(found.get("level", "info")).lower()
    fields = [(key, _text(value)) for key, value in found.items() if key not in _OWN]
    if "traceback" in found:
        fields.append(("traceback", _text(found["traceback"])))
    return Entry(
        _time(found.get("at")), level if level in LEVELS else "info", _text(found.get("message", "")), tuple(fields)
    )


def _of_journal(found: dict[str, Any]) -> Entry:
    message = _text(found["MESSAGE"])
    inner = _object(message)
    if inner is not None and "message" in inner:
        return _of_daemon(inner)
    try:
        level = _PRIORITIES[int(found.get("PRIORITY", 6))]
        at = datetime.fromtimestamp(int(found["__REALTIME_TIMESTAMP"]) / 1e6).astimezone().strftime("%H:%M:%S")
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError):
        level, at = "info", ""
    if inner is None and (match := _TEXT.match(message)):
        return Entry(match[1], match[2], match[3])
    hidden = ("MESSAGE", "PRIORITY")
    fields = tuple(
        (k.lower(), _text(v)) for k, v in found.items() if k not in hidden and not k.startswith(("_", "SYSLOG"))
    )
    return Entry(at, level, message, fields)


def _text(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        return bytes(value).decode("utf-8", "backslashreplace")  # the journal's way of what is no text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _time(at: object) -> str:
    try:
        return datetime.fromisoformat(str(at)).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


def source(log_file: str | None) -> str:
    """Say where the log is read from.

    Raises:
        NoLog: neither a file was given nor is there a journal.
    """
    if log_file is not None:
        return log_file
    if shutil.which("journalctl") is None:
        raise NoLog("There is no journalctl here. Start lumilio-tui with --log-file PATH to read the daemon's log.")
    return f"journalctl -u {UNIT}"


class Follower:
    """Reads the log in a thread of its own, from the last lines on, until it is stopped.

    ``take`` is called in the event loop with lines as they come, ``miss`` with a sentence when there is nothing to read
    from; that is tried again.
    """

    def __init__(self, log_file: str | None, take: Callable[[list[str]], None], miss: Callable[[str], None]) -> None:
        self._log_file = log_file
        self._take = take
        self._miss = miss
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read; call it within the event loop."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="lumilio-log", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        if self._process is not None:
            self._process.terminate()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STOP_S)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.is_set():
            try:
                for some in self.lines():
                    _tell(loop, self._take, some)
            except (NoLog, OSError) as error:
                _tell(loop, self._miss, str(error))
            self._stop.wait(AGAIN_S)

    def lines(self) -> Iterator[list[str]]:
        """Yield lines as they come, some at a time, until it is stopped. Blocks.

        Raises:
            NoLog: there is nothing to read from.
        """
        source(self._log_file)
        return _of_file(self._log_file, self._stop) if self._log_file is not None else self._of_journal()

    def _of_journal(self) -> Iterator[list[str]]:
        command = ["journalctl", "-u", UNIT, "-o", "json", "--all", "-n", str(BEGIN_LINES), "-f"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, bufsize=0, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
            self._process = process
            if self._stop.is_set():
                process.terminate()
            assert process.stdout is not None
            assert process.stderr is not None
            rest = b""
            while data := process.stdout.read(LINE_BYTES):
                *whole, rest = (rest + data).split(b"\n")
                rest = rest[-LINE_BYTES:]
                yield _decoded(whole)
            why = (process.stderr.read(2000) or b"").decode("utf-8", "replace").strip().split("\n")[-1]
        self._process = None
        if not self._stop.is_set():
            raise NoLog(f"journalctl has ended{': ' + why if why else ''}. Another way: lumilio-tui --log-file PATH.")


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[[V], None], what: V) -> None:
    with suppress(RuntimeError):  # the console has ended
        loop.call_soon_threadsafe(tell, what)


def _decoded(lines: Sequence[bytes]) -> list[str]:
    return [line.decode("utf-8", "backslashreplace") for line in lines if line]


def _of_file(path: str, stop: threading.Event) -> Iterator[list[str]]:
    place: tuple[int, int] | None = None
    rest = b""
    while not stop.is_set():
        try:
            data, place, is_new = _read(path, place)
        except OSError as error:
            raise NoLog(f"{path}: {error.strerror}") from error
        *whole, rest = ((b"" if is_new else rest) + data).split(b"\n")
        rest = rest[-LINE_BYTES:]
        if whole:
            yield _decoded(whole)
        if not data:
            stop.wait(LOOK_S)


def _read(path: str, place: tuple[int, int] | None) -> tuple[bytes, tuple[int, int], bool]:
    """Read on from ``place``, an inode and an offset; from near the end of another file, or of one that was cut."""
    with Path(path).open("rb") as file:
        found = os.fstat(file.fileno())
        is_new = place is None or place[0] != found.st_ino or place[1] > found.st_size
        offset = max(0, found.st_size - BEGIN_BYTES) if place is None else 0 if is_new else place[1]
        file.seek(offset)
        if place is None and offset:
            file.readline()  # the rest of a line
        data = file.read(LINE_BYTES)
        return data, (found.st_ino, file.tell()), is_new
