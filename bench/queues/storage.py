"""How the job table had better be stored: autovacuum and fillfactor with a million open jobs.

    python -m bench.queues.storage [--open N] [--seconds S] [--per-second N]

Jobs come and are done at a steady rate beside a million that wait, long enough for autovacuum to come by. What
differs between variants is the cost of a job, the dead rows left, and how large table and indexes become.
"""

import argparse
import json
import shutil
import statistics
import sys
from functools import partial
from pathlib import Path

import psycopg
import trio

from bench.measuring.process_tree import cpu_s
from bench.queues import backlog
from bench.queues.server import Place, running, tidy
from lumiliod.db import embedded, migrate
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Database
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from scripts.daemon_process import temporary_folder

SPEC = JobSpec("steady", "steady")

NAPTIME = "1min"
"""How often autovacuum comes by: PostgreSQL's own, for the daemon's is longer than a variant takes."""

VARIANTS: dict[str, str] = {
    "as migrated": "SELECT 1",
    "PostgreSQL's own": "ALTER TABLE jobs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)",
    "threshold 1000": "ALTER TABLE jobs SET (autovacuum_vacuum_threshold = 1000)",
    "threshold 50000": "ALTER TABLE jobs SET (autovacuum_vacuum_threshold = 50000)",
    "no cost delay": "ALTER TABLE jobs SET (autovacuum_vacuum_cost_delay = 0)",
    "no vacuum": "ALTER TABLE jobs SET (autovacuum_enabled = false)",
    "fillfactor 70": "ALTER TABLE jobs SET (fillfactor = 70)",
}

SIZES = """
SELECT n_dead_tup, autovacuum_count, pg_relation_size('jobs') / 1048576.0,
       (SELECT sum(pg_relation_size(indexrelid)) / 1048576.0 FROM pg_index WHERE indrelid = 'jobs'::regclass)
FROM pg_stat_user_tables WHERE relname = 'jobs'
"""


async def nothing(_: Running) -> None:
    """Do nothing."""


async def steady(place: Place, seconds: int, per_second: int) -> list[float]:
    """Enqueue and do ``per_second`` jobs in each of ``seconds``; return how long each lot took, milliseconds."""
    took_ms: list[float] = []
    database = Database(place.conninfo)
    engine = Engine(database, [Kind(SPEC.kind, SPEC.queue, each(nothing))])
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(service.serve, engine, {SPEC.queue: 10}, stop=stop, grace_s=5.0))
        for number in range(1, seconds + 1):
            began_s = trio.current_time()
            await engine.call(db_jobs.enqueue_many, SPEC.many([{"n": n} for n in range(per_second)]))
            while engine.totals[SPEC.kind].completed < number * per_second:
                await trio.sleep(0.005)
            took_ms.append((trio.current_time() - began_s) * 1000)
            await trio.sleep_until(began_s + 1)
        stop.set()
    await database.close()
    return took_ms


def main() -> None:
    """Measure every variant and print a table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seconds", type=int, default=150, metavar="S")
    parser.add_argument("--per-second", type=int, default=2000, metavar="N")
    given = parser.parse_args()
    root = temporary_folder("storage")
    found: dict[str, dict[str, float]] = {}
    embedded.SETTINGS["autovacuum_naptime"] = NAPTIME
    try:
        with running(root) as server:
            place = server.create("full")
            with psycopg.connect(place.conninfo, autocommit=True) as conn:
                migrate.migrate(conn, migrate.load(migrate.folder()))
            backlog.fill(place, given.open, 0)
            for name, change in VARIANTS.items():
                with server.copy("full") as place:
                    found[name] = measure(place, change, given.seconds, given.per_second)
                    print(f"{name:18}", "  ".join(f"{k} {v:.1f}" for k, v in found[name].items()), flush=True)
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
    finally:
        shutil.rmtree(Path(root), ignore_errors=True)
    print(json.dumps({"bench": "storage", **vars(given), "variants": found}))


def measure(place: Place, change: str, seconds: int, per_second: int) -> dict[str, float]:
    """Run one variant; return its figures."""
    with psycopg.connect(place.conninfo, autocommit=True) as conn:
        conn.execute(change.encode())
    tidy(place)
    before_s = cpu_s(place.postmaster)
    took_ms = trio.run(steady, place, seconds, per_second)
    spent_s = cpu_s(place.postmaster) - before_s
    with psycopg.connect(place.conninfo) as conn:
        row = conn.execute(SIZES).fetchone()
    assert row is not None
    return {
        "postgres_us_per_job": spent_s / (seconds * per_second) * 1e6,
        "lot_ms": statistics.median(took_ms),
        "lot_p95_ms": sorted(took_ms)[int(len(took_ms) * 0.95)],
        "dead": float(row[0]),
        "vacuums": float(row[1]),
        "table_mb": float(row[2]),
        "indexes_mb": float(row[3]),
    }


if __name__ == "__main__":
    main()
