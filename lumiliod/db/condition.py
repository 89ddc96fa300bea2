"""How the database is, as somebody who looks after it asks."""

import datetime as dt
from dataclasses import dataclass

from psycopg.rows import class_row

from lumiliod.db import migrate
from lumiliod.db.pool import Connection, Database
from lumiliod.db.sql import Queries

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class Condition:
    """The server's version, the size of our database in bytes, and what its clock says."""

    server_version: str
    size_bytes: int
    at: dt.datetime


def condition(conn: Connection) -> Condition:
    """Return how the database is."""
    with conn.cursor(row_factory=class_row(Condition)) as cursor:
        found = cursor.execute(Q["condition"]).fetchone()
    assert found is not None
    return found


def check_migrated(database: Database) -> None:
    """Make sure that the server is one that we can use, and that no migration is missing. Blocks.

    Raises:
        ConfigError: the server is too old or lacks something, or its migrations are not ours.
        Unavailable: it is away, or migrations are missing (``not_migrated``).
    """
    conn = database.connect(autocommit=True)
    try:
        migrate.check(conn, migrate.load(migrate.folder()))
    finally:
        conn.close()
