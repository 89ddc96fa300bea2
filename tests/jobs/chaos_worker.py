"""A worker process for the tests to stop and kill: ``python -m tests.jobs.chaos_worker CONNINFO LEASE_S QUEUE…``.

It comes back by itself when its lease is lost; anything else that ends its service ends it with status 1.
SIGTERM ends it in order.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from lumiliod.daemon import logs
from lumiliod.db import jobs as db_jobs
from lumiliod.db import workers
from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection, Database
from lumiliod.db.waking import CHANNEL
from lumiliod.domain.errors import Retryable
from lumiliod.domain.jobs import Retries
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Fenced, Running
from lumiliod.jobs.kind import JobSpec, Kind, each

PLAIN = JobSpec("plain", "plain")
EFFECT = JobSpec("effect", "effects")
FLAKY = JobSpec("flaky", "effects")
BATCH = JobSpec("batch", "effects")
FOLLOW = JobSpec("follow", "plain")
CLOSE = JobSpec("close", "effects")
FENCE = JobSpec("fence", "fence")
ALONE = JobSpec("alone", "alone")

TABLES = "CREATE TABLE chaos_effects (key text PRIMARY KEY, times integer NOT NULL DEFAULT 1, pid integer NOT NULL)"

POLL_S = 0.02


def note(key: str, conn: Connection) -> dict[str, Any]:
    """Take effect; once more, and the counter tells."""
    conn.execute(
        "INSERT INTO chaos_effects (key, pid) VALUES (%s, %s)"
        " ON CONFLICT (key) DO UPDATE SET times = chaos_effects.times + 1",
        (key, os.getpid()),
    )
    return {"key": key}


def note_and_follow(key: str, conn: Connection) -> dict[str, Any]:
    db_jobs.enqueue(conn, [FOLLOW.new({"key": f"{key} follow"})])
    return note(key, conn)


def note_closed(key: str, count: int, conn: Connection) -> dict[str, Any]:
    """Take effect after all of a group did."""
    query = "SELECT count(*) FROM chaos_effects WHERE key LIKE %s AND key NOT LIKE '%% follow'"
    row = conn.execute(query, (f"{key} member %",)).fetchone()
    if row != (count,):
        raise AssertionError(f"{key} is closed before all of its {count} members have ended: {row}")
    return note(key, conn)


async def work(running: Running) -> None:
    """Take a while, so that there is always something for a signal to interrupt."""
    await trio.sleep(running.job.id.int % 150 / 1000)


async def effect(running: Running) -> None:
    await work(running)
    follows = note_and_follow if running.args.get("follows") else note
    await running.complete(partial(follows, running.args["key"]))


async def flaky(running: Running) -> None:
    if running.job.attempt == 1:
        raise Retryable("not the first time", code="flaky")
    await effect(running)


async def close(running: Running) -> None:
    await running.complete(partial(note_closed, running.args["key"], running.args["count"]))


async def fence(running: Running) -> None:
    """Wait for a file, then write whatever happened meanwhile, also to one whose lease was found lost first."""
    print("begun", flush=True)
    with trio.CancelScope(shield=True):
        while not await trio.Path(running.args["go_on"]).exists():
            await trio.sleep(POLL_S)
        try:
            await running.complete(partial(note_and_follow, running.args["key"]))
        except Fenced:
            print("refused", flush=True)
            raise
    print("written", flush=True)


def kinds(engine: Engine) -> list[Kind]:
    async def batch(jobs: Sequence[Running]) -> None:
        await work(jobs[0])
        await engine.finish_all([(job, partial(note, job.args["key"])) for job in jobs])

    return [
        Kind("plain", "plain", each(work)),
        Kind("effect", "effects", each(effect)),
        Kind("flaky", "effects", each(flaky), retries=Retries(base_s=0.1, max_s=0.5)),
        Kind("batch", "effects", batch, batch=8),
        Kind("follow", "plain", each(effect)),
        Kind("close", "effects", each(close)),
        Kind("fence", "fence", each(fence)),
        Kind("alone", "alone", each(effect)),
    ]


async def main(conninfo: str, lease_s: float, queues: Sequence[str]) -> None:
    # random deaths prove nothing against the job that ran
    workers.DEATHS_MAX = 10_000  # type: ignore[attr-defined]  # where it is read
    database = Database(conninfo, pool_size=6, statement_timeout_s=20)
    engine = Engine(database, [], lease_s=lease_s)
    engine.kinds.update({kind.name: kind for kind in kinds(engine)})
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signal, stop)
        await nursery.start(listen, database, [CHANNEL], lambda _channel, payload: engine.heard(payload))
        while not stop.is_set():
            try:
                await service.serve(engine, dict.fromkeys(queues, 3), stop=stop, grace_s=5)
            except ExceptionGroup as group:
                lost, rest = group.split(Retryable)
                if rest is not None:
                    raise
                print("again:", lost, flush=True)
        nursery.cancel_scope.cancel()
    await database.close()


async def stop_on_signal(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


if __name__ == "__main__":
    logs.configure("warning", "text")
    trio.run(main, sys.argv[1], float(sys.argv[2]), sys.argv[3:])
