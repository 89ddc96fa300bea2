"""Measure the job engine against procrastinate and PgQueuer, on one embedded PostgreSQL.

Rounds are interleaved, the order of the contenders changes with each, medians are reported. Every part of a
round has a fresh database and a process of its own. The last line is one JSON object; a ratio is ours over
theirs of jobs/s, a ``cpu_ratio`` theirs over ours of CPU time per job: above 1 is better for us in both.

    python bench/jobs.py [--rounds N] [--short] [--only NAMES] [--idle MINUTES] [--flush-ms MS]
"""

import argparse
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.queues import backlog, children, idle, server
from bench.queues.contender import Drained, Enqueued
from bench.queues.figures import CONCURRENCIES, CONTENDERS, Figures, paired_ms
from scripts.daemon_process import DaemonFailed, end_on_signals, temporary_folder

PARTS = ("enqueue", "drain", "latency", "backlog", "snapshot", "idle")
OWN = CONTENDERS[0]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in a round."""

    rounds: int
    single: int
    bulk: int
    drain_s: float | None
    samples: int
    gap_s: tuple[float, float]
    open_jobs: int
    finished: int
    beside: int
    dead: int
    claimed: int
    idle_minutes: float
    settle_s: float


FULL = Sizes(5, 1000, 10_000, 2.5, 25, (0.1, 0.3), 1_000_000, 5_000_000, 10_000, 60_000, 4000, 10.0, 60.0)
SHORT = Sizes(1, 200, 10_000, None, 12, (0.05, 0.15), 20_000, 50_000, 3000, 10_000, 600, 0.0, 10.0)

FIRST_JOBS = {"lumilio": 8000, "procrastinate": 250, "pgqueuer": 6000}
"""Drained in a first round, which tells how many make one of the wanted length."""

DRAIN_JOBS_MAX = 60_000
SNAPSHOT_ROUNDS_MAX = 3


class Bench:
    """All parts of a round, on one server."""

    def __init__(self, machine: server.Server, contenders: list[str], sizes: Sizes, figures: Figures) -> None:
        self._machine = machine
        self._contenders = contenders
        self._sizes = sizes
        self._figures = figures
        self.rounds = {"enqueue": self.enqueue, "drain": self.drain, "latency": self.latency}
        self.own_parts = {"backlog": self.backlog, "snapshot": self.snapshot} if OWN in contenders else {}
        self._jobs = {(name, at_once): FIRST_JOBS[name] for name in contenders for at_once in CONCURRENCIES}

    def install(self) -> None:
        """Make a database of each contender, to be copied."""
        for name in self._contenders:
            children.call("install", name, self._machine.create(name))

    def find_sizes(self) -> None:
        """Choose how many jobs each contender drains, so that it takes as long as is wanted."""
        if self._sizes.drain_s is not None:
            for name, at_once in self._jobs:
                rate = self._drained(name, at_once)
                self._jobs[name, at_once] = min(DRAIN_JOBS_MAX, max(FIRST_JOBS[name], int(rate * self._sizes.drain_s)))

    def enqueue(self, number: int) -> None:
        """Measure enqueuing."""
        for name in self._turns(number):
            with self._machine.copy(name) as place:
                told = children.call("enqueue", name, place, single=self._sizes.single, bulk=self._sizes.bulk)
            took = Enqueued(**told)
            self._figures.add("single", name, self._sizes.single / took.single_s)
            self._figures.add("bulk", name, self._sizes.bulk / took.bulk_s)

    def drain(self, number: int) -> None:
        """Measure how fast waiting jobs are done."""
        for at_once in CONCURRENCIES:
            for name in self._turns(number):
                self._drained(name, at_once, keep=True)

    def _drained(self, name: str, at_once: int, *, keep: bool = False) -> float:
        jobs = self._jobs[name, at_once]
        with self._machine.copy(name) as place:
            done = Drained(**children.call("drain", name, place, concurrency=at_once, warmup=jobs // 10, jobs=jobs))
        if done.jobs < jobs:
            raise RuntimeError(f"{name} finished {done.jobs} of {jobs} jobs")
        if keep:
            self._figures.add(f"drain_c{at_once}", name, done.jobs / done.wall_s)
            self._figures.add(f"python_us_c{at_once}", name, done.python_s / done.jobs * 1e6)
            self._figures.add(f"postgres_us_c{at_once}", name, done.postgres_s / done.jobs * 1e6)
        return done.jobs / done.wall_s

    def latency(self, number: int) -> None:
        """Measure how soon an idle worker begins a job."""
        rng = random.Random(number)
        gaps_s = [rng.uniform(*self._sizes.gap_s) for _ in range(self._sizes.samples)]
        for name in self._turns(number):
            with self._machine.copy(name) as place:
                for sent, started in children.latencies(name, place, gaps_s):
                    self._figures.add("latency_ms", name, paired_ms(sent, started))
        if OWN in self._contenders:
            with self._machine.copy(OWN) as place:
                seen, sent_here = children.call("itself", OWN, place, gaps_s=gaps_s)
            for sent, started in children.paired(sent_here, seen):
                self._figures.add("latency_ms", f"{OWN} itself", paired_ms(sent, started))

    def backlog(self, rounds: int) -> None:
        """Measure our drain with empty tables and with full ones."""
        sizes = self._sizes
        full = self._machine.create("backlog", OWN)
        backlog.fill(full, sizes.open_jobs, sizes.finished)
        for number in range(rounds):
            for which in ("empty", "full")[:: 1 if number % 2 else -1]:
                with self._machine.copy(OWN) as empty:
                    place = full if which == "full" else empty
                    arguments = {"concurrency": CONCURRENCIES[0], "warmup": sizes.beside // 10, "jobs": sizes.beside}
                    done = Drained(**children.call("drain", OWN, place, **arguments))
                self._figures.add(f"backlog_{which}", OWN, done.jobs / done.wall_s)
        self._machine.drop(full)

    def snapshot(self, rounds: int) -> None:
        """Measure our claims among rows that died under a held snapshot."""
        sizes = self._sizes
        arguments = {"measured": sizes.claimed, "concurrency": CONCURRENCIES[0]}
        for _ in range(min(rounds, SNAPSHOT_ROUNDS_MAX)):
            with self._machine.copy(OWN) as place:
                self._add_claims("fresh", children.call("claims", OWN, place, dead=0, **arguments))
            with self._machine.copy(OWN) as place, backlog.held_snapshot(place):
                self._add_claims("held", children.call("claims", OWN, place, dead=sizes.dead, **arguments))

    def _add_claims(self, when: str, told: dict[str, float]) -> None:
        for name, value in told.items():
            self._figures.add(f"claim_{when}_{name}", OWN, value)

    def _turns(self, number: int) -> list[str]:
        first = number % len(self._contenders)
        return self._contenders[first:] + self._contenders[:first]


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure the job engine against its peers.")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"interleaved rounds ({FULL.rounds})")
    parser.add_argument("--short", action="store_true", help="one round of little: a check, no measurement")
    parser.add_argument(
        "--only", default="", metavar="NAMES", help=f"of {', '.join(PARTS)}; of {', '.join(CONTENDERS)}; with commas"
    )
    parser.add_argument("--idle", type=float, metavar="MINUTES", help="how long an idle daemon is watched (10)")
    parser.add_argument(
        "--flush-ms", type=float, default=0.0, metavar="MS", help="let a flush take so much longer, as on a slower disk"
    )
    given = parser.parse_args()
    only = {name for name in given.only.split(",") if name}
    if unknown := only - {*PARTS, *CONTENDERS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    sizes = SHORT if given.short else FULL
    parts = [part for part in PARTS if part in only] or list(PARTS)
    contenders = [name for name in CONTENDERS if name in only] or list(CONTENDERS)
    root = temporary_folder("bench")
    figures = Figures(given.rounds or sizes.rounds, given.flush_ms)
    try:
        _measure(root, sizes, parts, contenders, figures)
        if "idle" in parts and (minutes := sizes.idle_minutes if given.idle is None else given.idle):
            figures.idle = idle.watch(root / "idle", minutes, sizes.settle_s)
    except (RuntimeError, DaemonFailed) as error:
        figures.report()
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    figures.report()


def _measure(root: Path, sizes: Sizes, parts: list[str], contenders: list[str], figures: Figures) -> None:
    rounds = figures.rounds
    with server.running(root / "pg") as machine:
        machine.slow_down(figures.flush_ms)
        figures.flushes_per_s = server.flushes_per_s(root / "pg" / "flush")
        bench = Bench(machine, contenders, sizes, figures)
        bench.install()
        if "drain" in parts:
            bench.find_sizes()
        for number in range(rounds):
            for part in bench.rounds:
                if part in parts:
                    bench.rounds[part](number)
            print(f"round {number + 1} of {rounds} done", flush=True)
        for part in bench.own_parts:
            if part in parts:
                bench.own_parts[part](rounds)
                print(f"{part} done", flush=True)


if __name__ == "__main__":
    main()
