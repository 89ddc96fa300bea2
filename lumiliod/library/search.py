"""Find assets by words and filters."""

from datetime import datetime
from uuid import UUID

from lumiliod.contract.assets import Asset, SearchPage, SearchRequest
from lumiliod.db import search as db_search
from lumiliod.db.pool import Connection
from lumiliod.db.search import After
from lumiliod.domain.assets import AssetRow
from lumiliod.domain.ids import AssetId
from lumiliod.domain.query import Query, parse
from lumiliod.domain.stacks import Stack
from lumiliod.library import convert, stacks
from lumiliod.runtime import Runtime


async def search(rt: Runtime, request: SearchRequest) -> SearchPage:
    """Return one page of what matches a query, newest capture first.

    Raises:
        Shape: the query, limit or cursor is malformed.
    """
    query = parse(request.query)
    items, next_cursor = await found(rt, query, request.limit, request.cursor)
    total = await rt.db.call(db_search.count, query)
    return SearchPage(query=request.query, items=items, total=total, next_cursor=next_cursor)


async def found(rt: Runtime, query: Query, limit: int, cursor: str | None) -> tuple[list[Asset], str | None]:
    """Return one page of assets and the cursor of the next."""
    after = After(*convert.from_cursor(cursor, tuple[datetime, UUID])) if cursor else None
    rows, its_stacks = await rt.db.call(_page, query, after, convert.limited(limit) + 1)
    items = [convert.asset(row, its_stacks.get(row.id)) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return items, convert.cursor(last.taken_at, last.id) if last else None


def _page(
    conn: Connection, query: Query, after: After | None, count: int
) -> tuple[list[AssetRow], dict[AssetId, Stack]]:
    rows = db_search.page(conn, query, after=after, count=count)
    return rows, stacks.of_rows(conn, rows[: count - 1])
