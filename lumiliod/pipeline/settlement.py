"""What the rows say of a file that was looked at, each in the transaction that ends its job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lumiliod.db import assets, files, findings, trash, versions
from lumiliod.db import jobs as db_jobs
from lumiliod.db.files import Settled
from lumiliod.db.findings import NewFinding
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileRecord, FileStat, NewAsset, Outcome
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import AssetId, RepoPath
from lumiliod.domain.jobs import PRIORITY_LOW
from lumiliod.domain.trash import INBOX, TrashItem, TrashState, Why
from lumiliod.jobs.engine import Result
from lumiliod.pipeline import kinds, renewal, sidecars
from lumiliod.pipeline import trash as removal
from lumiliod.pipeline.known_original import Former, Original
from lumiliod.runtime import Opened

OUTCOMES = {"unsupported": Outcome.UNSUPPORTED, "too_large": Outcome.TOO_LARGE, "unreadable": Outcome.UNREADABLE}
"""What a file that is no asset is called, by the code of its error; everything else is ``corrupt``."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file, in the state ``stat``, whose bytes are a new asset's."""

    opened: Opened
    record: FileRecord
    asset: NewAsset
    stat: FileStat


def admit(conn: Connection, new: Sequence[NewFile]) -> list[Result]:
    """Make assets of files whose bytes are new; another process may have admitted them in between."""
    overtaken = versions.overtaken(conn, new[0].asset.owner_id, {file.record.id: file.asset.digest for file in new})
    # a file that was another asset's is looked at by itself, and one whose bytes were an asset's
    plain = [file for file in new if file.record.asset_id is None and file.record.id not in overtaken]
    admitted = assets.admit_new(conn, [file.asset for file in plain])
    fresh = [file for file in plain if file.asset.id in admitted]
    # nobody else sees them yet: they are in no trash and have no other file
    _settled(conn, [(file.opened, file.record, _holds(file, file.asset.id, Outcome.ASSET)) for file in fresh])
    removal.understand_new(conn, [(file.asset, file.opened.id) for file in fresh], PRIORITY_LOW)
    return [
        _told(file.asset.id, Outcome.ASSET)
        if file.asset.id in admitted
        else _admit_known(conn, file, overtaken.get(file.record.id))
        for file in new
    ]


def _admit_known(conn: Connection, file: NewFile, former: AssetId | None) -> Result:
    trash.hold(conn, file.record.asset_id, former)
    if (kept := _kept(conn, file.record, file.stat)) is not None:
        return kept
    known = assets.by_digest(conn, file.asset.owner_id, file.asset.digest)
    if known is None and former is not None and renewal.take_back(conn, former, file.record, file.asset):
        _settled(conn, [(file.opened, file.record, _holds(file, former, Outcome.ASSET))])
        return _told(former, Outcome.ASSET)
    if known is None and (renewed := renewal.renew(conn, file.record, file.asset)) is not None:
        _settled(conn, [(file.opened, file.record, _holds(file, renewed, Outcome.ASSET))])
        return {**_told(renewed, Outcome.ASSET), "renewed": True}
    admitted = assets.admit(conn, file.asset)
    if admitted.duplicate:
        duplicate = _holds(file, admitted.asset_id, Outcome.DUPLICATE)
        return settle(file.opened, file.record, duplicate, conn)
    _settled(conn, [(file.opened, file.record, _holds(file, file.asset.id, Outcome.ASSET))])
    removal.understand_new(conn, [(file.asset, file.opened.id)], PRIORITY_LOW)
    return _told(file.asset.id, Outcome.ASSET)


def _holds(file: NewFile, asset_id: AssetId, outcome: Outcome) -> Settled:
    return Settled(file.record.id, outcome, file.stat, file.asset.digest, asset_id)


def _told(asset_id: AssetId, outcome: Outcome) -> Result:
    return {"asset_id": str(asset_id), "outcome": outcome}


