"""Derivatives of one asset, whatever they are: ask for them, put them into the store, then their rows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import outcome
import trio

from lumiliod.db import assets, files, integrity
from lumiliod.db import derivatives as db_derivatives
from lumiliod.db import jobs as db_jobs
from lumiliod.db.assets import Source
from lumiliod.db.derivatives import Made
from lumiliod.db.file_stat import fitting
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import digest_at
from lumiliod.domain.derivatives import place as derivative_place
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Retryable, Shape, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_from_bytes
from lumiliod.domain.sync import SyncType
from lumiliod.jobs.engine import Result, Running, Together
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import derivatives, repository
from lumiliod.storage.repository import Repository

Asked = TypeVar("Asked")
Stored = TypeVar("Stored")

RECORD_AFTER_S = 1.0
"""How long what was made first waits for the others that are recorded with it."""


CHANGED = "original_changed"


class Args(msgspec.Struct):
    """The asset whose derivatives are to be made."""

    asset: UUID


@dataclass(frozen=True, slots=True)
class Unrecorded(Generic[Stored]):
    """Derivatives of one asset that lie in the store of a repository and have no row yet."""

    asset_id: AssetId
    digest: Digest
    """Of the bytes they were made of."""
    repository_id: RepositoryId
    stored: Stored
    replaced: list[str] = field(default_factory=list[str])
    """Where those lie that they replace; filled in by whoever records them."""


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Asked]):
    """What was made of the original of one job's asset."""

    job: Running
    source: Source
    opened: Opened
    asked: Asked


async def derive(
    rt: Runtime,
    jobs: Sequence[Running],
    ask: Callable[[Repository, Source], Awaitable[Asked]],
    store: Callable[[Repository, Digest, Asked], Stored],
    record: Callable[[Connection, Sequence[Unrecorded[Stored]]], Sequence[Result]],
) -> None:
    """Make the derivatives of assets, one after the other, and end each job with the rows of its own.

    They are stored and recorded together; once that takes ``RECORD_AFTER_S``, when the next is made. Jobs that fail
    have the reason: the repository is away, the original cannot be decoded, or is not there (``original_missing``).

    Args:
        rt: the library.
        jobs: their arguments are :class:`Args`.
        ask: makes the derivatives of an original.
        store: puts them into the store, in a thread; returns what is to be written down.
        record: writes it down, of several assets; returns each job's result and fills in what this replaces.
    """
    made: list[_Asked[Asked]] = []
    first_s = trio.current_time()
    wanted = await wanted_of(jobs)
    sources = await rt.db.once(assets.sources, list(wanted))
    for asset_id, job in wanted.items():
        try:
            made.append(await _asked(rt, job, asset_id, sources.get(asset_id), ask))
        except LumilioError as error:
            await job.fail(error)
        if len(made) == 1:
            first_s = trio.current_time()
        elif trio.current_time() >= first_s + RECORD_AFTER_S:
            await _keep(rt, made, store, record)
            made = []
    await _keep(rt, made, store, record)


async def wanted_of(jobs: Sequence[Running]) -> dict[AssetId, Running]:
    """Return jobs by the assets they are about; those that name none have failed."""
    wanted: dict[AssetId, Running] = {}
    for job in jobs:
        try:
            wanted[AssetId(job.decoded(Args).asset)] = job
        except Shape as error:
            await job.fail(error)
    return wanted


async def _asked(
    rt: Runtime,
    job: Running,
    asset_id: AssetId,
    source: Source | None,
    ask: Callable[[Repository, Source], Awaitable[Asked]],
) -> _Asked[Asked]:
    if source is None:
        raise await no_original(rt, asset_id)
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        verdict: LumilioError
        try:
            asked = await ask(opened.repository, source)
            await check_unchanged(rt, opened, source)
            return _Asked(job, source, opened, asked)
        except NotFound as error:
            verdict = not_there()
            verdict.__cause__ = error
        except Permanent as error:
            verdict = error
        # a root that went away in the middle says nothing of the file
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
        if verdict.code != "original_missing":
            await check_unchanged(rt, opened, source)
        raise verdict


async def check_unchanged(rt: Runtime, opened: Opened, source: Source) -> None:
    """Make sure that an original is what its record says: what was read at its place was read of it.

    Raises:
        Unavailable: something else lies there, or nothing: its folder is scanned (``original_changed``). Or its disk
            does not answer.
    """
    [error] = await changes(rt, [(opened, source)])
    if error is not None:
        raise error


async def changes(rt: Runtime, looked: Sequence[tuple[Opened, Source]]) -> list[LumilioError | None]:
    """As :func:`check_unchanged` of several, in one look: return the error of each, None where all is well."""
    found = await trio.to_thread.run_sync(lambda: [_change(*one) for one in looked], limiter=rt.disk)
    folders = {
        (opened.id, RepoPath(path_from_bytes(source.path).rpartition("/")[0]))
        for (opened, source), error in zip(looked, found, strict=True)
        if error is not None and error.code == CHANGED
    }
    if folders:
        jobs = [kinds.scan_folder(*one, deep=False, why=SyncType.REALTIME) for one in sorted(folders)]
        await rt.jobs.call(db_jobs.enqueue, jobs)
    return found


def _change(opened: Opened, source: Source) -> LumilioError | None:
    try:
        found = opened.backend.stat(path_from_bytes(source.path))
    except (NotFound, Permanent):
        return _changed()
    except LumilioError as error:
        return error
    is_same = (found.size_bytes, fitting(found.mtime_ns)) == (source.size_bytes, source.mtime_ns)
    return None if is_same else _changed()


