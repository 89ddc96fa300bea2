"""``lumilio jobs`` and ``lumilio queues``, and a real daemon."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from PIL import Image

from lumiliod.cli.main import program

if TYPE_CHECKING:
    from tests.conftest import Daemon

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def daemon(make_module_daemon: "Callable[..., Daemon]", tmp_path_factory: pytest.TempPathFactory) -> "Daemon":
    """A daemon with one repository, where nothing of the queue `ingest` begins."""
    daemon = make_module_daemon().start()
    root = tmp_path_factory.mktemp("home")
    daemon.cli("repos", "add", str(root), "--name", "home", "--layout", "flat")
    daemon.cli("queues", "pause", "ingest")
    return daemon


@pytest.fixture
def waiting(daemon: "Daemon", tmp_path: Path) -> str:
    """The id of an upload's job, which waits."""
    return upload(daemon, tmp_path)


def upload(daemon: "Daemon", folder: Path) -> str:
    picture = folder / f"{os.urandom(4).hex()}.png"
    Image.frombytes("RGB", (8, 8), os.urandom(192)).save(picture)
    (result,) = json.loads(daemon.cli("--json", "upload", str(picture), "--repo", "home", "--no-wait").stdout)["items"]
    return str(result["task_id"])


def said(daemon: "Daemon", *args: str) -> Any:
    return json.loads(daemon.cli("--json", *args).stdout)


@contextmanager
def begun(
    daemon: "Daemon",
    *args: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "lumiliod.cli", "--socket", daemon.socket, *args]
    with subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: "subprocess.Popen[bytes]") -> int:
    while process.poll() is None:  # Python misses one that arrives just before it blocks in a system call
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
    return process.returncode


def read_until(terminal: int, text: bytes) -> bytes:
    received = b""
    while text not in received:
        received += os.read(terminal, 65536)
    return received


def test_cancel_and_begin_anew(daemon: "Daemon", waiting: str) -> None:
    assert [job["id"] for job in said(daemon, "jobs", "list", "--repo", "home", "--state", "available")["items"]] == [
        waiting
    ]
    assert said(daemon, "jobs", "list", "--tag", "none")["items"] == []
    assert daemon.cli("jobs", "cancel", waiting).stdout == "1 job cancelled.\n"
    assert said(daemon, "jobs", "show", waiting)["state"] == "cancelled"
    again = daemon.cli("jobs", "cancel", waiting, check=False)
    assert again.returncode == 1
    assert "is cancelled" in again.stderr
    assert said(daemon, "jobs", "retry", waiting) == {"count": 1, "passed_over": 0}
    assert said(daemon, "jobs", "show", waiting)["state"] == "available"
    assert "Key" in daemon.cli("jobs", "show", waiting).stdout
    assert daemon.cli("jobs", "cancel", NOBODY, check=False).returncode == 1
    assert said(daemon, "jobs", "cancel", waiting, NOBODY)["count"] == 1


def test_giving_up_and_causes(daemon: "Daemon", waiting: str) -> None:
    assert said(daemon, "jobs", "discard", "--repo", "home", "--queue", "ingest", "--yes")["count"] == 1
    (cause,) = said(daemon, "jobs", "causes")["items"]
    assert (cause["kind"], cause["cause"], cause["count"], cause["example"]) == ("ingest", "discarded", 1, waiting)
    assert "given up by a person" in daemon.cli("jobs", "causes", "--kind", "ingest").stdout
    assert "given up by a person" in daemon.cli("jobs", "show", waiting).stderr
    assert [job["id"] for job in said(daemon, "jobs", "list", "--cause", "discarded")["items"]] == [waiting]
    assert said(daemon, "jobs", "retry", "--cause", "discarded", "--yes")["count"] == 1
    assert said(daemon, "jobs", "cancel", "--older", "2d", "--all", "--yes")["count"] == 0
    assert said(daemon, "jobs", "cancel", "--kind", "ingest", "-y")["count"] == 1


def test_nobody_to_ask(daemon: "Daemon", waiting: str) -> None:
    done = daemon.cli("jobs", "cancel", "--kind", "ingest", check=False)
    assert done.returncode == 64
    assert "--yes" in done.stderr
    assert said(daemon, "jobs", "show", waiting)["state"] == "available"
    daemon.cli("jobs", "cancel", waiting)


@pytest.mark.parametrize(("reply", "code", "state"), [(b"n\n", 1, "available"), (b"y\n", 0, "cancelled")])
def test_a_person_is_asked(daemon: "Daemon", waiting: str, reply: bytes, code: int, state: str) -> None:
    ours, theirs = pty.openpty()
    with begun(daemon, "jobs", "cancel", "--all", stdin=theirs, stderr=theirs) as process:
        os.close(theirs)
        assert b"Cancel 1 job?" in read_until(ours, b"?")
        os.write(ours, reply)
        process.communicate()
    os.close(ours)
    assert process.returncode == code
    assert said(daemon, "jobs", "show", waiting)["state"] == state
    daemon.cli("jobs", "cancel", waiting, check=False)


def test_one_is_watched_until_it_is_cancelled(daemon: "Daemon", waiting: str) -> None:
    with begun(daemon, "jobs", "watch", waiting) as process:
        assert process.stdout is not None
        assert b"available" in process.stdout.readline()
        daemon.cli("jobs", "cancel", waiting)
        out, err = process.communicate()
    assert process.returncode == 1
    assert out.decode() == f"Job {waiting} is cancelled.\n"
    assert err == b""


