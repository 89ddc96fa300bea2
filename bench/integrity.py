"""Kill the daemon again and again while originals come, move, leave and come back; then count what is lost.

One repository, with a user area that nobody may touch. Uploads (in one request, and by tus), removals, restores
and re-layouts go on all the time; the daemon is killed at random moments, and now and then the disk has no room.
At the end, after one scan: every acknowledged original is there once, as an asset or in the trash, with its
bytes; the user area is as it was; and nothing lies in our folders that nobody knows. The last line is one JSON
object.

    python bench/integrity.py [--kills N] [--short] [--seed N]
"""

import argparse
import datetime as dt
import errno
import json
import os
import platform
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import blake3

from bench.ingest import cpu_name
from lumiliod.client import ApiError, Client, Unreachable
from lumiliod.contract.repositories import NewRepository
from lumiliod.contract.trash import RestoreRequest
from scripts.daemon_process import Daemon, DaemonFailed, end_on_signals, running, temporary_folder, without_signals

CONFIG = """
[storage]
min_free_mb = 0
[jobs]
lease_s = 5
[media]
workers = 1
[log]
level = 'warning'
format = 'text'
"""
NAME = "bench"
FOREIGN = 200
"""Files of the user area."""

SETTLE_S = 900.0
LAYOUTS = ("cas", "flat", "date")


@dataclass
class World:
    """What was done, as far as it was acknowledged."""

    root: Path
    rng: random.Random
    picture: bytes
    number: int = 0
    acknowledged: set[str] = field(default_factory=set[str])
    unsure: set[str] = field(default_factory=set[str])
    removed: int = 0
    restored: int = 0
    layouts: int = 0
    full: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """The repository."""
        return self.root / "library"

    def photograph(self) -> tuple[bytes, str]:
        """Return a picture whose bytes were never seen before, and its digest: a comment makes it unique."""
        with self.lock:
            self.number += 1
            comment = f"{self.number} {self.rng.random()}".encode()
        content = self.picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + self.picture[2:]
        return content, blake3.blake3(content).hexdigest()


