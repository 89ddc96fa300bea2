"""Derivatives of one asset, whatever they are: ask for them, put them into the store, then their rows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TypeVar
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets, files, integrity
from lumiliod.db.assets import Source
from lumiliod.db.pool import Connection
from lumiliod.domain.derivatives import digest_at
from lumiliod.domain.derivatives import place as derivative_place
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepositoryId
from lumiliod.jobs.engine import Result, Running
from lumiliod.runtime import Runtime, reaching
from lumiliod.storage import derivatives, repository
from lumiliod.storage.repository import Repository

Asked = TypeVar("Asked")
Stored = TypeVar("Stored")


class Args(msgspec.Struct):
    """The asset whose derivatives are to be made."""

    asset: UUID


async def derive(
    rt: Runtime,
    running: Running,
    ask: Callable[[Repository, Source], Awaitable[Asked]],
    store: Callable[[Repository, Digest, Asked], Stored],
    record: Callable[[AssetId, RepositoryId, Stored, Connection], tuple[Result, Sequence[str]]],
) -> None:
    """Make the derivatives of one asset and end the job with their rows.

    Args:
        rt: the library.
        running: the job; its arguments are :class:`Args`.
        ask: makes them of the original.
        store: puts them into the store, in a thread; returns what is to be written down.
        record: writes it down; returns the job's result and the places of what this replaces.

    Raises:
        Unavailable: the repository is away. Permanent: the original cannot be decoded, or is not there
            (``original_missing``).
    """
    asset_id = AssetId(running.decoded(Args).asset)
    source = (await rt.db.once(assets.sources, [asset_id])).get(asset_id)
    if source is None:
        raise await no_original(rt, asset_id)
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        repo = opened.repository

        def stored_there(asked: Asked) -> Stored:
            # where another disk is mounted by now, the file was another's, too
            repository.check_identity(repo)
            return store(repo, source.digest, asked)

        verdict: LumilioError
        try:
            try:
                asked = await ask(repo, source)
            except NotFound as error:
                raise Permanent("the original is not where it was", code="original_missing") from error
            # nobody removes these bytes' derivatives while they have no row
            async with rt.digests.holding(source.digest):
                stored = await trio.to_thread.run_sync(stored_there, asked, limiter=rt.disk)
                replaced = list[str]()

                def effect(conn: Connection) -> Result:
                    result, replaced[:] = record(asset_id, repo.marker.id, stored, conn)
                    return result

                await running.complete(effect)
                await forget(rt, repo, replaced)
        except (NotFound, Permanent) as error:
            verdict = error
        else:
            return
        # a root that went away in the middle says nothing of the file
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        raise verdict


async def no_original(rt: Runtime, asset_id: AssetId) -> LumilioError:
    """Return why an asset has no file: it is being looked at anew, or there is none."""
    if await rt.db.call(files.is_doubted, asset_id):
        return Unavailable("the asset's file changed and is being looked at anew", code="original_changed", after_s=5)
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