def test_what_runs_is_watched(daemon: "Daemon") -> None:
    with begun(daemon, "jobs", "watch") as process:
        assert process.stdout is not None
        assert b"ingest (paused): 0 running, 0 waiting" in process.stdout.readline()
        assert interrupted(process) == 130
        assert process.communicate() == (b"", b"\n")
    with begun(daemon, "jobs", "watch", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["running"] == []
        assert interrupted(process) == 130


def test_what_runs_is_drawn_on_a_terminal(daemon: "Daemon") -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with begun(daemon, "jobs", "watch", stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        drawn = read_until(ours, b"paused")
        assert b"Allowed" in drawn
        assert interrupted(process) == 130
    assert b"\x1b[?25h" in os.read(ours, 65536)  # the cursor is back
    os.close(ours)


def test_a_daemon_that_stops_ends_watching(make_daemon: "Callable[..., Daemon]") -> None:
    daemon = make_daemon().start()
    with begun(daemon, "jobs", "watch") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert daemon.stop() == 0
        _, err = process.communicate()
    assert process.returncode == 69
    assert b"lumiliod has stopped" in err


def test_queues(daemon: "Daemon") -> None:
    listed = said(daemon, "queues", "list")
    names = [queue["name"] for queue in listed["items"]]
    assert names == ["develop", "ingest", "integrity", "maintenance", "media", "ml", "transcode"]
    assert (listed["items"][1]["allowed"], listed["items"][1]["reason"]) == (0, "paused")
    assert "paused" in daemon.cli("queues", "list").stdout

    (changed,) = said(daemon, "queues", "set", "ml", "--concurrency", "3")["items"]
    assert (changed["concurrency"], changed["configured"]) == (3, 1)
    (changed,) = said(daemon, "queues", "set", "ml", "--concurrency", "configured")["items"]
    assert changed["concurrency"] == 1
    zurich = ["--quiet", "22:00-06:30", "--zone", "Europe/Zurich"]
    (changed,) = said(daemon, "queues", "set", "ml", *zurich)["items"]
    assert changed["quiet"] == {"hours": "22:00-06:30", "time_zone": "Europe/Zurich"}
    assert "22:00-06:30 Europe/Zurich" in daemon.cli("queues", "list").stdout
    assert said(daemon, "queues", "set", "ml", "--quiet", "none")["items"][0]["quiet"] is None

    assert said(daemon, "queues", "pause", "all")["paused_at"] is not None
    done = daemon.cli("queues", "list")
    assert "Everything is paused" in done.stderr
    # ingest is paused by its own name
    assert "ingest was paused by itself: lumilio queues resume ingest" in daemon.cli("queues", "resume", "all").stderr
    assert said(daemon, "queues", "list")["paused_at"] is None

    assert daemon.cli("queues", "pause", "nothing", check=False).returncode == 1
    assert daemon.cli("queues", "set", "ml", "--concurrency", "1000", check=False).returncode == 64
    assert daemon.cli("queues", "set", "ml", "--quiet", "1-2", check=False).returncode == 64
    (worker,) = said(daemon, "queues", "workers")["items"]
    assert daemon.process is not None
    assert worker["pid"] == daemon.process.pid


def test_missing_work(daemon: "Daemon") -> None:
    assert set(said(daemon, "jobs", "backfill", "--kind", "metadata")["added"]) == {"metadata"}
    assert "metadata" in daemon.cli("jobs", "backfill").stdout
    assert daemon.cli("jobs", "backfill", "--kind", "nothing", check=False).returncode == 1


def test_one_is_watched_until_it_is_completed(daemon: "Daemon", waiting: str) -> None:
    with begun(daemon, "jobs", "watch", waiting) as process:
        assert process.stdout is not None
        assert b"available" in process.stdout.readline()
        daemon.cli("queues", "resume", "ingest")
        out, _ = process.communicate()
    daemon.cli("queues", "pause", "ingest")
    assert process.returncode == 0
    assert out.decode().splitlines()[-1] == f"Job {waiting} is completed."
    assert said(daemon, "jobs", "watch", waiting)["state"] == "completed"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("jobs cancel", 64),
        ("jobs retry", 64),
        ("jobs discard --yes", 64),
        ("jobs cancel not-an-id", 64),
        ("jobs cancel --state nonsense", 64),
        ("jobs cancel --older nonsense --all", 64),
        ("jobs retry --all", 64),
        ("jobs retry --all --yes", 69),
        (f"jobs cancel {NOBODY}", 69),
        ("jobs list --asset x", 64),
        ("jobs watch x", 64),
        ("jobs watch", 69),
        (f"jobs watch {NOBODY} --json", 69),
        ("jobs causes", 69),
        ("jobs backfill --kind x", 69),
        ("queues", 64),
        ("queues list", 69),
        ("queues pause", 64),
        ("queues resume all", 69),
        ("queues set ml", 64),
        ("queues set ml --concurrency many", 64),
        ("queues set ml --zone UTC", 64),
        ("queues set ml --quiet none --zone UTC", 64),
        ("queues set ml --concurrency 2", 69),
    ],
)
def test_exit_codes(line: str, code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
