"""Uploads that are cut: by SIGKILL of the daemon in the middle of a request, again and again."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from PIL import Image

from lumiliod.client import Client
from tests.conftest import Daemon

KILLS = int(os.environ.get("LUMILIO_UPLOAD_KILLS", "6"))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A picture of 72 million bytes, no two rows alike."""
    path = tmp_path / "large.tif"
    Image.frombytes("RGB", (6000, 4000), random.Random(7).randbytes(72_000_000)).save(path)
    return path


# httpcore leaves the socket of a refused connect() to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_in_the_middle_of_an_upload(make_daemon: Callable[..., Daemon], tmp_path: Path, film: Path) -> None:
    rng = random.Random(os.environ.get("LUMILIO_SEED", "2026"))
    (tmp_path / "repo").mkdir()
    daemon = make_daemon().start()
    daemon.cli("repos", "add", str(tmp_path / "repo"), "--name", "films")
    sent = threading.Semaphore(0)
    errors: list[BaseException] = []
    progress = 0
    repeated = 0

    def count(sent_bytes: int) -> None:
        nonlocal progress, repeated
        progress += sent_bytes
        repeated += max(-sent_bytes, 0)
        sent.release()

    def upload() -> None:
        try:
            with Client(daemon.socket) as client:
                client.uploads.send(str(film), repository="films", progress=count, patience_s=60)
        except BaseException as error:
            errors.append(error)

    uploader = threading.Thread(target=upload)
    uploader.start()
    kills = 0
    for _ in range(KILLS):
        for _ in range(rng.randrange(1, 20)):
            sent.acquire(timeout=0.5)
        if not uploader.is_alive():
            break
        daemon.kill()
        kills += 1
        daemon.start(wait=rng.random() < 0.5)
    daemon.wait_until_ready()
    uploader.join(120)
    assert not errors, errors
    assert kills
    assert progress == film.stat().st_size
    # what had arrived was not sent again, but for what was on its way
    assert repeated < film.stat().st_size
    daemon.cli("wait", "--timeout", "180")
    with daemon.client as client:
        [asset] = client.all_assets()
        assert asset.digest == blake3(film.read_bytes()).hexdigest()
        assert client.uploads.known([asset.digest]).known[0].asset_id == asset.id
    incoming = tmp_path / "repo" / ".lumilio" / "staging" / "incoming"
    assert [path.name for path in incoming.iterdir() if not path.name.endswith(".upload.json")] == []
    assert daemon.stop() == 0
