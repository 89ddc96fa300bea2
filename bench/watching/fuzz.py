"""Bursts of random changes beside a daemon that watches; after each, how long until the catalogue is the disk."""

import contextlib
import math
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench.watching.acts import TREE_MAX, Acts
from bench.watching.relations import Relations
from bench.watching.removable import Removable
from bench.watching.tree import is_met
from bench.watching.truth import Catalogue, OnDisk, few, on_disk
from lumiliod.client import ApiError, Client
from lumiliod.contract.repositories import NewRepository
from lumiliod.db import embedded
from lumiliod.domain.sync import HOLD_FILES, HOLD_SHARE
from scripts.daemon_process import Daemon, running

NAME = "bench"
CONFIG = "[watch]\nenabled = true\n[storage]\nmin_free_mb = 16\n[log]\nlevel = 'warning'\nformat = 'text'\n"
LOOK_S = 0.05
STEP_S = 30.0
"""How long the watcher alone may take before that counts as a mismatch."""
RECONCILE_S = 180.0
TOLD_EVERY = 5000
RECONCILED = 0.05
"""How often everything is scanned and waited for though nothing differs."""
VANISHING = 0.12
"""The share of files that may lose their names in one burst: much more is not believed without a person."""
_WHOLE = ("fill", "scan", "overflow", "mount", "restart")
"""After these everything is scanned, and what is left out is known, too."""
OVERFLOW_LOG = "events were lost"
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@dataclass
class Fuzzed:
    """What came of it; seconds from the last change of a burst until the catalogue is the disk."""

    operations: int = 0
    bursts_s: list[float] = field(default_factory=list[float])
    singles_s: list[float] = field(default_factory=list[float])
    others_s: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    kinds: Counter[str] = field(default_factory=Counter[str])
    acts: Counter[str] = field(default_factory=Counter[str])
    overflows: int = 0
    relations: int = 0
    disk: str = ""
    mismatches: list[str] = field(default_factory=list[str])

    @property
    def quiet_s(self) -> list[float]:
        """All that the watcher alone had to notice."""
        return self.bursts_s + self.singles_s


