"""Thumbnails: three sizes from one decode, put into the derivatives store, then their rows."""

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

import msgspec
import trio

from lumiliod.db import appearances, assets, files
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import AssetStatus, NewDerivative
from lumiliod.domain.derivatives import WAVEFORM, thumbnail
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import AssetId, RepositoryId, path_from_bytes
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt
from lumiliod.domain.media import Appearance, Rendered
from lumiliod.domain.repositories import THUMBNAIL_SIZES
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime, reaching
from lumiliod.storage import derivatives, durable, repository
from lumiliod.storage.repository import Repository

RECIPE = "thumbnail-3"
"""Changes when thumbnails, or what they look like in numbers, come out differently for the same original."""


class Args(msgspec.Struct):
    """The asset to picture."""

    asset: UUID


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``thumbnails``."""

    async def run(running: Running) -> None:
        await render(rt, running)

    missing = partial(kinds.missing_thumbnails, RECIPE)
    return Kind(
        kinds.THUMBNAILS.kind, kinds.THUMBNAILS.queue, each(run), limit_s=600, on_discard=_give_up, missing=missing
    )


async def render(rt: Runtime, running: Running) -> None:
    """Make the thumbnails of one asset; an asset without a picture is ready without them."""
    asset_id = AssetId(running.decoded(Args).asset)
    source = (await rt.db.call(assets.sources, [asset_id])).get(asset_id)
    if source is None:
        raise await no_original(rt, asset_id)
    opened = rt.repositories.get(source.repository_id)
    with reaching(rt.repositories, opened):
        repo = opened.repository
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        try:
            made, appearance = await _make(rt, repo, source)
        except (NotFound, Permanent) as error:
            verdict = error
        else:
            await running.complete(partial(_record, asset_id, repo.marker.id, made, appearance))
            return
        # a root that went away in the middle says nothing of the file
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        raise verdict


async def no_original(rt: Runtime, asset_id: AssetId) -> LumilioError:
    """Return why an asset has no file: it is being looked at anew, or there is none."""
    if await rt.db.call(files.is_doubted, asset_id):
        return Unavailable("the asset's file changed and is being looked at anew", code="original_changed", after_s=5)
    return Permanent("the asset has no original", code="original_missing")


async def _make(rt: Runtime, repo: Repository, source: assets.Source) -> tuple[list[NewDerivative], Appearance | None]:
    path = repo.absolute(path_from_bytes(source.path))
    stack = ExitStack()
    scratch = await trio.to_thread.run_sync(stack.enter_context, derivatives.scratch(repo), limiter=rt.disk)
    try:
        drawn = await _drawn(rt, path, source.mime_type, scratch)
        if drawn is None:
            await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
            raise Permanent("the original is not where it was", code="original_missing")
        rendered, appearance, waveform = drawn
        store = partial(_store, repo, source.id, rendered, waveform, scratch)
        return await trio.to_thread.run_sync(store, limiter=rt.disk), appearance
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stack.close, limiter=rt.disk)


async def _drawn(
    rt: Runtime, path: str, mime_type: str, scratch: str
) -> tuple[list[Rendered], Appearance | None, bytes | None] | None:
    """Return the pictures, what they look like and the waveform, or None when the original is gone."""
    try:
        return await rt.media.thumbnails(path, mime_type, scratch, THUMBNAIL_SIZES)
    except NotFound:
        return None


def _store(
    repo: Repository, asset_id: AssetId, rendered: list[Rendered], waveform: bytes | None, scratch: str
) -> list[NewDerivative]:
    made = []
    for picture in rendered:
        kind, extension = thumbnail(picture.size), Path(picture.path).suffix
        stored = derivatives.put(repo, asset_id, kind, picture.path, extension)
        made.append(
            NewDerivative(
                kind=kind,
                path=stored,
                recipe=RECIPE,
                mime_type=picture.mime_type,
                size_bytes=picture.size_bytes,
                width=picture.width,
                height=picture.height,
            )
        )
    if waveform is not None:
        written = os.path.join(scratch, "waveform")
        with durable.translated("write", written, writing=True):
            Path(written).write_bytes(waveform)
        path = derivatives.put(repo, asset_id, WAVEFORM, written, ".dat")
        made.append(NewDerivative(WAVEFORM, path, RECIPE, "application/octet-stream", len(waveform), None, None))
    return made


def _record(
    asset_id: AssetId,
    repository_id: RepositoryId,
    made: list[NewDerivative],
    appearance: Appearance | None,
    conn: Connection,
) -> Result:
    for derivative in made:
        assets.put_derivative(conn, asset_id, repository_id, derivative)
    appearances.put(conn, asset_id, appearance)
    assets.set_status(conn, asset_id, AssetStatus.READY)
    return {"made": [derivative.kind for derivative in made]}


ABOUT_CONTENT = frozenset({"corrupt", "unsupported", "too_large", "timeout", "poison", "empty"})
"""Codes that say something of the original itself."""


def _give_up(conn: Connection, job: ClaimedJob, failed: FailedAttempt) -> None:
    """Keep the original and say why it has no picture; other failures leave the asset to be understood later."""
    if job.asset_id is not None and failed.code in ABOUT_CONTENT:
        assets.give_up(conn, AssetId(job.asset_id), f"{failed.code}: {failed.message}")
