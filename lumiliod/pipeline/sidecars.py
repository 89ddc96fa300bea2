"""Keep in step whose a sidecar is, and have read anew what is said of an asset when its sidecars are others.

Always by the whole rule (``domain/sidecars``) and all names beside: what came first makes no difference.
"""

from collections.abc import Collection, Sequence

from lumiliod.db import jobs as db_jobs
from lumiliod.db import sidecars as db_sidecars
from lumiliod.db.pool import Connection
from lumiliod.db.sidecars import Sidecar
from lumiliod.domain.assets import FileRecord
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId
from lumiliod.domain.jobs import OnConflict
from lumiliod.domain.sidecars import is_sidecar, sidecars
from lumiliod.pipeline import kinds


def beside(conn: Connection, places: Sequence[tuple[RepositoryId, RepoPath, AssetId | None]]) -> None:
    """Look at the sidecars beside files of assets, and at those these assets had elsewhere."""
    names = {(one, name) for one, path, _ in places for name in sidecars(path)}
    _assign(conn, db_sidecars.found(conn, names, {asset_id for _, _, asset_id in places if asset_id is not None}))


def kept(conn: Connection, record: FileRecord) -> None:
    """Give a sidecar that is new or changed to its asset; ``record`` is as it was before."""
    found = db_sidecars.found(conn, [(record.repository_id, record.path)])
    _assign(conn, found, changed=[one.id for one in found], former=record.asset_id)


def left(conn: Connection, record: FileRecord) -> None:
    """Do what follows for the asset whose sidecar a file was that is gone, or is something else now."""
    if record.asset_id is not None and _is_read(record.path):
        reread(conn, {record.asset_id})


def removed(conn: Connection, asset_ids: Collection[AssetId]) -> None:
    """Give the sidecars of assets that went into the trash to others of their names, where there are any."""
    _assign(conn, db_sidecars.found(conn, (), asset_ids), keep_unowned=True)


def back(conn: Connection, asset_id: AssetId) -> None:
    """Give its sidecars to an asset that is back from the trash."""
    _assign(conn, [one.sidecar for one in db_sidecars.beside(conn, [asset_id]).get(asset_id, ())])


def _assign(
    conn: Connection,
    found: Sequence[Sidecar],
    *,
    changed: Collection[object] = (),
    former: AssetId | None = None,
    keep_unowned: bool = False,
) -> None:
    if not found:
        return
    whose = db_sidecars.owned(conn, found)
    given: dict[Sidecar, AssetId | None] = {}
    doubted = {former}
    for one in found:
        by = whose[one.id][0].asset_id if one.id in whose else None
        if by is None and keep_unowned:
            continue
        if by != one.asset_id:
            given[one] = by
        if _is_read(one.path) and (by != one.asset_id or one.id in changed):
            doubted |= {by, one.asset_id}
    db_sidecars.give(conn, {one.id: by for one, by in given.items()})
    reread(conn, {asset_id for asset_id in doubted if asset_id is not None})


def reread(conn: Connection, asset_ids: Collection[AssetId]) -> None:
    """Have read anew what is said of assets."""
    if asset_ids:
        jobs = [kinds.about(kinds.METADATA, *one) for one in db_sidecars.reread(conn, asset_ids)]
        # one that runs may have read what was there before
        db_jobs.enqueue(conn, [job._replace(on_conflict=OnConflict.RESCHEDULE) for job in jobs])


def _is_read(path: RepoPath) -> bool:
    return is_sidecar(path) and path.lower().endswith(".xmp")
