"""Ingest: the one path every original takes, from an upload or from where it lies.

Bytes, then row and follow-up jobs in one transaction, then forget. Killed anywhere, running it
again ends in the same asset: the staged file is only forgotten after the row exists, placing the
same bytes again finds them placed, and the digest decides what an asset is.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from enum import Enum
from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets, files, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.db.trash import Comeback
from lumiliod.domain.assets import FileRecord, FileStat, NewAsset, Outcome
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UploadId, UserId, shown, uuid7
from lumiliod.domain.jobs import PRIORITY_LOW, PRIORITY_NORMAL
from lumiliod.domain.media import Identified, Taken, TakenSource, TzSource
from lumiliod.domain.sidecars import is_sidecar, owners, sidecars
from lumiliod.domain.trash import INBOX, TrashItem, TrashState, Why
from lumiliod.jobs.engine import Effect, Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import duplicates, kinds, retire
from lumiliod.pipeline import trash as removal
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import originals, repository, staging
from lumiliod.storage import trash as trash_storage
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
    may_be_done: str | None = None


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``ingest``."""

    async def run(running: Running) -> None:
        args = running.decoded(Args)
        opened = rt.repositories.get(args.repository)
        with reaching(rt.repositories, opened):
            if args.upload is not None:
                await ingest_upload(rt, opened, running, UploadId(args.upload), may_be_done=bool(args.may_be_done))
            elif args.file is not None:
                await ingest_file(rt, opened, running, args.file)
            else:
                raise Permanent("an ingest job names an upload or a file", code="bad_args")

    return Kind(kinds.INGEST.kind, kinds.INGEST.queue, each(run), limit_s=86_400, missing=kinds.missing_ingest)


async def ingest_upload(
    rt: Runtime, opened: Opened, running: Running, upload_id: UploadId, *, may_be_done: bool = False
) -> None:
    """Turn a staged upload into an asset, or find the asset it is."""
    repo = opened.repository
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    staged = await trio.to_thread.run_sync(staging.load, repo, upload_id, limiter=rt.disk)
    if staged is None and may_be_done:
        return
    if staged is None:
        raise Permanent("the staged bytes of this upload are gone", code="staged_missing")
    async with rt.digests.holding(staged.digest):
        owner = staged.owner_id or rt.owner_id
        known = await rt.db.call(assets.by_digest, owner, staged.digest)
        state, former = Original.NONE, None
        if known is not None:
            state, former = await _state_of_original(rt, known, staged.digest)
        if known is not None and state is Original.GOOD:
            await running.complete(await _noted(rt, opened, staged, known))
        else:
            try:
                identified = await rt.media.identify(staged.path)
            except Permanent as error:
                await running.fail(error)
                await trio.to_thread.run_sync(staging.fail, repo, upload_id, error.code, error.message, limiter=rt.disk)
                return
            taken = identified.taken or _clock(staged.received_at, TakenSource.UPLOAD)
            item = Placing(staged.filename, identified.extension, staged.digest, taken.local)
            if repo.marker.local_settings.handle_duplicate_filenames == "overwrite":
                await retire.make_way(rt, opened, originals.first_choice(repo, opened.layout, item), owner)
            placed = await trio.to_thread.run_sync(_place, opened, staged, item, limiter=rt.disk)
            asset = _new_asset(owner, staged.filename, staged.digest, staged.size_bytes, identified, taken)
            await running.complete(partial(_admit_upload, opened, asset, placed, state, former))
    await trio.to_thread.run_sync(staging.forget, repo, upload_id, limiter=rt.disk)


def _place(opened: Opened, staged: Staged, item: Placing) -> Placed:
    policy = opened.repository.marker.local_settings.handle_duplicate_filenames
    return originals.commit(opened.repository, opened.backend, opened.layout, staged.path, item, policy)


