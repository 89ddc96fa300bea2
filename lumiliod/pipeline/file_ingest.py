"""What a file is that was found where it lies; nothing of it is moved or written."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets, files, trash
from lumiliod.db.files import Settled
from lumiliod.domain.assets import FileRecord, FileStat, Outcome
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused, Shape, Unavailable
from lumiliod.domain.ids import AssetId, Digest, shown
from lumiliod.domain.media import Identified
from lumiliod.domain.sidecars import is_sidecar
from lumiliod.domain.trash import TrashState
from lumiliod.jobs.engine import Effect, Fenced, Running, Together
from lumiliod.pipeline import settlement
from lumiliod.pipeline.known_original import Original, look_at
from lumiliod.pipeline.look_back import Written, look_back
from lumiliod.pipeline.new_asset import file_clock, new_asset
from lumiliod.pipeline.settlement import NewFile
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import repository
from lumiliod.storage.digesting import digest_files

READ_S = 1.0
"""How long files are read before those that were are looked at."""
SLOW_S = 30.0
"""One whose reading takes longer keeps no others: it is begun again when they are done."""
LARGE_BYTES = 64 << 20
"""Files beyond that are read by themselves."""


class Args(msgspec.Struct):
    """A file where it lies."""

    repository: UUID
    file: UUID


@dataclass(frozen=True, slots=True)
class _File:
    """A file that a scan has met, and the job that looks at it."""

    job: Running
    record: FileRecord


@dataclass(frozen=True, slots=True)
class _Read:
    """A file and what was read of it."""

    file: _File
    digest: Digest
    stat: FileStat


async def ingest_files(rt: Runtime, jobs: Sequence[Running]) -> None:
    """Look at files where they lie; nothing of them is moved or written."""
    wanted: dict[UUID, dict[UUID, Running]] = {}
    for job in jobs:
        try:
            args = job.decoded(Args)
        except Shape as error:
            await job.fail(error)
        else:
            wanted.setdefault(args.repository, {})[args.file] = job
    for repository_id, its_jobs in wanted.items():
        try:
            opened = rt.repositories.get(repository_id)
            with reaching(rt.repositories, opened):
                await _ingest(rt, opened, its_jobs)
        except Fenced:
            raise
        except LumilioError as error:
            for job in its_jobs.values():
                await job.fail(error)


async def _ingest(rt: Runtime, opened: Opened, jobs: Mapping[UUID, Running]) -> None:
    records = await rt.db.once(files.get_many, list(jobs))
    waiting: list[_File] = []
    # what is not looked into, as it was met
    written: list[Written] = []
    for record_id, job in jobs.items():
        file = _File(job, records[record_id]) if record_id in records else None
        if file is None:
            continue
        if await _is_left_out(rt, opened, file):
            written.append((file.record, file.record.stat))
        else:
            waiting.append(file)
    slow: list[_File] = []
    while waiting or slow:
        found = await _read(rt, opened, waiting or slow[:1])
        if not waiting:
            slow = slow[1:]
        elif found:
            waiting = waiting[len(found) :]
        else:  # by itself it may take what it takes, when nobody waits behind it
            slow, waiting = [*slow, waiting[0]], waiting[1:]
        read: list[_Read] = []
        for one in found:
            if isinstance(one, _Read):
                read.append(one)
            else:
                written += await _judge(rt, opened, *one)
        for one in await _admitted(rt, opened, read):
            await _settled(rt, opened, one)
        written += [(one.file.record, one.stat) for one in read]
        await look_back(rt, opened, written)
        written = []
    await look_back(rt, opened, written)


async def _read(rt: Runtime, opened: Opened, files: Sequence[_File]) -> list["_Read | _Verdict"]:
    """Read files until that takes long; return what came of the first of them, nothing where already that hangs."""
    found: list[_Read | _Verdict] = []
    limit_s = SLOW_S if len(files) > 1 and not _is_large(files[0]) else math.inf
    with trio.move_on_after(limit_s):
        await trio.to_thread.run_sync(_read_some, rt, opened, files, found, abandon_on_cancel=True, limiter=rt.disk)
    return list(found)


async def _is_left_out(rt: Runtime, opened: Opened, file: _File) -> bool:
    """Tell whether a file need not be read: it is a sidecar, or too large; then its job has ended."""
    try:
        if await _is_sidecar(rt, opened, file.record):
            await rt.jobs.finish_all([(file.job, partial(settlement.keep_sidecar, file.record))])
            return True
        # what holds an asset says what it was: how large it is now is seen when it is read
        if file.record.outcome is Outcome.PENDING:
            _check_size(opened, file.record.stat)
    except LumilioError as error:
        await _judge(rt, opened, file, error, file.record.stat)
        return True
    return False


async def _admitted(rt: Runtime, opened: Opened, read: Sequence[_Read]) -> list[_Read]:
    """Make assets of files whose bytes nobody has seen, all in one transaction; return the others."""
    first = {one.digest: one for one in reversed(read)}
    new = await _unknown(rt, first)
    if len(new) < 2:
        return list(read)
    async with AsyncExitStack() as held:
        for digest in sorted(new):  # all who hold several take them in one order
            await held.enter_async_context(rt.digests.holding(digest))
        new = await _unknown(rt, new)
        paths = [opened.repository.absolute(one.file.record.path) for one in new.values()]
        identified = await rt.media.identify_together(paths) if new else []
        admitted = [(one, kind) for one, kind in zip(new.values(), identified, strict=True) if kind is not None]
        effects = [_new(rt, opened, one.file.record, one.digest, one.stat, kind) for one, kind in admitted]
        await rt.jobs.finish_all([(one.file.job, effect) for (one, _), effect in zip(admitted, effects, strict=True)])
    done = {id(one) for one, _ in admitted}
    return [one for one in read if id(one) not in done]


async def _unknown(rt: Runtime, read: Mapping[Digest, _Read]) -> dict[Digest, _Read]:
    """Return those whose bytes no asset has."""
    known = {one.digest for one in await rt.db.once(assets.by_digests, rt.owner_id, list(read))} if read else set()
    return {digest: one for digest, one in read.items() if digest not in known}


async def _settled(rt: Runtime, opened: Opened, one: _Read) -> None:
    """Say which asset a file holds whose bytes are known."""
    try:
        async with rt.digests.holding(one.digest):
            effect = await _examined(rt, opened, one.file.record, one.digest, one.stat)
            await rt.jobs.finish_all([(one.file.job, effect)])
    except LumilioError as error:
        await _judge(rt, opened, one.file, error, one.stat)


async def _judge(rt: Runtime, opened: Opened, file: _File, verdict: LumilioError, stat: FileStat) -> list[Written]:
    """End the job of a file that is no asset, in the state ``stat``; return what was written of it."""
    try:
        # a root that went away in the middle says nothing of the file
        with reaching(rt.repositories, opened):
            await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
    except Unavailable as error:
        verdict = error
    match verdict:
        case NotFound():
            await rt.jobs.finish_all([(file.job, partial(settlement.forget, file.record))])
            return [(file.record, None)]
        case Permanent():
            await rt.jobs.finish_all([(file.job, partial(settlement.reject, file.record, verdict, stat))])
            return [(file.record, stat)]
        case _:
            await file.job.fail(verdict)
            return []


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
        if former and former.state in (Original.GOOD, Original.AWAY):
            holds = Settled(record.id, Outcome.DUPLICATE, stat, digest, known)
            return partial(settlement.settle, opened, record, holds, is_there=is_there)
        # the same file again, or a move: the asset keeps everything and is served from here now
        holds = Settled(record.id, Outcome.ASSET, stat, digest, known)
        return partial(settlement.settle, opened, record, holds, is_there=is_there, former=former)
    identified = await rt.media.identify(opened.repository.absolute(record.path))
    return _new(rt, opened, record, digest, stat, identified)


def _new(
    rt: Runtime, opened: Opened, record: FileRecord, digest: Digest, stat: FileStat, identified: Identified
) -> Effect:
    """Return what is to be written of a file whose bytes are a new asset's."""
    taken = identified.taken or file_clock(stat)
    name = shown(record.path.rpartition("/")[2])
    asset = new_asset(rt.owner_id, name, digest, stat.size_bytes, identified, taken)
    return Together(settlement.admit, NewFile(opened, record, asset, stat))


