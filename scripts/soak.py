"""Let the library work for hours while its daemon is killed again and again; then prove that nothing is lost.

``SOAK_MINUTES`` (60) says how long. Exit status 0 means: every acknowledged upload is an asset, every file of
the folder ended as it should, every original still has its digest, and no job was given up.
"""

import math
import os
import random
import shutil
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import blake3

from lumiliod.client import ApiError, Client, Unreachable
from lumiliod.contract.jobs import JobSelection
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import Daemon, DaemonFailed, end_on_signals, running, temporary_folder, without_signals
from scripts.sample_library import SHOTS, fetch, packages, photograph

CONFIG = "[storage]\nmin_free_mb = 16\n[jobs]\nlease_s = 5\n[log]\nlevel = 'warning'\nformat = 'text'\n"
POISON = "poison"
SETTLE_S = 600.0
"""How long it may take until a job is done, at the end."""


@dataclass
class Made:
    """Digests of what was put into the folder and of what the daemon acknowledged."""

    folder: Path
    uploads: Path
    pictures: list[bytes]
    number: int = 0
    placed: set[str] = field(default_factory=set[str])
    acknowledged: set[str] = field(default_factory=set[str])

    def photograph(self) -> bytes:
        """Return a photograph whose bytes were never seen before: a comment makes it unique."""
        self.number += 1
        comment = f"soak {self.number}".encode()
        picture = self.pictures[self.number % len(self.pictures)]
        return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


def main() -> None:
    """Soak."""
    end_on_signals()
    until = time.monotonic() + float(os.environ.get("SOAK_MINUTES", "60")) * 60
    root = temporary_folder("soak")
    status = 1
    try:
        status = _soak(root, until)
    except (RuntimeError, DaemonFailed) as error:
        print(f"soak: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    finally:
        without_signals()
        if status in (0, 130):
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"soak: everything is kept in {root}", file=sys.stderr)
    sys.exit(status)


def _soak(root: Path, until: float) -> int:
    source = packages(fetch())
    made = Made(root / "photos", root / "uploads", [photograph(shot, source) for shot in SHOTS])
    made.folder.mkdir()
    made.uploads.mkdir()
    scratch = root / "tmp"
    scratch.mkdir()
    (root / "lumiliod.toml").write_text(CONFIG)
    rng = random.Random(0)
    lives = 0

    def life() -> AbstractContextManager[Daemon]:
        return running(root / "state", config=root / "lumiliod.toml", log=root / "log", scratch=scratch)

    while time.monotonic() < until or not lives:
        lives += 1
        with life() as daemon:
            _work(daemon, made, rng, time.monotonic() + rng.uniform(1, 8))
            os.kill(daemon.process.pid, signal.SIGKILL)
        print(f"life {lives}: {made.number} photographs, {len(made.acknowledged)} acknowledged uploads", flush=True)
    with life() as daemon, Client(str(daemon.socket)) as client:
        retried = settled(client, daemon)
        problems = _lost(client, made)
    for problem in problems[:50]:
        print(f"  {problem}")
    print(
        f"{lives} lives, {made.number} photographs, {retried} jobs taken back that two lives ended in: "
        + (f"{len(problems)} problems" if problems else "nothing is lost")
    )
    return 1 if problems else 0


def _work(daemon: Daemon, made: Made, rng: random.Random, until: float) -> None:
    with Client(str(daemon.socket)) as client:
        if not client.repositories():
            client.add_repository(NewRepository(path=str(made.folder), name="soak"))
        while time.monotonic() < until:
            content = made.photograph()
            digest = blake3.blake3(content).hexdigest()
            if rng.random() < 0.5:
                path = made.uploads / f"{made.number}.jpg"
                path.write_bytes(content)
                try:
                    client.upload(str(path), repository="soak")
                except (ApiError, Unreachable):
                    continue
                made.acknowledged.add(digest)
                path.unlink()
            else:
                folder = made.folder / f"day {made.number // 100}"
                folder.mkdir(exist_ok=True)
                (folder / f"{made.number}.jpg").write_bytes(content)
                made.placed.add(digest)
            if rng.random() < 0.05:
                client.scan("soak")


def settled(client: Client, daemon: Daemon) -> int:
    """Let everything end; take back, as a person would, what looked as if it had killed the daemon twice.

    A job that is long enough to run whenever the daemon is killed cannot be told from its killer. Returns how
    many were taken back.
    """
    client.scan("soak")
    _settle(client, daemon)
    retried = client.change_jobs("retry", JobSelection(state="discarded", cause=POISON)).count
    _settle(client, daemon)
    return retried


def _settle(client: Client, daemon: Daemon) -> None:
    """Wait until nothing is left to do, however long that takes while something gets done."""
    fewest, give_up_at = math.inf, 0.0
    while True:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        if now.open_jobs < fewest or now.scans:
            fewest, give_up_at = now.open_jobs, time.monotonic() + SETTLE_S
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"no job was done in {SETTLE_S:.0f} s: {now.jobs}")
        daemon.check()
        time.sleep(0.5)


def _lost(client: Client, made: Made) -> list[str]:
    """Return what is not as it should be."""
    assets = {asset.digest: asset for asset in client.all_assets()}
    problems = [f"an acknowledged upload is no asset: {digest}" for digest in made.acknowledged - assets.keys()]
    problems += [f"a file of the folder is no asset: {digest}" for digest in made.placed - assets.keys()]
    for asset in assets.values():
        if asset.status != "ready":
            problems.append(f"{asset.path}: {asset.status} ({asset.status_reason})")
        if asset.path is None:
            problems.append(f"{asset.id} has no original")
        elif blake3.blake3((made.folder / asset.path).read_bytes()).hexdigest() != asset.digest:
            problems.append(f"{asset.path}: its bytes have changed")
    problems += [
        f"{file.path}: {file.outcome} ({file.reason})"
        for file in client.files("soak")
        if file.outcome not in ("asset", "duplicate")
    ]
    # of several that two lives ended in and that do the same, one was taken back
    given_up = [job for job in client.jobs(state="discarded").items if job.cause != POISON]
    problems += [f"the job {job.id} ({job.kind}) was given up" for job in given_up]
    return problems


if __name__ == "__main__":
    main()
