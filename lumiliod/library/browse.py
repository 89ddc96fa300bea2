"""Look at assets and read their bytes."""

import os
from uuid import UUID

import trio

from lumiliod.contract.assets import Asset, AssetDetail, AssetPage, NearDuplicate, NearDuplicates
from lumiliod.db import appearances, assets, files, sidecars, trash, versions
from lumiliod.db.pool import Connection
from lumiliod.db.sidecars import Beside
from lumiliod.db.versions import Version
from lumiliod.domain.assets import AssetDetails, AssetRow, FileRecord, ServedFile
from lumiliod.domain.errors import NotFound, Unavailable
from lumiliod.domain.ids import AssetId, path_from_bytes
from lumiliod.domain.media import Appearance
from lumiliod.domain.query import Query
from lumiliod.domain.stacks import Stack
from lumiliod.domain.trash import TrashState
from lumiliod.library import convert, stacks
from lumiliod.library.opening import modified, open_file
from lumiliod.library.search import found
from lumiliod.runtime import Runtime, reaching

_LOOK_AGAIN_S = (0.01, 0.04, 0.15, 0.4)
"""How long to wait before an original that is not at its place is looked for again: a rename and its row take less."""

LOOKS = 8
"""How often more is looked for until a page of covers is full."""


async def page(rt: Runtime, *, limit: int, cursor: str | None, collapsed: bool = False) -> AssetPage:
    """Return assets, newest capture first; ``collapsed``: of every stack its cover alone, where that has its place.

    The cursor says how far was looked, not what was shown: a collapsed page among long bursts may be short.
    """
    items, next_cursor = await found(rt, Query((), ()), limit, cursor)
    looks = 1
    while collapsed and looks < LOOKS and next_cursor is not None and len(shown := covers(items)) < limit:
        more, next_cursor = await found(rt, Query((), ()), limit - len(shown), next_cursor)
        items = [*shown, *more]
        looks += 1
    return AssetPage(items=covers(items) if collapsed else items, next_cursor=next_cursor)


def covers(items: list[Asset]) -> list[Asset]:
    """Return what is shown for a stack, and what is in none."""
    return [item for item in items if item.stack is None or item.stack.cover == item.id]


async def show(rt: Runtime, asset_id: UUID) -> AssetDetail:
    """Return one asset with everything its file says of itself.

    Raises:
        NotFound: there is none with this id, or it is in the trash (``in_trash``).
    """
    result = await rt.db.call(_shown, AssetId(asset_id))
    if result is None:
        if await rt.db.call(trash.states, [AssetId(asset_id)]):
            raise NotFound(f"asset {asset_id} is in the trash", code="in_trash")
        raise NotFound(f"there is no asset {asset_id}", code="asset_not_found")
    return convert.asset_detail(*result)


def _shown(
    conn: Connection, asset_id: AssetId
) -> tuple[AssetRow, AssetDetails, Appearance | None, Stack | None, list[Beside], list[Version]] | None:
    found = assets.show(conn, asset_id)
    if found is None:
        return None
    beside = sidecars.beside(conn, [asset_id]).get(asset_id, [])
    stack = stacks.of_rows(conn, found[:1]).get(asset_id)
    return *found, appearances.get(conn, asset_id), stack, beside, versions.of_asset(conn, asset_id)


async def near_duplicates(rt: Runtime, asset_id: UUID, distance: int, limit: int) -> NearDuplicates:
    """Return assets that look like one, the nearest first; none of one without a picture, or of one colour.

    Args:
        rt: the library.
        asset_id: the asset.
        distance: in how many of 64 bits their hashes may differ.
        limit: how many to return at most.

    Raises:
        NotFound: as :func:`show`.
    """
    await show(rt, asset_id)
    near = await rt.db.call(_near, AssetId(asset_id), distance, limit)
    items = [NearDuplicate(distance=bits, asset=convert.asset(row, stack)) for row, bits, stack in near]
    return NearDuplicates(items=items)


def _near(conn: Connection, asset_id: AssetId, distance: int, limit: int) -> list[tuple[AssetRow, int, Stack | None]]:
    near = appearances.near(conn, asset_id, distance, limit)
    rows = assets.rows(conn, [one for one, _ in near])
    found = stacks.of_rows(conn, rows.values())
    return [(rows[one], bits, found.get(one)) for one, bits in near if one in rows]


async def original(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open an asset's own bytes; the caller closes them.

    A file that is being renamed is looked for again: its row tells where it went once that is written.

    Raises:
        NotFound: no such asset, or no plain file is where its original was (``original_missing``).
        Unavailable: its repository is offline, its disk fails, its file changed and is being looked at anew, or it is
            on its way back from the trash.
    """
    for delay_s in _LOOK_AGAIN_S:
        try:
            return await _served(rt, AssetId(asset_id))
        except NotFound as error:
            if error.code != "original_missing":
                raise
        await trio.sleep(delay_s)
    return await _served(rt, AssetId(asset_id))


async def _served(rt: Runtime, asset_id: AssetId) -> ServedFile:
    source, record, is_doubted = await rt.db.call(_original, asset_id)
    if source is None or record is None:
        await _explain(rt, asset_id, is_doubted=is_doubted)
        raise NotFound("this asset's original is not there", code="original_missing")
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        file = await trio.to_thread.run_sync(
            open_file, opened.repository, path_from_bytes(source.path), "original_missing", limiter=rt.disk
        )
    found = os.fstat(file.fileno())
    is_as_recorded = (found.st_size, found.st_mtime_ns) == (record.stat.size_bytes, record.stat.mtime_ns)
    etag = source.digest if is_as_recorded else f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}"
    return ServedFile(
        file, found.st_size, modified(found), source.mime_type, source.original_filename, etag, not is_as_recorded
    )


async def _explain(rt: Runtime, asset_id: AssetId, *, is_doubted: bool) -> None:
    """Raise why an asset is served from no file, if there is a better reason than that there is none."""
    if (await rt.db.call(trash.states, [asset_id])).get(asset_id) is TrashState.RESTORING:
        raise Unavailable("this asset is on its way back from the trash", code="in_motion", after_s=2.0)
    await show(rt, asset_id)
    if is_doubted:
        raise Unavailable("this original changed and is being looked at anew", code="original_changed", after_s=5.0)


def _original(conn: Connection, asset_id: AssetId) -> tuple[assets.Source | None, FileRecord | None, bool]:
    """Return where an asset's original lies, its file record, and whether it waits to be looked at anew."""
    source = assets.sources(conn, [asset_id]).get(asset_id)
    record = files.original_of(conn, asset_id) if source else None
    return source, record, record is None and files.is_doubted(conn, asset_id)
