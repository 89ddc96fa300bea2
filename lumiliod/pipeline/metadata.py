"""Metadata: exiftool's reading of every tag and of sidecars, a batch of files in one call."""

from collections.abc import Sequence
from functools import partial

import trio

from lumiliod.db import assets, sidecars
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, NotFound, Retryable, Unavailable
from lumiliod.domain.ids import AssetId, RepositoryId, path_from_bytes
from lumiliod.domain.media import AssetType, Identified, Metadata
from lumiliod.jobs.engine import Effect, Running
from lumiliod.jobs.kind import Kind
from lumiliod.media.metadata import described
from lumiliod.pipeline import kinds
from lumiliod.pipeline.deriving import changes, no_original, not_there, wanted_of
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage.repository import check_identity

XMP = "application/rdf+xml"
BATCH = 16
"""Files a call of exiftool takes: enough to hide a round trip, few enough to be cancelled soon."""


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``metadata``."""

    async def run(jobs: Sequence[Running]) -> None:
        await read(rt, jobs)

    kind, queue = kinds.METADATA.kind, kinds.METADATA.queue
    return Kind(kind, queue, run, batch=BATCH, limit_s=120 * BATCH, missing=kinds.missing_metadata)


async def read(rt: Runtime, jobs: Sequence[Running]) -> None:
    """Read the metadata of several assets and write each with the end of its job."""
    wanted = await wanted_of(jobs)
    sources = await rt.db.once(assets.sources, list(wanted))
    beside = await rt.db.once(sidecars.beside, list(wanted))
    readable: list[tuple[Running, assets.Source, Opened]] = []
    reached: dict[RepositoryId, Opened] = {}
    for asset_id, job in wanted.items():
        source = sources.get(asset_id)
        try:
            if source is None:
                raise await no_original(rt, asset_id)
            if source.repository_id not in reached:
                reached[source.repository_id] = await _reached(rt, source)
            readable.append((job, source, reached[source.repository_id]))
        except LumilioError as error:
            await job.fail(error)
    asked: list[tuple[str, Identified | str]] = [
        (opened.repository.absolute(path_from_bytes(source.path)), _identity(source)) for _, source, opened in readable
    ]
    folders = [opened.repository.root for _, _, opened in readable]
    told = [_sidecar(source, opened, beside) for _, source, opened in readable]
    asked += [(path, XMP) for path in told if path is not None]
    folders += [opened.repository.root for (_, _, opened), path in zip(readable, told, strict=True) if path is not None]
    results = await rt.media.metadata(asked, folders) if asked else []
    said = iter(results[len(readable) :])
    understood: list[tuple[Running, Effect]] = []
    looked = await changes(rt, [(opened, source) for _, source, opened in readable])
    for (job, source, _), path, result, change in zip(readable, told, results, looked, strict=False):
        more = next(said) if path is not None else None
        try:
            if isinstance(result, NotFound):
                await _reached(rt, source)
                raise not_there()
            if change is not None:
                raise change
            if isinstance(result, LumilioError):
                raise result
            if isinstance(more, Retryable | Unavailable):
                raise more
        except LumilioError as error:
            await job.fail(error)
        else:
            # one that is gone, or that nobody can read, says nothing
            whole = described(result, more) if isinstance(more, Metadata) else result
            understood.append((job, partial(_write, source, whole)))
    if understood:
        await rt.jobs.finish_all(understood)


def _sidecar(source: assets.Source, opened: Opened, beside: dict[AssetId, list[sidecars.Beside]]) -> str | None:
    """Return the path of the sidecar whose content counts for an asset, if there is one in its repository."""
    first = sidecars.read(beside.get(source.id, ()), source.repository_id)
    return opened.repository.absolute(first.sidecar.path) if first is not None else None


async def _reached(rt: Runtime, source: assets.Source) -> Opened:
    """Return the repository of an original, which is really there.

    Raises:
        Unavailable: it is offline.
    """
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(check_identity, opened.repository, limiter=rt.disk)
    return opened


def _identity(source: assets.Source) -> Identified:
    """Return what ingest found, which spares a second look at a photo."""
    return Identified(AssetType(source.type), source.mime_type, "", source.width, source.height, source.duration_s)


def _write(source: assets.Source, metadata: Metadata, conn: Connection) -> None:
    assets.set_metadata(conn, source.id, source.digest, source.original_filename, metadata)
