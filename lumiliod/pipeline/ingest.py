"""Ingest: the one path every original takes, from an upload or from where it lies.

Bytes, then row and follow-up jobs in one transaction, then forget. Killed anywhere, running it
again ends in the same asset: the staged file is only forgotten after the row exists, placing the
same bytes again finds them placed, and the digest decides what an asset is.
"""

import datetime as dt
import logging
from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets, files
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileRecord, FileStat, NewAsset, Outcome
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused
from lumiliod.domain.ids import AssetId, Digest, UploadId, UserId, shown, uuid7
from lumiliod.domain.media import Identified, Taken, TakenSource, TzSource
from lumiliod.domain.sidecars import is_sidecar, owners, sidecars
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import originals, repository, staging
from lumiliod.storage.layout import Placing
from lumiliod.storage.originals import Placed
from lumiliod.storage.staging import Staged

log = logging.getLogger(__name__)

NOWHERE = UUID(int=0)

OUTCOMES = {"unsupported": Outcome.UNSUPPORTED, "too_large": Outcome.TOO_LARGE, "unreadable": Outcome.UNREADABLE}
"""What a file that is no asset is called, by the code of its error; everything else is ``corrupt``."""


class Args(msgspec.Struct, kw_only=True):
    """A staged upload, or a file where it lies."""

    repository: UUID
    upload: UUID | None = None
    file: UUID | None = None
    filename: str | None = None


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``ingest``."""

    async def run(running: Running) -> None:
        args = msgspec.convert(running.args, Args)
        opened = rt.repositories.get(args.repository)
        if args.upload is not None:
            await ingest_upload(rt, opened, running, UploadId(args.upload))
        elif args.file is not None:
            await ingest_file(rt, opened, running, args.file)
        else:
            raise Permanent("an ingest job names an upload or a file", code="bad_args")

    return Kind(kinds.INGEST.kind, kinds.INGEST.queue, each(run), limit_s=900)


async def ingest_upload(rt: Runtime, opened: Opened, running: Running, upload_id: UploadId) -> None:
    """Turn a staged upload into an asset, or find the asset it is."""
    repo = opened.repository
    staged = await trio.to_thread.run_sync(staging.load, repo, upload_id, limiter=rt.disk)
    if staged is None:
        raise Permanent("the staged bytes of this upload are gone", code="staged_missing")
    async with rt.digests.holding(staged.digest):
        owner = staged.owner_id or rt.owner_id
        known = await rt.db.call(assets.by_digest, owner, staged.digest)
        if known is not None and await _original_is_there(rt, known, staged.size_bytes):
            await running.complete(partial(_note_duplicate, known))
        else:
            try:
                identified = await rt.media.identify(staged.path)
            except Permanent as error:
                await running.fail(error)
                await trio.to_thread.run_sync(staging.fail, repo, upload_id, error.code, error.message, limiter=rt.disk)
                return
            taken = identified.taken or _clock(staged.received_at, TakenSource.UPLOAD)
            placed = await trio.to_thread.run_sync(_place, opened, staged, identified, taken, limiter=rt.disk)
            asset = _new_asset(owner, staged.filename, staged.digest, staged.size_bytes, identified, taken)
            result = await running.complete(partial(_admit_upload, opened, asset, placed, known is not None))
            if result and result["outcome"] == Outcome.DUPLICATE and known is None and placed.created:
                # another process admitted the same bytes in between: its copy stays, ours goes
                await trio.to_thread.run_sync(opened.backend.remove, placed.path, limiter=rt.disk)
    await trio.to_thread.run_sync(staging.forget, repo, upload_id, limiter=rt.disk)


def _place(opened: Opened, staged: Staged, identified: Identified, taken: Taken) -> Placed:
    item = Placing(staged.filename, identified.extension, staged.digest, taken.local)
    policy = opened.repository.marker.local_settings.handle_duplicate_filenames
    return originals.commit(opened.repository, opened.backend, opened.layout, staged.path, item, policy)


def _admit_upload(opened: Opened, asset: NewAsset, placed: Placed, lost: bool, conn: Connection) -> Result:
    """Insert the row of a placed upload; with ``lost``, give a known asset its bytes back."""
    admitted = assets.admit(conn, asset)
    if admitted.duplicate and not lost:
        return {"asset_id": str(admitted.asset_id), "outcome": Outcome.DUPLICATE}
    if admitted.duplicate:
        files.drop_original(conn, admitted.asset_id, NOWHERE)
    else:
        db_jobs.enqueue(conn, kinds.understand(admitted.asset_id, opened.id))
    files.place(conn, opened.id, placed.path, placed.stat, asset.digest, admitted.asset_id)
    return {"asset_id": str(admitted.asset_id), "outcome": Outcome.ASSET, "path": shown(placed.path)}


def _note_duplicate(known: AssetId, conn: Connection) -> Result:
    assets.restore(conn, known)
    return {"asset_id": str(known), "outcome": Outcome.DUPLICATE}


async def ingest_file(rt: Runtime, opened: Opened, running: Running, record_id: UUID) -> None:
    """Look at a file where it lies; nothing of it is moved or written."""
    record = await rt.db.call(files.get, record_id)
    if record is None:
        return
    name = record.path.rpartition("/")[2]
    if is_sidecar(name):
        await running.complete(partial(_keep_sidecar, opened, record))
        return
    try:
        _check_size(opened, record)
        digest, stat = await trio.to_thread.run_sync(_read, opened, record, limiter=rt.disk)
        async with rt.digests.holding(digest):
            await _admit_seen(rt, opened, running, record, digest, stat)
    except NotFound:
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
        await running.complete(partial(_forget_file, record))
    except Permanent as error:
        await running.complete(partial(_reject_file, record, error))


async def _admit_seen(
    rt: Runtime, opened: Opened, running: Running, record: FileRecord, digest: Digest, stat: FileStat
) -> None:
    known = await rt.db.call(assets.by_digest, rt.owner_id, digest)
    original = await rt.db.call(files.original_of, known) if known else None
    if known and original and original.id != record.id and await _original_is_there(rt, known, stat.size_bytes):
        await running.complete(partial(_settle, opened, record, digest, stat, known, Outcome.DUPLICATE))
        return
    if known:
        # the same file again, or a move: the asset keeps everything and is served from here now
        await running.complete(partial(_settle, opened, record, digest, stat, known, Outcome.ASSET))
        return
    identified = await rt.media.identify(opened.repository.absolute(record.path))
    written = dt.datetime.fromtimestamp(stat.mtime_ns / 1e9, dt.UTC)
    taken = identified.taken or _clock(written, TakenSource.FILE)
    name = shown(record.path.rpartition("/")[2])
    asset = _new_asset(rt.owner_id, name, digest, stat.size_bytes, identified, taken)
    await running.complete(partial(_admit_file, opened, record, asset, stat))


def _admit_file(opened: Opened, record: FileRecord, asset: NewAsset, stat: FileStat, conn: Connection) -> Result:
    admitted = assets.admit(conn, asset)
    if not admitted.duplicate:
        db_jobs.enqueue(conn, kinds.understand(admitted.asset_id, opened.id))
    outcome = Outcome.DUPLICATE if admitted.duplicate else Outcome.ASSET
    return _settle(opened, record, asset.digest, stat, admitted.asset_id, outcome, conn)


def _settle(
    opened: Opened,
    record: FileRecord,
    digest: Digest,
    stat: FileStat,
    asset_id: AssetId,
    outcome: Outcome,
    conn: Connection,
) -> Result:
    assets.restore(conn, asset_id)
    if outcome is Outcome.ASSET:
        files.drop_original(conn, asset_id, record.id)
    files.settle(conn, record.id, outcome, stat, digest, asset_id)
    files.attach_sidecars(conn, opened.id, sidecars(record.path), asset_id)
    return {"asset_id": str(asset_id), "outcome": outcome}


def _keep_sidecar(opened: Opened, record: FileRecord, conn: Connection) -> Result:
    files.reject(conn, record.id, Outcome.SIDECAR, "no asset has this name yet")
    files.attach_sidecar(conn, opened.id, record.id, owners(record.path))
    return {"outcome": Outcome.SIDECAR}


def _reject_file(record: FileRecord, error: LumilioError, conn: Connection) -> Result:
    outcome = OUTCOMES.get(error.code, Outcome.CORRUPT)
    files.reject(conn, record.id, outcome, f"{error.code}: {error.message}")
    return {"outcome": outcome, "code": error.code, "reason": error.message}


def _forget_file(record: FileRecord, conn: Connection) -> Result:
    files.forget(conn, record.id)
    return {"outcome": "gone"}


def _read(opened: Opened, record: FileRecord) -> tuple[Digest, FileStat]:
    return originals.digest_file(opened.repository.absolute(record.path), root=opened.repository.root)


def _check_size(opened: Opened, record: FileRecord) -> None:
    limit_kb = opened.repository.marker.local_settings.max_file_size_kb
    if limit_kb and record.stat.size_bytes > limit_kb * 1024:
        raise Refused(f"larger than this repository's limit of {limit_kb} KB", code="too_large")


async def _original_is_there(rt: Runtime, asset_id: AssetId, size_bytes: int) -> bool:
    """Tell whether an asset's bytes still lie where its record says; never conclude a loss from an offline root."""
    source = (await rt.db.call(assets.sources, [asset_id])).get(asset_id)
    if source is None:
        return False
    opened = rt.repositories.get(source.repository_id)
    await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
    record = await rt.db.call(files.original_of, asset_id)
    if record is None:
        return False
    try:
        found = await trio.to_thread.run_sync(opened.backend.stat, record.path, limiter=rt.disk)
    except NotFound:
        return False
    return found.size_bytes == size_bytes


def _clock(when: dt.datetime, source: TakenSource) -> Taken:
    utc = when.astimezone(dt.UTC)
    return Taken(utc, utc.replace(tzinfo=None), TzSource.UNKNOWN, source)


def _new_asset(
    owner: UserId, filename: str, digest: Digest, size_bytes: int, identified: Identified, taken: Taken
) -> NewAsset:
    sized = bool(identified.width and identified.height)
    return NewAsset(
        id=AssetId(uuid7()),
        owner_id=owner,
        type=identified.type,
        digest=digest,
        size_bytes=size_bytes,
        mime_type=identified.mime_type,
        original_filename=shown(filename).replace("\0", ""),
        width=identified.width if sized else None,
        height=identified.height if sized else None,
        duration_s=identified.duration_s,
        taken_at=taken.utc,
        taken_at_local=taken.local,
        tz_source=taken.tz_source,
        taken_source=taken.source,
    )