def main() -> None:
    """Soak and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Kill the daemon while originals move; count what is lost.")
    parser.add_argument("--kills", type=int, default=300, metavar="N", help="how often (300)")
    parser.add_argument("--short", action="store_true", help="12 kills: a check")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args()
    kills = 12 if given.short else given.kills
    root = temporary_folder("integrity")
    status = 1
    try:
        status = _soak(root, kills, given.seed)
    except (RuntimeError, DaemonFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    finally:
        without_signals()
        if status in (0, 130):
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"bench: everything is kept in {root}", file=sys.stderr)
    sys.exit(status)


def _soak(root: Path, kills: int, seed: int) -> int:
    world = World(root, random.Random(seed), _picture(seed))
    world.folder.mkdir()
    before = _foreign(world)
    (root / "lumiliod.toml").write_text(CONFIG)
    (root / "tmp").mkdir()
    began = time.monotonic()
    for number in range(1, kills + 1):
        with _life(root) as daemon:
            _work(daemon, world, world.rng.uniform(0.05, 1.5))
        if number % 50 == 0 or number == kills:
            print(
                f"{number} kills: {len(world.acknowledged)} acknowledged, {world.removed} removed, "
                f"{world.restored} restored, {world.layouts} layouts, {world.full} times no room",
                flush=True,
            )
    with _life(root) as daemon, Client(str(daemon.socket)) as client:
        _settle(client, daemon)
        client.scan(NAME)
        _settle(client, daemon)
        lost, orphans = _lost(client, world), _orphans(client, world)
    changed = sum(_foreign_now(world).get(path) != found for path, found in before.items())
    changed += len(_foreign_now(world).keys() - before.keys())
    for problem in [*lost, *orphans][:50]:
        print(f"  {problem}")
    result = {
        "bench": "integrity",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "kills": kills,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "acknowledged": len(world.acknowledged),
        "removed": world.removed,
        "restored": world.restored,
        "layouts": world.layouts,
        "no_room": world.full,
        "refused": world.refused,
        "lost": len(lost),
        "foreign_changed": changed,
        "orphans": len(orphans),
        "machine": {"cores": len(os.sched_getaffinity(0)), "cpu": cpu_name(), "python": platform.python_version()},
    }
    print(f"\n{kills} kills: {len(lost)} lost, {changed} foreign files changed, {len(orphans)} orphans")
    print(json.dumps(result))
    return 1 if lost or changed or orphans else 0


def _life(root: Path) -> AbstractContextManager[Daemon]:
    return running(root / "state", config=root / "lumiliod.toml", log=root / "log", scratch=root / "tmp")


def _picture(seed: int) -> bytes:
    """Return a small photograph."""
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    noise = random.Random(seed).randbytes(64 * 48 * 3)
    Image.frombytes("RGB", (64, 48), noise).resize((320, 240)).save(out, "JPEG", quality=70)
    return out.getvalue()


def _work(daemon: Daemon, world: World, seconds: float) -> None:
    """Let several people work, and kill the daemon among them."""
    with Client(str(daemon.socket)) as client, suppress(ApiError, Unreachable):
        if not client.repositories():
            client.add_repository(NewRepository(path=str(world.folder), name=NAME))
    over = threading.Event()
    people = [
        threading.Thread(target=_person, args=(daemon, world, act, over, random.Random(world.rng.random())))
        for act in (_upload, _upload_by_tus, _remove_or_restore, _arrange)
    ]
    for person in people:
        person.start()
    filler = None
    if world.rng.random() < 0.1:
        filler = _fill(world)
    time.sleep(seconds)
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    over.set()
    for person in people:
        person.join()
    if filler is not None:
        filler.unlink(missing_ok=True)


Act = Callable[[Client, World, random.Random], None]


def _person(daemon: Daemon, world: World, act: Act, over: threading.Event, rng: random.Random) -> None:
    with Client(str(daemon.socket)) as client:
        while not over.is_set():
            try:
                act(client, world, rng)
            except ApiError as error:
                with world.lock:
                    world.refused[error.problem.code] = world.refused.get(error.problem.code, 0) + 1
                over.wait(0.05)
            except (Unreachable, OSError):
                over.wait(0.05)


def _upload(client: Client, world: World, rng: random.Random) -> None:
    content, digest = world.photograph()
    path = world.root / f"upload-{digest[:16]}.jpg"
    path.write_bytes(content)
    try:
        client.upload(str(path), repository=NAME)
        with world.lock:
            world.acknowledged.add(digest)
    finally:
        path.unlink()
    time.sleep(rng.uniform(0, 0.02))


def _upload_by_tus(client: Client, world: World, rng: random.Random) -> None:
    content, digest = world.photograph()
    path = world.root / f"tus-{digest[:16]}.jpg"
    path.write_bytes(content)
    try:
        client.uploads.send(str(path), repository=NAME, patience_s=0.0)
        with world.lock:
            world.acknowledged.add(digest)
    finally:
        path.unlink()
    time.sleep(rng.uniform(0, 0.02))


def _remove_or_restore(client: Client, world: World, rng: random.Random) -> None:
    time.sleep(rng.uniform(0, 0.1))
    if rng.random() < 0.6:
        page = client.assets(limit=100)
        if page.items:
            client.trash.remove_one(rng.choice(page.items).id)
            world.removed += 1
    else:
        items = client.trash.page(limit=100).items
        if items:
            client.trash.restore(RestoreRequest(ids=[rng.choice(items).asset_id]))
            world.restored += 1


def _arrange(client: Client, world: World, rng: random.Random) -> None:
    time.sleep(rng.uniform(0.1, 1.0))
    client.repos.relayout(NAME, rng.choice(LAYOUTS))
    world.layouts += 1


def _fill(world: World) -> Path | None:
    """Take what room there is, where the disk is small enough to be filled at once."""
    disk = os.statvfs(world.root)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes > 4 << 30:
        return None
    path = world.root / "filler"
    world.full += 1
    with path.open("wb") as file, suppress(OSError):
        try:
            os.posix_fallocate(file.fileno(), 0, free_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EOPNOTSUPP):
                raise
    return path


def _foreign(world: World) -> dict[str, tuple[str, int, int]]:
    """Fill the user area; return what is in it."""
    for number in range(FOREIGN):
        folder = world.folder / "Photos" / f"{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        content = world.photograph()[0] if number % 3 else random.Random(number).randbytes(1000)
        (folder / f"IMG {number}.{'jpg' if number % 3 else 'dat'}").write_bytes(content)
    return _foreign_now(world)


def _foreign_now(world: World) -> dict[str, tuple[str, int, int]]:
    """Return path, digest, mode and time of every file of the user area."""
    found = {}
    for path in (world.folder / "Photos").rglob("*"):
        if path.is_file():
            stat = path.stat()
            digest = blake3.blake3(path.read_bytes()).hexdigest()
            found[str(path)] = (digest, stat.st_mode, stat.st_mtime_ns)
    return found


def _settle(client: Client, daemon: Daemon) -> None:
    give_up_at = time.monotonic() + SETTLE_S
    while time.monotonic() < give_up_at:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        daemon.check()
        time.sleep(0.2)
    raise RuntimeError(f"the jobs are not done after {SETTLE_S:.0f} s: {client.status().jobs}")


def _lost(client: Client, world: World) -> list[str]:
    """Return what is not there, or not as it was."""
    problems = []
    where: dict[str, list[Path]] = {}
    for asset in client.all_assets():
        if asset.path is None:
            problems.append(f"{asset.id} has no original")
        else:
            where.setdefault(asset.digest, []).append(world.folder / asset.path)
    for item in client.trash.all():
        for file in item.files:
            where.setdefault(item.digest, []).append(_trashed(world, file.id))
        if not item.files and not item.hidden:
            problems.append(f"{item.asset_id} is in the trash without a file")
    for digest in world.acknowledged:
        paths = where.get(digest, [])
        if len(paths) != 1:
            problems.append(f"an acknowledged original is there {len(paths)} times: {digest}")
    for digest, paths in where.items():
        for path in paths:
            if not path.is_file() or blake3.blake3(path.read_bytes()).hexdigest() != digest:
                problems.append(f"{path}: gone, or its bytes have changed")
    return problems


def _trashed(world: World, file_id: UUID) -> Path:
    folder = world.folder / ".lumilio" / "trash"
    found = [path for path in folder.rglob(f"{file_id}*") if path.suffix != ".json"]
    return found[0] if found else folder / str(file_id)


def _orphans(client: Client, world: World) -> list[str]:
    """Return files in our folders that nobody knows."""
    known = {file.path for file in client.files(NAME)}
    found = [
        str(path)
        for path in (world.folder / "inbox").rglob("*")
        if path.is_file() and str(path.relative_to(world.folder)) not in known
    ]
    ours = world.folder / ".lumilio"
    found += [
        str(path)
        for name in ("staging/incoming", "temp")
        for path in (ours / name).rglob("*")
        if path.is_file() and ".upload" not in path.name
    ]
    ids = {str(file.id) for item in client.trash.all() for file in item.files}
    found += [str(path) for path in (ours / "trash").rglob("*") if path.is_file() and path.name[:36] not in ids]
    return found


if __name__ == "__main__":
    main()
