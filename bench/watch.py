"""Change a disk at random beside a daemon that watches it, and see whether the catalogue is what the disk is.

Files and folders are made, written, replaced, renamed, exchanged, linked, touched and removed, in bursts of one to some
hundreds; now and then the system's queue of events overflows, the disk is away, or the daemon is. After each burst the
disk is read, every byte of it, and compared with the catalogue until the two are the same: paths, sizes, times, inodes,
digests, what each file is, one original per asset, one asset per digest. What a person gave to assets has to stay with
their bytes; with --moves everything has something, and only names and places change. Where nothing was lost the watcher
has to notice by itself; files with several names are written in place only where a scan is asked for, as the system
tells the folder of one name alone. The last line is one JSON object.

    python -m bench.watch [--operations N] [--files N] [--minutes N] [--seed N] [--moves] [--short]
"""

import argparse
import datetime as dt
import json
import math
import platform
import random
import shutil
import sys
import time

from bench.measuring import machine
from bench.watching.fuzz import Fuzz, figures
from lumiliod.client import ClientError
from scripts.daemon_process import DaemonFailed, end_on_signals, temporary_folder, without_signals

SHORT_OPERATIONS, SHORT_FILES = 600, 150
GOAL_P95_S = 5.0


def main() -> None:
    """Change, compare and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Compare a catalogue with a disk that changes at random.")
    parser.add_argument("--operations", type=int, default=100_000, metavar="N", help="how many changes (100000)")
    parser.add_argument("--files", type=int, default=1500, metavar="N", help="how many files there are, about (1500)")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="N", help="and how long at most")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--moves", action="store_true", help="only other names and places, of files and folders")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_OPERATIONS} changes: a check")
    given = parser.parse_args()
    operations, files = (SHORT_OPERATIONS, SHORT_FILES) if given.short else (given.operations, given.files)
    root = temporary_folder("watch")
    fuzz = Fuzz(root, random.Random(given.seed), files, moves_only=given.moves)
    began, failure = time.monotonic(), None
    try:
        fuzz.run(operations, given.minutes * 60)
    except (RuntimeError, DaemonFailed, ClientError) as error:
        failure = str(error)
    finally:
        without_signals()
        if failure or fuzz.found.mismatches:
            print(f"bench: the state folder is kept in {root}", file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
    _report(fuzz, given.seed, time.monotonic() - began, failure, moves_only=given.moves)
    sys.exit(1 if failure or fuzz.found.mismatches else 0)


def _report(fuzz: Fuzz, seed: int, took_s: float, failure: str | None, *, moves_only: bool) -> None:
    found = fuzz.found
    rows = {"bursts": found.bursts_s, "single changes": found.singles_s, **found.others_s}
    print(f"\n{'seconds until in step':<22}" + "".join(f"{head:>9}" for head in ("count", "p50", "p95", "max")))
    for name, seconds in rows.items():
        print(f"{name:<22}" + "".join(f"{value!s:>9}" for value in figures(seconds).values()))
    print(", ".join(f"{count} {name}" for name, count in found.acts.most_common()))
    for line in found.mismatches[:50]:
        print(f"  {line}")
    quiet = figures(found.quiet_s)
    result = {
        "bench": "watch",
        "moves_only": moves_only,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "seed": seed,
        "minutes": round(took_s / 60, 1),
        "operations": found.operations,
        "mismatches": len(found.mismatches),
        "p50_s": quiet["p50_s"],
        "p95_s": quiet["p95_s"],
        "max_s": quiet["max_s"],
        "goals": {"mismatches": 0, "p95_s": GOAL_P95_S},
        "quiet_points": quiet["count"],
        "single": figures(found.singles_s),
        "others": {name: figures(seconds) for name, seconds in sorted(found.others_s.items())},
        "overflows": found.overflows,
        "mounts": found.kinds["mount"] + found.kinds["remount"],
        "restarts": found.kinds["restart"],
        "relations_checked": found.relations,
        "disk": found.disk,
        "failure": failure,
        "machine": {"cores": machine.cores(), "cpu": machine.cpu_name(), "python": platform.python_version()},
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
