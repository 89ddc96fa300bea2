"""Worker processes killed, stopped and continued at random: every job ends, every effect takes place once.

``LUMILIO_CHAOS_JOBS``, ``LUMILIO_CHAOS_SECONDS`` and ``LUMILIO_CHAOS_SEED`` say how many, how long, and which signals.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from lumiliod.db import jobs as db_jobs
from lumiliod.db import waking
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs import calls
from lumiliod.jobs.kind import JobSpec
from tests.conftest import ROOT
from tests.jobs import chaos_worker
from tests.jobs.chaos_worker import ALONE, BATCH, CLOSE, EFFECT, FENCE, FLAKY, PLAIN

JOBS = int(os.environ.get("LUMILIO_CHAOS_JOBS", "3000"))
SECONDS = float(os.environ.get("LUMILIO_CHAOS_SECONDS", "20"))
SEED = os.environ.get("LUMILIO_CHAOS_SEED", "2024")

WORKERS = 4
LEASE_S = 2.0
SAMPLE_S = 0.1
TOLERANCE_S = 2.0
"""What a busy machine may take besides the two leases."""
SHARE_S = 0.25
"""How often new jobs come."""
WAIT_S = 120.0


@dataclass(eq=False)
class Process:
    """A worker process, and since when it is dead or stopped."""

    popen: "subprocess.Popen[bytes]"
    log: Path
    gone_at: float | None = None
    back_at: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self) -> None:
        self.gone_at = time.monotonic()
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        self.gone_at = time.monotonic()
        self.popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.popen.send_signal(signal.SIGCONT)
        self.gone_at, self.back_at = None, time.monotonic()

    @property
    def said(self) -> list[str]:
        return self.log.read_text().splitlines()


class Processes:
    """All worker processes that were ever started, and a maker of more."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self._conninfo = conninfo
        self._folder = folder
        self.all: list[Process] = []

    def start(self, *queues: str) -> Process:
        log = self._folder / f"worker{len(self.all)}.log"
        command = [sys.executable, "-m", "tests.jobs.chaos_worker", self._conninfo, str(LEASE_S), *queues]
        with log.open("ab") as out:
            popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT)
        self.all.append(Process(popen, log))
        return self.all[-1]

    def end(self) -> None:
        for process in self.all:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()


