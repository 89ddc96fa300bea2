"""What a file is that was found where it lies; nothing of it is moved or written."""

from functools import partial
from uuid import UUID

import trio

from lumiliod.db import assets, files, trash
from lumiliod.domain.assets import FileRecord, FileStat, Outcome
from lumiliod.domain.errors import NotFound, Permanent, Refused, Unavailable
from lumiliod.domain.ids import AssetId, Digest, shown
from lumiliod.domain.sidecars import is_sidecar
from lumiliod.domain.trash import TrashState
from lumiliod.jobs.engine import Effect, Running
from lumiliod.pipeline import settlement
from lumiliod.pipeline.known_original import Original, look_at
from lumiliod.pipeline.new_asset import file_clock, new_asset
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import originals, repository


async def ingest_file(rt: Runtime, opened: Opened, running: Running, record_id: UUID) -> None:
    """Look at a file where it lies; nothing of it is moved or written."""
    record = await rt.db.once(files.get, record_id)
    if record is None:
        return
    if await _is_sidecar(rt, opened, record):
        await running.complete(partial(settlement.keep_sidecar, opened, record))
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
            await running.complete(partial(settlement.forget, record))
        case Permanent():
            await running.complete(partial(settlement.reject, record, verdict, stat))
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
    known = await rt.db.once(assets.by_digest, rt.owner_id, digest)
    original = await rt.db.call(files.original_of, known) if known else None
    former = await look_at(rt, original) if original and original.id != record.id else None
    if known:
        is_there = await _is_there(rt, opened, record, known)
        settle = partial(settlement.settle, opened, record, digest, stat, known, is_there=is_there)
        if former and former.state in (Original.GOOD, Original.AWAY):
            return partial(settle, Outcome.DUPLICATE)
        # the same file again, or a move: the asset keeps everything and is served from here now
        return partial(settle, Outcome.ASSET, former=former)
    identified = await rt.media.identify(opened.repository.absolute(record.path))
    taken = identified.taken or file_clock(stat)
    name = shown(record.path.rpartition("/")[2])
    asset = new_asset(rt.owner_id, name, digest, stat.size_bytes, identified, taken)
    return partial(settlement.admit, opened, record, asset, stat)


async def _is_there(rt: Runtime, opened: Opened, record: FileRecord, known: AssetId) -> bool | None:
    """Tell whether a file has its name still though its asset is in the trash; None when that is not there."""
    if (await rt.db.call(trash.states, [known])).get(known) is not TrashState.TRASHED:
        return None
    try:
        await trio.to_thread.run_sync(opened.backend.stat, record.path, limiter=rt.disk)
    except (NotFound, Permanent):
        return False
    return True


def _read(opened: Opened, record: FileRecord) -> tuple[Digest, FileStat]:
    return originals.digest_file(opened.repository.absolute(record.path), root=opened.repository.root)


def _check_size(opened: Opened, record: FileRecord) -> None:
    limit_kb = opened.repository.marker.local_settings.max_file_size_kb
    if limit_kb and record.stat.size_bytes > limit_kb * 1024:
        raise Refused(f"larger than this repository's limit of {limit_kb} KB", code="too_large")
