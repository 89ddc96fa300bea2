"""Films in pieces for players of HLS: playlists, and pieces that are made when they are asked for, and kept a while."""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets
from lumiliod.db.assets import Source
from lumiliod.db.pool import Connection
from lumiliod.domain import streaming
from lumiliod.domain.assets import AssetRow, ServedFile
from lumiliod.domain.errors import NotFound, Retryable
from lumiliod.domain.ids import AssetId, path_from_bytes
from lumiliod.domain.media import AssetType
from lumiliod.domain.streaming import FilmSurvey, Piece
from lumiliod.library.browse import show
from lumiliod.library.opening import modified
from lumiliod.pipeline import deriving
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import durable, film_cache, pump

RECIPE = "hls-1"
"""Changes when pieces come out so differently that they do not fit to those that were made before."""
LIMIT_S = 120.0
"""How long somebody waits for a piece: films that cannot be sought in are read from their beginning."""
AGAIN_S = 2.0

_Write = Callable[[str, str], Awaitable[str]]
"""Makes of the original, in a folder, a file."""


async def master(rt: Runtime, asset_id: UUID) -> str:
    """Return the playlist of the sizes that a film is streamed in.

    Raises:
        NotFound: there is no such film, it has no length, or nobody wants films streamed here (``video_missing``).
        Permanent: it cannot be decoded.
    """
    return streaming.master(await _survey(rt, await _film(rt, asset_id)))


async def index(rt: Runtime, asset_id: UUID, rendition: int) -> str:
    """Return the playlist of the pieces of one size.

    Raises:
        NotFound: as :func:`master`; or there is no such size (``rendition_missing``).
    """
    return streaming.index(await _survey(rt, await _film(rt, asset_id)), rendition)


async def beginning(rt: Runtime, asset_id: UUID, rendition: int) -> ServedFile:
    """Open what the pieces of one size have in common; the caller closes it. Raises as :func:`piece`."""
    source = await _film(rt, asset_id)
    streaming.check(await _survey(rt, source), rendition)
    return await _piece(rt, source, Piece(rendition))


async def piece(rt: Runtime, asset_id: UUID, rendition: int, number: int) -> ServedFile:
    """Open a piece of a film, which is made where it is not kept; the caller closes it.

    Raises:
        NotFound: as :func:`index`; or the film is shorter (``segment_missing``).
        Permanent: it cannot be decoded.
        Unavailable: the repository is away, or has too little room.
        Retryable: it could not be made now (``segment_late``, ``segment_lost``, ``interrupted``).
    """
    source = await _film(rt, asset_id)
    return await _piece(rt, source, streaming.piece(await _survey(rt, source), rendition, number))


async def _film(rt: Runtime, asset_id: UUID) -> Source:
    row, source = await rt.db.call(_told, AssetId(asset_id))
    if row is None:
        await show(rt, asset_id)  # says why; otherwise it has come back this moment
        return await _film(rt, asset_id)
    if row.type != AssetType.VIDEO:
        raise NotFound("this asset is no film", code="video_missing")
    if not rt.config.media.hls_cache_mb:
        raise NotFound("films are not streamed here (media.hls_cache_mb)", code="video_missing")
    if source is None:
        raise await deriving.no_original(rt, AssetId(asset_id))
    return source


def _told(conn: Connection, asset_id: AssetId) -> tuple[AssetRow | None, Source | None]:
    return assets.rows(conn, [asset_id]).get(asset_id), assets.sources(conn, [asset_id]).get(asset_id)


async def _survey(rt: Runtime, source: Source) -> FilmSurvey:
    """Return what must be known of a film, which is kept like its pieces."""

    async def write(path: str, folder: str) -> str:
        found = await rt.media.film_survey(path)
        written = os.path.join(folder, "survey.json")
        data = msgspec.json.encode(found)

        def put() -> None:
            with durable.translated("write", written, writing=True):
                Path(written).write_bytes(data)

        await trio.to_thread.run_sync(put, limiter=rt.disk)
        return written

    file = await _kept(rt, source, _name(source, "survey.json"), write)
    with file:
        return msgspec.json.decode(await trio.to_thread.run_sync(file.read, limiter=rt.disk), type=FilmSurvey)


async def _piece(rt: Runtime, source: Source, wanted: Piece) -> ServedFile:
    async def write(path: str, folder: str) -> str:
        with trio.move_on_after(LIMIT_S):
            return await rt.media.film_piece(path, wanted, folder)
        raise Retryable(f"this was not made within {LIMIT_S:g} s", code="segment_late", after_s=AGAIN_S)

    what = "init.mp4" if wanted.number is None else f"{wanted.number}.m4s"
    name = _name(source, f"{wanted.rendition}-{what}")
    file = await _kept(rt, source, name, write)
    found = os.fstat(file.fileno())
    what = f"{source.original_filename}.{what}"
    # weak: made again it may be other bytes of the same film, for libx264's threads share a limit of its bit rate
    etag = f"{source.id}-{name}-{found.st_size:x}"
    return ServedFile(file, found.st_size, modified(found), "video/mp4", what, etag, etag_is_weak=True)


def _name(source: Source, what: str) -> str:
    """Return by which name something made of a film is kept: of other bytes it is another."""
    return f"{RECIPE}-{source.digest[:16]}-{what}"


async def _kept(rt: Runtime, source: Source, name: str, write: _Write) -> BinaryIO:
    """Open what is kept by a name; where nothing is, it is made, once for all who wait for it.

    Raises:
        Retryable: it was lost as soon as it was made (``segment_lost``). Others as ``write``.
    """
    opened = rt.repositories.get(source.repository_id)
    look = partial(film_cache.opened, opened.repository, source.id, name)
    with reaching(rt.repositories, opened):
        file = await trio.to_thread.run_sync(look, limiter=rt.disk)
        if file is None:
            await rt.streaming.done((source.id, name), partial(_make, rt, opened, source, name, write))
            file = await trio.to_thread.run_sync(look, limiter=rt.disk)
    if file is None:
        raise Retryable("this was lost again", code="segment_lost", after_s=AGAIN_S)
    return file


async def _make(rt: Runtime, opened: Opened, source: Source, name: str, write: _Write) -> None:
    repo = opened.repository

    def check() -> None:
        with durable.translated("look at", repo.incoming):
            pump.check_room(repo, 0, rt.config.storage.min_free_mb << 20)

    await trio.to_thread.run_sync(check, limiter=rt.disk)
    async with deriving.scratch(rt, repo) as folder:
        written = await write(repo.absolute(path_from_bytes(source.path)), folder)
        put = partial(film_cache.put, repo, source.id, name, written, rt.config.media.hls_cache_mb << 20)
        await trio.to_thread.run_sync(put, limiter=rt.disk)
    if not await rt.db.call(assets.rows, [source.id]):  # purged, or removed, meanwhile: nobody else knows of the piece
        await trio.to_thread.run_sync(film_cache.forget, repo, source.id, limiter=rt.disk)
