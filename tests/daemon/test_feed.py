"""The stream of what happens, of a real daemon: to its end and beyond it."""

import itertools
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lumiliod.client import Happening
from lumiliod.contract.feed import AssetsEvent, HealthEvent, ResetEvent, SyncEvent
from lumiliod.contract.live import Trouble
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph

WAITING_S = 90.0


class Following:
    """Reads events in a thread; what came is taken in its order."""

    def __init__(self, daemon: Daemon) -> None:
        self._happened: queue.Queue[Happening | Exception] = queue.Queue()
        self._daemon = daemon
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, is_so: Callable[[Happening], bool]) -> Happening:
        while True:
            told = self._happened.get(timeout=WAITING_S)
            if isinstance(told, Exception):
                raise told
            if is_so(told):
                return told

    def _read(self) -> None:
        try:
            with self._daemon.client as client:
                for told in client.feed.follow(sleep=self.ended.wait):
                    self._happened.put(told)
                    if self.ended.is_set():
                        return
        except Exception as error:
            self._happened.put(error)


@contextmanager
def following(daemon: Daemon) -> Iterator[Following]:
    reading = Following(daemon)
    yield reading
    reading.ended.set()


def test_it_goes_on_after_the_daemon_was_away(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(photograph(number))
    with following(daemon) as reading:
        first = reading.until(lambda _: True)
        assert first.data == ResetEvent(reason="new")
        reading.until(lambda told: isinstance(told.data, HealthEvent) and bool(told.data.services))
        daemon.cli("repos", "add", str(root), "--name", "home")
        ended = reading.until(lambda told: isinstance(told.data, SyncEvent) and told.data.phase == "ended")
        assert ended.data.operation.repository == "home"
        reading.until(lambda told: isinstance(told.data, AssetsEvent))
        with daemon.client as client:
            wait_until(lambda: client.status().asset_states == {"ready": 3})
        # who stays does not hold up the end
        assert daemon.stop() == 0
        away = reading.until(lambda told: told.name == "trouble")
        assert isinstance(away.data, Trouble)
        assert away.data.code == "unreachable"
        daemon.start()
        back = reading.until(lambda told: told.name == "reset")
        assert back.data == ResetEvent(reason="gap")
        assert back.number > ended.number > first.number


def lines_of(process: "subprocess.Popen[str]") -> Iterator[Any]:
    assert process.stdout is not None
    return map(json.loads, process.stdout)


def test_the_command_tells_a_line_each(daemon: Daemon) -> None:
    command = [
        sys.executable,
        "-m",
        "lumiliod.cli",
        "--socket",
        daemon.socket,
        "events",
        "--json",
        "--topics",
        "health",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = list(itertools.islice(lines_of(process), 2))
            assert [one["event"] for one in told] == ["reset", "health"]
            assert told[0]["id"] < told[1]["id"]
            process.send_signal(signal.SIGINT)
            assert process.wait(WAITING_S) == 130
        finally:
            process.kill()
