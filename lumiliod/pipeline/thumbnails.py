"""Thumbnails: three sizes from one decode, and what they look like; of a sound its shape."""

from collections.abc import Sequence

from lumiliod.db import appearances, assets
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import RECIPES, WAVEFORM, thumbnail
from lumiliod.domain.ids import AssetId, Digest, path_from_bytes
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt
from lumiliod.domain.media import Appearance
from lumiliod.domain.repositories import THUMBNAIL_SIZES
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind
from lumiliod.media.media_type import Rendering
from lumiliod.pipeline import deriving, kinds
from lumiliod.pipeline.deriving import Unrecorded
from lumiliod.runtime import Runtime
from lumiliod.storage.repository import Repository

_FORMATS = {"jpeg": ("image/jpeg", ".jpg"), "webp": ("image/webp", ".webp")}


BATCH = 4
"""Assets whose pictures are recorded together: enough to share what that takes, few enough to be done soon."""

_Drawn = tuple[list[NewDerivative], Appearance | None]


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``thumbnails``."""

    async def run(jobs: Sequence[Running]) -> None:
        await render(rt, jobs)

    missing, name, queue = kinds.missing_thumbnails, kinds.THUMBNAILS.kind, kinds.THUMBNAILS.queue
    return Kind(name, queue, run, batch=BATCH, limit_s=600 * BATCH, on_discard=_give_up, missing=missing)


async def render(rt: Runtime, jobs: Sequence[Running]) -> None:
    """Make the thumbnails of assets; one without a picture is ready without them."""
    mime_type, extension = _FORMATS[rt.config.media.thumbnail_format]

    async def ask(repo: Repository, source: assets.Source) -> Rendering:
        return await rt.media.thumbnails(repo.absolute(path_from_bytes(source.path)), THUMBNAIL_SIZES)

    def store(repo: Repository, digest: Digest, drawn: Rendering) -> _Drawn:
        made = []
        for one in drawn.pictures:
            kind, size_bytes = thumbnail(one.size), len(one.data)
            path = deriving.put_bytes(repo, digest, kind, one.data, extension)
            made.append(NewDerivative(kind, path, RECIPES[kind], mime_type, size_bytes, one.width, one.height))
        if drawn.waveform is not None:
            path, size_bytes = deriving.put_bytes(repo, digest, WAVEFORM, drawn.waveform, ".dat"), len(drawn.waveform)
            recipe = RECIPES[WAVEFORM]
            made.append(NewDerivative(WAVEFORM, path, recipe, "application/octet-stream", size_bytes, None, None))
        return made, drawn.appearance

    await deriving.derive(rt, jobs, ask, store, _record)


def _record(conn: Connection, drawn: Sequence[Unrecorded[_Drawn]]) -> list[Result]:
    made = [derivatives for derivatives, _ in (one.stored for one in drawn)]
    deriving.record(conn, drawn, made)
    appearances.put(conn, {one.asset_id: one.stored[1] for one in drawn})
    assets.set_ready(conn, [one.asset_id for one in drawn])
    return [{"made": [derivative.kind for derivative in derivatives]} for derivatives in made]


ABOUT_CONTENT = frozenset({"corrupt", "unsupported", "too_large", "timeout", "poison", "empty"})
"""Codes that say something of the original itself."""


def _give_up(conn: Connection, job: ClaimedJob, failed: FailedAttempt) -> None:
    """Keep the original and say why it has no picture; other failures leave the asset to be understood later."""
    if job.asset_id is not None and failed.code in ABOUT_CONTENT:
        assets.give_up(conn, AssetId(job.asset_id), f"{failed.code}: {failed.message}")
