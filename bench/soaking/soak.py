"""The soak of one world: lives that are killed, an account now and then, and one at the end.

    python -m bench.soaking.soak FOLDER KILLS SEED

Every line it prints is a :class:`~bench.soaking.report.Report`.
"""

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from bench.soaking import acts, database, disk
from bench.soaking.account import account, reconcile
from bench.soaking.lives import Life, LifeFailed, Lives, warm
from bench.soaking.orders import FaultPlan
from bench.soaking.report import Report
from bench.soaking.world import NAME, Foreign, World, picture
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import end_on_signals

CONFIG = """
[database]
url = "{url}"
[storage]
min_free_mb = 0
[jobs]
lease_s = 5
[media]
workers = 1
exiftool = '{exiftool}'
[log]
level = 'warning'
format = 'text'
"""
STRETCH = 250
"""Lives between two accounts."""
TOLD_EVERY = 25
LIFE_S, LONG_LIFE_S = (0.02, 0.45), (1.0, 4.0)
LONG, IN_THE_START, FULL, FAULTY, DYING, WITH_EXIFTOOL, DATABASE = 0.03, 0.06, 0.08, 0.25, 0.4, 0.1, 0.03
"""Shares of the lives: long ones, ones killed before they are ready, without room on the disk, with a disk that fails,
killed at a step and not at a time, with exiftool, and with a database that dies."""
STEPS_MEAN = 40
FAULT_CHANCE = (0.002, 0.05)


@dataclass
class Soak:
    """A world, and what keeps it going."""

    world: World
    lives: Lives
    database: database.Database
    client: Client
    rng: Random
    room: str
    faults: Counter[str] = field(default_factory=Counter[str])
    kills: int = 0

    def run(self, kills: int) -> Report:
        """Kill, account, and tell; return the last account."""
        with self._life() as life:
            self._await(life)
            self.client.add_repository(NewRepository(path=str(self.world.folder), name=NAME))
            before = self.world.foreign()
            reconcile(self.client, self.world, life)
            self.lives.stop(life)
        while True:
            with acts.working(self.world, self.lives.socket), contextlib.ExitStack() as last:
                end = min(kills, self.kills + STRETCH)
                while self.kills < end:
                    self._live()
                    if self.kills % TOLD_EVERY == 0:
                        tell(self.report())
                life = last.enter_context(self._life())
                self._await(life)
                resting = last.pop_all()
            with resting:
                report = self._accounted(life, before)
            report.done = self.kills >= kills or bool(report.problems)
            if report.done:
                return report

    def _live(self) -> None:
        """Begin a life, let it be for a while, and kill it."""
        rng, number = self.rng, self.kills
        seconds = rng.uniform(*(LONG_LIFE_S if rng.random() < LONG else LIFE_S))
        plan = self._plan(seconds)
        with contextlib.ExitStack() as stack:
            if self.room in {"ext4", "tmpfs"} and rng.random() < FULL:
                self.faults["disk_full"] += 1
                stack.enter_context(disk.filled(self.world.disk, rng.choice((0, 0, 8192, 65_536))))
            life = stack.enter_context(self._life(plan, with_exiftool=rng.random() < WITH_EXIFTOOL))
            is_lost = rng.random() < DATABASE
            if rng.random() < IN_THE_START:
                life.ended(rng.uniform(0, 0.3))
            elif self.lives.wait_until_ready(life, self.client):
                if is_lost:
                    life.ended(rng.uniform(0, seconds))
                    self.faults[f"database {self.database.kill(rng)}"] += 1
                life.ended(seconds)
        if plan is not None:
            self._count_faults(plan)
        if is_lost:
            self.database.wait()
        if life.status() != -signal.SIGKILL:
            self.world.count("ended_by_themselves")
            if not (is_lost or plan):
                raise LifeFailed(f"life {number} ended with status {life.status()}{life.last_words()}")
        self.kills += 1

    def _plan(self, seconds: float) -> FaultPlan | None:
        rng = self.rng
        share = rng.random()
        plan = FaultPlan(root=str(self.world.folder), seed=rng.getrandbits(32), log=str(self.world.root / "faults"))
        if share < DYING:
            return replace(plan, die_at=1 + int(rng.expovariate(1 / STEPS_MEAN)))
        if share < DYING + FAULTY:
            after_s = rng.choice((0.0, rng.uniform(0, 0.4)))
            until_s = after_s + rng.uniform(0.05, 0.2 + seconds)
            return replace(plan, chance=rng.uniform(*FAULT_CHANCE), after_s=after_s, until_s=until_s)
        return None

    def _count_faults(self, plan: FaultPlan) -> None:
        log = Path(plan.log)
        if log.exists():
            self.faults.update(line.split()[0] for line in log.read_text().splitlines())
            log.unlink()

    @contextmanager
    def _life(self, plan: FaultPlan | None = None, *, with_exiftool: bool = False) -> Iterator[Life]:
        config = self.world.root / ("exiftool.toml" if with_exiftool else "lumiliod.toml")
        with self.lives.life(config, plan) as life:
            yield life

    def _await(self, life: Life) -> None:
        if not self.lives.wait_until_ready(life, self.client):
            raise LifeFailed(f"lumiliod ended{life.last_words()}")

    def _accounted(self, life: Life, before: Foreign) -> Report:
        report = self.report()
        reconcile(self.client, self.world, life)
        account(self.client, self.world, before, report)
        report.counts = dict(self.world.counts)
        self.lives.stop(life)
        return report

    def report(self) -> Report:
        """Return how far it is."""
        world = self.world
        with world.lock:
            return Report(
                kills=self.kills,
                acknowledged=len(world.acknowledged),
                counts=dict(world.counts),
                faults=dict(self.faults),
                refused=dict(world.refused),
                disk=self.room,
            )


def tell(report: Report) -> None:
    """Print a report."""
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def main(folder: str, kills: int, seed: int) -> None:
    """Make a world in ``folder`` and soak it; the last report is told, whatever happens."""
    end_on_signals()
    root = Path(folder)
    for name in ("tmp", "disk"):
        (root / name).mkdir()
    room = disk.mounted(root / "disk")
    rng = Random(seed)
    world = World(root, root / "disk", Random(rng.random()), picture(seed))
    world.folder.mkdir()
    world.fill_user_area()
    report = Report(disk=room)
    try:
        with database.opened(root / "postgres") as server, warm(root, root / "state") as lives:
            for name, exiftool in (("lumiliod", "no-exiftool"), ("exiftool", "exiftool")):
                (root / f"{name}.toml").write_text(CONFIG.format(url=server.url, exiftool=exiftool))
            with Client(str(lives.socket)) as client:
                soak = Soak(world, lives, server, client, rng, room)
                try:
                    report = soak.run(kills)
                except (LifeFailed, database.DatabaseLost) as error:
                    report = soak.report()
                    report.failure = str(error)
    finally:
        tell(report)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
