"""What people say of queues: paused, how many at once, quiet hours. ``ALL`` stands for every queue."""

import datetime as dt
from dataclasses import dataclass

from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries

Q = Queries(__file__)

ALL = "*"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What was said of one queue; None where nothing was. Quiet hours are local times in ``quiet_zone``."""

    name: str
    paused_at: dt.datetime | None = None
    concurrency: int | None = None
    quiet_from: dt.time | None = None
    quiet_until: dt.time | None = None
    quiet_zone: str | None = None


def list_queues(conn: Connection) -> list[QueueRow]:
    """Return what was said, by name."""
    with conn.cursor(row_factory=class_row(QueueRow)) as cursor:
        return cursor.execute(Q["list"]).fetchall()


def pause(conn: Connection, name: str) -> None:
    """Let nothing of a queue be claimed from now on; does nothing when it is paused."""
    conn.execute(Q["pause"], {"name": name})


def resume(conn: Connection, name: str) -> bool:
    """Let a queue go on; False when it was not paused."""
    return conn.execute(Q["resume"], {"name": name}).rowcount > 0


def set_concurrency(conn: Connection, name: str, concurrency: int | None) -> None:
    """Say how many of a queue's jobs a process runs at once; None: what its configuration says."""
    conn.execute(Q["set_concurrency"], {"name": name, "concurrency": concurrency})


def set_quiet(conn: Connection, name: str, hours: tuple[dt.time, dt.time, str] | None) -> None:
    """Say between which local times of which zone nothing of a queue begins; None: never."""
    quiet_from, quiet_until, zone = hours or (None, None, None)
    params = {"name": name, "quiet_from": quiet_from, "quiet_until": quiet_until, "quiet_zone": zone}
    conn.execute(Q["set_quiet"], params)
