"""SIGKILL at random moments of an ingest: whatever was acknowledged is one whole asset afterwards."""

import io
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lumiliod.client import ApiError, Client, Unreachable
from lumiliod.domain.derivatives import place, thumbnail
from lumiliod.domain.ids import Digest
from tests.conftest import Daemon

PHOTOS = int(os.environ.get("LUMILIO_KILL_PHOTOS", "40"))
KILLS = int(os.environ.get("LUMILIO_KILLS", "8"))
SIZES = [150, 300, 1024]


def photograph(number: int) -> bytes:
    """Return a JPEG unlike any other, large enough for all three thumbnails."""
    noise = random.Random(number).randbytes(40 * 30 * 3)
    picture = Image.frombytes("RGB", (40, 30), noise).resize((1600, 1200))
    exif = Image.Exif()
    exif[0x0132] = f"2024:{number % 12 + 1:02}:01 10:00:00"
    exif.get_ifd(0x8769)[0x9003] = f"2024:{number % 12 + 1:02}:{number % 28 + 1:02} 10:00:00"
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88, exif=exif)
    return out.getvalue()


class Uploader(threading.Thread):
    """Uploads each file until it is acknowledged, whatever happens to the daemon."""

    def __init__(self, socket: str, paths: list[Path]) -> None:
        super().__init__(daemon=True)
        self.socket = socket
        self.paths = paths
        self.acknowledged: dict[str, str] = {}
        self.failed: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        for path in self.paths:
            while not self.stopping.is_set():
                try:
                    with Client(self.socket) as client:
                        self.acknowledged[path.name] = client.upload(str(path), repository="kill").digest
                    break
                except Unreachable:
                    self.stopping.wait(0.05)
                except ApiError as error:
                    if error.problem.status != 503:
                        self.failed.append(f"{path.name}: {error.problem}")
                        break
                    self.stopping.wait(0.05)


# httpcore leaves the socket of a refused connect() to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_at_random_moments(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("LUMILIO_SEED", "2024"))
    sources = tmp_path / "in"
    sources.mkdir()
    paths = []
    for number in range(PHOTOS):
        path = sources / f"IMG_{number:04}.jpg"
        path.write_bytes(photograph(number))
        paths.append(path)
    root = tmp_path / "repo"
    root.mkdir()
    daemon = make_daemon().start()
    daemon.cli("repos", "add", str(root), "--name", "kill")

    uploader = Uploader(daemon.socket, paths)
    uploader.start()
    pause = threading.Event()
    for _ in range(KILLS):
        # some kills hit the start itself, some the middle of the work
        pause.wait(rng.uniform(0.0, 1.5))
        daemon.kill()
        daemon.start(wait=rng.random() < 0.7)
    daemon.wait_until_ready()
    uploader.join(120)
    uploader.stopping.set()
    assert not uploader.failed
    assert len(uploader.acknowledged) == PHOTOS, daemon.log
    daemon.cli("wait", "--timeout", "180")
    if given_up(daemon):
        # alone at work when the daemon died, twice, which takes a slow machine; the next start adopts what is staged
        daemon.kill()
        daemon.start()
        # and a person asks again for what was to be made of an asset
        with daemon.client as client:
            others = [str(job.id) for job in client.jobs(state="discarded").items if job.kind != "ingest"]
        if others:
            daemon.cli("jobs", "retry", "--yes", *others)
        daemon.cli("wait", "--timeout", "180")

    assert_whole(daemon, root, uploader.acknowledged)
    assert daemon.stop() == 0


def given_up(daemon: Daemon) -> list[str]:
    """Return by which error each discarded job ended."""
    with daemon.client as client:
        return [client.job(job.id).errors[-1].code for job in client.jobs(state="discarded").items]


def assert_whole(daemon: Daemon, root: Path, acknowledged: dict[str, str]) -> None:
    """Check: every acknowledged upload one asset with its derivatives; files and rows match; staging is empty."""
    with daemon.client as client:
        assets = list(client.all_assets())
        files = {file.path: file for file in client.files("kill")}
    assert set(given_up(daemon)) <= {"poison"}
    by_digest = {asset.digest: asset for asset in assets}
    assert len(by_digest) == len(assets)
    assert set(by_digest) == set(acknowledged.values())
    for asset in assets:
        assert asset.status == "ready", asset
        assert asset.thumbnails == SIZES
        for size in SIZES:
            found = root / ".lumilio" / place(thumbnail(size), Digest(asset.digest), "jpg")
            assert found.stat().st_size > 0
    on_disk = {str(path.relative_to(root)) for path in (root / "inbox").rglob("*") if path.is_file()}
    assert on_disk == set(files)
    assert {asset.path for asset in assets} == on_disk
    assert {file.outcome for file in files.values()} == {"asset"}
    staging = root / ".lumilio" / "staging"
    assert [path for path in staging.rglob("*") if path.is_file()] == []
    temp = root / ".lumilio" / "temp"
    assert list(temp.iterdir()) == []
    thumbnails = root / ".lumilio" / "assets" / "thumbnails"
    assert sum(1 for path in thumbnails.rglob("*") if path.is_file()) == 3 * len(assets)