def _changed() -> Unavailable:
    return Unavailable("the asset's file changed and is being looked at anew", code=CHANGED, after_s=5)


async def _keep(
    rt: Runtime,
    made: Sequence[_Asked[Asked]],
    store: Callable[[Repository, Digest, Asked], Stored],
    record: Callable[[Connection, Sequence[Unrecorded[Stored]]], Sequence[Result]],
) -> None:
    """Store what was made, and end its jobs with its rows."""

    def put_all() -> list[outcome.Value[Stored] | outcome.Error]:
        return [outcome.capture(_stored, one, store) for one in made]

    if not made:
        return
    async with AsyncExitStack() as held:
        # nobody removes these bytes' derivatives while they have no row; all who hold several take them in one order
        for digest in sorted({one.source.digest for one in made}):
            await held.enter_async_context(rt.digests.holding(digest))
        found = await trio.to_thread.run_sync(put_all, limiter=rt.disk)
        lying: list[tuple[_Asked[Asked], Unrecorded[Stored]]] = []
        for one, stored in zip(made, found, strict=True):
            try:
                with reaching(rt.repositories, one.opened):
                    lying.append((one, Unrecorded(one.source.id, one.source.digest, one.opened.id, stored.unwrap())))
            except LumilioError as error:
                await one.job.fail(error)
        effect = _of_current(record)
        ends = await rt.jobs.finish_all([(one.job, Together(effect, item)) for one, item in lying])
        for (one, item), end in zip(lying, ends, strict=True):
            if not isinstance(end, LumilioError):
                with suppress(LumilioError):  # what cannot be removed now is left over; its job has ended
                    await forget(rt, one.opened.repository, item.replaced)


_Record = Callable[[Connection, Sequence[Unrecorded[Any]]], Sequence[Result]]


@cache
def _of_current(record: _Record) -> _Record:
    """Return ``record`` for what was made of bytes that its asset still has: another file may lie there by now."""

    def those_of_current(conn: Connection, items: Sequence[Unrecorded[Any]]) -> list[Result]:
        current = assets.with_digests(conn, {one.asset_id: one.digest for one in items})
        results = iter(record(conn, [one for one in items if one.asset_id in current]))
        return [next(results) if one.asset_id in current else {"superseded": True} for one in items]

    return those_of_current


def _stored(one: _Asked[Asked], store: Callable[[Repository, Digest, Asked], Stored]) -> Stored:
    repo = one.opened.repository
    # where another disk is mounted by now, the file was another's, too
    repository.check_identity(repo)
    try:
        return store(repo, one.source.digest, one.asked)
    except (NotFound, Permanent):
        repository.check_identity(repo)
        raise


def record(conn: Connection, lying: Sequence[Unrecorded[Any]], made: Sequence[Sequence[NewDerivative]]) -> None:
    """Write down what was made of each, and fill in what it replaces."""
    rows = [Made(one.asset_id, one.repository_id, derivatives) for one, derivatives in zip(lying, made, strict=True)]
    replaced = db_derivatives.put(conn, rows)
    for one in lying:
        one.replaced[:] = replaced[one.asset_id]


def not_there() -> Retryable:
    """Return that an original is not where its record says: it may have been moved, which a scan is about to tell."""
    return Retryable("the original is not where it was", code="original_missing")


async def no_original(rt: Runtime, asset_id: AssetId) -> LumilioError:
    """Return why an asset has no file: it is being looked at anew, or there is none."""
    if await rt.db.call(files.is_doubted, asset_id):
        return _changed()
    return Permanent("the asset has no original", code="original_missing")


async def forget(rt: Runtime, repo: Repository, places: Sequence[str]) -> None:
    """Remove derivatives that no row names any more; what cannot be removed now is left over, and pruned one day.

    The caller holds the lock of their bytes, if their names tell these.
    """
    if not places:
        return
    unknown = await rt.db.call(integrity.unknown_derivatives, repo.marker.id, places)

    def remove() -> None:
        for place in unknown:
            with suppress(Unavailable):
                derivatives.remove(repo, place)

    await trio.to_thread.run_sync(remove, limiter=rt.disk)


async def discard(rt: Runtime, repo: Repository, place: str) -> None:
    """Remove a derivative that no row names, while nobody makes one of the same bytes."""
    digest = digest_at(place)
    if digest is None:  # of a name that was given before names told the digest
        await forget(rt, repo, [place])
        return
    async with rt.digests.holding(digest):
        await forget(rt, repo, [place])


def put(repo: Repository, digest: Digest, kind: str, source: str, extension: str) -> str:
    """Move a finished derivative into the store; return its place there. Blocks.

    Raises as :func:`derivatives.put`.
    """
    place = derivative_place(kind, digest, extension)
    derivatives.put(repo, source, place)
    return place


def put_bytes(repo: Repository, digest: Digest, kind: str, data: bytes, extension: str) -> str:
    """Write a derivative into the store; return its place there. Blocks.

    Raises as :func:`derivatives.put_bytes`.
    """
    place = derivative_place(kind, digest, extension)
    derivatives.put_bytes(repo, data, place)
    return place


@asynccontextmanager
async def scratch(rt: Runtime, repo: Repository) -> AsyncIterator[str]:
    """Give a private folder on the repository's file system, removed afterwards, cancelled or not."""
    stack = ExitStack()
    folder = await trio.to_thread.run_sync(stack.enter_context, derivatives.scratch(repo), limiter=rt.disk)
    try:
        yield folder
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stack.close, limiter=rt.disk)