class Fuzz:
    """One repository on one disk, and one daemon that is stopped and started."""

    def __init__(self, folder: Path, rng: random.Random, files: int, *, moves_only: bool = False) -> None:
        self.found = Fuzzed()
        self._moves_only = moves_only
        self._folder = folder
        self._rng = rng
        self._disk = Removable(folder / "library")
        self.found.disk = self._disk.kind
        self._acts = Acts(self._disk.root, rng, files, moves_only=moves_only)
        self._files = files
        self._started = ExitStack()

    def run(self, operations: int, limit_s: float = math.inf) -> None:
        """Do so many operations, in bursts, or as many as there is time for.

        Raises:
            DaemonFailed: the daemon ended. RuntimeError: it does not come to rest.
        """
        ends_at = time.monotonic() + limit_s
        try:
            self._start()
            self._client.add_repository(NewRepository(path=str(self._disk.root), name=NAME))
            repository = self._client.repository(NAME)
            self._catalogue = Catalogue(self._conn, repository.id)
            self._relations = Relations(self._conn, self._rng)
            self._acts.fill()
            self._check("fill", time.monotonic(), RECONCILE_S)
            if self._moves_only:
                self._relations.give(self._acts.tree.digests(), self._files)
            while self.found.operations < operations and time.monotonic() < ends_at:
                before = self.found.operations
                self._burst(operations - before)
                if self.found.operations // TOLD_EVERY > before // TOLD_EVERY:
                    told = figures(self.found.quiet_s)
                    print(f"{self.found.operations} of {operations}: {told}, {dict(self.found.kinds)}", flush=True)
        finally:
            self._started.close()
            self.found.acts = self._acts.counts
            log = (self._folder / "log").read_text(errors="replace")
            self.found.overflows = log.count(OVERFLOW_LOG)
            self.found.disk = self._disk.kind
            self._disk.close()

    def _burst(self, left: int) -> None:
        lots = {"single": 25, "few": 25, "many": 50, "scan": 6, "overflow": 3, "mount": 3, "remount": 2, "restart": 1}
        if self._moves_only:
            lots = {"single": 25, "few": 25, "many": 50, "scan": 6}
        kind = self._rng.choices(list(lots), list(lots.values()))[0]
        count = min(left, {"single": 1, "few": self._rng.randint(2, 20)}.get(kind, self._rng.randint(100, 800)))
        self.found.kinds[kind] += 1
        self._acts.writes_to_linked = kind in ("scan", "mount", "restart")
        self._acts.told.append(f"-- {kind}")
        with getattr(self, f"_{kind}", contextlib.nullcontext)():
            self._act(count)
        self._acts.root = os.fsencode(self._disk.root)
        changed_at = time.monotonic()
        if kind == "scan":
            self._client.scan(NAME)
        took_s = self._check(kind, changed_at, STEP_S)
        into = {"single": self.found.singles_s, "few": self.found.bursts_s, "many": self.found.bursts_s}
        (into[kind] if kind in into else self.found.others_s.setdefault(kind, [])).append(took_s)

    def _act(self, count: int) -> None:
        self._acts.vanished = 0
        # of those that the catalogue knows: most may lie in a folder that is left out
        known = sum(map(is_met, self._acts.tree.files))
        # the last act may take a whole tree
        most = min(VANISHING * known, max(HOLD_FILES, HOLD_SHARE * known) - TREE_MAX)
        for _ in range(count):
            self._acts.act()
            self.found.operations += 1
            if self._acts.vanished > most:
                break
        self._acts.finish()

    @contextlib.contextmanager
    def _overflow(self) -> Iterator[None]:
        """Stop the daemon so that the system's queue overflows."""
        process = self._daemon.process.pid
        os.kill(process, signal.SIGSTOP)
        try:
            if self._rng.random() < 0.5:
                yield
                self._acts.touch_all(int(QUEUE.read_text()) + 100)
            else:
                self._acts.touch_all(int(QUEUE.read_text()) + 100)
                yield
        finally:
            os.kill(process, signal.SIGCONT)

    @contextlib.contextmanager
    def _mount(self) -> Iterator[None]:
        """Change it while it is away and known to be."""
        self._disk.leave()
        give_up_at = time.monotonic() + STEP_S
        while self._client.repository(NAME).status != "offline":
            if time.monotonic() > give_up_at:
                self.found.mismatches.append("mount: not offline")
                break
            time.sleep(LOOK_S)
        with self._disk.elsewhere() as place:
            self._acts.root = os.fsencode(place)
            yield
        self._disk.come_back()

    @contextlib.contextmanager
    def _remount(self) -> Iterator[None]:
        """Take it away for a moment."""
        yield
        self._disk.leave()
        if self._rng.random() < 0.5:
            time.sleep(self._rng.uniform(0, 1))
        self._disk.come_back()

    @contextlib.contextmanager
    def _restart(self) -> Iterator[None]:
        """Change it while nobody watches."""
        self._started.close()
        yield
        self._start()
        self._catalogue.conn = self._relations.conn = self._conn

    def _check(self, kind: str, since: float, limit_s: float) -> float:
        """Return after how many seconds the catalogue was the disk; write down what was not right."""
        disk = on_disk(os.fsencode(self._disk.root))
        told = self._wait(disk, limit_s, with_left_out=kind in _WHOLE)
        took_s = time.monotonic() - since
        if told:
            self._note(f"{kind}, after {took_s:.0f} s", told)
            self._reconcile(disk)
        elif self._rng.random() < RECONCILED:
            self._reconcile(disk)
        told = self._relations.differences(self._acts.lost)
        if told:
            self._note(f"{kind}, relations", told)
        self._acts.lost.clear()
        if not self._moves_only:
            self._relations.trim()
            self._relations.give(self._acts.tree.digests())
        self.found.relations = self._relations.checked
        return took_s

    def _reconcile(self, disk: dict[bytes, OnDisk]) -> None:
        """Scan once and let everything end; then nothing may differ, and nothing may have failed.

        Raises:
            RuntimeError: it does; nothing that follows would tell anything.
        """
        task = self._ask_for_scan()
        give_up_at = time.monotonic() + RECONCILE_S
        while self._client.task(task).state not in ("completed", "discarded") or self._catalogue.open_jobs()[0]:
            self._daemon.check()
            if time.monotonic() > give_up_at:
                break
            time.sleep(LOOK_S)
        left, given_up = self._catalogue.open_jobs()
        told = self._catalogue.differences(disk) + [f"given up: {job}" for job in given_up]
        if left:
            told.append(f"{left} jobs do not end")
        if told:
            self._note("one reconcile", told)
            raise RuntimeError("after one reconcile the catalogue is not the disk")

    def _ask_for_scan(self) -> UUID:
        """Ask for a scan as soon as the repository is there."""
        give_up_at = time.monotonic() + STEP_S
        while True:
            try:
                return self._client.scan(NAME).task_id
            except ApiError:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(LOOK_S)

    def _wait(self, disk: dict[bytes, OnDisk], limit_s: float, *, with_left_out: bool) -> list[str]:
        give_up_at = time.monotonic() + limit_s
        while told := self._catalogue.differences(disk, with_left_out=with_left_out):
            self._daemon.check()
            if time.monotonic() > give_up_at:
                break
            time.sleep(LOOK_S)
        return told

    def _note(self, when: str, told: list[str]) -> None:
        self.found.mismatches += [f"{when}: {line}" for line in told]
        acts = few(self._acts.told[::-1], 25)
        print(f"  {when} at operation {self.found.operations}:{few(told)}\n  before that:{acts}", flush=True)

    def _start(self) -> None:
        folder = self._folder
        (folder / "lumiliod.toml").write_text(CONFIG)
        (folder / "tmp").mkdir(exist_ok=True)
        started = running(folder / "state", config=folder / "lumiliod.toml", log=folder / "log", scratch=folder / "tmp")
        self._daemon: Daemon = self._started.enter_context(started)
        self._client = self._started.enter_context(Client(str(self._daemon.socket)))
        conninfo = embedded.find(folder / "state").conninfo
        self._conn = self._started.enter_context(psycopg.connect(conninfo, autocommit=True))


def figures(seconds: list[float]) -> dict[str, Any]:
    """Return how many there are, their median, 95th percentile and maximum."""
    if not seconds:
        return {"count": 0, "p50_s": None, "p95_s": None, "max_s": None}
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {
        "count": len(ordered),
        "p50_s": round(statistics.median(ordered), 2),
        "p95_s": round(p95, 2),
        "max_s": round(ordered[-1], 2),
    }
