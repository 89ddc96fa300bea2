"""Restart the daemon again and again while people use it, and count what they notice of it.

Its socket is not its own: it is opened before and handed on, as ``lumiliod.socket`` does it under systemd. Four
clients ask for one thing after the other, two upload, files appear in a watched folder, and a film is converted
all the while; each daemon is ended by SIGTERM in the middle of that and the next one started at once. Told are how many
requests were not answered, the longest one took (the pause), how long the daemon takes from SIGTERM to its end, and
whether, when all is done, every upload that was acknowledged and every file of the folder is an asset and no job was
given up. The last line is one JSON object; exit status 0 only when nothing was lost.

    python bench/restarts.py [--restarts N] [--seed N] [--short]
"""

import argparse
import bisect
import io
import json
import random
import signal
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench.measuring.machine import cores, cpu_name
from bench.restarting.activated import Activated, activated
from bench.restarting.load import Answer, Load, film
from lumiliod.client import Client
from lumiliod.contract.jobs import JobSelection
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import end_on_signals, measuring

CONFIG = "[storage]\nmin_free_mb = 16\n[log]\nlevel = 'info'\nformat = 'text'\n"
GOAL_PAUSE_S, GOAL_EXIT_S = 3.0, 5.0
PICTURE_SIZE = (3000, 2000)
BETWEEN_S = (0.3, 2.0)
"""How long each daemon may work, drawn by lot."""
SETTLE_S = 600.0
SLOWEST = 10
"""So many of the slowest answers are told one by one."""


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Restart the daemon under load.")
    parser.add_argument("--restarts", type=int, default=60, metavar="N", help="how often (60)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the lots that are drawn (1)")
    parser.add_argument("--short", action="store_true", help="three restarts: a check, no measurement")
    given = parser.parse_args()
    with measuring("restarts") as root:
        is_well = _measure(root, 3 if given.short else given.restarts, random.Random(given.seed), given.short)
    sys.exit(0 if is_well else 1)


def _measure(root: Path, restarts: int, lot: random.Random, is_short: bool) -> bool:
    state_dir, config, log = root / "state", root / "lumiliod.toml", root / "daemon.log"
    config.write_text(CONFIG)
    folders = [root / name for name in ("photos", "uploads")]
    for folder in folders:
        folder.mkdir()
    film(folders[0] / "film.avi", 5 if is_short else 20)
    exits_s: list[float] = []
    ended_s: list[float] = []
    statuses: set[int] = set()
    # the folder of a state folder's own socket: clients look there
    with activated(state_dir / "run" / "lumiliod.sock", state_dir, config, log) as daemon:
        socket = state_dir / "run" / "lumiliod.sock"
        daemon.start()
        with Client(str(socket)) as client:
            client.add_repository(NewRepository(path=str(folders[0]), name="photos"))
            load = Load(socket, folders[0], folders[1], _pictures())
            load.begin()
            began = time.monotonic()
            time.sleep(3.0)
            for _ in range(restarts):
                time.sleep(lot.uniform(*BETWEEN_S))
                _check(daemon, log)
                ended_s.append(time.monotonic())
                statuses.add(daemon.stop(signal.SIGTERM))
                exits_s.append(time.monotonic() - ended_s[-1])
                daemon.start()
                # the answer means that it serves: the socket was open before
                client.health()
            took_s = time.monotonic() - began
            load.end()
            lost = _lost(client, load, daemon, log)
    answers = load.answers
    taken_s = [answer.took_s for answer in answers.answered]
    for answer in sorted(answers.answered, key=lambda answer: -answer.took_s)[:SLOWEST]:
        print(f"slow: {_when(answer, ended_s, exits_s)}")
    for reason in sorted(set(answers.unanswered)):
        print(f"not answered: {reason} ({answers.unanswered.count(reason)})")
    for reason in lost[:20]:
        print(f"lost: {reason}")
    figures: dict[str, object] = {
        "bench": "restarts",
        "restarts": restarts,
        "took_s": round(took_s, 1),
        "requests": len(taken_s) + len(answers.unanswered),
        "unanswered": len(answers.unanswered),
        "uploads": len(load.acknowledged),
        "files_placed": len(load.placed),
        "lost": len(lost),
        "exit_statuses": sorted(statuses),
        "worst_pause_s": round(max(taken_s), 2),
        "request_p50_ms": round(statistics.median(taken_s) * 1000, 1),
        "term_to_exit_median_s": round(statistics.median(exits_s), 2),
        "term_to_exit_max_s": round(max(exits_s), 2),
        "machine": {"cores": cores(), "cpu": cpu_name()},
    }
    for name, value in figures.items():
        print(f"{name:24} {value}")
    print(f"goals: a pause of less than {GOAL_PAUSE_S:g} s, at most {GOAL_EXIT_S:g} s from SIGTERM to the end")
    print(json.dumps(figures))
    return not (lost or answers.unanswered) and statuses == {0}


def _when(answer: Answer, ended_s: list[float], exits_s: list[float]) -> str:
    """Say how long an answer took, and where in the restart that was under way or came next."""
    number = min(bisect.bisect(ended_s, answer.began_s + answer.took_s), len(ended_s)) - 1
    since_s = answer.began_s - ended_s[number]
    return (
        f"{answer.took_s:.2f} s, {answer.who}: asked {since_s:+.2f} s from SIGTERM {number + 1}, "
        f"the exit {exits_s[number]:.2f} s from it"
    )


def _lost(client: Client, load: Load, daemon: Activated, log: Path) -> list[str]:
    """Let everything end; return what is not as it should be."""
    client.scan("photos")
    fewest, give_up_at = -1, 0.0
    while (now := client.status()).open_jobs or now.scans:
        _check(daemon, log)
        if fewest < 0 or now.open_jobs < fewest:
            fewest, give_up_at = now.open_jobs, time.monotonic() + SETTLE_S
        if time.monotonic() > give_up_at:
            return [f"no job was done in {SETTLE_S:.0f} s: {now.jobs}"]
        time.sleep(0.5)
    assets = {asset.digest: asset for asset in client.all_assets()}
    lost = [f"an acknowledged upload is no asset: {digest}" for digest in load.acknowledged - assets.keys()]
    lost += [f"a file of the folder is no asset: {digest}" for digest in load.placed - assets.keys()]
    lost += [
        f"{asset.path}: {asset.status} ({asset.status_reason})" for asset in assets.values() if asset.status != "ready"
    ]
    given_up = client.jobs(state="discarded").items
    lost += [f"a job was given up: {job.kind} ({job.cause})" for job in given_up]
    if given_up:
        client.change_jobs("discard", JobSelection(state="discarded"))
    return lost


def _check(daemon: Activated, log: Path) -> None:
    assert daemon.process is not None
    status = daemon.process.poll()
    if status is not None:
        last = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise RuntimeError(f"lumiliod ended with status {status}:\n  {last}")


def _pictures() -> list[bytes]:
    """Return photographs of a camera's size."""
    lot = np.random.default_rng(11)
    found = []
    for _ in range(4):
        small = Image.fromarray(lot.integers(0, 255, (100, 150, 3), dtype=np.uint8))
        out = io.BytesIO()
        small.resize(PICTURE_SIZE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
        found.append(out.getvalue())
    return found


if __name__ == "__main__":
    main()
