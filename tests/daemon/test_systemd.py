"""The daemon speaks to a service manager without any library of its own."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Daemon


def test_it_tells_when_it_is_ready_alive_and_stopping(make_daemon: Callable[..., Daemon]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="lum-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        address = str(Path(folder) / "notify")
        manager.bind(address)
        manager.settimeout(30)
        daemon = make_daemon()
        daemon.environ = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
        daemon.environ.pop("WATCHDOG_PID", None)
        daemon.start()
        heard: list[str] = []
        while sum("WATCHDOG=1" in message for message in heard) < 3 or not any("READY=1" in m for m in heard):
            heard.append(manager.recv(4096).decode())
        assert daemon.stop() == 0
        manager.setblocking(False)
        try:
            while True:
                heard.append(manager.recv(4096).decode())
        except BlockingIOError:
            pass
        assert "STOPPING=1" in heard


def test_without_a_manager_nothing_is_said(daemon: Daemon) -> None:
    with daemon.client as client:
        health = client.health()
    assert health.status == "ok"
    assert {service.name for service in health.services} >= {"api", "database", "jobs", "listen", "sandbox"}
    assert health.loop_lag_ms >= 0
