"""Send the film of a photo that moves: the part of its own file, or the film that belongs to a live photo."""

import os
from dataclasses import replace
from pathlib import PurePath
from uuid import UUID

import trio

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import AssetRow, ServedFile
from lumiliod.domain.errors import NotFound, Retryable
from lumiliod.domain.ids import AssetId
from lumiliod.domain.media import AssetType
from lumiliod.library import stacks
from lumiliod.library.browse import original, show
from lumiliod.media import isobmff
from lumiliod.runtime import Runtime
from lumiliod.storage import durable


async def film(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open the film of a photo; the caller closes it.

    Raises:
        NotFound: there is no such photo, or it does not move (``motion_missing``).
        Retryable: its file was not read yet (``motion_pending``).
        Unavailable: as :func:`browse.original`.
    """
    row, live_id, is_read = await rt.db.call(_told, AssetId(asset_id))
    if row is None:
        await show(rt, asset_id)
    elif row.motion_offset is not None and row.motion_bytes is not None:
        return await _within(rt, await original(rt, asset_id), row.motion_offset, row.motion_bytes)
    elif live_id is not None and row.type == AssetType.PHOTO:
        return await original(rt, live_id)
    if not is_read:
        raise Retryable("what this file holds is still being read", code="motion_pending", after_s=2.0)
    raise NotFound("this asset is no photo that moves", code="motion_missing")


def _told(conn: Connection, asset_id: AssetId) -> tuple[AssetRow | None, AssetId | None, bool]:
    row = assets.rows(conn, [asset_id]).get(asset_id)
    stack = stacks.of_rows(conn, [row]).get(asset_id) if row is not None else None
    return row, stack.moving(asset_id) if stack else None, "metadata" not in assets.undone(conn, asset_id)


async def _within(rt: Runtime, whole: ServedFile, offset: int, size: int) -> ServedFile:
    """Return a part of an original; where the file has become another since it was read, none may be there."""
    head = b""
    try:
        if offset + size <= whole.size_bytes:
            head = await trio.to_thread.run_sync(_head, whole, offset, limiter=rt.disk)
    except BaseException:
        whole.opened.close()
        raise
    kind = isobmff.mime_type(head, size)
    if kind is None or not kind.startswith("video/"):
        whole.opened.close()
        raise NotFound("the film of this photo is not where it was", code="motion_missing")
    return replace(
        whole,
        size_bytes=size,
        mime_type=kind,
        filename=str(PurePath(whole.filename).with_suffix(".mp4")),
        etag=f"{whole.etag}-{offset:x}-{size:x}",
        offset_bytes=offset,
    )


def _head(whole: ServedFile, offset: int) -> bytes:
    with durable.translated("read", whole.filename):
        return os.pread(whole.opened.fileno(), 64, offset)
