"""The peer: Syncthing's scans of a folder, new to it and unchanged, asked for over its REST interface."""

import json
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.measuring.machine import version_of

START_S = 30.0
SCAN_S = 3600.0
_KEY = "bench"


def version() -> str | None:
    """Return its version; None where it is not there (Debian: syncthing)."""
    return version_of("syncthing", "--version")


@dataclass(frozen=True)
class Scanned:
    """Seconds: of the first scan of a folder, which reads every file, and of unchanged ones."""

    first_s: float
    rescans_s: list[float]


def scans(folder: Path, home: Path, rounds: int) -> Scanned:
    """Return how long scans of ``folder`` take; ``home`` is a new folder for its state.

    Raises:
        RuntimeError: it does not start, or refuses the folder.
    """
    address = f"127.0.0.1:{_free_port()}"
    home.mkdir()
    flags = ["--no-browser", "--no-restart", "--no-upgrade", "--no-default-folder", "--skip-port-probing"]
    command = ["syncthing", "serve", f"--home={home}", f"--gui-address={address}", f"--gui-apikey={_KEY}", *flags]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HOME": str(home)})
    try:
        _wait_until_ready(address, process)
        alone = {"globalAnnounceEnabled": False, "localAnnounceEnabled": False, "relaysEnabled": False}
        _ask(address, "PATCH", "config/options", {**alone, "natEnabled": False, "urAccepted": -1})
        still = {"fsWatcherEnabled": False, "rescanIntervalS": 0, "type": "sendonly"}
        began = time.perf_counter()
        _ask(address, "POST", "config/folders", {"id": "bench", "path": str(folder), **still})
        # it scans a new folder at once; one that is asked for waits for that, and is another
        _ask(address, "POST", "db/scan?folder=bench")
        both_s = time.perf_counter() - began
        rescans_s = []
        for _ in range(rounds):
            began = time.perf_counter()
            _ask(address, "POST", "db/scan?folder=bench")
            rescans_s.append(time.perf_counter() - began)
        return Scanned(both_s - statistics.median(rescans_s), rescans_s)
    finally:
        process.terminate()
        process.wait()


def _ask(address: str, method: str, path: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}/rest/{path}", data, {"X-API-Key": _KEY}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SCAN_S) as answer:  # noqa: S310  its own address
            answer.read()
    except OSError as error:
        raise RuntimeError(f"syncthing does not {method} {path}: {error}") from error


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            _ask(address, "GET", "system/ping")
        except RuntimeError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("syncthing does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
