"""What pictures look like in numbers, and which look alike."""

from typing import Any

from psycopg.rows import dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId
from lumiliod.domain.media import Appearance

Q = Queries(__file__)

_SIGN = 1 << 63


def put(conn: Connection, asset_id: AssetId, found: Appearance | None) -> None:
    """Record what an asset looks like; None where there is nothing to see."""
    if found is None:
        conn.execute(Q["remove"], {"asset_id": asset_id})
        return
    params: dict[str, Any] = {name: getattr(found, name) for name in Appearance.__slots__}
    # PostgreSQL has no unsigned numbers: the same 64 bits
    phash = None if found.phash is None else (found.phash ^ _SIGN) - _SIGN
    conn.execute(Q["put"], {**params, "phash": phash, "asset_id": asset_id})


def get(conn: Connection, asset_id: AssetId) -> Appearance | None:
    """Return what an asset looks like."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["get"], {"asset_id": asset_id}).fetchone()
    if row is None:
        return None
    phash = row.pop("phash")
    return Appearance(phash=None if phash is None else phash % (2 * _SIGN), **row)


def near(conn: Connection, asset_id: AssetId, distance: int, count: int) -> list[tuple[AssetId, int]]:
    """Return the owner's other assets whose hash differs from this one's in at most ``distance`` bits, nearest first.

    Each comes with the number of those bits; what is in the trash is left out.
    """
    rows = conn.execute(Q["near"], {"asset_id": asset_id, "distance": distance, "count": count})
    return [(AssetId(row[0]), row[1]) for row in rows]
