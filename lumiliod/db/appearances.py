"""What pictures look like in numbers, and which look alike."""

from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId
from lumiliod.domain.media import Appearance

Q = Queries(__file__)

_SIGN = 1 << 63


def put(conn: Connection, found: Mapping[AssetId, Appearance | None]) -> None:
    """Record what assets look like; None where there is nothing to see."""
    unseen = [asset_id for asset_id, appearance in found.items() if appearance is None]
    if unseen:
        conn.execute(Q["remove"], {"asset_ids": unseen})
    seen = {asset_id: appearance for asset_id, appearance in found.items() if appearance is not None}
    if seen:
        columns: dict[str, Any] = {
            name: [getattr(appearance, name) for appearance in seen.values()] for name in Appearance.__slots__
        }
        # PostgreSQL has no unsigned numbers: the same 64 bits
        columns["phash"] = [None if phash is None else (phash ^ _SIGN) - _SIGN for phash in columns["phash"]]
        conn.execute(Q["put"], {**columns, "asset_id": list(seen)})


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
