"""Search: one statement composed of the fragments that a parsed query needs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import AssetRow
from lumiliod.domain.ids import RepoPath, path_bytes
from lumiliod.domain.query import Filter, Near, Query, Rating

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class After:
    """Where the last page ended."""

    taken_at: datetime
    id: UUID


def page(conn: Connection, query: Query, *, after: After | None, count: int) -> list[AssetRow]:
    """Return matching assets, newest capture first."""
    where, params = _where(query)
    if after is not None:
        where.append(Q["after_cursor"])
        params |= {"cursor_taken_at": after.taken_at, "cursor_id": after.id}
    params["count"] = count
    return assets.select(conn, _clause(where) + "\n" + Q["newest_first"], params)


def count(conn: Connection, query: Query) -> int:
    """Count matching assets."""
    where, params = _where(query)
    row = conn.execute(Q["count"] + "\n" + _clause(where), params).fetchone()
    return int(row[0]) if row else 0


def _where(query: Query) -> tuple[list[LiteralString], dict[str, Any]]:
    where: list[LiteralString] = [Q["present"]]
    params: dict[str, Any] = {}
    if query.words:
        where.append(Q["words"])
        params["words"] = " & ".join(f"'{word}':*" for word in query.words)
    for number, condition in enumerate(query.filters):
        values = _values(condition)
        fragment = Q[condition.field]
        for name in values:
            fragment = fragment.replace(f"%({name})s", f"%({name}_{_NUMBERS[number]})s")
        where.append(fragment)
        params |= {f"{name}_{_NUMBERS[number]}": value for name, value in values.items()}
    return where, params


def _values(condition: Filter) -> dict[LiteralString, Any]:
    match condition.value:
        case Near(latitude, longitude, radius_km):
            return {"latitude": latitude, "longitude": longitude, "radius_km": radius_km}
        case Rating(comparison, stars):
            return {"comparison": comparison, "value": stars}
        case str() as text if condition.field == "in":
            repository, _, folder = text.strip("/").partition("/")
            return {"repository": repository, "folder": path_bytes(RepoPath(f"{folder}/")) if folder else b""}
        case value:
            return {"value": value}


def _clause(where: list[LiteralString]) -> LiteralString:
    return "WHERE " + " AND ".join("(" + fragment + ")" for fragment in where)


_NUMBERS: tuple[LiteralString, ...] = (
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
)  # fmt: skip
"""Parameter suffixes; a query has at most this many filters (``domain.query.MAX_FILTERS``)."""
