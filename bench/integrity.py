"""Kill the daemon again and again while originals come, move, leave and come back; then count what is lost.

Each world is one repository, with a user area that nobody may touch, on a small file system of its own where that can
be mounted. Uploads (in one request, several in one, and by tus), removals, restores, purges, re-layouts and their
undoing, scans and verification go on all the time. The daemon is killed at random moments and at random steps; calls
of the system fail, do less or take long below the repository; the disk is full now and then; and the database dies,
too. Every 250 kills, and at the end, after one scan: every acknowledged original is there once, as an asset or in the
trash, with its bytes, unless its purge was acknowledged; the user area is as it was; and nothing lies in our folders
that nobody knows. The last line is one JSON object.

    python bench/integrity.py [--kills N] [--jobs N] [--short] [--seed N]
"""

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from bench.measuring.machine import cpu_name
from bench.soaking import disk
from bench.soaking.report import Report, added
from scripts.daemon_process import end_on_signals, temporary_folder, without_signals

TOLD_EVERY = 250
SHORT_KILLS = 24


class Soaked:
    """The process of one world, and what it told last."""

    def __init__(self, root: Path, kills: int, seed: int) -> None:
        root.mkdir()
        self.root = root
        self.report = Report()
        command = [sys.executable, "-m", "bench.soaking.soak", str(root), str(kills), str(seed)]
        with (root / "errors").open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be told."""
        return not self._listener.is_alive()

    def end(self) -> None:
        """Let it end in order, if it has not."""
        if self.process.poll() is None:
            self.process.terminate()
        self._listener.join()
        if self.process.wait() and self.report.failure is None:
            self.report.failure = f"the soak ended with status {self.process.returncode}: {self.root / 'errors'}"

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as told:
            for line in told:
                self.report = msgspec.json.decode(line, type=Report)


def main() -> None:
    """Soak and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Kill the daemon while originals move; count what is lost.")
    parser.add_argument("--kills", type=int, default=300, metavar="N", help="how often, in all worlds together (300)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="worlds at the same time (2)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_KILLS} kills: a check")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args()
    kills = SHORT_KILLS if given.short else given.kills
    jobs = max(1, min(given.jobs, kills))
    root = temporary_folder("integrity")
    shares = [kills // jobs + (number < kills % jobs) for number in range(jobs)]
    worlds = [Soaked(root / str(number), share, given.seed + number) for number, share in enumerate(shares)]
    status = 1
    try:
        status = _watch(worlds, kills)
    except KeyboardInterrupt:
        status = 130
    finally:
        without_signals()
        for world in worlds:
            world.end()
        if status in (0, 130):
            for world in worlds:
                disk.unmount(world.root / "disk")
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"bench: everything is kept in {root}, where small disks stay mounted", file=sys.stderr)
    sys.exit(status)


def _watch(worlds: list[Soaked], kills: int) -> int:
    began, told = time.monotonic(), 0
    while not all(world.has_ended for world in worlds):
        time.sleep(0.2)
        total = added([world.report for world in worlds])
        if total.kills - told >= TOLD_EVERY:
            told = total.kills
            _tell_progress(total, kills, time.monotonic() - began)
    for world in worlds:
        world.end()
    total = added([world.report for world in worlds])
    took_s = time.monotonic() - began
    _tell_progress(total, kills, took_s)
    for problem in total.problems[:50]:
        print(f"  {problem}")
    failed = total.failure is not None or not total.done
    print(
        f"\n{total.kills} kills: {len(total.lost)} lost, {len(total.changed)} foreign files changed, "
        f"{len(total.orphans)} orphans, {len(total.stuck)} stuck{', and the soak did not end' if failed else ''}"
    )
    print(json.dumps(_result(total, len(worlds), took_s)))
    return 1 if failed or total.problems else 0


def _result(total: Report, jobs: int, took_s: float) -> dict[str, object]:
    counts = ("removed", "restored", "purged", "layouts", "undone", "scans", "verified", "batches", "resumable")
    return {
        "bench": "integrity",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "kills": total.kills,
        "minutes": round(took_s / 60, 1),
        "seconds_per_kill": round(took_s / max(total.kills, 1), 3),
        "jobs": jobs,
        "acknowledged": total.acknowledged,
        **{name: total.counts.get(name, 0) for name in counts},
        **{name: count for name, count in sorted(total.counts.items()) if name not in counts},
        "faults": dict(sorted(total.faults.items())),
        "disk": total.disk,
        "refused": total.refused,
        "lost": len(total.lost),
        "foreign_changed": len(total.changed),
        "orphans": len(total.orphans),
        "stuck": len(total.stuck),
        "failure": total.failure,
        "machine": {"cores": len(os.sched_getaffinity(0)), "cpu": cpu_name(), "python": platform.python_version()},
    }


def _tell_progress(total: Report, kills: int, took_s: float) -> None:
    counts = total.counts
    print(
        f"{total.kills} of {kills} kills in {took_s / 60:.1f} min: {total.acknowledged} acknowledged, "
        f"{counts.get('removed', 0)} removed, {counts.get('restored', 0)} restored, {counts.get('purged', 0)} purged, "
        f"{counts.get('layouts', 0)} layouts, {sum(total.faults.values())} faults",
        flush=True,
    )


if __name__ == "__main__":
    main()
