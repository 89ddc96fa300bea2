"""What of the trash is due: how long it has been there, what is to be purged, and what waits for its repository."""

from collections.abc import Sequence
from uuid import UUID

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId, RepositoryId

Q = Queries(__file__)


def mark_due(conn: Connection, *, ids: Sequence[AssetId] | None = None, older_s: float | None = None) -> list[AssetId]:
    """Have assets at rest purged that have something to purge; return them. Without a condition: all of them.

    What a repository that is away has something of is left alone.
    ``older_s`` goes by the time they were removed at, which is a person's to judge: the clock may have been wrong.
    """
    return _marked(conn, ids=ids, older_s=older_s)


def mark_aged(conn: Connection, aged_s: float) -> list[AssetId]:
    """Count how long everything has been in the trash, and have purged what was seen there for ``aged_s`` seconds.

    No time counts for what a repository that is away has something of.
    """
    conn.execute(Q["age"])
    return _marked(conn, aged_s=aged_s)


def _marked(
    conn: Connection, *, ids: Sequence[AssetId] | None = None, older_s: float | None = None, aged_s: float | None = None
) -> list[AssetId]:
    params = {"ids": None if ids is None else list(ids), "older_s": older_s, "aged_s": aged_s}
    return [AssetId(row[0]) for row in conn.execute(Q["mark_due"], params)]


def count_due(conn: Connection, *, ids: Sequence[AssetId] | None = None, older_s: float | None = None) -> int:
    """Count what :func:`mark_due` would mark."""
    row = conn.execute(Q["count_due"], {"ids": None if ids is None else list(ids), "older_s": older_s}).fetchone()
    return int(row[0]) if row else 0


def why_not_due(conn: Connection, ids: Sequence[AssetId], older_s: float | None) -> dict[AssetId, str]:
    """Return why :func:`mark_due` did not mark those of ``ids`` that are at rest.

    ``in_user_area``, ``not_old_enough`` or ``away``.
    """
    return {AssetId(row[0]): row[1] for row in conn.execute(Q["why_not_due"], {"ids": list(ids), "older_s": older_s})}


def purging(conn: Connection, after: UUID, count: int) -> list[AssetId]:
    """Return assets that are to be purged and whose repositories are there, beyond ``after``, by id."""
    return [AssetId(row[0]) for row in conn.execute(Q["purging"], {"after": after, "count": count})]


def count_away(conn: Connection) -> int:
    """Count the assets that are to be purged and wait for a repository that is away."""
    row = conn.execute(Q["count_away"]).fetchone()
    return int(row[0]) if row else 0


def purging_in(conn: Connection, repository_id: RepositoryId) -> bool:
    """Tell whether a repository has something of an asset that is to be purged."""
    row = conn.execute(Q["purging_in"], {"repository_id": repository_id}).fetchone()
    return bool(row and row[0])
