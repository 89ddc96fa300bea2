"""Runs the parts of a measurement in processes of their own (see child.py)."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.queues.contender import Sent, Started
from bench.queues.server import Place

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0


def call(part: str, contender: str, place: Place, **arguments: Any) -> Any:
    """Run ``part`` and return what it tells.

    Raises:
        RuntimeError: it failed or took a quarter of an hour; the message ends with what it said last.
    """
    with _started(part, contender, place, arguments) as process:
        return _told(process, f"{part} of {contender}")


def latencies(contender: str, place: Place, gaps_s: list[float]) -> list[tuple[Sent, Started]]:
    """Let one process enqueue a job after each of ``gaps_s``, and another one, idle till then, do them.

    Raises:
        RuntimeError: one of them failed.
    """
    with _started("listen", contender, place, {"samples": len(gaps_s)}) as listener:
        assert listener.stdout is not None
        if listener.stdout.readline() != "ready\n":
            _told(listener, f"listen of {contender}")
            raise RuntimeError(f"the worker of {contender} ended early")
        sent = call("send", contender, place, gaps_s=gaps_s)
        return paired(sent, _told(listener, f"listen of {contender}"))


def paired(sent: list[dict[str, Any]], seen: list[dict[str, Any]]) -> list[tuple[Sent, Started]]:
    """Put together what was enqueued and what began."""
    starts = {one["number"]: Started(**one) for one in seen}
    return [(Sent(**one), starts[one["number"]]) for one in sent]


@contextlib.contextmanager
def _started(part: str, contender: str, place: Place, arguments: dict[str, Any]) -> "Iterator[subprocess.Popen[str]]":
    given = json.dumps({"place": asdict(place), **arguments})
    command = [sys.executable, "-m", "bench.queues.child", part, contender, given]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    watchdog = threading.Timer(LIMIT_S, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def _told(process: "subprocess.Popen[str]", what: str) -> Any:
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{what} ended with {process.returncode}:\n{err[-2000:]}")
    return json.loads(out.splitlines()[-1])
