"""Measure what hostile files beside them cost good photographs.

Three libraries are ingested by a new daemon each, in turn, several rounds: the good photographs **alone**, the
**hostile** files alone, and **both** together. Looking at a hostile file takes time that nobody can avoid, so what good
ones keep of their throughput is the time both take one after the other, divided by the time they take together: less
than one where hostile files hold up others beyond the work they are. Every hostile file must have its verdict, every
good one be ready, and the daemon stay up. The last line is one JSON object.

    python -m bench.hostile [--files N] [--photos N] [--rounds N] [--seed N] [--short]
"""

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from bench.ingesting.daemon import Ingested, ingested
from bench.ingesting.photographs import generate
from bench.measuring.machine import cpu_name
from lumiliod.client import Client
from lumiliod.contract.jobs import Job
from lumiliod.domain.ids import shown
from scripts.daemon_process import end_on_signals, measuring
from tests import hostile
from tests.hostile.parts import Hostile

GOAL = 0.95
PAGE = 500
CONTESTANTS = ("alone", "hostile", "both")


@dataclass
class Round:
    """One library ingested: times in seconds from the scan, and what became of its files."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    good_s: float
    verdicts: Counter[str]
    discarded: Counter[str]
    slowest: list[tuple[float, str]]
    wrong: list[str] = field(default_factory=list[str])


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure what hostile files cost the good ones beside them.")
    parser.add_argument("--files", type=int, default=500, metavar="N", help="hostile files (500)")
    parser.add_argument("--photos", type=int, default=200, metavar="N", help="good photographs of 12 megapixels (200)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of all three libraries (3)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which hostile files (1)")
    parser.add_argument("--short", action="store_true", help="40 files, 24 photographs, one round: a check")
    given = parser.parse_args()
    if given.short:
        given.files, given.photos, given.rounds = 40, 24, 1
    with measuring("hostile") as root:
        is_right = _measure(root, given.files, given.photos, given.rounds, given.seed)
    if not is_right:
        sys.exit(1)


def _measure(root: Path, files: int, photos: int, rounds: int, seed: int) -> bool:
    cores = len(os.sched_getaffinity(0))
    folders = {name: root / name for name in CONTESTANTS}
    generate(folders["alone"], photos)
    for name in ("hostile", "both"):
        folders[name].mkdir()
    made = hostile.write(folders["hostile"], hostile.generate(files, seed))
    for source in ("alone", "hostile"):
        for path in folders[source].iterdir():
            os.link(path, folders["both"] / path.name)
    made += hostile.write_irregular(folders["hostile"])
    hostile.write_irregular(folders["both"])
    measured: dict[str, list[Round]] = {name: [] for name in CONTESTANTS}
    for number in range(1, rounds + 1):
        for name in CONTESTANTS:
            expected = [] if name == "alone" else made
            with ingested(root / f"{number}-{name}", folders[name], log_level="error") as (client, told):
                measured[name].append(_judged(client, expected, told))
        walls = ", ".join(f"{name} {measured[name][-1].wall_s:.1f} s" for name in CONTESTANTS)
        print(f"round {number}: {walls}", flush=True)
    return _report(measured, files, photos, seed, cores)


def _judged(client: Client, expected: list[Hostile], told: Ingested) -> Round:
    """Return what became of the files, and what they took."""
    statuses = {asset.id: asset.status for asset in client.all_assets()}
    ends, names = dict[str, str](), dict[UUID, str]()
    for file in client.files("bench"):
        ends[file.path] = statuses[file.asset_id] if file.asset_id and file.outcome == "asset" else str(file.outcome)
        if file.asset_id:
            names[file.asset_id] = file.path
    wanted = {shown(os.fsdecode(one.name)): one for one in expected}
    wrong = [f"{one.about}: {ends.get(name)}" for name, one in wanted.items() if ends.get(name) not in one.ends]
    wrong += [f"{name}: {end}" for name, end in ends.items() if name not in wanted and end != "ready"]
    good_s, slowest = 0.0, list[tuple[float, str]]()
    for job in (job for kind in ("metadata", "thumbnails") for job in _ended(client, kind, "completed")):
        assert job.asset_id is not None
        assert job.finished_at is not None
        if names[job.asset_id] not in wanted:
            good_s = max(good_s, (job.finished_at - told.began_at).total_seconds())
    pictured = [job for state in ("completed", "discarded") for job in _ended(client, "thumbnails", state)]
    for job in pictured:
        name = names[job.asset_id] if job.asset_id else ""
        if name in wanted and job.finished_at and job.attempted_at:
            slowest.append(((job.finished_at - job.attempted_at).total_seconds(), wanted[name].about))
    gone = [job for kind in ("ingest", "metadata", "thumbnails") for job in _ended(client, kind, "discarded")]
    discarded = Counter(f"{job.kind} {job.errors[-1].code}" for job in gone)
    verdicts = Counter(ends[name] for name in wanted if name in ends)
    return Round(
        told.wall_s, told.cpu_s, told.peak_mb, good_s, verdicts, discarded, sorted(slowest, reverse=True)[:5], wrong
    )


def _ended(client: Client, kind: str, state: str) -> list[Job]:
    found: list[Job] = []
    cursor: str | None = None
    while True:
        page = client.jobs(kind=kind, state=state, limit=PAGE, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def _report(measured: dict[str, list[Round]], files: int, photos: int, seed: int, cores: int) -> bool:
    def median(name: str, value: Callable[[Round], float]) -> float:
        return statistics.median(value(one) for one in measured[name])

    print(f"\n{'':8} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'good done s':>12} {'good/min':>9}")
    for name in CONTESTANTS:
        good_s = median(name, lambda one: one.good_s)
        per_minute = f"{photos / good_s * 60:9.0f}" if good_s else f"{'':>9}"
        values = (median(name, lambda one: one.wall_s), median(name, lambda one: one.cpu_s))
        print(f"{name:8} {values[0]:8.1f} {values[1]:8.1f} {median(name, _peak):8.0f} {good_s:12.1f} {per_minute}")
    kept = [
        (alone.wall_s + beside.wall_s) / both.wall_s
        for alone, beside, both in zip(*(measured[name] for name in CONTESTANTS), strict=True)
    ]
    last = measured["both"][-1]
    print(f"verdicts: {_told(last.verdicts)}; discarded: {_told(last.discarded)}")
    for seconds, about in last.slowest:
        print(f"  {seconds:5.1f} s to picture: {about}")
    wrong = sorted({one for rounds in measured.values() for round_ in rounds for one in round_.wrong})
    for one in wrong:
        print(f"WRONG: {one}")
    ratio = statistics.median(kept)
    print(f"good photographs keep {ratio:.3f} of their throughput beside {files} hostile files")
    result = {
        "bench": "hostile",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "hostile_files": files,
        "photos": photos,
        "seed": seed,
        "rounds": len(kept),
        "throughput_ratio": round(ratio, 3),
        "throughput_ratios": [round(one, 3) for one in kept],
        "good_per_minute_alone": round(photos / median("alone", lambda one: one.good_s) * 60, 1),
        "good_per_minute_beside": round(photos / median("both", lambda one: one.good_s) * 60, 1),
        "walls_s": {name: [round(one.wall_s, 2) for one in measured[name]] for name in CONTESTANTS},
        "cpu_s": {name: round(median(name, lambda one: one.cpu_s), 2) for name in CONTESTANTS},
        "peak_rss_mb": {name: round(median(name, _peak), 1) for name in CONTESTANTS},
        "verdicts": dict(last.verdicts),
        "discarded": dict(last.discarded),
        "wrong": wrong,
        "machine": {
            "cores": cores,
            "arch": platform.machine(),
            "cpu": cpu_name(),
            "python": platform.python_version(),
        },
        "goals": {"throughput_ratio": ratio >= GOAL, "verdicts": not wrong},
    }
    print(json.dumps(result), flush=True)
    return not wrong


def _peak(one: Round) -> float:
    return one.peak_mb


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


if __name__ == "__main__":
    main()
