"""The database server killed in the middle of work: jobs pause, go on, and nothing is lost or done twice."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lumiliod.db import embedded
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph


def test_killed_servers_come_back(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    for number in range(30):
        (root / f"{number:03}.jpg").write_bytes(photograph(number))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos")
    pause = threading.Event()
    server = embedded.prepare(daemon.state_dir)
    killed: set[int | None] = {None}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "lumiliod.cli", "--socket", daemon.socket, "wait", "--timeout", "120"],
        stderr=subprocess.PIPE,
        env=daemon.environ,
    )
    for _ in range(3):
        wait_until(lambda: embedded.running_pid(server) not in killed)
        pause.wait(0.4)
        pid = embedded.running_pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        pause.wait(1.5)
    wait_until(lambda: embedded.running_pid(server) not in killed)
    # whoever waits bears that the database is away for a moment
    _, told = waiting.communicate()
    assert waiting.returncode == 0, told
    daemon.cli("wait", "--timeout", "120")
    assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    assert len(assets) == 30
    assert {asset["status"] for asset in assets} == {"ready"}
    assert json.loads(daemon.cli("jobs", "list", "--state", "discarded", "--json").stdout)["items"] == []
    assert daemon.stop() == 0


def test_whoever_waits_is_told_why_and_bears_a_restart(daemon: Daemon, tmp_path: Path) -> None:
    """A verification is put off while the disk is away, and the server dies meanwhile."""
    root, away = tmp_path / "repo", tmp_path / "away"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1))
    daemon.cli("repos", "add", str(root), "--name", "photos")
    daemon.cli("scan", "photos", "--wait")
    daemon.cli("queues", "pause", "integrity")
    command = [sys.executable, "-m", "lumiliod.cli", "--socket", daemon.socket, "verify", "--repo", "photos", "--wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=daemon.environ) as waiting:
        assert waiting.stderr is not None
        wait_until(lambda: '"kind": "verify"' in daemon.cli("jobs", "list", "--json").stdout)
        root.rename(away)
        daemon.cli("queues", "resume", "integrity")
        assert "waiting: the repository photos is offline" in waiting.stderr.readline()
        server = embedded.prepare(daemon.state_dir)
        pid = embedded.running_pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: embedded.running_pid(server) not in (None, pid))
        daemon.cli("wait", "--timeout", "5", check=False)
        assert waiting.poll() is None
        away.rename(root)
        _, told = waiting.communicate(timeout=60)
    assert (waiting.returncode, told) == (0, "")
    assert daemon.stop() == 0


def test_two_daemons_never_share_a_state_folder(daemon: Daemon) -> None:
    second = Daemon(daemon.state_dir).start(wait=False)
    assert second.process is not None
    assert second.process.wait(30) == 75
    assert "another lumiliod" in daemon.log
    with daemon.client as client:
        assert client.ready()


def test_a_wrong_configuration_exits_78(tmp_path: Path, daemon: Daemon) -> None:
    config = tmp_path / "bad.toml"
    config.write_text("[server]\nsokcet = 1\n[jobs]\nlease_s = 'x'\n")
    wrong = Daemon(tmp_path / "state", extra=("--config", str(config))).start(wait=False)
    assert wrong.process is not None
    assert wrong.process.wait(30) == 78
    assert "sokcet" in wrong.log
    assert "lease_s" in wrong.log
