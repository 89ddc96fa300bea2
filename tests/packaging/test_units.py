"""The units, as systemd itself judges them, and as they have to agree with the daemon."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lumiliod import config as configuration
from tests.conftest import ROOT

UNITS = ROOT / "systemd"
SERVICES = ("lumiliod.service", "lumilio-worker@.service")
PROGRAM = "/usr/lib/lumilio/venv/bin/lumiliod"
EXPOSURE_MAX = 20
"""Tenths: ``systemd-analyze security`` counts from 0, safe, to 10."""

analyzed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


class Directives(configparser.ConfigParser):
    """A unit, read: of a key that stands there twice the last value."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, interpolation=None, delimiters=("=",))
        self.read_string(text)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Return a folder with the units, whose program is the one of these tests: it must exist to be verified."""
    for path in UNITS.glob("*.s*"):
        if path.is_file():
            (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, sys.executable))
    return tmp_path


@analyzed
@pytest.mark.parametrize("unit", ["lumiliod.service", "lumiliod.socket", "lumilio-worker@media.service"])
def test_they_are_clean(units: Path, unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(units / unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@analyzed
@pytest.mark.parametrize("unit", SERVICES)
def test_they_are_exposed_little(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(UNITS / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_socket_is_where_the_clients_look() -> None:
    socket = Directives((UNITS / "lumiliod.socket").read_text())["Socket"]
    assert socket["ListenStream"] == configuration.SYSTEM_SOCKET
    assert socket["SocketMode"] == "0660"
    assert socket["SocketGroup"] == "lumilio-admin"


@pytest.mark.parametrize("unit", SERVICES)
def test_the_service_leaves_the_folder_of_the_socket_alone(unit: str) -> None:
    service = Directives((UNITS / unit).read_text())["Service"]
    assert service["ExecStart"].split()[0] == PROGRAM
    # a RuntimeDirectory is removed with its service, and the socket would be gone with it
    assert service.get("RuntimeDirectory") != Path(configuration.SYSTEM_SOCKET).parent.name
    assert f"/var/lib/{service['StateDirectory']}" == configuration.SYSTEM_STATE_DIR
    assert f"/etc/{service['ConfigurationDirectory']}" == str(Path(configuration.SYSTEM_PATH).parent)
    assert service["RestartPreventExitStatus"] == "78"


def test_a_worker_is_bound_as_tightly_as_the_daemon() -> None:
    """What confines them is the same; how much of the machine they get need not be."""
    daemon, worker = (Directives((UNITS / unit).read_text())["Service"] for unit in SERVICES)
    confining = {
        key
        for key in daemon
        if key.startswith(("Protect", "Private", "Restrict", "Capability", "SystemCall", "Lock", "Memory", "NoNew"))
        and key not in {"MemoryHigh", "MemoryMax"}
    }
    assert len(confining) > 20
    assert {key: worker.get(key) for key in confining} == {key: daemon[key] for key in confining}
