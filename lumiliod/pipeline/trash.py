"""Into the trash and out of it: rows and the jobs that follow, in the caller's transaction."""

from collections.abc import Collection, Sequence

from lumiliod.db import assets, job_admin, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.db.trash import Comeback
from lumiliod.domain.assets import NewAsset
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import AssetId, RepositoryId, UserId
from lumiliod.domain.jobs import PRIORITY_NORMAL, OnConflict
from lumiliod.domain.media import AssetType
from lumiliod.domain.trash import TrashState, Why
from lumiliod.pipeline import kinds, sidecars

MOVING_AFTER_S = 2.0
"""How long to leave an asset alone whose files are being moved."""


def remove(
    conn: Connection, ids: Collection[AssetId], *, why: Why, by: UserId | None, with_files: Collection[AssetId] = ()
) -> list[AssetId]:
    """Put assets into the trash and have their files moved; return those that were not there yet.

    They leave the library at once, and jobs that wait to understand them end as cancelled.
    """
    removal = trash.remove(conn, ids, why=why, by=by, with_files=with_files)
    sidecars.removed(conn, removal.removed)
    job_admin.cancel(conn, trash.waiting_jobs(conn, removal.removed))
    db_jobs.enqueue(conn, [kinds.retire(*moving) for moving in removal.moving.items()])
    return list(removal.removed)


def bring_back(conn: Connection, asset_id: AssetId) -> Comeback:
    """Take an asset out of the trash with all it had, or have its files moved back first."""
    return follow(conn, asset_id, trash.bring_back(conn, asset_id))


def follow(conn: Connection, asset_id: AssetId, comeback: Comeback) -> Comeback:
    """Enqueue what follows from a ``comeback``, and return it."""
    if comeback is Comeback.COMING:
        _enqueue_move(conn, asset_id, OnConflict.KEEP)
    elif comeback is Comeback.BACK:
        understand_again(conn, asset_id)
    return comeback


def bring_bytes_back(conn: Connection, asset_id: AssetId) -> Comeback:
    """As :func:`bring_back`, for whoever has met bytes of an asset that was found good: ``LIVE``, or it comes back.

    Raises:
        Unavailable: it has none any more, or was purged since; then these bytes are new.
    """
    comeback = bring_back(conn, asset_id)
    if comeback in (Comeback.DOOMED, Comeback.NO_FILE, Comeback.GONE):
        raise moving(asset_id)
    return comeback


def go_on(conn: Connection, asset_id: AssetId) -> None:
    """Have the files of an asset moved on where that was asked for while a job moved them: its last effect."""
    found = trash.held(conn, asset_id)
    if found is not None and found.state in (TrashState.RETIRING, TrashState.RESTORING):
        _enqueue_move(conn, asset_id, OnConflict.REPLACE)


def _enqueue_move(conn: Connection, asset_id: AssetId, on_conflict: OnConflict) -> None:
    found = trash.item(conn, asset_id)
    repository_id = found.files[0].repository_id if found and found.files else None
    db_jobs.enqueue(conn, [kinds.retire(asset_id, repository_id)._replace(on_conflict=on_conflict)])


def understand_again(conn: Connection, asset_id: AssetId) -> None:
    """Enqueue what is not known of an asset that is back."""
    repository_id = trash.original_repository(conn, asset_id)
    if repository_id is not None:
        sidecars.back(conn, asset_id)
        understand(conn, asset_id, repository_id, PRIORITY_NORMAL)


def understand(conn: Connection, asset_id: AssetId, repository_id: RepositoryId, priority: int) -> None:
    """Enqueue what is not known of an asset yet, and its copies in mirrors."""
    lacking = assets.undone(conn, asset_id)
    jobs = [job for job in kinds.understand(asset_id, repository_id, priority) if job.kind in lacking]
    db_jobs.enqueue(conn, [*jobs, *kinds.mirrors_of(conn, repository_id)])


def understand_new(conn: Connection, new: Sequence[tuple[NewAsset, RepositoryId]], priority: int) -> None:
    """Enqueue all there is to know of assets of which nothing is known, and their copies in mirrors."""
    jobs = [
        job
        for asset, repository_id in new
        for job in kinds.understand(asset.id, repository_id, priority)
        if job.kind != kinds.TRANSCODE.kind or asset.type is not AssetType.PHOTO
    ]
    db_jobs.enqueue(conn, jobs)
    for repository_id in dict.fromkeys(repository_id for _, repository_id in new):
        db_jobs.enqueue(conn, kinds.mirrors_of(conn, repository_id))


def moving(asset_id: AssetId) -> Unavailable:
    """Return the error for whoever meets an asset whose files are being moved, or removed, this moment."""
    return Unavailable(f"the files of asset {asset_id} are being moved", code="in_motion", after_s=MOVING_AFTER_S)