def _admit_upload(
    opened: Opened, asset: NewAsset, placed: Placed, state: "Original", former: FileRecord | None, conn: Connection
) -> Result:
    """Insert the row of a placed upload, or give a known asset its bytes back."""
    admitted = assets.admit(conn, asset)
    if admitted.duplicate:
        if state is Original.NONE:
            # another process admitted the same bytes in between, it may be from this very place: they stay
            files.place_copy(conn, opened.id, placed.path, placed.stat, asset.digest, admitted.asset_id)
            return _note_duplicate(admitted.asset_id, conn)
        _supersede(conn, admitted.asset_id)
        if state is Original.GONE and former is not None:
            files.drop_former(conn, former)
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
    taken = identified.taken or _clock(staged.received_at, TakenSource.UPLOAD)
    item = Placing(staged.filename, identified.extension, staged.digest, taken.local)
    return await duplicates.kept(rt, opened, staged, item, known, note)


def _note_duplicate(known: AssetId, conn: Connection) -> Result:
    """Note that the library has these bytes; what lies in the trash comes back with all it had.

    Raises:
        Unavailable: it is being purged; then these bytes are new.
    """
    comeback = removal.bring_back(conn, known)
    if comeback in (Comeback.DOOMED, Comeback.NO_FILE):
        raise removal.moving(known)
    told: Result = {"asset_id": str(known), "outcome": Outcome.DUPLICATE}
    return told if comeback is Comeback.LIVE else {**told, "restored": True}


async def ingest_file(rt: Runtime, opened: Opened, running: Running, record_id: UUID) -> None:
    """Look at a file where it lies; nothing of it is moved or written."""
    record = await rt.db.call(files.get, record_id)
    if record is None:
        return
    if await _is_sidecar(rt, opened, record):
        await running.complete(partial(_keep_sidecar, opened, record))
        return
    stat = record.stat
    verdict: NotFound | Permanent | Unavailable
    try:
        _check_size(opened, record)
        digest, stat = await trio.to_thread.run_sync(_read, opened, record, limiter=rt.disk)
        async with rt.digests.holding(digest):
            await running.complete(await _examined(rt, opened, record, digest, stat))
        return
    except (NotFound, Permanent, Unavailable) as error:
        if running.finished:
            raise
        verdict = error
    # a root that went away in the middle says nothing of the file
    await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
    match verdict:
        case NotFound():
            await running.complete(partial(_forget_file, record))
        case Permanent():
            await running.complete(partial(_reject_file, record, verdict, stat))
        case _:
            raise verdict


async def _is_sidecar(rt: Runtime, opened: Opened, record: FileRecord) -> bool:
    """Tell whether a file is one by its name and no photo, video or audio by its content."""
    if not is_sidecar(record.path.rpartition("/")[2]) or record.path.startswith("inbox/"):
        return False
    try:
        await rt.media.identify(opened.repository.absolute(record.path))
    except Permanent:
        return True
    except NotFound:
        return False
    return False


async def _examined(rt: Runtime, opened: Opened, record: FileRecord, digest: Digest, stat: FileStat) -> Effect:
    """Find out what a file is; return what is to be written."""
    known = await rt.db.call(assets.by_digest, rt.owner_id, digest)
    original = await rt.db.call(files.original_of, known) if known else None
    former = await _former(rt, original) if original and original.id != record.id else None
    if known and former and former.state is Original.GOOD:
        return partial(_settle, opened, record, digest, stat, known, Outcome.DUPLICATE)
    if known:
        # the same file again, or a move: the asset keeps everything and is served from here now
        return partial(_settle, opened, record, digest, stat, known, Outcome.ASSET, former=former)
    identified = await rt.media.identify(opened.repository.absolute(record.path))
    taken = identified.taken or _file_clock(stat)
    name = shown(record.path.rpartition("/")[2])
    asset = _new_asset(rt.owner_id, name, digest, stat.size_bytes, identified, taken)
    return partial(_admit_file, opened, record, asset, stat)


