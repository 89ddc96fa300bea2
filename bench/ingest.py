"""Measure the whole way of media, from a scan to their pictures, against what the hardware allows.

Photographs of 12 and of 24 megapixels: the **bound** is the work nobody can avoid, done by a plain pool of processes
without any code of this project: BLAKE3 of the bytes, a scaled JPEG decode, three JPEG encodes and exiftool. The
**daemon** does the same with its database, its sandbox and its durable writes. **vipsthumbnail**, where it is there,
draws the three pictures and nothing else. All run in turn, several rounds, on the same files; medians are reported.
The first two have done a photograph per core before their clocks run.

Then what **many** photographs take of memory beside few, and how many files of other **formats** a minute has. The last
line is one JSON object.

    python -m bench.ingest [--photos N] [--rounds N] [--only 12mp,24mp,many,formats] [--short]
"""

import argparse
import datetime as dt
import json
import platform
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ingesting import bound, daemon, formats, photographs, vips
from bench.ingesting.rounds import Round
from bench.measuring import machine
from scripts.daemon_process import end_on_signals, measuring

PARTS = ("12mp", "24mp", "many", "formats")
SIZES = {"12mp": photographs.MP12, "24mp": photographs.MP24}
CORPUS = Path(__file__).parents[2] / "shared" / "corpus" / "dev"
PICTURES = 100
"""Of so many different pictures the many photographs are made."""


@dataclass(frozen=True)
class Amounts:
    """How much is measured."""

    photos: int
    rounds: int
    few: int
    many: int
    files: int


SHORT = Amounts(photos=24, rounds=1, few=8, many=24, files=3)


@dataclass
class Contest:
    """All rounds on photographs of one size."""

    photos: int
    mean_mb: float
    rounds: dict[str, list[Round]] = field(default_factory=dict[str, list[Round]])

    def median(self, who: str, value: Callable[[Round], float]) -> float:
        """Return the median of a value of one contestant's rounds."""
        return statistics.median(value(one) for one in self.rounds[who])


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure ingest against the bound of this machine.")
    parser.add_argument("--photos", type=int, default=200, metavar="N", help="photographs of each size (200)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of all contestants (3)")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="of " + ",".join(PARTS))
    parser.add_argument("--short", action="store_true", help="few files, one round: a check, no measurement")
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    amounts = SHORT if given.short else Amounts(given.photos, given.rounds, few=100, many=2000, files=24)
    result: dict[str, Any] = {"bench": "ingest", "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")}
    with measuring("bench") as root:
        print(f"{machine.cores()} cores; exiftool {machine.exiftool_version()}, libvips {vips.version()}", flush=True)
        for part in (part for part in PARTS if part in parts):
            folder = root / part
            match part:
                case "many":
                    result |= _many(folder, amounts)
                case "formats":
                    result |= {"formats": _formats(folder, amounts)}
                case _:
                    told = _photographs(folder, part, amounts)
                    result |= told if part == "12mp" else {part: told}
            shutil.rmtree(folder)
    result["machine"] = {
        "cores": machine.cores(),
        "arch": platform.machine(),
        "cpu": machine.cpu_name(),
        "python": platform.python_version(),
        "exiftool": machine.exiftool_version(),
        "libvips": vips.version(),
    }
    print(json.dumps(result), flush=True)


def _photographs(root: Path, part: str, amounts: Amounts) -> dict[str, Any]:
    folder, warm, (width, height) = root / "photos", root / "warm", SIZES[part]
    photographs.generate(warm, machine.cores(), SIZES[part], first=amounts.photos)
    mean_mb = photographs.generate(folder, amounts.photos, SIZES[part]) / amounts.photos / 1e6
    print(f"\n{amounts.photos} photographs of {width} x {height}, {mean_mb:.2f} MB on average", flush=True)
    contestants: dict[str, Callable[[int], Round]] = {
        "bound": lambda _: bound.measure(folder),
        "daemon": lambda number: daemon.measure(
            root / f"daemon-{number}", folder, amounts.photos + machine.cores(), warm=warm
        ),
    }
    if vips.version() is not None:
        contestants["vipsthumbnail"] = lambda number: vips.measure(folder, root / f"vips-{number}")
    contest = Contest(amounts.photos, mean_mb)
    for number in range(1, amounts.rounds + 1):
        for who, run in contestants.items():
            contest.rounds.setdefault(who, []).append(run(number))
        walls = ", ".join(f"{who} {rounds[-1].wall_s:.2f} s" for who, rounds in contest.rounds.items())
        print(f"round {number}: {walls}", flush=True)
    return _reported(contest)


