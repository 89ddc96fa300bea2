"""The database goes away for a while in the middle of work: work pauses and goes on, and takes effect once.

``LUMILIO_OUTAGE_SECONDS`` says for how long. Two engines share the table, each kept running as the daemon does.
"""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.daemon.supervise import keep_running
from lumiliod.db import embedded, migrate
from lumiliod.db import jobs as db_jobs
from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection, Database
from lumiliod.db.waking import CHANNEL
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine
from lumiliod.runtime import HealthBoard
from tests.jobs import chaos_worker
from tests.jobs.chaos_worker import BATCH, EFFECT, FLAKY, PLAIN
from tests.jobs.conftest import until

OUTAGE_S = float(os.environ.get("LUMILIO_OUTAGE_SECONDS", "5"))
LEASE_S = 2.0
JOBS = 400
RESUME_S = 30.0
"""How long it may take until work goes on; a server that was killed recovers first."""


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    """Return a server of our own, not running."""
    folder = Path(tempfile.mkdtemp(prefix="lum-"))
    yield embedded.prepare(folder / "pg")
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def up(server: embedded.Server) -> AsyncIterator[None]:
    """Let the server run within the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        yield
        nursery.cancel_scope.cancel()


def conninfo(server: embedded.Server, name: str) -> str:
    return f"host={server.sockets} dbname={name} user=lumilio"


def make_database(server: embedded.Server, name: str) -> None:
    with psycopg.connect(server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    with psycopg.connect(conninfo(server, name), autocommit=True) as conn:
        migrate.migrate(conn, migrate.load(migrate.folder()))
        conn.execute(chaos_worker.TABLES)


def family(server: embedded.Server) -> list[int]:
    """Return the process ids of the server: the parent first, then those that it started."""
    parent = embedded.running_pid(server)
    assert parent is not None
    found = [parent]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def work() -> list[NewJob]:
    """Make jobs of every sort that a test can tell by their effects."""
    jobs: list[NewJob] = []
    for number in range(JOBS):
        spec = (PLAIN, EFFECT, BATCH, EFFECT, FLAKY)[number % 5]
        jobs.append(spec.new({"key": f"job {number}", "follows": number % 3 == 0}))
    return jobs


def expected(jobs: list[NewJob]) -> set[str]:
    keys = {str(job.args["key"]) for job in jobs if job.kind != PLAIN.kind}
    follows = {job.args["key"] for job in jobs if job.kind in (EFFECT.kind, FLAKY.kind) and job.args["follows"]}
    return keys | {f"{key} follow" for key in follows}


def ended(conn: Connection) -> int:
    row = conn.execute("SELECT count(*) FROM job_history").fetchone()
    assert row is not None
    return int(row[0])


async def until_ended(database: Database, count: int, timeout_s: float) -> None:
    with trio.fail_after(timeout_s):
        while await database.call(ended) < count:
            await trio.sleep(0.05)


def heard(engine: Engine, _channel: str, payload: str) -> None:
    engine.heard(payload)


class Services:
    """Two engines on one table, kept running, and how they are."""

    def __init__(self, conninfo: str) -> None:
        self.health = HealthBoard()
        self.databases = [Database(conninfo, pool_size=6, statement_timeout_s=20) for _ in range(2)]
        self.stop = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as lanes:
                for number, database in enumerate(self.databases):
                    engine = Engine(database, [], lease_s=LEASE_S)
                    engine.kinds.update({kind.name: kind for kind in chaos_worker.kinds(engine)})
                    queues = {"plain": 3, "effects": 3}
                    serve = partial(service.serve, engine, queues, stop=self.stop, grace_s=5)
                    await lanes.start(partial(keep_running, self.health, f"jobs {number}", serve))
                    hear = partial(listen, database, [CHANNEL], partial(heard, engine))
                    await nursery.start(partial(keep_running, self.health, f"listen {number}", hear))
                task_status.started()
            nursery.cancel_scope.cancel()
        for database in self.databases:
            await database.close()

    @property
    def states(self) -> set[str]:
        return {one.state for one in self.health.snapshot().services}


async def check(database: Database, jobs: list[NewJob]) -> Counter[int]:
    """Check that every job has ended and every effect was there once; return how many attempts those took."""

    def look(conn: Connection) -> tuple[dict[str, int], list[tuple[str, str, int]], int]:
        effects: dict[str, int] = dict(conn.execute("SELECT key, times FROM chaos_effects").fetchall())
        history = conn.execute("SELECT kind, state, attempt FROM job_history").fetchall()
        left = conn.execute("SELECT count(*) FROM jobs").fetchone()
        assert left is not None
        return effects, history, left[0]

    effects, history, left = await database.call(look)
    assert {key: times for key, times in effects.items() if times != 1} == {}
    assert effects.keys() == expected(jobs)
    assert left == 0
    follows = sum(key.endswith("follow") for key in effects)
    assert Counter(state for _, state, _ in history) == {"completed": len(jobs) + follows}
    return Counter(attempt for kind, _, attempt in history if kind != FLAKY.kind)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
async def test_the_server_is_down_for_a_while(
    server: embedded.Server, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(db_jobs, "PUT_OFF_FIRST_S", 0.5)
    name = f"down_{number.name.lower()}"
    jobs = work()
    async with trio.open_nursery() as nursery:
        async with up(server):
            await trio.to_thread.run_sync(make_database, server, name)
            services = Services(conninfo(server, name))
            looking = Database(conninfo(server, name), pool_size=1)
            await nursery.start(services.run)
            await looking.call(db_jobs.enqueue, jobs)
            await until_ended(looking, JOBS // 10, RESUME_S)
            pid = embedded.running_pid(server)
            assert pid is not None
            os.kill(pid, number)
        assert embedded.running_pid(server) is None
        await trio.sleep(OUTAGE_S)
        async with up(server):
            before = await looking.call(ended)
            assert before < JOBS
            await until_ended(looking, before + 1, RESUME_S)
            await until_ended(looking, len(jobs) + len([key for key in expected(jobs) if "follow" in key]), 60)
            await until(lambda: services.states == {"ready"})
            services.stop.set()
            attempts = await check(looking, jobs)
            await looking.close()
    # it said nothing of the work: no attempt was spent
    assert attempts.keys() == {1}


async def test_the_server_stands_still_for_a_while(server: embedded.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process of it is stopped, in the middle of whatever it does, and continued."""
    monkeypatch.setattr(db_jobs, "PUT_OFF_FIRST_S", 0.5)
    jobs = work()
    async with up(server), trio.open_nursery() as nursery:
        await trio.to_thread.run_sync(make_database, server, "frozen")
        services = Services(conninfo(server, "frozen"))
        looking = Database(conninfo(server, "frozen"), pool_size=1)
        await nursery.start(services.run)
        await looking.call(db_jobs.enqueue, jobs)
        await until_ended(looking, JOBS // 10, RESUME_S)
        stopped = family(server)
        try:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            await trio.sleep(OUTAGE_S)
        finally:
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        before = await looking.call(ended)
        assert before < JOBS
        await until_ended(looking, before + 1, RESUME_S)
        await until_ended(looking, len(jobs) + len([key for key in expected(jobs) if "follow" in key]), 60)
        await until(lambda: services.states == {"ready"})
        services.stop.set()
        await check(looking, jobs)
        await looking.close()
