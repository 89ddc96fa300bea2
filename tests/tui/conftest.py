"""One daemon with a small library for all tests of the console that do not end it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from lumiliod.client import Client
from tests.conftest import Daemon

PHOTOS = 7
BROKEN = ("broken-1.jpg", "broken-2.jpg", "evil\x1b[31mred.jpg")


@dataclass(frozen=True)
class Home:
    """A daemon, and the folder of its repository ``home``."""

    daemon: Daemon
    folder: Path

    @property
    def socket(self) -> str:
        """Return where it listens."""
        return self.daemon.socket


@pytest.fixture(scope="module")
def home(make_module_daemon: Callable[..., Daemon]) -> Iterator[Home]:
    """Run a daemon that has taken in some photographs, and has failed at others."""
    folder = Path(tempfile.mkdtemp(prefix="lum-home-"))
    folder.chmod(0o755)
    for number in range(PHOTOS):
        Image.new("RGB", (320, 240), (30 * number, 120, 200 - 20 * number)).save(folder / f"photo-{number}.jpg")
    for name in BROKEN:
        (folder / name).write_bytes(b"\xff\xd8\xff\xe0 not whole " + name.encode())
    daemon = make_module_daemon(watched=False).start()
    daemon.cli("repos", "add", str(folder), "--name", "home")
    daemon.cli("wait", "--timeout", "90")
    yield Home(daemon, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    """Return a client of the daemon."""
    with home.daemon.client as connected:
        yield connected