async def _is_there(rt: Runtime, opened: Opened, record: FileRecord, known: AssetId) -> bool | None:
    """Tell whether a file has its name still though its asset is in the trash; None when that is not there."""
    if (await rt.db.call(trash.states, [known])).get(known) is not TrashState.TRASHED:
        return None
    try:
        await trio.to_thread.run_sync(opened.backend.stat, record.path, limiter=rt.disk)
    except (NotFound, Permanent):
        return False
    return True


_Verdict = tuple[_File, LumilioError, FileStat]


def _read_some(rt: Runtime, opened: Opened, files: Sequence[_File], found: "list[_Read | _Verdict]") -> None:
    """Read files until that takes long, large ones by themselves; note what came of each."""
    ends_s = time.monotonic() + READ_S
    together = files[:1] if _is_large(files[0]) else list(takewhile(lambda file: not _is_large(file), files))
    paths = [opened.repository.absolute(file.record.path) for file in together]
    with (
        rt.hashers.lent([file.record.stat.size_bytes for file in together]) as hasher,
        closing(digest_files(paths, root=opened.repository.root, hasher=hasher)) as digested,
    ):
        for file, read in zip(together, digested, strict=True):
            if isinstance(read, LumilioError):
                found.append((file, read, file.record.stat))
            else:
                found.append(_allowed(opened, file, *read))
            if time.monotonic() >= ends_s:
                break


def _allowed(opened: Opened, file: _File, digest: Digest, stat: FileStat) -> "_Read | _Verdict":
    try:
        _check_size(opened, stat)
    except LumilioError as error:
        return file, error, stat
    return _Read(file, digest, stat)


def _is_large(file: _File) -> bool:
    return file.record.stat.size_bytes > LARGE_BYTES


def _check_size(opened: Opened, stat: FileStat) -> None:
    limit_kb = opened.repository.marker.local_settings.max_file_size_kb
    if limit_kb and stat.size_bytes > limit_kb * 1024:
        raise Refused(f"larger than this repository's limit of {limit_kb} KB", code="too_large")
