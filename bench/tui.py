"""Measure how quickly the console answers keys, with a million jobs in the table, in a real pseudo-terminal.

A daemon with its queues paused is given the jobs, and the console is run on a terminal of 160x50. A **key** is
answered when the line that says where one is says so: rows down and up, screens down and up, to the last job and the
first. The **first paint** is the time from the call of ``main`` to the first line on the terminal, with everything
imported before; the **first rows** are what the daemon said. The last line is one JSON object.

    python bench/tui.py [--jobs N] [--rounds N] [--short]
"""

import argparse
import datetime as dt
import fcntl
import json
import os
import platform
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.measuring.machine import cpu_name
from lumiliod.client import Client
from lumiliod.db import embedded
from scripts.daemon_process import end_on_signals, measuring, running

SIZE = (160, 50)
PATIENCE_S = 30.0
GOAL_KEY_MS, GOAL_PAINT_MS = 80.0, 400.0

ROW = re.compile(r"row ([\d,]+) of")

FILL = """
INSERT INTO jobs (id, kind, queue, state, priority, max_attempts, args, created_at, scheduled_at)
SELECT ('01900000-' || lpad(to_hex(n >> 12), 4, '0') || '-7' || lpad(to_hex(n & 4095), 3, '0')
        || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       (ARRAY['ingest', 'metadata', 'thumbnails', 'transcode'])[n %% 4 + 1],
       (ARRAY['ingest', 'media', 'media', 'transcode'])[n %% 4 + 1],
       'available', n %% 4 + 1, 5,
       jsonb_build_object('filename', '2024/' || n / 1000 || '/IMG_' || n || '.jpg'), now(), now()
FROM generate_series(1, %(jobs)s) AS n
"""

CHILD = """
import os, sys, time
import lumilio_tui.app, lumilio_tui.__main__, textual.drivers.linux_driver, textual_image.widget
os.write(int(sys.argv.pop(1)), time.monotonic_ns().to_bytes(8, "little"))
lumilio_tui.__main__.main()
"""


