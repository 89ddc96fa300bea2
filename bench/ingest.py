"""Measure the whole way of a photograph, from a scan to its thumbnails, against what the hardware allows.

The **bound** is the work nobody can avoid, done by a plain pool of processes without any code of this
project: BLAKE3 of the bytes, a scaled JPEG decode, three JPEG encodes and exiftool. The **daemon** does
the same with its database, its sandbox and its durable writes. Both run in turn, several rounds, on the
same files; medians are reported. The last line is one JSON object.

    python bench/ingest.py [--photos N] [--rounds N] [--short]
"""

import argparse
import contextlib
import datetime as dt
import io
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import Pool
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import blake3
import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import Daemon, end_on_signals, measuring, running
from scripts.sample_library import (
    FUJI,
    NIKON,
    PHONE,
    SHOTS,
    SONY,
    Shot,
    Source,
    exif_segment,
    fetch,
    packages,
    with_segments,
)

WIDTH, HEIGHT = 4000, 3000
TILES = (4, 3)
"""Photographs put together into one picture, columns and rows."""

SIZES = (1024, 300, 150)
QUALITY = 80
EXIFTOOL_BATCH = 16
EXIFTOOL = ("-json", "-n", "-G1", "-fast", "-api", "QuickTimeUTC=1")
LIMIT_S = 1800.0

Pixels = NDArray[np.uint8]


@dataclass
class Round:
    """One run of one contestant. ``stages`` is wall time inside jobs, milliseconds a job."""

    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0
    stages: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Ingested:
    """What a folder took from its scan, at ``began_at``, to its last job: seconds, and MB at most."""

    began_at: dt.datetime
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure ingest against the bound of this machine.")
    parser.add_argument("--photos", type=int, default=200, metavar="N", help="photographs of 12 megapixels (200)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of both contestants (3)")
    parser.add_argument("--short", action="store_true", help="24 photographs, one round: a check, no measurement")
    given = parser.parse_args()
    photos, rounds = (24, 1) if given.short else (given.photos, given.rounds)
    with measuring("bench") as root:
        _measure(root, photos, rounds)


def _measure(root: Path, photos: int, rounds: int) -> None:
    cores = len(os.sched_getaffinity(0))
    folder = root / "photos"
    mean_mb = generate(folder, photos, cores) / photos / 1e6
    print(f"{photos} photographs of {WIDTH} x {HEIGHT}, {mean_mb:.2f} MB on average; {cores} cores", flush=True)
    exiftool = _exiftool_version()
    if exiftool is None:
        print("without exiftool: neither contestant reads metadata with it")
    bounds, daemons = [], []
    for number in range(1, rounds + 1):
        bounds.append(bound(folder, cores, with_exiftool=exiftool is not None))
        daemons.append(daemon_round(root / f"round-{number}", folder, photos))
        print(f"round {number}: bound {bounds[-1].wall_s:.2f} s, daemon {daemons[-1].wall_s:.2f} s", flush=True)
    _report(photos, mean_mb, cores, exiftool, bounds, daemons)


def _report(
    photos: int, mean_mb: float, cores: int, exiftool: str | None, bounds: list[Round], daemons: list[Round]
) -> None:
    def median(rounds: list[Round], value: Callable[[Round], float]) -> float:
        return statistics.median(value(one) for one in rounds)

    bound_s, daemon_s = (median(rounds, lambda one: one.wall_s) for rounds in (bounds, daemons))
    bound_cpu, daemon_cpu = (median(rounds, lambda one: one.cpu_s) / photos for rounds in (bounds, daemons))
    peak_mb = median(daemons, lambda one: one.peak_mb)
    stages = {
        kind: round(statistics.median(one.stages[kind] for one in daemons), 1) for kind in sorted(daemons[0].stages)
    }
    print()
    print(f"{'':10} {'photos/min':>11} {'CPU ms/photo':>13} {'peak MB':>8}")
    print(f"{'bound':10} {photos / bound_s * 60:11.0f} {bound_cpu * 1000:13.1f} {'':>8}")
    print(f"{'daemon':10} {photos / daemon_s * 60:11.0f} {daemon_cpu * 1000:13.1f} {peak_mb:8.0f}")
    print(f"the daemon reaches {bound_s / daemon_s:.2f} of the bound, with {daemon_cpu / bound_cpu:.2f} times its CPU")
    print("wall time inside a job, ms: " + ", ".join(f"{kind} {ms:.1f}" for kind, ms in stages.items()))
    result = {
        "bench": "ingest",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "photos": photos,
        "mean_mb": round(mean_mb, 3),
        "rounds": len(daemons),
        "photos_per_minute": round(photos / daemon_s * 60, 1),
        "bound_photos_per_minute": round(photos / bound_s * 60, 1),
        "ratio_to_bound": round(bound_s / daemon_s, 3),
        "cpu_s_per_photo": round(daemon_cpu, 4),
        "bound_cpu_s_per_photo": round(bound_cpu, 4),
        "cpu_ratio_to_bound": round(daemon_cpu / bound_cpu, 3),
        "peak_rss_mb": round(peak_mb, 1),
        "stage_ms": stages,
        "walls_s": [round(one.wall_s, 3) for one in daemons],
        "bound_walls_s": [round(one.wall_s, 3) for one in bounds],
        "machine": {
            "cores": cores,
            "arch": platform.machine(),
            "cpu": cpu_name(),
            "python": platform.python_version(),
            "exiftool": exiftool,
        },
    }
    print(json.dumps(result), flush=True)


