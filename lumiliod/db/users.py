"""People."""

from dataclasses import dataclass

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import UserId, uuid7

Q = Queries(__file__)

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """How many bytes a person may keep, None without a limit, and keeps.

    What is in the trash counts, and so does what has arrived and is not an asset yet.
    """

    limit_bytes: int | None
    used_bytes: int


def ensure_admin(conn: Connection) -> UserId:
    """Return the id of the first administrator, who exists from the first start on."""
    conn.execute(Q["ensure"], {"id": uuid7(), "name": ADMIN})
    row = conn.execute(Q["by_name"], {"name": ADMIN}).fetchone()
    if row is None:
        raise LookupError("the administrator vanished")
    return UserId(row[0])


def by_name(conn: Connection, name: str) -> UserId | None:
    """Return the id of the person called ``name``."""
    row = conn.execute(Q["by_name"], {"name": name}).fetchone()
    return UserId(row[0]) if row else None


def names(conn: Connection) -> dict[UserId, str]:
    """Return what everybody is called."""
    return {UserId(row[0]): row[1] for row in conn.execute(Q["names"])}


def quota(conn: Connection, user_id: UserId) -> QuotaRow | None:
    """Return what a person may keep and keeps; what is kept is only counted where there is a limit."""
    row = conn.execute(Q["quota"], {"id": user_id}).fetchone()
    if row is None:
        return None
    return QuotaRow(row[0], 0 if row[0] is None else used_bytes(conn, user_id))


def hold_quota(conn: Connection, user_id: UserId) -> bool:
    """Tell whether a person has a limit; whoever else holds it waits until this transaction ends."""
    return conn.execute(Q["hold_quota"], {"id": user_id}).fetchone() is not None


def used_bytes(conn: Connection, user_id: UserId) -> int:
    """Return how many bytes a person keeps, as :class:`QuotaRow` counts."""
    row = conn.execute(Q["used"], {"id": str(user_id)}).fetchone()
    return int(row[0]) if row else 0


def set_quota(conn: Connection, name: str, limit_bytes: int | None) -> None:
    """Say how many bytes a person may keep."""
    conn.execute(Q["set_quota"], {"name": name, "limit_bytes": limit_bytes})
