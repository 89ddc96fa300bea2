"""Metadata: exiftool's reading of every tag, a batch of files in one call."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import msgspec

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, Permanent
from lumiliod.domain.ids import AssetId, path_from_bytes
from lumiliod.domain.media import AssetType, Identified, Metadata
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime

BATCH = 16
"""Files a call of exiftool takes: enough to hide a round trip, few enough to be cancelled soon."""


class Args(msgspec.Struct):
    """The asset to read."""

    asset: UUID


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``metadata``."""

    async def run(jobs: Sequence[Running]) -> None:
        await read(rt, jobs)

    return Kind(kinds.METADATA.kind, kinds.METADATA.queue, run, batch=BATCH, limit_s=600)


async def read(rt: Runtime, jobs: Sequence[Running]) -> None:
    """Read the metadata of several assets and write each with the end of its job."""
    wanted = {AssetId(msgspec.convert(job.args, Args).asset): job for job in jobs}
    sources = await rt.db.call(assets.sources, list(wanted))
    readable: list[tuple[Running, assets.Source, str]] = []
    for asset_id, job in wanted.items():
        source = sources.get(asset_id)
        if source is None:
            await job.fail(Permanent("the asset has no original", code="original_missing"))
            continue
        try:
            root = rt.repositories.get(source.repository_id).repository
        except LumilioError as error:
            await job.fail(error)
            continue
        readable.append((job, source, root.absolute(path_from_bytes(source.path))))
    results = await rt.media.metadata([(path, _identity(source)) for _, source, path in readable]) if readable else []
    for (job, source, _), result in zip(readable, results, strict=True):
        if isinstance(result, LumilioError):
            await job.fail(result)
        else:
            await job.complete(partial(_write, source, result))


def _identity(source: assets.Source) -> Identified:
    """Return what ingest found, which spares a second look at a photo."""
    return Identified(AssetType(source.type), source.mime_type, "", source.width, source.height, source.duration_s)


def _write(source: assets.Source, metadata: Metadata, conn: Connection) -> None:
    assets.set_metadata(conn, source.id, source.original_filename, metadata)