@pytest.fixture
def processes(conninfo: str, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(conninfo, tmp_path)
    yield made
    made.end()


@pytest.fixture
def table(conninfo: str) -> Iterator[Connection]:
    """Return a connection whose every statement commits; the effects' table is there."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute(chaos_worker.TABLES)
        yield conn


def until(is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    pause = threading.Event()
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, "it takes too long"
        pause.wait(0.02)


def enqueue(conn: Connection, *jobs: NewJob) -> None:
    """Enqueue as a process without an engine does, and tell those that have one."""
    with conn.transaction():
        found = db_jobs.enqueue(conn, jobs)
        waking.notify(conn, calls.written(calls.Call(queues=set(found.values()))))


def effects(conn: Connection) -> dict[str, int]:
    return dict(conn.execute("SELECT key, times FROM chaos_effects").fetchall())


def one(conn: Connection, query: str, *params: object) -> object:
    row = conn.execute(query.encode(), params).fetchone()
    return None if row is None else row[0]


# the plan: which signals, decided before anything runs


@dataclass(frozen=True)
class Blow:
    """What befalls a worker: SIGKILL, or SIGSTOP and SIGCONT ``for_s`` later; a killed one is started again then."""

    at_s: float
    victim: int
    number: signal.Signals
    for_s: float


def planned(rng: random.Random, seconds: float) -> list[Blow]:
    """Choose blows for the whole time; one worker is spared at any moment."""
    blows: list[Blow] = []
    busy_until = [0.0] * WORKERS
    at_s = 1.5
    while at_s < seconds:
        free = [victim for victim in range(WORKERS) if busy_until[victim] <= at_s]
        if len(free) > 1:
            victim = rng.choice(free)
            number = rng.choice([signal.SIGKILL, signal.SIGSTOP])
            for_s = (
                rng.uniform(0.0, 0.5)
                if number == signal.SIGKILL
                else rng.choice([rng.uniform(0.1, 0.7), rng.uniform(1, 3)]) * LEASE_S
            )
            busy_until[victim] = at_s + for_s + 0.7
            blows.append(Blow(at_s, victim, number, for_s))
        at_s += rng.uniform(0.1, 0.8)
    return blows


# the work


@dataclass
class Work:
    """Jobs that come share by share, and what is to be seen once all are done."""

    rng: random.Random
    expected: set[str] = field(default_factory=set[str])
    ids: set[UUID] = field(default_factory=set[UUID])
    followers: int = 0
    shares: int = 0

    def share(self, count: int) -> list[NewJob]:
        """Make ``count`` jobs and some that come after others."""
        self.shares += 1
        name, group = f"share {self.shares}", uuid7()
        jobs: list[NewJob] = []
        members = 0
        for number in range(count - 1):
            spec: JobSpec = self.rng.choice([PLAIN, PLAIN, PLAIN, EFFECT, EFFECT, BATCH, BATCH, FLAKY])
            if spec is PLAIN:
                jobs.append(spec.new({}))
                continue
            follows = spec is not BATCH and self.rng.random() < 0.3
            member = self.rng.random() < 0.2
            key = f"{name} member {number}" if member else f"{name} job {number}"
            members += member
            priority = self.rng.randint(1, 4)
            jobs.append(
                spec.new({"key": key, "follows": follows}, priority=priority, group_id=group if member else None)
            )
            self.expected.add(key)
            if follows:
                self.expected.add(f"{key} follow")
                self.followers += 1
        jobs.append(CLOSE.new({"key": name, "count": members}, after=[group]))
        self.expected.add(name)
        self.ids |= {job.id for job in jobs}
        return jobs


# the watch


class Watch:
    """Sees that what a dead or stopped worker held is taken from it in time."""

    def __init__(self, conn: Connection) -> None:
        self.worst_s = 0.0
        self.late: list[str] = []
        self._conn = conn
        self._seen: dict[UUID, tuple[Process, float]] = {}
        self._missing: dict[UUID, float] = {}
        self._sampled_at = time.monotonic()

    def sample(self, processes: Sequence[Process]) -> None:
        now = time.monotonic()
        lag_s, self._sampled_at = now - self._sampled_at, now
        alive = {process.pid: process for process in processes if process.popen.poll() is None}
        rows = self._conn.execute("SELECT id, pid FROM workers").fetchall()
        for worker_id, pid in rows:
            if worker_id not in self._seen and pid in alive:
                self._seen[worker_id] = (alive[pid], now)
        named = {row[0] for row in rows}
        up = [
            max(first_at, process.back_at)
            for worker_id, (process, first_at) in self._seen.items()
            if worker_id in named and process.gone_at is None
        ]
        held = self._conn.execute("SELECT worker_id, count(*) FROM jobs WHERE state = 'running' GROUP BY worker_id")
        for worker_id, count in held.fetchall():
            gone_at = self._gone_at(worker_id, worker_id in named, now)
            if gone_at is None or not up:
                continue
            # nobody can take over before anybody is there
            age_s = now - max(gone_at, min(up))
            self.worst_s = max(self.worst_s, age_s)
            if age_s > 2 * LEASE_S + TOLERANCE_S + 2 * lag_s:
                self.late.append(f"{count} jobs of {worker_id} are running {age_s:.1f} s after it went")

    def _gone_at(self, worker_id: UUID, is_named: bool, now: float) -> float | None:
        process, _ = self._seen.get(worker_id, (None, 0.0))
        gone_at = None if process is None else process.gone_at
        if not is_named:
            missing = self._missing.setdefault(worker_id, now)
            return missing if gone_at is None else min(gone_at, missing)
        return gone_at


@contextmanager
def watched(processes: Processes, conn: Connection) -> Iterator[Watch]:
    watch = Watch(conn)
    yield watch
    print(f"what was held was taken over within {watch.worst_s:.1f} s")
    assert watch.late == []


def test_processes_killed_and_stopped_at_random(processes: Processes, table: Connection, conninfo: str) -> None:
    rng = random.Random(SEED)
    blows = planned(rng, SECONDS)
    work = Work(rng)
    print(f"seed {SEED}: {len(blows)} signals in {SECONDS:.0f} s, {JOBS} jobs")
    queues = ("plain", "effects")
    workers = [processes.start(*queues) for _ in range(WORKERS)]
    began = time.monotonic()
    shares = max(int(SECONDS / SHARE_S), 1)
    due: list[tuple[float, int, Callable[[], None]]] = []
    told: Counter[str] = Counter()

    def strike(blow: Blow) -> None:
        """Do it, and come back to it when its time is over."""
        process = workers[blow.victim]
        told[blow.number.name] += 1

        def restart() -> None:
            workers[blow.victim] = processes.start(*queues)

        if blow.number == signal.SIGKILL:
            process.kill()
            due.append((blow.at_s + blow.for_s, len(due), restart))
        else:
            process.stop()
            due.append((blow.at_s + blow.for_s, len(due), process.go_on))

    pause = threading.Event()
    with psycopg.connect(conninfo, autocommit=True) as watching, watched(processes, watching) as watch:
        left = list(blows)
        while left or due or work.shares < shares:
            now_s = time.monotonic() - began
            for process in workers:
                assert process.popen.poll() is None or process.gone_at is not None, process.said[-20:]
            for item in [item for item in due if item[0] <= now_s]:
                due.remove(item)
                item[2]()
            while left and left[0].at_s <= now_s:
                strike(left.pop(0))
            if work.shares < shares and work.shares * SHARE_S <= now_s:
                enqueue(table, *work.share(max(JOBS // shares, 2)))
            watch.sample(processes.all)
            pause.wait(SAMPLE_S)

        def is_done() -> bool:
            watch.sample(processes.all)
            return one(table, "SELECT count(*) FROM jobs WHERE state <> 'discarded'") == 0

        until(is_done, WAIT_S + JOBS / 50)
    for process in workers:
        process.popen.terminate()
    assert [process.popen.wait(WAIT_S) for process in workers] == [0] * WORKERS
    print(f"{dict(told)}, {sum('again' in line for process in processes.all for line in process.said)} came back")

    times = effects(table)
    assert {key: count for key, count in times.items() if count != 1} == {}
    assert times.keys() == work.expected
    assert one(table, "SELECT count(*) FROM jobs") == 0
    ended = table.execute("SELECT id, kind, state FROM job_history").fetchall()
    assert Counter(row[2] for row in ended) == {"completed": len(work.ids) + work.followers}
    ids = [row[0] for row in ended]
    assert len(ids) == len(set(ids))
    assert work.ids <= set(ids)
    assert Counter(row[1] for row in ended)["follow"] == work.followers
    for name in ("workers", "job_waits", "job_groups"):
        assert one(table, f"SELECT count(*) FROM {name}") == 0
    assert [
        line for process in processes.all for line in process.said if " error " in line or "Traceback" in line
    ] == []


def test_a_stopped_worker_is_fenced_off_and_comes_back(processes: Processes, table: Connection, tmp_path: Path) -> None:
    """Stopped in the middle of a job, which another one then does; continued, its write is refused and it works on."""
    go_on = tmp_path / "go on"
    job = FENCE.new({"key": "fenced", "go_on": str(go_on)})
    first = processes.start("fence", "alone", "plain")
    enqueue(table, job)
    until(lambda: "begun" in first.said)
    as_worker = one(table, "SELECT worker_id FROM jobs WHERE id = %s", job.id)
    assert one(table, "SELECT pid FROM workers WHERE id = %s", as_worker) == first.pid
    first.stop()
    go_on.touch()
    second = processes.start("fence", "plain")
    until(lambda: one(table, "SELECT state FROM job_history WHERE id = %s", job.id) == "completed")
    until(lambda: "written" in second.said)
    assert effects(table).get("fenced") == 1
    assert one(table, "SELECT pid FROM chaos_effects WHERE key = 'fenced'") == second.pid
    assert one(table, "SELECT count(*) FROM workers WHERE id = %s", as_worker) == 0

    first.go_on()
    until(lambda: "refused" in first.said)
    assert "written" not in first.said
    enqueue(table, ALONE.new({"key": "after all"}))
    until(lambda: "after all" in effects(table))
    assert one(table, "SELECT pid FROM chaos_effects WHERE key = 'after all'") == first.pid
    until(lambda: one(table, "SELECT id FROM workers WHERE pid = %s", first.pid) not in (None, as_worker))
    until(lambda: one(table, "SELECT count(*) FROM jobs") == 0)
    assert effects(table) == {"fenced": 1, "fenced follow": 1, "after all": 1}
    attempts = one(table, "SELECT attempt FROM job_history WHERE id = %s", job.id)
    assert attempts == 1
    for process in (first, second):
        process.popen.terminate()
        assert process.popen.wait(WAIT_S) == 0
