"""Metadata: exiftool's reading of every tag, a batch of files in one call."""

from collections.abc import Sequence
from functools import partial

import trio

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, NotFound, Permanent
from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.domain.media import AssetType, Identified, Metadata
from lumiliod.jobs.engine import Effect, Running
from lumiliod.jobs.kind import Kind
from lumiliod.pipeline import kinds
from lumiliod.pipeline.deriving import no_original, wanted_of
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage.repository import check_identity

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
    asked = [
        (opened.repository.absolute(path_from_bytes(source.path)), _identity(source)) for _, source, opened in readable
    ]
    folders = [opened.repository.root for _, _, opened in readable]
    results = await rt.media.metadata(asked, folders) if asked else []
    understood: list[tuple[Running, Effect]] = []
    for (job, source, _), result in zip(readable, results, strict=True):
        try:
            if isinstance(result, NotFound):
                await _reached(rt, source)
                raise Permanent("the original is not where it was", code="original_missing")
            if isinstance(result, LumilioError):
                raise result
        except LumilioError as error:
            await job.fail(error)
        else:
            understood.append((job, partial(_write, source, result)))
    if understood:
        await rt.jobs.finish_all(understood)


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
    assets.set_metadata(conn, source.id, source.original_filename, metadata)
