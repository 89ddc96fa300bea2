"""The history of finished jobs, partitioned by day: dropping a day costs nothing."""

import datetime as dt

from psycopg import sql

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries

Q = Queries(__file__)


def today(conn: Connection) -> dt.date:
    """Return the day by the database's clock, which is the one that rows are dated by; UTC."""
    row = conn.execute(Q["today"]).fetchone()
    assert row is not None
    day: dt.date = row[0]
    return day


def make_partitions(conn: Connection, today: dt.date, *, ahead_days: int = 3) -> list[str]:
    """Make the history's partitions for the coming days; return their names."""
    conn.execute(Q["lock_partitions"])
    existing = {row[0] for row in conn.execute(Q["partitions"])}
    made = []
    for offset in range(ahead_days + 1):
        day = today + dt.timedelta(days=offset)
        name = f"job_history_{day:%Y%m%d}"
        bounds = (_midnight(day), _midnight(day + dt.timedelta(days=1)))
        if (
            name in existing
            or conn.execute(Q["partition_occupied"], {"since": bounds[0], "until": bounds[1]}).fetchone()
        ):
            continue
        statement = sql.SQL("CREATE TABLE {} PARTITION OF job_history FOR VALUES FROM ({}) TO ({})")
        conn.execute(statement.format(sql.Identifier(name), *map(sql.Literal, bounds)))
        made.append(name)
    return made


def drop_partitions(conn: Connection, today: dt.date, *, keep_days: int = 14) -> list[str]:
    """Drop the history that is older than ``keep_days``; return the names of dropped partitions.

    A transaction of its own: it waits for readers, and what must be made must not wait with it.
    """
    conn.execute(Q["wait_shortly"])
    conn.execute(Q["lock_partitions"])
    oldest = today - dt.timedelta(days=keep_days)
    existing = sorted(row[0] for row in conn.execute(Q["partitions"]))
    past = [name for name in existing if name < f"job_history_{oldest:%Y%m%d}"]
    if past and not any(f"job_history_{oldest:%Y%m%d}" <= name < f"job_history_{today:%Y%m%d}" for name in existing):
        # no day just before this one: a clock that jumped ahead, or a machine that was off; tomorrow will tell
        return []
    conn.execute(Q["forget_other"], {"before": _midnight(oldest)})
    for name in past:
        conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return past


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
