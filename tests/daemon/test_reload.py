"""SIGHUP: what can change live changes, what cannot is named, and a wrong file changes nothing."""

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from lumiliod import config as configuration
from lumiliod.daemon.reload import LIVE, differences, merged, on_hangup
from lumiliod.db.pool import Database
from lumiliod.jobs.engine import Engine
from lumiliod.runtime import HealthBoard, InForce, Repositories, Runtime
from tests.conftest import Daemon
from tests.daemon.manager import Manager, managing

OTHER = """
[server]
socket_mode = 0o600
[jobs.concurrency]
ingest = 9
transcode = 3
[watch]
debounce_ms = 70
[log]
level = "debug"
"""


def hung_up(daemon: Daemon, manager: Manager) -> str:
    """Have the daemon read its configuration again; return the line it then shows."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    manager.until(lambda line: line == "RELOADING=1")
    manager.until(lambda line: line == "READY=1")
    return manager.until(lambda line: line.startswith("STATUS="))


def ingesting(daemon: Daemon) -> int:
    with daemon.client as client:
        return next(queue.concurrency for queue in client.queues().items if queue.name == "ingest")


def test_a_running_daemon(make_daemon: Callable[..., Daemon]) -> None:
    with managing() as manager:
        daemon = make_daemon()
        path = daemon.state_dir / "lumiliod.toml"
        path.write_text("")
        daemon.extra = ("--config", str(path))
        daemon.environ = manager.environ
        daemon.start()
        manager.until(lambda line: line == "READY=1")
        before = ingesting(daemon)

        path.write_text("[jobs.concurrency]\ningest = 9\n[wrong]\n")
        assert "nothing was changed" in hung_up(daemon, manager)
        assert ingesting(daemon) == before
        with daemon.client as client:
            [service] = [one for one in client.health().services if one.name == "configuration"]
        assert service.state == "degraded"
        assert "lumiliod.toml:3: wrong: expected a known key" in str(service.reason)

        path.write_text(OTHER)
        line = hung_up(daemon, manager)
        assert line.endswith("; a restart is needed for server.socket_mode, jobs.concurrency.transcode")
        assert ingesting(daemon) == 9
        with daemon.client as client:
            assert client.health().status == "ok"
        assert 'changed="jobs.concurrency.ingest, watch.debounce_ms, log.level"' in daemon.log

        path.write_text("")
        assert "restart" not in hung_up(daemon, manager)
        assert ingesting(daemon) == before
        assert daemon.stop() == 0


async def test_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken over by halves, the service manager is told, and the next signal makes up for it."""
    before = configuration.parse("")
    rt = cast(
        Runtime,
        SimpleNamespace(
            config=before,
            in_force=InForce(before),
            jobs=Engine(Database(f"host={tmp_path} dbname=none"), []),
            health=HealthBoard(),
            repositories=Repositories(),
        ),
    )

    async def once() -> AsyncIterator[int]:
        yield signal.SIGHUP

    def load() -> configuration.Config:
        return configuration.parse("[storage]\ntrash_days = 5\nmin_free_mb = 7\n")

    with managing() as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
        await on_hangup(rt, once(), load, lambda _config: {})
        manager.until(lambda line: line == "READY=1")
        assert "nothing was changed" in manager.until(lambda line: line.startswith("STATUS="))
    assert rt.in_force.config == before
    assert rt.health.snapshot().status == "degraded"


def test_only_what_may_change_is_taken_over() -> None:
    old, new = configuration.parse(""), configuration.parse(OTHER)
    differing = differences(old, new)
    assert differing == [
        "server.socket_mode",
        "jobs.concurrency.ingest",
        "jobs.concurrency.transcode",
        "watch.debounce_ms",
        "log.level",
    ]
    now = merged(old, new, [key for key in differing if key in LIVE])
    assert differences(now, new) == ["server.socket_mode", "jobs.concurrency.transcode"]
    assert merged(old, new, differing) == new
    assert merged(old, new, []) == old


def test_what_is_live_is_in_the_configuration() -> None:
    def keys(section: msgspec.Struct, at: str = "") -> set[str]:
        found: set[str] = set()
        for field in msgspec.structs.fields(section):
            value = getattr(section, field.name)
            found |= keys(value, f"{at}{field.name}.") if isinstance(value, msgspec.Struct) else {f"{at}{field.name}"}
        return found

    assert keys(configuration.parse("")) >= LIVE
