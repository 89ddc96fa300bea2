"""Look at assets and read their bytes."""

import datetime as dt
import os
from uuid import UUID

import trio

from lumiliod.contract.assets import AssetDetail, AssetPage
from lumiliod.db import assets
from lumiliod.domain.assets import ServedFile
from lumiliod.domain.errors import NotFound, Retryable, Shape
from lumiliod.domain.ids import AssetId, path_from_bytes
from lumiliod.domain.query import Query
from lumiliod.domain.repositories import THUMBNAIL_SIZES
from lumiliod.library import convert
from lumiliod.library.search import found
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from lumiliod.storage.repository import check_identity


async def page(rt: Runtime, *, limit: int, cursor: str | None) -> AssetPage:
    """Return assets, newest capture first."""
    items, next_cursor = await found(rt, Query((), ()), limit, cursor)
    return AssetPage(items=items, next_cursor=next_cursor)


async def show(rt: Runtime, asset_id: UUID) -> AssetDetail:
    """Return one asset with everything its file says of itself.

    Raises:
        NotFound: there is none with this id.
    """
    result = await rt.db.call(assets.show, AssetId(asset_id))
    if result is None:
        raise NotFound(f"there is no asset {asset_id}", code="asset_not_found")
    return convert.asset_detail(rt, *result)


async def original(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Return where an asset's own bytes lie.

    Raises:
        NotFound: no such asset, or its file is gone.
        Retryable: its repository is offline.
    """
    source = (await rt.db.call(assets.sources, [AssetId(asset_id)])).get(AssetId(asset_id))
    if source is None:
        await show(rt, asset_id)
        raise NotFound("this asset's original is not there", code="original_missing")
    path = rt.repositories.get(source.repository_id).repository.absolute(path_from_bytes(source.path))
    return await _served(rt, path, source.mime_type, source.original_filename, source.digest, "original_missing")


async def thumbnail(rt: Runtime, asset_id: UUID, size: int) -> ServedFile:
    """Return where a thumbnail lies.

    Raises:
        Shape: no thumbnail has this size.
        NotFound: the asset or its picture does not exist.
        Retryable: it is still being made, or made again because its file was lost.
    """
    if size not in THUMBNAIL_SIZES:
        sizes = ", ".join(str(known) for known in THUMBNAIL_SIZES)
        raise Shape(f"size is one of {sizes}", code="bad_size")
    made = await rt.db.call(assets.derivative, AssetId(asset_id), f"thumbnail_{size}")
    if made is None:
        asset = await show(rt, asset_id)
        if asset.status == "processing":
            raise Retryable("this thumbnail is still being made", code="thumbnail_pending", after_s=2.0)
        raise NotFound(asset.status_reason or "this asset has no picture", code="thumbnail_missing")
    repo = rt.repositories.get(made.repository_id).repository
    path = os.path.join(repo.lumilio, made.path)
    etag = f"{made.recipe}-{asset_id}-{size}-{int(made.created_at.timestamp() * 1000):x}"
    try:
        served = await _served(rt, path, made.mime_type, f"{made.original_filename}.{size}", etag, "thumbnail_missing")
    except NotFound:
        served = None
    if served is None or served.size_bytes != made.size_bytes:
        # lost or cut short, as by a power failure: a derivative can always be made again
        await trio.to_thread.run_sync(check_identity, repo, limiter=rt.disk)
        again = kinds.about(kinds.THUMBNAILS, AssetId(asset_id), repo.marker.id)
        await rt.jobs.call(kinds.enqueue_one, again)
        raise Retryable("this thumbnail is made again", code="thumbnail_pending", after_s=2.0)
    return served


async def _served(rt: Runtime, path: str, mime_type: str, filename: str, etag: str, code: str) -> ServedFile:
    try:
        found = await trio.to_thread.run_sync(os.stat, path, limiter=rt.disk)
    except OSError as error:
        raise NotFound("the file is not where it was", code=code) from error
    modified = dt.datetime.fromtimestamp(found.st_mtime, dt.UTC)
    return ServedFile(path, found.st_size, mime_type, filename, etag, modified)
