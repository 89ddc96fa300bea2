"""Transcode: a version of a film or a sound that every browser plays, where it needs one; strips of frames of films."""

import math
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

import trio

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import AUDIO_WEB, FILMSTRIP, RECIPES, VIDEO_WEB
from lumiliod.domain.errors import NotFound, Permanent, Unavailable
from lumiliod.domain.ids import Digest, path_from_bytes
from lumiliod.domain.media import AssetType
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.media.media import VERSION_NAME
from lumiliod.media.media_type import Converted
from lumiliod.pipeline import deriving, kinds, prune
from lumiliod.pipeline.deriving import Unrecorded
from lumiliod.runtime import Runtime
from lumiliod.storage import pump
from lumiliod.storage.repository import Repository

LIMIT_S = 24 * 3600.0
COPIES = 2
"""So many times its size a film that is only put into another container takes while that is done."""


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``transcode``."""

    async def run(running: Running) -> None:
        await transcode(rt, running)

    missing = partial(kinds.missing_transcodes, wanted(rt))
    return Kind(kinds.TRANSCODE.kind, kinds.TRANSCODE.queue, each(run), limit_s=LIMIT_S, missing=missing)


def wanted(rt: Runtime) -> frozenset[AssetType]:
    """Return the types of assets that get versions for the web here."""
    chosen = {AssetType.VIDEO: rt.config.media.web_videos, AssetType.AUDIO: rt.config.media.web_audios}
    return frozenset(type_ for type_, is_wanted in chosen.items() if is_wanted)


async def transcode(rt: Runtime, running: Running) -> None:
    """Make the web version of a film or a sound; one that plays as it is has none, nor any where nobody wants them.

    Raises:
        Unavailable: the repository is away, or too little room is left on its disk (``no_space``).
    """
    stack = AsyncExitStack()

    async def ask(repo: Repository, source: assets.Source) -> tuple[str, Converted] | None:
        if source.type not in wanted(rt):
            return None
        folder = await stack.enter_async_context(deriving.scratch(rt, repo))
        check = partial(pump.check_room, repo, min_free_bytes=rt.config.storage.min_free_mb << 20)
        await trio.to_thread.run_sync(check, COPIES * source.size_bytes, limiter=rt.disk)

        async def advance(share: float) -> None:
            await trio.to_thread.run_sync(check, 0, limiter=rt.disk)
            await running.progress(round(share * 100), 100, "%", source.original_filename)

        return folder, await rt.media.web_version(repo.absolute(path_from_bytes(source.path)), folder, advance)

    async with stack:
        await deriving.derive(rt, [running], ask, _store, _record)
    if running.job.repository_id is not None:
        with suppress(NotFound, Unavailable):  # it is there with the next one
            await prune.evict(rt, rt.repositories.get(running.job.repository_id), VIDEO_WEB)


def _store(repo: Repository, digest: Digest, made_in: tuple[str, Converted] | None) -> list[NewDerivative] | None:
    if made_in is None:
        return None
    folder, converted = made_in
    version, strip, sound = converted.version, converted.filmstrip, converted.sound
    made = []
    size = os.path.getsize(os.path.join(folder, VERSION_NAME))  # not what a worker says of it
    if (sound is not None or version is not None) and not size:
        raise Permanent("nothing was written", code="corrupt")
    if sound is not None:
        path = deriving.put(repo, digest, AUDIO_WEB, os.path.join(folder, VERSION_NAME), ".m4a")
        made.append(NewDerivative(AUDIO_WEB, path, RECIPES[AUDIO_WEB], "audio/mp4", size, None, None))
    if version is not None:
        path = deriving.put(repo, digest, VIDEO_WEB, os.path.join(folder, VERSION_NAME), ".mp4")
        width, height = version.width, version.height
        made.append(NewDerivative(VIDEO_WEB, path, RECIPES[VIDEO_WEB], "video/mp4", size, width, height))
    if strip is not None:
        path = deriving.put_bytes(repo, digest, FILMSTRIP, strip.data, ".jpg")
        width, height = strip.columns * strip.width, math.ceil(strip.frames / strip.columns) * strip.height
        details = {name: getattr(strip, name) for name in ("frames", "columns", "interval_s", "width", "height")}
        recipe, strip_bytes = RECIPES[FILMSTRIP], len(strip.data)
        made.append(NewDerivative(FILMSTRIP, path, recipe, "image/jpeg", strip_bytes, width, height, details))
    return made


def _record(conn: Connection, lying: Sequence[Unrecorded[list[NewDerivative] | None]]) -> list[Result]:
    return [_record_one(conn, one) for one in lying]  # few statements beside what their making takes


def _record_one(conn: Connection, one: Unrecorded[list[NewDerivative] | None]) -> Result:
    if one.stored is None:
        return {}
    kinds_made = [derivative.kind for derivative in one.stored]
    plays = not {VIDEO_WEB, AUDIO_WEB} & set(kinds_made)
    assets.set_plays_on_web(conn, one.asset_id, plays=plays)
    deriving.record(conn, [one], [one.stored])
    return {"plays": plays, "made": kinds_made}
