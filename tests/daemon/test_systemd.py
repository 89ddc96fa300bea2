"""The daemon speaks to a service manager without any library of its own."""

import os
from collections.abc import Callable

import pytest
import trio
import trio.testing

from lumiliod.daemon import systemd
from lumiliod.daemon.supervise import keep_running
from lumiliod.runtime import HealthBoard
from tests.conftest import Daemon
from tests.daemon.manager import managing


def test_it_tells_what_it_does_when_it_is_ready_alive_and_stopping(make_daemon: Callable[..., Daemon]) -> None:
    with managing() as manager:
        daemon = make_daemon()
        daemon.environ = {**manager.environ, "WATCHDOG_USEC": "400000"}
        daemon.start()
        manager.until(lambda line: line == "READY=1")
        assert manager.heard.index("STATUS=starting: the database") < manager.heard.index("READY=1")
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.heard)
        before = manager.heard.count("WATCHDOG=1")
        while manager.heard.count("WATCHDOG=1") < before + 3:
            manager.until(lambda line: line == "WATCHDOG=1")
        assert daemon.stop() == 0
        manager.until(lambda line: line == "STOPPING=1")
        manager.until(lambda line: line == "STATUS=stopping: the media workers and the database end")


def test_the_line_follows_the_repositories(make_daemon: Callable[..., Daemon]) -> None:
    with managing() as manager:
        daemon = make_daemon()
        daemon.environ = manager.environ
        daemon.start()
        manager.until(lambda line: line.startswith("STATUS=serving; no repository yet"))
        root = daemon.state_dir / "photos"
        root.mkdir()
        daemon.cli("repos", "add", str(root), "--name", "photos")
        manager.until(lambda line: line.startswith("STATUS=serving; 1 repository"))
        root.rename(daemon.state_dir / "elsewhere")
        daemon.cli("scan", "photos", check=False)
        manager.until(lambda line: line.startswith("STATUS=serving; 1 repository, 1 offline"))
        assert daemon.stop() == 0


async def test_the_watchdog_hears_of_what_has_ended(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that returns though nobody stops it is gone, and only a new start brings it back."""
    health = HealthBoard()
    gone = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await gone.wait()

    with managing() as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_running, health, "api", serve)
            await nursery.start(systemd.watchdog, health)
            await trio.sleep(4.5)
            gone.set()
            await trio.sleep(4.5)
            manager.until(lambda line: line.startswith("STATUS=not alive: api"))
            assert manager.heard.count("WATCHDOG=1") == 5
            # while it stops in order, what has ended is as it should be
            health.is_stopping = True
            await trio.sleep(2)
            manager.until(lambda line: line == "WATCHDOG=1")
            nursery.cancel_scope.cancel()


async def test_a_long_line_does_not_cost_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd reads 4096 bytes of a message, and none of a longer one: not even that the daemon is ready."""
    with managing() as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
        assert systemd.ready("serving; " + "\U0001f4f7" * 5000)
        manager.until(lambda line: line == "READY=1")
        line = manager.until(lambda line: line.startswith("STATUS=serving"))
    assert line.endswith("…")
    assert len(f"READY=1\n{line}".encode()) < 4096


@pytest.mark.parametrize("period", ["0", "", "-1", "no", "²"])
async def test_a_watchdog_that_does_not_ask(period: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    with trio.fail_after(20):
        await systemd.watchdog(HealthBoard())


def test_without_a_manager_nothing_is_said(daemon: Daemon) -> None:
    with daemon.client as client:
        health = client.health()
    assert health.status == "ok"
    assert {service.name for service in health.services} >= {"api", "database", "jobs", "listen", "sandbox"}
    assert health.loop_lag_ms >= 0
