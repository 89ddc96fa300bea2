"""Sidecars: whose they are, asked of the records by names."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId, path_bytes, path_from_bytes
from lumiliod.domain.media import AssetType
from lumiliod.domain.sidecars import Described, owner, owners, read_first, sidecars

Q = Queries(__file__)

PLACES = 32
"""Of a file with more copies only so many are looked beside."""

Name = tuple[RepositoryId, RepoPath]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar's record, with the asset it was given."""

    id: UUID
    repository_id: RepositoryId
    path: RepoPath
    asset_id: AssetId | None


@dataclass(frozen=True, slots=True)
class Beside:
    """A sidecar of an asset: the file it lies beside, and why it is this one's, in words."""

    sidecar: Sidecar
    file: RepoPath
    why: str


def found(conn: Connection, names: Iterable[Name], asset_ids: Collection[AssetId] = ()) -> list[Sidecar]:
    """Return the sidecars that are there at these names, and those that these assets were given."""
    return [_sidecar(*row) for row in conn.execute(Q["found"], {**_names(names), "asset_ids": list(asset_ids)})]


def owned(conn: Connection, those: Collection[Sidecar]) -> dict[UUID, tuple[Described, str]]:
    """Return whose sidecars are, by what lies beside them now, and why; those that are nobody's are left out."""
    names = {(one.repository_id, path) for one in those for path in owners(one.path)}
    described: dict[RepositoryId, list[Described]] = {}
    for repository_id, path, asset_id, type_, mime_type in conn.execute(Q["described"], _names(names)):
        file = Described(path_from_bytes(path), AssetId(asset_id), AssetType(type_), mime_type)
        described.setdefault(RepositoryId(repository_id), []).append(file)
    whose = {one.id: owner(one.path, described.get(one.repository_id, ())) for one in those}
    return {id_: (told.by, told.why) for id_, told in whose.items() if told is not None}


def beside(conn: Connection, asset_ids: Collection[AssetId]) -> dict[AssetId, list[Beside]]:
    """Return the sidecars of assets, by what lies beside their files now, the file that is served first."""
    places = conn.execute(Q["places"], {"asset_ids": list(asset_ids), "places": PLACES}).fetchall()
    order: dict[tuple[AssetId, RepositoryId, RepoPath], int] = {}
    names: set[Name] = set()
    for number, (asset_id, repository_id, path) in enumerate(places):
        order[AssetId(asset_id), RepositoryId(repository_id), path_from_bytes(path)] = number
        names |= {(RepositoryId(repository_id), name) for name in sidecars(path_from_bytes(path))}
    there = found(conn, names)
    whose = owned(conn, there) if there else {}
    ranked: list[tuple[int, RepoPath, AssetId, Beside]] = []
    for one in there:
        if one.id in whose:
            file, why = whose[one.id]
            number = order.get((file.asset_id, one.repository_id, file.path), -1)
            if number >= 0:
                ranked.append((number, one.path, file.asset_id, Beside(one, file.path, why)))
    by_asset: dict[AssetId, list[Beside]] = {}
    for _, _, asset_id, told in sorted(ranked, key=lambda one: one[:2]):
        by_asset.setdefault(asset_id, []).append(told)
    return by_asset


def read(those: Sequence[Beside], repository_id: RepositoryId | None) -> Beside | None:
    """Return the one of an asset's sidecars whose content counts, in the repository that it is served from."""
    mine = [one for one in those if one.sidecar.repository_id == repository_id]
    for file in dict.fromkeys(one.file for one in mine):
        its_own = {one.sidecar.path: one for one in mine if one.file == file}
        if (first := read_first(file, list(its_own))) is not None:
            return its_own[first]
    return None


def give(conn: Connection, whose: Mapping[UUID, AssetId | None]) -> None:
    """Say which assets sidecars belong to."""
    if whose:
        conn.execute(Q["give"], {"ids": list(whose), "asset_ids": list(whose.values())})


def unmet(conn: Connection, ids: Sequence[UUID]) -> set[AssetId]:
    """Return the assets some of whose sidecars these records are, which a scan has not met and is about to mark."""
    return {AssetId(row[0]) for row in conn.execute(Q["unmet"], {"ids": list(ids)})}


def reread(conn: Connection, asset_ids: Collection[AssetId]) -> list[tuple[AssetId, RepositoryId]]:
    """Say that what assets' files say was not read; return those that have one, with its repository."""
    rows = conn.execute(Q["reread"], {"asset_ids": list(asset_ids)}).fetchall()
    return [(AssetId(asset_id), RepositoryId(repository_id)) for asset_id, repository_id in rows]


def _names(names: Iterable[Name]) -> dict[str, object]:
    ordered = sorted(names)
    return {
        "repository_ids": [repository_id for repository_id, _ in ordered],
        "paths": [path_bytes(path) for _, path in ordered],
    }


def _sidecar(id_: UUID, repository_id: UUID, path: bytes, asset_id: UUID | None) -> Sidecar:
    return Sidecar(id_, RepositoryId(repository_id), path_from_bytes(path), AssetId(asset_id) if asset_id else None)
