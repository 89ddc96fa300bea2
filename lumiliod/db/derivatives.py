"""Derivatives: what was made of an asset, how many there are, which are made anew, which have to make room."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.encoding import dumped
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import RECIPES
from lumiliod.domain.ids import AssetId, RepositoryId
from lumiliod.domain.media import AssetType

Q = Queries(__file__)

_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class KindRow:
    """The derivatives of one kind; see ``contract.derivatives.DerivativeKind``."""

    kind: str
    files: int
    size_bytes: int
    outdated: int
    evicted: int


@dataclass(frozen=True, slots=True)
class Derivative:
    """A derivative and the name of the original it was made from."""

    asset_id: AssetId
    repository_id: RepositoryId
    path: str
    recipe: str
    mime_type: str
    size_bytes: int
    created_at: datetime
    used_at: datetime
    evicted: bool
    """Whether its file had to make room, and is made again when somebody asks for it."""
    details: dict[str, Any] | None
    original_filename: str


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of one asset, no two of one kind, and in which repository it lies."""

    asset_id: AssetId
    repository_id: RepositoryId
    derivatives: Sequence[NewDerivative]


def put(conn: Connection, made: Sequence[Made]) -> dict[AssetId, list[str]]:
    """Record derivatives that lie in the store, of assets that are all different.

    Returns:
        By asset the places of those they replace, where these are others.
    """
    rows = [
        {"asset_id": one.asset_id, "repository_id": one.repository_id, **asdict(derivative)}
        for one in made
        for derivative in one.derivatives
    ]
    replaced: dict[AssetId, list[str]] = {one.asset_id: [] for one in made}
    for asset_id, path in conn.execute(Q["put"], {"made": dumped(rows)}):
        if path:
            replaced[AssetId(asset_id)].append(path)
    return replaced


def get(conn: Connection, asset_id: AssetId, kind: str) -> Derivative | None:
    """Return one derivative of an asset; not from the trash."""
    with conn.cursor(row_factory=class_row(Derivative)) as cursor:
        return cursor.execute(Q["get"], {"asset_id": asset_id, "kind": kind}).fetchone()


def by_kind(conn: Connection, recipes: Mapping[str, str]) -> dict[str, KindRow]:
    """Count derivatives; ``recipes`` says how each kind is made now."""
    params = {"kinds": list(recipes), "recipes": list(recipes.values())}
    with conn.cursor(row_factory=class_row(KindRow)) as cursor:
        return {row.kind: row for row in cursor.execute(Q["by_kind"], params)}


def jobs(conn: Connection, kinds: Sequence[str]) -> dict[tuple[str, bool], int]:
    """Count jobs by kind and whether they are open; the others have failed for good."""
    return {(kind, is_open): count for kind, is_open, count in conn.execute(Q["jobs"], {"kinds": list(kinds)})}


def outdate(conn: Connection, kinds: Sequence[str], repository_id: RepositoryId | None) -> None:
    """Have all derivatives of these kinds, of one repository or of all, made anew as missing work is."""
    conn.execute(Q["outdate"], {"kinds": list(kinds), "repository_id": repository_id})


def rebuildable(conn: Connection, ids: Sequence[UUID]) -> list[tuple[AssetId, RepositoryId, AssetType]]:
    """Return those of these assets that have an original to make derivatives of."""
    rows: list[tuple[Any, ...]] = conn.execute(Q["rebuildable"], {"ids": list(ids)}).fetchall()
    return [(AssetId(row[0]), RepositoryId(row[1]), AssetType(row[2])) for row in rows]


def having(conn: Connection, kind: str, ids: Sequence[UUID]) -> set[AssetId]:
    """Return those of these assets that have a derivative of a kind."""
    return {AssetId(row[0]) for row in conn.execute(Q["having"], {"kind": kind, "ids": list(ids)})}


def gone(conn: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these assets that there are none of any more, in the trash or not."""
    return {row[0] for row in conn.execute(Q["gone"], {"ids": list(ids)})}


def touch(conn: Connection, asset_id: AssetId, kind: str) -> None:
    """Note that somebody uses a derivative."""
    conn.execute(Q["touch"], {"asset_id": asset_id, "kind": kind})


def outdated(
    conn: Connection, kind: str, job: str, after: UUID = _FIRST, count: int = 2**31 - 1
) -> list[tuple[AssetId, RepositoryId]]:
    """Return assets beyond ``after`` whose derivative another recipe made and that no ``job`` makes anew, by id."""
    params = {"kind": kind, "recipe": RECIPES[kind], "job": job, "after": after, "count": count}
    return [(AssetId(row[0]), RepositoryId(row[1])) for row in conn.execute(Q["outdated"], params)]


def evict(conn: Connection, kind: str, repository_id: RepositoryId, budget_bytes: int) -> list[tuple[str, int]]:
    """Give up derivatives of a kind that were used longest ago and are too much for a repository's budget.

    Returns the places, relative to ``.lumilio``, and sizes of files that are to be removed now.
    """
    params = {"kind": kind, "repository_id": repository_id, "budget_bytes": budget_bytes}
    return [(path, size_bytes) for path, size_bytes in conn.execute(Q["evict"], params)]