def _admit_file(opened: Opened, record: FileRecord, asset: NewAsset, stat: FileStat, conn: Connection) -> Result:
    admitted = assets.admit(conn, asset)
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
    *,
    former: "Former | None" = None,
) -> Result:
    in_trash = trash.held(conn, asset_id)
    if in_trash is not None and not (in_trash.why is Why.NO_FILE and in_trash.state is TrashState.TRASHED):
        return _settle_in_trash(opened, record, digest, stat, in_trash, conn)
    if in_trash is not None:
        trash.supersede(conn, asset_id)
    if outcome is Outcome.ASSET and not _takes_over(conn, record, asset_id, former):
        outcome = Outcome.DUPLICATE
    files.settle(conn, record.id, outcome, stat, digest, asset_id)
    if outcome is Outcome.ASSET:
        removal.understand(conn, asset_id, opened.id, PRIORITY_LOW)
    _retire_former(conn, record, asset_id)
    files.attach_sidecars(conn, opened.id, sidecars(record.path), asset_id)
    return {"asset_id": str(asset_id), "outcome": outcome}


def _takes_over(conn: Connection, record: FileRecord, asset_id: AssetId, former: "Former | None") -> bool:
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
    opened: Opened, record: FileRecord, digest: Digest, stat: FileStat, in_trash: TrashItem, conn: Connection
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
    if stat.inode in its_own and not _is_there(opened, record):
        # since it was read it was moved there: a rename keeps the inode
        return _forget_file(record, conn)
    files.settle(conn, record.id, Outcome.TRASHED, stat, digest, asset_id)
    _retire_former(conn, record, asset_id)
    told: Result = {"asset_id": str(asset_id), "outcome": Outcome.TRASHED}
    if record.path.startswith(INBOX) or in_trash.why is not Why.REMOVED:
        removal.bring_back(conn, asset_id)
        return {**told, "restored": True}
    return told


def _is_there(opened: Opened, record: FileRecord) -> bool:
    """Tell whether a file has its name still; on another disk than on record, inodes alone tell nothing."""
    try:
        opened.backend.stat(record.path)
    except (NotFound, Permanent):
        return False
    return True


def _retire_former(conn: Connection, record: FileRecord, asset_id: AssetId | None) -> None:
    """Put into the trash the asset whose bytes a file no longer holds, when nothing holds them; never a row alone."""
    if record.asset_id is not None and record.asset_id != asset_id:
        trash.retire_without_file(conn, record.asset_id)


def _keep_sidecar(opened: Opened, record: FileRecord, conn: Connection) -> Result:
    files.reject(conn, record.id, Outcome.SIDECAR, "no asset has this name yet", record.stat)
    files.attach_sidecar(conn, opened.id, record.id, owners(record.path))
    return {"outcome": Outcome.SIDECAR}


def _reject_file(record: FileRecord, error: LumilioError, stat: FileStat, conn: Connection) -> Result:
    outcome = OUTCOMES.get(error.code, Outcome.CORRUPT)
    files.reject(conn, record.id, outcome, f"{error.code}: {error.message}", stat)
    _retire_former(conn, record, None)
    return {"outcome": outcome, "code": error.code, "reason": error.message}


def _forget_file(record: FileRecord, conn: Connection) -> Result:
    files.forget(conn, record.id)
    _retire_former(conn, record, None)
    return {"outcome": "gone"}


def _read(opened: Opened, record: FileRecord) -> tuple[Digest, FileStat]:
    return _read_at(opened, opened.repository.absolute(record.path))


def _read_at(opened: Opened, path: str) -> tuple[Digest, FileStat]:
    return originals.digest_file(path, root=opened.repository.root)


def _check_size(opened: Opened, record: FileRecord) -> None:
    limit_kb = opened.repository.marker.local_settings.max_file_size_kb
    if limit_kb and record.stat.size_bytes > limit_kb * 1024:
        raise Refused(f"larger than this repository's limit of {limit_kb} KB", code="too_large")


