"""Transcode: a version of a film that every browser plays, where it needs one, and a strip of its frames."""

import math
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

import msgspec
import trio

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import FILMSTRIP, VIDEO_WEB
from lumiliod.domain.errors import NotFound, Permanent
from lumiliod.domain.ids import AssetId, RepositoryId, path_from_bytes
from lumiliod.domain.media import WebVideo
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.media.media import VERSION_NAME
from lumiliod.media.media_type import Filmstrip
from lumiliod.pipeline import kinds
from lumiliod.pipeline.thumbnails import no_original
from lumiliod.runtime import Runtime, reaching
from lumiliod.storage import derivatives, durable, pump, repository
from lumiliod.storage.repository import Repository

VIDEO_RECIPE, STRIP_RECIPE = "video-web-1", "filmstrip-1"
"""They change when the version of the same film, or its strip, comes out differently."""
LIMIT_S = 24 * 3600.0
COPIES = 2
"""So many times its size a film that is only put into another container takes while that is done."""


class Args(msgspec.Struct):
    """The film to look at."""

    asset: UUID


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``transcode``."""

    async def run(running: Running) -> None:
        await transcode(rt, running)

    missing = kinds.missing_transcodes if rt.config.media.web_videos else None
    return Kind(kinds.TRANSCODE.kind, kinds.TRANSCODE.queue, each(run), limit_s=LIMIT_S, missing=missing)


async def transcode(rt: Runtime, running: Running) -> None:
    """Make the web version of one film; one that plays as it is has none, nor any where nobody wants them.

    Raises:
        Unavailable: the repository is away, or too little room is left on its disk (``no_space``).
    """
    if not rt.config.media.web_videos:
        return
    asset_id = AssetId(running.decoded(Args).asset)
    source = (await rt.db.call(assets.sources, [asset_id])).get(asset_id)
    if source is None:
        raise await no_original(rt, asset_id)
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        repo = opened.repository
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        try:
            made = await _make(rt, running, repo, source)
        except (NotFound, Permanent) as error:
            verdict = error
        else:
            await running.complete(partial(_record, asset_id, repo.marker.id, made))
            return
        # a root that went away in the middle says nothing of the file
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        if isinstance(verdict, NotFound):
            raise Permanent("the original is not where it was", code="original_missing") from verdict
        raise verdict


async def _make(rt: Runtime, running: Running, repo: Repository, source: assets.Source) -> list[NewDerivative]:
    """Return what lies in the store now; no version of a film that plays as it is."""
    check = partial(pump.check_room, repo, min_free_bytes=rt.config.storage.min_free_mb << 20)
    await trio.to_thread.run_sync(check, COPIES * source.size_bytes, limiter=rt.disk)

    async def advance(share: float) -> None:
        await trio.to_thread.run_sync(check, 0, limiter=rt.disk)
        await running.progress(round(share * 100), 100, "%", source.original_filename)

    stack = ExitStack()
    scratch = await trio.to_thread.run_sync(stack.enter_context, derivatives.scratch(repo), limiter=rt.disk)
    try:
        path = repo.absolute(path_from_bytes(source.path))
        version, strip = await rt.media.web_video(path, scratch, advance)
        return await trio.to_thread.run_sync(_store, repo, source.id, scratch, version, strip, limiter=rt.disk)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stack.close, limiter=rt.disk)


def _store(
    repo: Repository, asset_id: AssetId, scratch: str, version: WebVideo | None, strip: Filmstrip | None
) -> list[NewDerivative]:
    made = []
    if version is not None:
        written = os.path.join(scratch, VERSION_NAME)
        path = derivatives.put(repo, asset_id, VIDEO_WEB, written, ".mp4")
        size, width, height = version.size_bytes, version.width, version.height
        made.append(NewDerivative(VIDEO_WEB, path, VIDEO_RECIPE, "video/mp4", size, width, height))
    if strip is not None:
        drawn = os.path.join(scratch, "strip.jpg")
        with durable.translated("write", drawn, writing=True):
            Path(drawn).write_bytes(strip.data)
        path = derivatives.put(repo, asset_id, FILMSTRIP, drawn, ".jpg")
        width, height = strip.columns * strip.width, math.ceil(strip.frames / strip.columns) * strip.height
        details = {name: getattr(strip, name) for name in ("frames", "columns", "interval_s", "width", "height")}
        size = len(strip.data)
        made.append(NewDerivative(FILMSTRIP, path, STRIP_RECIPE, "image/jpeg", size, width, height, details))
    return made


def _record(asset_id: AssetId, repository_id: RepositoryId, made: list[NewDerivative], conn: Connection) -> Result:
    kinds_made = [one.kind for one in made]
    assets.set_plays_on_web(conn, asset_id, plays=VIDEO_WEB not in kinds_made)
    for one in made:
        assets.put_derivative(conn, asset_id, repository_id, one)
    return {"plays": VIDEO_WEB not in kinds_made, "made": kinds_made}
