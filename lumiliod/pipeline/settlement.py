"""What the rows say of a file that was looked at, each in the transaction that ends its job."""

from lumiliod.db import assets, files, findings, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.findings import NewFinding
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileRecord, FileStat, NewAsset, Outcome
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import AssetId, Digest
from lumiliod.domain.jobs import PRIORITY_LOW
from lumiliod.domain.sidecars import owners, sidecars
from lumiliod.domain.trash import INBOX, TrashItem, TrashState, Why
from lumiliod.jobs.engine import Result
from lumiliod.pipeline import kinds
from lumiliod.pipeline import trash as removal
from lumiliod.pipeline.known_original import Former, Original
from lumiliod.runtime import Opened

OUTCOMES = {"unsupported": Outcome.UNSUPPORTED, "too_large": Outcome.TOO_LARGE, "unreadable": Outcome.UNREADABLE}
"""What a file that is no asset is called, by the code of its error; everything else is ``corrupt``."""


def admit(opened: Opened, record: FileRecord, asset: NewAsset, stat: FileStat, conn: Connection) -> Result:
    """Make an asset of a file whose bytes are new; another process may have admitted them in between."""
    if (kept := _kept(conn, record, stat)) is not None:
        return kept
    admitted = assets.admit(conn, asset)
    if admitted.duplicate:
        return settle(opened, record, asset.digest, stat, admitted.asset_id, Outcome.DUPLICATE, conn)
    # nobody else sees it yet: it is in no trash and has no other file
    return _settled(opened, record, asset.digest, stat, asset.id, Outcome.ASSET, conn)


def settle(
    opened: Opened,
    record: FileRecord,
    digest: Digest,
    stat: FileStat,
    asset_id: AssetId,
    outcome: Outcome,
    conn: Connection,
    *,
    former: Former | None = None,
    is_there: bool | None = None,
) -> Result:
    """Say that a file holds the bytes of an asset, as its original or as a further copy.

    ``former`` is the original that was looked at, if another file; ``is_there`` whether the file was at its place when
    the asset was seen in the trash, None where it was not seen there.

    Raises:
        Unavailable: the asset's files are being moved, so that this may be one of them.
    """
    trash.hold(conn, asset_id, record.asset_id)
    if asset_id != record.asset_id and (kept := _kept(conn, record, stat)) is not None:
        return kept
    in_trash = trash.item(conn, asset_id)
    if in_trash is not None and not (in_trash.why is Why.NO_FILE and in_trash.state is TrashState.TRASHED):
        return _settle_in_trash(record, digest, stat, in_trash, is_there, conn)
    if in_trash is not None:
        trash.supersede(conn, asset_id)
    if outcome is Outcome.ASSET and not _takes_over(conn, record, asset_id, former):
        outcome = Outcome.DUPLICATE
    return _settled(opened, record, digest, stat, asset_id, outcome, conn)


def _settled(
    opened: Opened,
    record: FileRecord,
    digest: Digest,
    stat: FileStat,
    asset_id: AssetId,
    outcome: Outcome,
    conn: Connection,
) -> Result:
    files.settle(conn, record.id, outcome, stat, digest, asset_id)
    if outcome is Outcome.ASSET:
        removal.understand(conn, asset_id, opened.id, PRIORITY_LOW)
    _leave_former(conn, record, asset_id)
    files.attach_sidecars(conn, opened.id, sidecars(record.path), asset_id)
    return {"asset_id": str(asset_id), "outcome": outcome}


def _takes_over(conn: Connection, record: FileRecord, asset_id: AssetId, former: Former | None) -> bool:
    """Have a file take the place of the one that was found gone or changed; False when another has it by now.

    A scan that has ended since may have given it to a further copy, a re-layout may have renamed the original:
    the record of a file that was not looked at is never deleted.
    """
    if former is not None and former.state is Original.GONE:
        files.drop_former(conn, former.record)
    elif former is not None and files.doubt_former(conn, former.record):
        db_jobs.enqueue(conn, [kinds.ingest_file(former.record.id, former.record.repository_id)])
    return not files.has_original(conn, asset_id, record.id)


