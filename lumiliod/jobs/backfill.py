"""Missing work is a query, not a memory: what a kind lacks is found page by page and enqueued."""

from collections.abc import Iterable
from uuid import UUID

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.kind import FIRST, Missing


async def backfill(engine: Engine, kind: str, query: Missing) -> int:
    """Enqueue what ``query`` finds undone for ``kind``; return how many jobs were added.

    A page is a transaction: killed in the middle, doing it again ends the same.
    """
    added = 0
    after: UUID | None = FIRST
    while after is not None:
        count, after = await engine.call(_page, query, after)
        added += count
    return added


def _page(conn: Connection, query: Missing, after: UUID) -> tuple[int, UUID | None]:
    jobs, following = query(conn, after)
    return len(db_jobs.enqueue(conn, jobs)), following


def queries(engine: Engine) -> Iterable[tuple[str, Missing]]:
    """Return every kind of ``engine`` that can tell what it lacks, with its query."""
    return [(kind.name, kind.missing) for kind in engine.kinds.values() if kind.missing is not None]