def _reported(contest: Contest) -> dict[str, Any]:
    photos = contest.photos
    wall_s = {who: contest.median(who, lambda one: one.wall_s) for who in contest.rounds}
    cpu_s = {who: contest.median(who, lambda one: one.cpu_s) / photos for who in contest.rounds}
    peak_mb = contest.median("daemon", lambda one: one.peak_mb)
    daemons = contest.rounds["daemon"]
    stages = {
        kind: round(statistics.median(one.stages[kind] for one in daemons), 1) for kind in sorted(daemons[0].stages)
    }
    print(f"\n{'':14} {'photos/min':>11} {'CPU ms/photo':>13} {'peak MB':>8}")
    for who in contest.rounds:
        peak = f"{peak_mb:.0f}" if who == "daemon" else ""
        print(f"{who:14} {photos / wall_s[who] * 60:11.0f} {cpu_s[who] * 1000:13.1f} {peak:>8}")
    ratio, cpu_ratio = wall_s["bound"] / wall_s["daemon"], cpu_s["daemon"] / cpu_s["bound"]
    print(f"the daemon reaches {ratio:.2f} of the bound, with {cpu_ratio:.2f} times its CPU")
    print("wall time inside a job, ms: " + ", ".join(f"{kind} {ms:.1f}" for kind, ms in stages.items()), flush=True)
    told: dict[str, Any] = {
        "photos": photos,
        "mean_mb": round(contest.mean_mb, 3),
        "rounds": len(daemons),
        "photos_per_minute": round(photos / wall_s["daemon"] * 60, 1),
        "bound_photos_per_minute": round(photos / wall_s["bound"] * 60, 1),
        "ratio_to_bound": round(ratio, 3),
        "cpu_s_per_photo": round(cpu_s["daemon"], 4),
        "bound_cpu_s_per_photo": round(cpu_s["bound"], 4),
        "cpu_ratio_to_bound": round(cpu_ratio, 3),
        "peak_rss_mb": round(peak_mb, 1),
        "stage_ms": stages,
        "walls_s": {who: [round(one.wall_s, 3) for one in rounds] for who, rounds in contest.rounds.items()},
    }
    if "vipsthumbnail" in contest.rounds:
        told["vips_photos_per_minute"] = round(photos / wall_s["vipsthumbnail"] * 60, 1)
        told["vips_cpu_s_per_photo"] = round(cpu_s["vipsthumbnail"], 4)
    return told


MEMORY_S = 0.25
"""How often memory is looked at where nothing but memory is measured: a hundred photographs take three seconds."""


def _many(root: Path, amounts: Amounts) -> dict[str, Any]:
    """Measure the memory of one daemon with few photographs and of another with many."""
    peaks_mb: dict[int, float] = {}
    for count in (amounts.few, amounts.many):
        folder = root / f"photos-{count}"
        photographs.generate(folder, count, pictures=PICTURES)
        one = daemon.measure(root / f"daemon-{count}", folder, count, every_s=MEMORY_S)
        shutil.rmtree(folder)
        peaks_mb[count] = one.peak_mb
        rate = count / one.wall_s * 60
        print(f"\n{count} photographs of 12 MP: {one.peak_mb:.0f} MB at most, {rate:.0f} a minute", flush=True)
    return {"peak_rss_mb_by_photos": {count: round(peak_mb, 1) for count, peak_mb in peaks_mb.items()}}


def _formats(root: Path, amounts: Amounts) -> dict[str, Any]:
    """Measure other formats, each by a daemon of its own: how many files a second a core does."""
    print(f"\n{'':40} {'MB':>6} {'files/min':>10} {'files/s a core':>15} {'CPU s':>7}")
    told: dict[str, Any] = {}
    for what, folder in formats.write(root / "files", amounts.files, CORPUS).items():
        mean_mb = formats.size_mb(folder)
        states = [root / f"daemon-{folder.name}-{number}" for number in range(amounts.rounds)]
        rounds = [daemon.measure(state, folder, amounts.files) for state in states]
        wall_s = statistics.median(one.wall_s for one in rounds)
        cpu_s = statistics.median(one.cpu_s for one in rounds) / amounts.files
        by_core = amounts.files / wall_s / machine.cores()
        print(f"{what:40} {mean_mb:6.1f} {amounts.files / wall_s * 60:10.0f} {by_core:15.2f} {cpu_s:7.3f}", flush=True)
        told[folder.name] = {
            "what": what,
            "mean_mb": round(mean_mb, 2),
            "files_per_minute": round(amounts.files / wall_s * 60, 1),
            "files_per_s_per_core": round(by_core, 2),
            "cpu_s_per_file": round(cpu_s, 4),
        }
    return told


if __name__ == "__main__":
    main()