# the photographs


def generate(folder: Path, count: int, cores: int) -> int:
    """Write ``count`` different photographs into ``folder``; return their bytes. The same ones on every run."""
    folder.mkdir(parents=True)
    source = packages(fetch())
    with multiprocessing.get_context("spawn").Pool(cores, _load, (source_pictures(source),)) as pool:
        return sum(pool.imap_unordered(partial(_write_photograph, folder), range(count)))


def source_pictures(source: Source) -> list[bytes]:
    """Return the colour photographs that the pictures are put together from."""
    wanted = {(shot.package, shot.member) for shot in SHOTS}
    return [source(package, member) for package, member in sorted(wanted)]


_pictures: list[Pixels] = []


def _load(encoded: list[bytes]) -> None:
    cv2.setNumThreads(1)
    _pictures.extend(np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded)


def _write_photograph(folder: Path, number: int) -> int:
    """Put together one 12-megapixel photograph: crops of real ones, enlarged, with a sensor's noise."""
    rng = np.random.default_rng(number)
    columns, rows = TILES
    width, height = WIDTH // columns, HEIGHT // rows
    canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for tile in range(columns * rows):
        picture = _pictures[int(rng.integers(len(_pictures)))]
        side = int(min(picture.shape[:2]) * rng.uniform(0.6, 1.0))
        top, left = (int(rng.integers(edge - side + 1)) for edge in picture.shape[:2])
        crop = np.ascontiguousarray(picture[top : top + side, left : left + side])
        y, x = tile // columns * height, tile % columns * width
        canvas[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.empty((HEIGHT, WIDTH), np.int16)
    cv2.setRNGSeed(number)
    cv2.randn(noise, np.zeros(1), np.full(1, rng.uniform(3.0, 5.0)))
    noisy = np.clip(canvas.astype(np.int16) + noise[:, :, None], 0, 255).astype(np.uint8)
    jpeg = simplejpeg.encode_jpeg(noisy, quality=90, colorspace="RGB", colorsubsampling="422")
    day = dt.datetime(2015, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(hours=int(rng.integers(8 * 365 * 24)))
    place = (float(rng.uniform(-60, 70)), float(rng.uniform(-180, 180)))
    shot = Shot("", str(number), "", day.isoformat(), place, (FUJI, SONY, NIKON, PHONE)[number % 4])
    jpeg = with_segments(jpeg, exif_segment(shot, (WIDTH, HEIGHT)), b"")
    (folder / f"DSC{number:05d}.JPG").write_bytes(jpeg)
    return len(jpeg)


# the bound


def bound(folder: Path, cores: int, *, with_exiftool: bool) -> Round:
    """Do the unavoidable work on all cores; the pool is warm before the clock starts."""
    paths = sorted(str(path) for path in folder.glob("*.JPG"))
    batches = [paths[start : start + EXIFTOOL_BATCH] for start in range(0, len(paths), EXIFTOOL_BATCH)]
    work: list[tuple[Callable[..., Any], Any]] = [(_understand, path) for path in paths]
    with multiprocessing.get_context("spawn").Pool(cores, _begin, (with_exiftool,)) as pool:
        pool.map(_understand, paths[:cores], chunksize=1)
        if with_exiftool:
            pool.map(_read_tags, [[path] for path in paths[:cores]], chunksize=1)
            work += [(_read_tags, batch) for batch in batches]
        before = tree_cpu_s(os.getpid())
        began = time.perf_counter()
        for done in [pool.apply_async(fn, (item,)) for fn, item in work]:
            done.get()
        wall_s = time.perf_counter() - began
        cpu_s = tree_cpu_s(os.getpid()) - before
        _end(pool)
    return Round(wall_s, cpu_s)


def _end(pool: Pool) -> None:
    pool.close()
    pool.join()


_exiftool: "list[subprocess.Popen[bytes]]" = []


def _begin(with_exiftool: bool) -> None:
    cv2.setNumThreads(1)
    if with_exiftool:
        command = ["exiftool", "-stay_open", "True", "-@", "-"]
        _exiftool.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        Finalize(None, _end_exiftool, exitpriority=10)


def _end_exiftool() -> None:
    for process in _exiftool:
        process.kill()
        process.wait()


def _understand(path: str) -> None:
    content = Path(path).read_bytes()
    blake3.blake3(content).hexdigest()
    picture = simplejpeg.decode_jpeg(content, colorspace="RGB", min_width=SIZES[0], min_height=SIZES[0], min_factor=1)
    for size in SIZES:
        factor = size / max(picture.shape[:2])
        wanted = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        picture = cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA)
        simplejpeg.encode_jpeg(picture, quality=QUALITY, colorspace="RGB", colorsubsampling="420")


def _read_tags(paths: list[str]) -> None:
    (process,) = _exiftool
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n".join([*EXIFTOOL, *paths, "-execute", ""]).encode())
    process.stdin.flush()
    answer = b""
    while not answer.endswith(b"{ready}\n"):
        answer += process.stdout.readline()
    assert len(json.loads(answer.removesuffix(b"{ready}\n"))) == len(paths)


# the daemon


def daemon_round(root: Path, folder: Path, photos: int) -> Round:
    """Ingest the folder with a new daemon and an empty database; the clock runs from the scan to the last job.

    Raises:
        RuntimeError: a photograph did not become a ready asset.
    """
    with ingested(root, folder) as (client, measured):
        status = client.status()
    if status.asset_states != {"ready": photos} or status.discarded_jobs:
        raise RuntimeError(
            f"not everything became ready: {status.asset_states}, {status.discarded_jobs} jobs discarded"
        )
    stages = {stage.kind: stage.mean_ms for stage in status.stages}
    return Round(measured.wall_s, measured.cpu_s, measured.peak_mb, stages)


@contextlib.contextmanager
def ingested(root: Path, folder: Path, *, log_level: str = "warning") -> Iterator[tuple[Client, Ingested]]:
    """Ingest a folder with a new daemon, and hand out its client afterwards; nothing of it is left then.

    Raises:
        DaemonFailed: the daemon ended. RuntimeError: the jobs do not end.
    """
    root.mkdir()
    config = root / "lumiliod.toml"
    config.write_text(f"[storage]\nmin_free_mb = 16\n[log]\nlevel = '{log_level}'\nformat = 'text'\n")
    scratch = root / "tmp"
    scratch.mkdir()
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(running(root / "state", config=config, log=root / "log", scratch=scratch))
        client = stack.enter_context(Client(str(daemon.socket)))
        client.add_repository(NewRepository(path=str(folder), name="bench"))
        tree = daemon.process.pid
        with peak_memory(tree) as peak_mb:
            before, began, began_at = tree_cpu_s(tree), time.perf_counter(), dt.datetime.now(dt.UTC)
            client.scan("bench")
            wait(client, daemon)
            wall_s, cpu_s = time.perf_counter() - began, tree_cpu_s(tree) - before
        yield client, Ingested(began_at, wall_s, cpu_s, max(peak_mb))
    for name in (".lumilio", ".lumiliorepo", "inbox"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(root)


def wait(client: Client, daemon: Daemon) -> None:
    """Wait until nothing is left to do.

    Raises:
        RuntimeError: it takes too long.
        DaemonFailed: the daemon ended.
    """
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        daemon.check()
        time.sleep(0.1)
    raise RuntimeError(f"the jobs are not done after {LIMIT_S:.0f} s")


# the tree of processes


def _tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, ahead = [], [root]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def tree_cpu_s(root: int) -> float:
    """Return the CPU time of a tree: of every living process and of the children each has reaped (proc(5))."""
    ticks = 0
    for pid in _tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree_memory_mb(root: int) -> float:
    """Return the proportional set size of a tree: shared pages count once."""
    total_kb = 0
    for pid in _tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
    return total_kb / 1024


@contextlib.contextmanager
def peak_memory(root: int) -> Iterator[list[float]]:
    """Sample a tree's memory twice a second into the list it gives."""
    samples, done = [_tree_memory_mb(root)], threading.Event()

    def sample() -> None:
        while not done.wait(0.5):
            samples.append(_tree_memory_mb(root))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _exiftool_version() -> str | None:
    try:
        return subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