@dataclass
class Terminal:
    """A console on a pseudo-terminal; what it wrote since the last key is in ``written``."""

    descriptor: int
    written: str = ""
    keys_ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def until(self, sign: "re.Pattern[str]", *, but: str = "") -> tuple[float, str]:
        """Read until ``sign`` is written, not as ``but``; return when, and the last of what it found."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            if select.select([self.descriptor], [], [], 0.5)[0]:
                data = os.read(self.descriptor, 1 << 16)
                at = time.monotonic()
                self.written += data.decode("utf-8", "replace")
                found = [match[match.lastindex or 0] for match in sign.finditer(self.written)]
                if found and found[-1] != but:
                    return at, found[-1]
        raise RuntimeError(f"the console did not show {sign.pattern!r}: {self.written!r}")

    def press(self, name: str, key: str, row: str) -> str:
        """Press a key on ``row``, and take the time until another one is shown."""
        self.written = ""
        began = time.monotonic()
        os.write(self.descriptor, key.encode())
        try:
            at, found = self.until(ROW, but=row)
        except RuntimeError as error:
            raise RuntimeError(f"{name}, on row {row}: {error}") from error
        self.keys_ms.setdefault(name, []).append((at - began) * 1000)
        return found


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure the console.")
    parser.add_argument("--jobs", type=int, default=1_000_000, metavar="N", help="jobs in the table (1,000,000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="starts of the console (5)")
    parser.add_argument("--short", action="store_true", help="20,000 jobs, one start: a check, no measurement")
    given = parser.parse_args()
    jobs, rounds = (20_000, 1) if given.short else (given.jobs, given.rounds)
    with measuring("tui") as root:
        _measure(root, jobs, rounds)


def _measure(root: Path, jobs: int, rounds: int) -> None:
    with running(root / "state", log=root / "daemon.log") as daemon:
        with Client(str(daemon.socket)) as client:
            client.pause_queue("*")
        began = time.monotonic()
        server = embedded.prepare(root / "state")
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            conn.execute(FILL, {"jobs": jobs})
            conn.execute("VACUUM ANALYZE jobs")
        print(f"{jobs:,} jobs in {time.monotonic() - began:.0f} s", flush=True)
        paints: list[float] = []
        rows: list[float] = []
        keys: dict[str, list[float]] = {}
        for number in range(rounds):
            with _console(str(daemon.socket)) as (terminal, started):
                painted, _ = terminal.until(re.compile("Overview"))
                shown, _ = terminal.until(re.compile("transcode"))
                paints.append((painted - started()) * 1000)
                rows.append((shown - started()) * 1000)
                _drive(terminal, jobs)
                for name, times in terminal.keys_ms.items():
                    keys.setdefault(name, []).extend(times)
            print(f"start {number + 1}: first paint {paints[-1]:.0f} ms, first rows {rows[-1]:.0f} ms", flush=True)
    _report(jobs, rounds, paints, rows, keys)


def _drive(terminal: Terminal, jobs: int) -> None:
    terminal.written = ""
    os.write(terminal.descriptor, b"2")
    terminal.until(re.compile(r"row 1 "))
    os.write(terminal.descriptor, b"/")
    terminal.until(re.compile("Show only"))
    os.write(terminal.descriptor, b"available\r")
    _, row = terminal.until(ROW)
    ways = [("row down", "j", 60), ("screen down", "\x1b[6~", 60), ("row up", "k", 30), ("screen up", "\x1b[5~", 30)]
    for name, key, times in ways:
        for _ in range(times):
            row = terminal.press(name, key, row)
    for _ in range(5):
        row = terminal.press("last", "G", row)
        if row != f"{jobs:,}":
            raise RuntimeError(f"the last of {jobs:,} jobs is row {row}")
        row = terminal.press("screen up", "\x1b[5~", row)
        row = terminal.press("first", "g", row)
        row = terminal.press("row down", "j", row)


def _report(jobs: int, rounds: int, paints: list[float], rows: list[float], keys: dict[str, list[float]]) -> None:
    for name, times in keys.items():
        print(
            f"{name:<12} median {statistics.median(times):5.1f} ms, "
            f"p95 {_p95(times):5.1f} ms, worst {max(times):5.1f} ms"
        )
    every = [time_ms for times in keys.values() for time_ms in times]
    figures = {
        "bench": "tui",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores {cpu_name()}",
        "python": platform.python_version(),
        "jobs": jobs,
        "rounds": rounds,
        "keys": len(every),
        "key_to_paint_median_ms": round(statistics.median(every), 1),
        "key_to_paint_p95_ms_1m" if jobs >= 1_000_000 else "key_to_paint_p95_ms": round(_p95(every), 1),
        "first_paint_ms": round(statistics.median(paints), 1),
        "first_rows_ms": round(statistics.median(rows), 1),
        "goal_key_ms": GOAL_KEY_MS,
        "goal_first_paint_ms": GOAL_PAINT_MS,
    }
    print(json.dumps(figures))


def _p95(times: list[float]) -> float:
    return sorted(times)[max(0, round(len(times) * 0.95) - 1)]


@contextmanager
def _console(socket: str) -> Iterator[tuple[Terminal, "Started"]]:
    """Run the console on a pseudo-terminal; it is asked to quit at the end, and killed if it does not."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    read, write = os.pipe()
    command = [sys.executable, "-c", CHILD, str(write), "--socket", socket, "--images", "half"]
    environ = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, pass_fds=(write,), env=environ, start_new_session=True
    )
    os.close(theirs)
    os.close(write)
    try:
        yield Terminal(ours), Started(read)
        os.write(ours, b"q")
        give_up_at = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < give_up_at:
            if select.select([ours], [], [], 0.05)[0]:
                try:
                    os.read(ours, 1 << 16)
                except OSError:
                    break  # the other end is closed
        process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
        os.close(read)


class Started:
    """When the console was begun, seconds of the monotonic clock, everything being imported; it tells that once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at: float | None = None

    def __call__(self) -> float:
        """Return when."""
        if self._at is None:
            self._at = int.from_bytes(os.read(self._descriptor, 8), "little") / 1e9
        return self._at


if __name__ == "__main__":
    main()