def _settle_in_trash(
    record: FileRecord,
    digest: Digest,
    stat: FileStat,
    in_trash: TrashItem,
    is_there: bool | None,
    conn: Connection,
) -> Result:
    """Settle a file with the bytes of an asset in the trash.

    In the inbox somebody put it there, and the asset comes back. In the user area that cannot be told from
    a removed file that was moved, copied or touched: what a person removed stays in the trash until a person
    restores it; what an upload replaced comes back.

    Raises:
        Unavailable: the asset's files are being moved, so that this may be one of them.
    """
    asset_id = in_trash.asset_id
    if in_trash.state is not TrashState.TRASHED:
        raise removal.moving(asset_id)
    its_own = {file.stat.inode for file in in_trash.files if file.repository_id == record.repository_id}
    # on another disk than on record, inodes alone tell nothing
    if stat.inode in its_own and is_there is None:
        raise removal.moving(asset_id)
    if stat.inode in its_own and not is_there:
        # since it was read it was moved there: a rename keeps the inode
        return forget(record, conn)
    files.settle(conn, record.id, Outcome.TRASHED, stat, digest, asset_id)
    _leave_former(conn, record, asset_id)
    told: Result = {"asset_id": str(asset_id), "outcome": Outcome.TRASHED}
    if record.path.startswith(INBOX) or in_trash.why is not Why.REMOVED:
        removal.bring_back(conn, asset_id)
        return {**told, "restored": True}
    return told


def _leave_former(conn: Connection, record: FileRecord, asset_id: AssetId | None) -> None:
    """Do what follows for the asset whose bytes a file no longer holds; never a row alone."""
    if record.asset_id is not None and record.asset_id != asset_id:
        trash.file_left(conn, record.asset_id)


def _kept(
    conn: Connection, record: FileRecord, stat: FileStat | None, detail: str = "it holds other bytes"
) -> Result | None:
    """Leave it to a person what becomes of an original in the inbox that somebody wrote over, or took away.

    Nobody but us has to do with what lies there. Returns None where there is nothing to ask.
    """
    trash.hold(conn, record.asset_id)
    if record.asset_id is None or not record.path.startswith(INBOX):
        return None
    if not files.keep_expected(conn, record, stat or record.stat):
        return None
    finding = NewFinding(
        kind="changed" if stat else "missing",
        code="changed" if stat else "missing",
        detail=f"somebody wrote it: {detail}" if stat else "no file is there",
        repository_id=record.repository_id,
        path=record.path,
        digest=record.digest,
        found=stat,
        file_id=record.id,
        asset_id=record.asset_id,
    )
    findings.report(conn, finding)
    return {"asset_id": str(record.asset_id), "outcome": Outcome.ASSET, "finding": finding.kind}


def keep_sidecar(opened: Opened, record: FileRecord, conn: Connection) -> Result:
    """Keep a file as a sidecar, of its asset once that is there."""
    files.reject(conn, record.id, Outcome.SIDECAR, "no asset has this name yet", record.stat)
    files.attach_sidecar(conn, opened.id, record.id, owners(record.path))
    return {"outcome": Outcome.SIDECAR}


def reject(record: FileRecord, error: LumilioError, stat: FileStat, conn: Connection) -> Result:
    """Say why a file is no asset."""
    if (kept := _kept(conn, record, stat, f"it is no asset any more: {error.message}")) is not None:
        return kept
    outcome = OUTCOMES.get(error.code, Outcome.CORRUPT)
    files.reject(conn, record.id, outcome, f"{error.code}: {error.message}", stat)
    _leave_former(conn, record, None)
    return {"outcome": outcome, "code": error.code, "reason": error.message}


def forget(record: FileRecord, conn: Connection) -> Result:
    """Forget a file that is gone."""
    if (kept := _kept(conn, record, None)) is not None:
        return kept
    files.forget(conn, record.id)
    _leave_former(conn, record, None)
    return {"outcome": "gone"}
