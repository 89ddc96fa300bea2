"""New versions: bytes that somebody wrote where an asset's file lay, or put in its place."""

from lumiliod.db import jobs as db_jobs
from lumiliod.db import versions
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileRecord, NewAsset, Outcome
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.domain.jobs import PRIORITY_LOW, OnConflict
from lumiliod.domain.media import AssetType
from lumiliod.pipeline import kinds

UNSETTLED = "unsettled"
"""Code of what waits for a scan; each that ends hastens it."""

SCAN_AFTER_S = 0.5
"""How long to leave a file alone while a scan may yet meet the one whose place it took."""

CHANGED_AFTER_S = 1.0
"""When to ask again for an asset that was written over."""


def changed(asset_id: AssetId) -> Unavailable:
    """Return the error for whoever met bytes that an asset had when it was asked for, and has no longer."""
    return Unavailable(f"asset {asset_id} has other bytes by now", code="asset_changed", after_s=CHANGED_AFTER_S)


def renew(conn: Connection, record: FileRecord, new: NewAsset) -> AssetId | None:
    """Make bytes that no asset has a new version of the asset whose only file the record is; the caller holds its row.

    The asset keeps its id and everything people made of it; what is made of its bytes is made anew. None where they are
    an asset of their own: another copy holds the asset still, or its file was moved and this one has taken its name.

    Raises:
        Unavailable: a scan is under way that may meet the moved file, or a copy of it (``unsettled``).
    """
    asset_id = record.asset_id
    if asset_id is None or record.outcome is not Outcome.ASSET:
        return None
    if not versions.renewable(conn, asset_id, record.id, record.path, new.type):
        return None
    if versions.is_being_scanned(conn, record.repository_id):
        raise Unavailable("a scan is looking for what lay here", code=UNSETTLED, after_s=SCAN_AFTER_S)
    versions.renew(conn, asset_id, new)
    _understand(conn, asset_id, record, new)
    return asset_id


def take_back(conn: Connection, asset_id: AssetId, record: FileRecord, new: NewAsset) -> bool:
    """Make bytes the asset's again that it had when their file was met; the caller holds its row.

    Somebody copied or moved them there and wrote the asset's file over, and that one was looked at first. It is another
    asset's now, as it were if it had been looked at last. False where the asset has gone on since.
    """
    former = versions.take_back(conn, asset_id, record.id, new)
    if former is None:
        return False
    db_jobs.enqueue(conn, [kinds.ingest_file(*file) for file in former])
    _understand(conn, asset_id, record, new)
    return True


def _understand(conn: Connection, asset_id: AssetId, record: FileRecord, new: NewAsset) -> None:
    jobs = kinds.understand(asset_id, record.repository_id, PRIORITY_LOW)
    if new.type is AssetType.PHOTO:
        jobs = [job for job in jobs if job.kind != kinds.TRANSCODE.kind]
    # those that run are at work on what it was
    db_jobs.enqueue(conn, [job._replace(on_conflict=OnConflict.RESCHEDULE) for job in jobs])
    db_jobs.enqueue(conn, kinds.mirrors_of(conn, record.repository_id))
