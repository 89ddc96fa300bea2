"""People."""

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import UserId, uuid7

Q = Queries(__file__)

ADMIN = "admin"


def ensure_admin(conn: Connection) -> UserId:
    """Return the id of the first administrator, who exists from the first start on."""
    conn.execute(Q["ensure"], {"id": uuid7(), "name": ADMIN})
    row = conn.execute(Q["by_name"], {"name": ADMIN}).fetchone()
    if row is None:
        raise LookupError("the administrator vanished")
    return UserId(row[0])
