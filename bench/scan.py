"""Measure scans of a repository against a bare walk of the same tree, and against Syncthing.

For each size a tree of small files is made, a hundred to a folder. The **walk** is ``os.scandir`` and ``stat`` of
everything, in one thread and nothing else: what no scan in Python can be faster than. The **daemon** registers the
tree, its ingest paused, so that nothing is hashed; then it scans it again, unchanged, several rounds, and the walk with
it. **syncthing**, where it is there (Debian: syncthing), reads the tree once and then scans it again, unchanged.
**Hashing** is that of ingest, in as many threads, beside ``b3sum`` (Debian: b3sum) of the same files, warm in the
cache, by turns. Medians are reported; the last line is one JSON object. Memory is that of all processes without the
shared buffers of PostgreSQL, which fill up to their setting.

    python -m bench.scan [--files 10000,100000,1000000] [--rounds N] [--alone] [--short]
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measuring import machine, process_tree
from bench.scanning import hashing, syncthing
from bench.scanning.hashing import Hashed
from bench.scanning.syncthing import Scanned
from lumiliod.client import Client
from lumiliod.contract.jobs import Job
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import Daemon, end_on_signals, measuring, running

SIZES = (10_000, 100_000, 1_000_000)
SHORT_SIZES = (2_000,)
IN_A_FOLDER = 100
LIMIT_S = 3600.0
POLL_S = 0.5
"""How often the daemon is asked whether it is done: that, too, is work for it."""
GOALS = {
    "ratio_rescan_to_bare_walk": 1.5,
    "registration_files_per_s": 20_000,
    "memory_growth_mb": 64,
    "hash_ratio_to_b3sum": 0.8,
}
HASH_ROUNDS = 5


@dataclass
class Measured:
    """What a tree of ``files`` files took: seconds, and MB at most."""

    files: int
    registration_s: float = 0.0
    walks_s: list[float] = field(default_factory=list[float])
    rescans_s: list[float] = field(default_factory=list[float])
    syncthing: Scanned | None = None
    peak_mb: float = 0.0


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure scans against a bare walk.")
    parser.add_argument("--files", default=",".join(map(str, SIZES)), metavar="N,N", help="how large the trees are")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of unchanged scans (3)")
    parser.add_argument("--short", action="store_true", help="2000 files, one round: a check, no measurement")
    parser.add_argument("--alone", action="store_true", help="without syncthing, which takes minutes for a million")
    given = parser.parse_args()
    sizes = SHORT_SIZES if given.short else tuple(int(size) for size in given.files.split(","))
    rounds = 1 if given.short else given.rounds
    with measuring("scan") as root:
        peers = f"syncthing {syncthing.version() or 'not installed'}; b3sum {hashing.version() or 'not installed'}"
        print(f"{machine.cores()} cores; {peers}", flush=True)
        files, rounds_of = (hashing.SHORT_FILES, 1) if given.short else (hashing.FILES, HASH_ROUNDS)
        hashed = hashing.measure(root / "hashing", files, rounds_of)
        shutil.rmtree(root / "hashing")
        theirs = f"{hashed.b3sum:.2f}" if hashed.b3sum else "-"
        print(f"\nhashing: {hashed.ours:.2f} GB/s, b3sum {theirs} GB/s")
        heads = ("registered/s", "walk s", "rescan s", "ratio", "first peer s", "again peer s", "MB")
        print(f"\n{'files':>9}" + "".join(f" {head:>12}" for head in heads))
        measured = []
        for files in sizes:
            measured.append(_measure(root / str(files), files, rounds, alone=given.alone))
            _print(measured[-1])
    _report(measured, hashed)


def _measure(root: Path, files: int, rounds: int, *, alone: bool) -> Measured:
    folder = root / "tree"
    _plant(folder, files)
    found = Measured(files)
    with contextlib.ExitStack() as stack:
        config = root / "lumiliod.toml"
        config.write_text("[storage]\nmin_free_mb = 16\n[log]\nlevel = 'warning'\nformat = 'text'\n")
        daemon = stack.enter_context(running(root / "state", config=config, log=root / "log"))
        client = stack.enter_context(Client(str(daemon.socket)))
        client.pause_queue("ingest")
        _walk(str(folder))  # both sides find the folders in memory
        with process_tree.peak_memory(daemon.process.pid, with_shared=False) as peak_mb:
            client.add_repository(NewRepository(path=str(folder), name="bench"))
            _scanned(client, daemon)
            found.registration_s = _seconds(min(_scans(client), key=lambda job: job.created_at))
            for _ in range(rounds):
                found.walks_s.append(_timed(lambda: _walk(str(folder))))
                found.rescans_s.append(_seconds(_scanned(client, daemon)))
        found.peak_mb = max(peak_mb)
    if not alone and syncthing.version() is not None:
        found.syncthing = syncthing.scans(folder, root / "syncthing", rounds)
    return found


def _plant(folder: Path, files: int) -> None:
    """Make the tree: names like a camera's, and a few bytes in each file."""
    for number in range(files):
        outer, inner = number // (IN_A_FOLDER * 100), number // IN_A_FOLDER
        below = folder / f"{2000 + outer % 30}-{outer:05}" / f"{inner:07}"
        if number % IN_A_FOLDER == 0:
            below.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(below / f"IMG_{number:07}.JPG", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(descriptor, b"%d" % number)
        os.close(descriptor)


def _walk(folder: str) -> int:
    """Look at everything below a folder, as little as possible; return how many files there are."""
    count, ahead = 0, [folder]
    while ahead:
        with os.scandir(ahead.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _scans(client: Client) -> list[Job]:
    return client.jobs(kind="scan", state="completed", limit=100).items


def _seconds(job: Job) -> float:
    assert job.attempted_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.attempted_at).total_seconds()


def _scanned(client: Client, daemon: Daemon) -> Job:
    """Have it scanned and wait for the end, asking for that job alone: a list of many jobs is work, too.

    Raises:
        RuntimeError: it takes too long, or failed.
    """
    ticket = client.scan("bench")
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        daemon.check()
        job = client.job(ticket.task_id)
        if job.state == "completed":
            return job
        if job.state in ("discarded", "cancelled"):
            raise RuntimeError(f"a scan is {job.state}")
        time.sleep(POLL_S)
    raise RuntimeError(f"a scan is not done after {LIMIT_S:.0f} s")


def _print(one: Measured) -> None:
    walk_s, rescan_s = statistics.median(one.walks_s), statistics.median(one.rescans_s)
    peer = one.syncthing
    theirs = (f"{peer.first_s:.2f}", f"{statistics.median(peer.rescans_s):.2f}") if peer else ("-", "-")
    rate, ratio = one.files / one.registration_s, rescan_s / walk_s
    cells = (f"{rate:.0f}", f"{walk_s:.2f}", f"{rescan_s:.2f}", f"{ratio:.2f}", *theirs, f"{one.peak_mb:.0f}")
    print(f"{one.files:9}" + "".join(f" {cell:>12}" for cell in cells), flush=True)


def _report(measured: list[Measured], hashed: Hashed) -> None:
    largest, smallest = measured[-1], measured[0]
    by_size: dict[str, Any] = {}
    for one in measured:
        walk_s, rescan_s = statistics.median(one.walks_s), statistics.median(one.rescans_s)
        by_size[str(one.files)] = {
            "registration_files_per_s": round(one.files / one.registration_s),
            "walk_s": round(walk_s, 3),
            "rescan_s": round(rescan_s, 3),
            "ratio_rescan_to_bare_walk": round(rescan_s / walk_s, 2),
            "syncthing_first_s": round(one.syncthing.first_s, 3) if one.syncthing else None,
            "syncthing_rescan_s": round(statistics.median(one.syncthing.rescans_s), 3) if one.syncthing else None,
            "peak_rss_mb": round(one.peak_mb, 1),
        }
    costs = [statistics.median(one.rescans_s) / one.files for one in (largest, smallest)]
    at_largest = by_size[str(largest.files)]
    is_told = (largest.files, smallest.files) == (1_000_000, 10_000)
    result = {
        "bench": "scan",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "ratio_rescan_to_bare_walk": at_largest["ratio_rescan_to_bare_walk"],
        "registration_files_per_s": at_largest["registration_files_per_s"],
        "memory_growth_mb": round(largest.peak_mb - smallest.peak_mb, 1),
        "cost_per_file_ratio": round(costs[0] / costs[1], 2),
        "cost_per_file_1m_to_10k": round(costs[0] / costs[1], 2) if is_told else None,
        "syncthing_first_s": at_largest["syncthing_first_s"],
        "syncthing_rescan_s": at_largest["syncthing_rescan_s"],
        "hash_gb_per_s": round(hashed.ours, 2),
        "b3sum_gb_per_s": round(hashed.b3sum, 2) if hashed.b3sum else None,
        "hash_ratio_to_b3sum": round(hashed.ratio, 2) if hashed.ratio else None,
        "goals": GOALS,
        "files": by_size,
        "machine": {
            "cores": machine.cores(),
            "cpu": machine.cpu_name(),
            "python": platform.python_version(),
            "syncthing": syncthing.version(),
            "b3sum": hashing.version(),
        },
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