def settle(
    opened: Opened,
    record: FileRecord,
    holds: Settled,
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
    asset_id = holds.asset_id
    trash.hold(conn, asset_id, record.asset_id)
    if not assets.has_digest(conn, asset_id, holds.digest):
        raise renewal.changed(asset_id)
    if asset_id != record.asset_id and (kept := _kept(conn, record, holds.stat)) is not None:
        return kept
    in_trash = trash.item(conn, asset_id)
    if in_trash is not None and not (in_trash.why is Why.NO_FILE and in_trash.state is TrashState.TRASHED):
        return _settle_in_trash(record, holds, in_trash, is_there, conn)
    if in_trash is not None:
        trash.supersede(conn, asset_id)
    # since it was looked at, a scan has found it gone, and this file held nothing then that could take its place
    if files.drop_missing_original(conn, asset_id, record.id) or not files.has_original(conn, asset_id, record.id):
        holds = replace(holds, outcome=Outcome.ASSET)
    if holds.outcome is Outcome.ASSET and not _takes_over(conn, record, asset_id, former):
        holds = replace(holds, outcome=Outcome.DUPLICATE)
    _settled(conn, [(opened, record, holds)])
    if holds.outcome is Outcome.ASSET:
        removal.understand(conn, asset_id, opened.id, PRIORITY_LOW)
    return _told(asset_id, holds.outcome)


def _settled(conn: Connection, settled: Sequence[tuple[Opened, FileRecord, Settled]]) -> None:
    if not settled:
        return
    files.settle(conn, [replace(holds, path=record.path) for _, record, holds in settled])
    for _, record, holds in settled:
        _leave_former(conn, record, holds.asset_id)
    sidecars.beside(conn, [(opened.id, record.path, holds.asset_id) for opened, record, holds in settled])


def _takes_over(conn: Connection, record: FileRecord, asset_id: AssetId, former: Former | None) -> bool:
    """Have a file take the place of the one that was found gone or changed; False when another has it by now.

    A scan that has ended since may have given it to a further copy, a re-layout may have renamed the original:
    the record of a file that was not looked at is never deleted.
    """
    if former is not None and former.state is Original.GONE:
        if files.drop_former(conn, former.record):
            folder = RepoPath(former.record.path.rpartition("/")[0])
            db_jobs.enqueue(conn, [kinds.scan_folder(former.record.repository_id, folder, deep=False)])
    elif former is not None and files.doubt_former(conn, former.record):
        db_jobs.enqueue(conn, [kinds.ingest_file(former.record.id, former.record.repository_id)])
    return not files.has_original(conn, asset_id, record.id)


def _settle_in_trash(
    record: FileRecord, holds: Settled, in_trash: TrashItem, is_there: bool | None, conn: Connection
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
    if holds.stat.inode in its_own and is_there is None:
        raise removal.moving(asset_id)
    if holds.stat.inode in its_own and not is_there:
        # since it was read it was moved there: a rename keeps the inode
        return forget(record, conn)
    files.settle(conn, [replace(holds, outcome=Outcome.TRASHED)])
    _leave_former(conn, record, asset_id)
    told = _told(asset_id, Outcome.TRASHED)
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


def keep_sidecar(record: FileRecord, conn: Connection) -> Result:
    """Keep a file as a sidecar, of its asset once that is there."""
    trash.hold(conn, record.asset_id)
    files.reject(conn, record, Outcome.SIDECAR, "no asset has this name yet", record.stat)
    sidecars.kept(conn, record)
    # while it was looked at it may have counted as a file of its asset
    _leave_former(conn, record, None)
    return {"outcome": Outcome.SIDECAR}


def reject(record: FileRecord, error: LumilioError, stat: FileStat, conn: Connection) -> Result:
    """Say why a file is no asset."""
    if (kept := _kept(conn, record, stat, f"it is no asset any more: {error.message}")) is not None:
        return kept
    outcome = OUTCOMES.get(error.code, Outcome.CORRUPT)
    files.reject(conn, record, outcome, f"{error.code}: {error.message}", stat)
    sidecars.left(conn, record)
    _leave_former(conn, record, None)
    return {"outcome": outcome, "code": error.code, "reason": error.message}


def forget(record: FileRecord, conn: Connection) -> Result:
    """Forget a file that is gone."""
    if (kept := _kept(conn, record, None)) is not None:
        return kept
    if not files.forget(conn, record.id, record.path):
        # it was moved since, and its record with it
        return {"outcome": "moved"}
    sidecars.left(conn, record)
    _leave_former(conn, record, None)
    return {"outcome": "gone"}
