"""Tables as they are after years, and a session that lets nothing of them be cleaned away."""

import contextlib
import datetime as dt
from collections.abc import Iterator

import psycopg
from psycopg import sql

from bench.queues.own import KIND, QUEUE
from bench.queues.server import Place, tidy
from lumiliod.domain.jobs import PRIORITY_IDLE

DAYS = 10
"""Over which the history is spread, today included; fewer than are kept."""

OPEN = """
INSERT INTO jobs (id, kind, queue, state, priority, max_attempts, args, scheduled_at, tags)
SELECT uuidv7(), CASE i %% 4 WHEN 0 THEN 'other' ELSE %(kind)s::text END,
       CASE i %% 4 WHEN 1 THEN 'other' ELSE %(queue)s::text END,
       CASE i %% 4 WHEN 2 THEN 'scheduled' ELSE 'available' END,
       %(priority)s::int, 5, jsonb_build_object('asset', i),
       now() + CASE i %% 4 WHEN 2 THEN make_interval(days => 1, secs => i) ELSE make_interval() END, '{}'
FROM generate_series(1, %(count)s::int) AS i
"""
"""A quarter each: of another kind, in another queue, scheduled, and less urgent in the queue that is drained."""

PARTITION = sql.SQL("CREATE TABLE {} PARTITION OF job_history FOR VALUES FROM ({}) TO ({})")

FINISHED = """
INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, errors, created_at,
                         scheduled_at, attempted_at, finished_at, run_ms, tags)
SELECT uuidv7(make_interval(secs => -age_s)), %(kind)s::text, %(queue)s::text, 'completed', 2, 1, 5,
       jsonb_build_object('asset', i), '[]', at, at, at, at, 12.5, '{}'
FROM generate_series(1, %(count)s::int) AS i,
     LATERAL (SELECT (i::float8 / %(count)s::int) * %(span_s)s::float8 + 60 AS age_s) AS aged,
     LATERAL (SELECT now() - make_interval(secs => age_s) AS at) AS placed
"""


def fill(place: Place, open_jobs: int, finished: int) -> None:
    """Add other open jobs, and finished ones to the history of the past days."""
    with psycopg.connect(place.conninfo, autocommit=True) as conn:
        for ago in range(DAYS):
            day = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=ago)
            name, bounds = sql.Identifier(f"job_history_{day:%Y%m%d}"), (day, day + dt.timedelta(days=1))
            conn.execute(PARTITION.format(name, *(sql.Literal(f"{bound} 00:00:00+00") for bound in bounds)))
        conn.execute(OPEN, {"kind": KIND, "queue": QUEUE, "priority": PRIORITY_IDLE, "count": open_jobs})
        conn.execute(FINISHED, {"kind": KIND, "queue": QUEUE, "count": finished, "span_s": (DAYS - 1) * 86400.0})
    tidy(place)


@contextlib.contextmanager
def held_snapshot(place: Place) -> Iterator[None]:
    """Let another session see the database as it is now, so that no row that dies from now on is removed."""
    with psycopg.connect(place.conninfo) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("SELECT count(*) FROM jobs")
        yield
        conn.rollback()
