"""What becomes of an upload: the bytes of a new asset, of one that had lost its own, or a duplicate."""

from functools import partial
from uuid import UUID

import trio

from lumiliod.db import assets, files, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.db.trash import Comeback
from lumiliod.domain.assets import NewAsset, Outcome
from lumiliod.domain.errors import Permanent
from lumiliod.domain.ids import AssetId, RepoPath, UploadId, shown
from lumiliod.domain.jobs import PRIORITY_NORMAL
from lumiliod.domain.media import TakenSource
from lumiliod.jobs.engine import Effect, Result, Running
from lumiliod.pipeline import duplicates, examine, kinds, refusals, retire
from lumiliod.pipeline import trash as removal
from lumiliod.pipeline.known_original import Known, Original, read_original
from lumiliod.pipeline.new_asset import clock, new_asset
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import originals, repository, staging
from lumiliod.storage.layout import Placing
from lumiliod.storage.originals import Placed
from lumiliod.storage.repository import Repository
from lumiliod.storage.staging import Staged

NOWHERE = UUID(int=0)


async def ingest_upload(
    rt: Runtime, opened: Opened, running: Running, upload_id: UploadId, *, may_be_done: bool = False
) -> None:
    """Turn a staged upload into an asset, or find the asset it is."""
    repo = opened.repository
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    staged = await trio.to_thread.run_sync(_load, repo, upload_id, limiter=rt.disk)
    if staged is None:
        # a disk that went away meanwhile says nothing of what was on it
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    if staged is None and may_be_done:
        return
    if staged is None:
        raise Permanent("the staged bytes of this upload are gone", code="staged_missing")
    async with rt.digests.holding(staged.digest):
        owner = staged.owner_id or rt.owner_id
        known = await rt.db.call(assets.by_digest, owner, staged.digest)
        original = await read_original(rt, known, staged.digest) if known else Known(Original.NONE)
        if known is not None and original.state is Original.GOOD:
            await running.complete(await _noted(rt, opened, staged, known))
        else:
            try:
                identified = await rt.media.identify(staged.path)
            except Permanent as error:
                await running.fail(error)
                await refusals.set_aside(rt, opened, staged, error)
                return
            taken = identified.taken or clock(staged.received_at, TakenSource.UPLOAD)
            item = Placing(staged.filename, identified.extension, staged.digest, taken.local)
            policy = repo.marker.local_settings.handle_duplicate_filenames
            if policy == "overwrite":
                await retire.make_way(rt, opened, originals.first_choice(repo, opened.layout, item), owner)
            names = list(originals.names(repo, opened.layout, item, policy))
            others = await rt.db.call(files.taken, opened.id, known, names)
            placed = await trio.to_thread.run_sync(_place, opened, staged, item, others, limiter=rt.disk)
            asset = new_asset(owner, staged.filename, staged.digest, staged.size_bytes, identified, taken)
            await running.complete(partial(_admit_upload, rt, opened, asset, placed, original))
    await trio.to_thread.run_sync(staging.forget, repo, upload_id, limiter=rt.disk)


def _load(repo: Repository, upload_id: UploadId) -> Staged | None:
    """Return a staged upload; one that was refused, and is to be tried again, is staged again."""
    return staging.load(repo, upload_id) or staging.take_back(repo, upload_id)


def _place(opened: Opened, staged: Staged, item: Placing, taken: set[RepoPath]) -> Placed:
    policy = opened.repository.marker.local_settings.handle_duplicate_filenames
    return originals.commit(opened.repository, opened.backend, opened.layout, staged.path, item, policy, taken)


def _admit_upload(
    rt: Runtime, opened: Opened, asset: NewAsset, placed: Placed, original: Known, conn: Connection
) -> Result:
    """Insert the row of a placed upload, or give a known asset its bytes back."""
    admitted = assets.admit(conn, asset)
    if admitted.duplicate:
        if original.state in (Original.NONE, Original.AWAY):
            # another process admitted the same bytes in between, it may be from this very place; or nobody can tell
            # whether the library has them: they stay
            files.place_copy(conn, opened.id, placed.path, placed.stat, asset.digest, admitted.asset_id)
            return {**_note_duplicate(admitted.asset_id, conn), "path": shown(placed.path)}
        _supersede(conn, admitted.asset_id)
        if original.state is Original.GONE and original.record is not None:
            files.drop_former(conn, original.record)
        if original.rot is not None and original.record is not None and files.demote_former(conn, original.record):
            # the new file is where its bytes come back from
            examine.record(conn, None, *original.rot, rt.config.integrity.heal)
        # whichever is the original by now was not read: another may have taken over from the one that is gone
        doubted = files.doubt_original(conn, admitted.asset_id, NOWHERE)
        db_jobs.enqueue(conn, [kinds.ingest_file(*record) for record in doubted])
    files.place(conn, opened.id, placed.path, placed.stat, asset.digest, admitted.asset_id)
    removal.understand(conn, admitted.asset_id, opened.id, PRIORITY_NORMAL)
    return {"asset_id": str(admitted.asset_id), "outcome": Outcome.ASSET, "path": shown(placed.path)}


def _supersede(conn: Connection, asset_id: AssetId) -> None:
    """Take an asset out of the trash whose bytes there were found gone or damaged."""
    doubted = trash.supersede(conn, asset_id)
    if doubted is None:
        raise removal.moving(asset_id)
    db_jobs.enqueue(conn, [kinds.ingest_file(*record) for record in doubted])


async def _noted(rt: Runtime, opened: Opened, staged: Staged, known: AssetId) -> Effect:
    note = partial(_note_duplicate, known)
    if rt.config.storage.duplicates == "skip":
        return note
    identified = await rt.media.identify(staged.path)
    taken = identified.taken or clock(staged.received_at, TakenSource.UPLOAD)
    item = Placing(staged.filename, identified.extension, staged.digest, taken.local)
    return await duplicates.kept(rt, opened, staged, item, known, note)


def _note_duplicate(known: AssetId, conn: Connection) -> Result:
    """Note that the library has these bytes; what lies in the trash comes back with all it had.

    Raises:
        Unavailable: it is being purged, or was since it was looked at; then these bytes are new.
    """
    comeback = removal.bring_bytes_back(conn, known)
    told: Result = {"asset_id": str(known), "outcome": Outcome.DUPLICATE}
    return told if comeback is Comeback.LIVE else {**told, "restored": True}