class Original(Enum):
    """How the file is that a known asset is served from."""

    NONE = "the asset was not known"
    GOOD = "its bytes are there"
    DAMAGED = "a file is there with other bytes, or none can be read"
    GONE = "no file is there"


@dataclass(frozen=True, slots=True)
class Former:
    """The record of the file that an asset was served from when that was looked at, and how that file was."""

    record: FileRecord
    state: Original


async def _state_of_original(rt: Runtime, asset_id: AssetId, digest: Digest) -> tuple[Original, FileRecord | None]:
    """Read an asset's original again before bytes that were given once more are let go; return its record, too.

    Raises:
        Unavailable: its repository is offline; nothing is concluded from that.
    """
    record = await rt.db.call(files.original_of, asset_id)
    if record is not None:
        opened = rt.repositories.get(record.repository_id)
        return await _state_of_file(rt, opened, opened.repository.absolute(record.path), digest), record
    states = {await _state_of_file(rt, opened, path, digest) for opened, path in await _held_in_trash(rt, asset_id)}
    return next((state for state in (Original.GOOD, Original.DAMAGED) if state in states), Original.GONE), None


async def _state_of_file(rt: Runtime, opened: Opened, path: str, digest: Digest) -> Original:
    try:
        found, _ = await trio.to_thread.run_sync(_read_at, opened, path, limiter=rt.disk)
    except NotFound:
        await _check_reached(rt, opened)
        return Original.GONE
    except Permanent:
        await _check_reached(rt, opened)
        return Original.DAMAGED
    return Original.GOOD if found == digest else Original.DAMAGED


async def _held_in_trash(rt: Runtime, asset_id: AssetId) -> list[tuple[Opened, str]]:
    """Return every path at which the bytes of an asset in the trash may lie.

    Raises:
        Unavailable: it is being purged, or a repository of it is offline.
    """
    found = await rt.db.call(trash.item, asset_id)
    if found is None:
        return []
    if found.state is TrashState.DOOMED:
        raise removal.moving(asset_id)
    hidden: list[tuple[RepositoryId, RepoPath]] = await rt.db.call(trash.hidden_paths, asset_id)
    paths = [(rt.repositories.get(repository_id), path) for repository_id, path in hidden]
    held = [(opened, opened.repository.absolute(path)) for opened, path in paths]
    for file in found.files:
        opened = rt.repositories.get(file.repository_id)
        # on the way there it may still be at its place, on the way back there again
        held.append((opened, trash_storage.path_of(opened.repository, file.id)))
        held.append((opened, opened.repository.absolute(file.path)))
    return held


async def _former(rt: Runtime, record: FileRecord) -> Former:
    """Look at a file; one that is in the state its record was written for is good."""
    opened = rt.repositories.get(record.repository_id)
    try:
        found = await trio.to_thread.run_sync(opened.backend.stat, record.path, limiter=rt.disk)
    except (NotFound, Permanent) as error:
        await _check_reached(rt, opened)
        return Former(record, Original.GONE if isinstance(error, NotFound) else Original.DAMAGED)
    is_unchanged = (found.size_bytes, found.mtime_ns) == (record.stat.size_bytes, record.stat.mtime_ns)
    return Former(record, Original.GOOD if is_unchanged else Original.DAMAGED)


async def _check_reached(rt: Runtime, opened: Opened) -> None:
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)


def _file_clock(stat: FileStat) -> Taken:
    """Return a file's time; the present one where its own is out of range."""
    try:
        return _clock(dt.datetime.fromtimestamp(stat.mtime_ns / 1e9, dt.UTC), TakenSource.FILE)
    except (OverflowError, ValueError, OSError):
        return _clock(dt.datetime.now(dt.UTC), TakenSource.UPLOAD)


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
