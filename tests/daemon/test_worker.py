"""``lumiliod worker``: other processes that share the job table with a daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph

PHOTOS = 40


@contextmanager
def worker(daemon: Daemon, log: Path, *args: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "lumiliod.daemon", "worker", "--state-dir", str(daemon.state_dir), *args]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def pids(daemon: Daemon) -> set[int]:
    with daemon.client as client:
        return {one.pid for one in client.workers()}


def test_workers_share_the_work_and_may_die(daemon: Daemon, tmp_path: Path) -> None:
    """The daemon and two workers do everything once, although one of them is killed."""
    root = tmp_path / "repo"
    root.mkdir()
    log = tmp_path / "worker.log"
    with worker(daemon, log) as first, worker(daemon, log, "--queue", "media=2") as second:
        wait_until(lambda: {first.pid, second.pid} <= pids(daemon))
        # added after the workers began: they get to know of it
        daemon.cli("repos", "add", str(root), "--name", "photos")
        for number in range(PHOTOS):
            (root / f"{number:03}.jpg").write_bytes(photograph(number))
        daemon.cli("scan", "photos")
        with daemon.client as client:
            wait_until(lambda: len(client.assets(limit=50).items) > PHOTOS // 4)
        first.kill()
        first.wait()
        daemon.cli("wait", "--timeout", "120")
        assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)
        assert len(assets) == PHOTOS
        assert {asset["status"] for asset in assets} == {"ready"}
        assert json.loads(daemon.cli("jobs", "list", "--state", "discarded", "--json").stdout) == []
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0, log.read_text()
        wait_until(lambda: second.pid not in pids(daemon))


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--queue", "nonsense"), 78, "there is no queue nonsense"),
        (("--queue", "media=0"), 64, "between 1 and 256"),
        ((), 75, "no daemon has made its database"),
    ],
)
def test_a_worker_says_why_it_cannot(tmp_path: Path, args: tuple[str, ...], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lumiliod.daemon", "worker", "--state-dir", str(tmp_path), *args],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "postgres").exists()
