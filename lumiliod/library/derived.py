"""Send what was made of originals: thumbnails, waveforms, strips, versions for the web. What was lost is made again."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import trio

from lumiliod.contract.assets import AssetDetail
from lumiliod.db import assets, derivatives, job_admin, job_pages, trash
from lumiliod.db.derivatives import Derivative
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import ServedFile
from lumiliod.domain.derivatives import AUDIO_WEB, FILMSTRIP, PHOTO_WEB, VIDEO_WEB, WAVEFORM, version
from lumiliod.domain.derivatives import thumbnail as thumbnail_kind
from lumiliod.domain.errors import NotFound, Retryable, Shape
from lumiliod.domain.ids import AssetId, RepositoryId
from lumiliod.domain.jobs import PRIORITY_URGENT, JobFilter, JobState
from lumiliod.domain.media import AssetType
from lumiliod.domain.repositories import THUMBNAIL_SIZES
from lumiliod.jobs.kind import JobSpec
from lumiliod.library.browse import original, show
from lumiliod.library.opening import modified, open_file
from lumiliod.pipeline import deriving, kinds, transcode
from lumiliod.runtime import Runtime, reaching

USED_PERIOD = timedelta(hours=1)
"""How exactly it is known when what may have to make room was used last."""
PENDING_AFTER_S = 5.0
"""When it makes sense to ask again for what is being converted."""
PHOTO_AFTER_S = 2.0
"""When it makes sense to ask again for a photo in full size."""
SHOWN_BY_BROWSERS = frozenset({"image/jpeg", "image/png", "image/apng", "image/gif", "image/webp", "image/avif"})
"""Photos that every browser of today shows as they are, turned as they say."""


@dataclass(frozen=True)
class _Playable:
    """What has a version for the web: its type, the derivative that is, and what people call it."""

    type: AssetType
    kind: str
    suffix: str
    word: str


_FILM = _Playable(AssetType.VIDEO, VIDEO_WEB, ".mp4", "film")
_SOUND = _Playable(AssetType.AUDIO, AUDIO_WEB, ".m4a", "sound")


async def thumbnail(rt: Runtime, asset_id: UUID, size: int) -> ServedFile:
    """Open a thumbnail; the caller closes it.

    Raises:
        Shape: no thumbnail has this size.
        NotFound: the asset or its picture does not exist.
        Retryable: it is still being made, or made again because its file was lost.
    """
    if size not in THUMBNAIL_SIZES:
        sizes = ", ".join(str(known) for known in THUMBNAIL_SIZES)
        raise Shape(f"size is one of {sizes}", code="bad_size")
    made = await rt.db.call(derivatives.get, AssetId(asset_id), thumbnail_kind(size))
    if made is None:
        asset = await show(rt, asset_id)
        if asset.status == "processing":
            raise Retryable("this thumbnail is still being made", code="thumbnail_pending", after_s=2.0)
        raise NotFound(asset.status_reason or "this asset has no picture", code="thumbnail_missing")
    again = Retryable("this thumbnail is made again", code="thumbnail_pending", after_s=2.0)
    return await _served(rt, made, f"{asset_id}-{size}", f".{size}", kinds.THUMBNAILS, again, "thumbnail_missing")


async def waveform(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open the shape of a sound; the caller closes it.

    Raises:
        NotFound: there is none (``waveform_missing``).
        Retryable: it is still being made, or made again because its file was lost (``waveform_pending``).
    """
    made = await rt.db.call(derivatives.get, AssetId(asset_id), WAVEFORM)
    if made is None:
        asset = await show(rt, asset_id)
        if asset.type == "audio" and asset.status == "processing":
            raise Retryable("this waveform is still being made", code="waveform_pending", after_s=2.0)
        raise NotFound(asset.status_reason or "this asset has no waveform", code="waveform_missing")
    again = Retryable("this waveform is made again", code="waveform_pending", after_s=2.0)
    return await _served(rt, made, f"{asset_id}", ".dat", kinds.THUMBNAILS, again, "waveform_missing")


async def filmstrip(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open the strip of a film's frames; the caller closes it.

    Raises:
        NotFound: there is none (``filmstrip_missing``).
        Retryable: it is still being made, or made again because its file was lost (``video_pending``).
    """
    made = await _strip(rt, asset_id)
    again = Retryable("this filmstrip is made again", code="video_pending", after_s=PENDING_AFTER_S)
    return await _served(rt, made, f"{asset_id}", ".strip.jpg", kinds.TRANSCODE, again, "filmstrip_missing")


async def filmstrip_places(rt: Runtime, asset_id: UUID) -> str:
    """Return which part of a filmstrip shows which seconds, as WebVTT with media fragments (``#xywh``).

    Raises as :func:`filmstrip`.
    """
    told = (await _strip(rt, asset_id)).details or {}
    columns, width, height = int(told["columns"]), int(told["width"]), int(told["height"])
    lines = ["WEBVTT"]
    for number in range(int(told["frames"])):
        row, column = divmod(number, columns)
        from_s, to_s = number * told["interval_s"], (number + 1) * told["interval_s"]
        place = f"filmstrip#xywh={column * width},{row * height},{width},{height}"
        lines.append(f"\n{_clock(from_s)} --> {_clock(to_s)}\n{place}")
    return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    """Return a time as WebVTT writes it."""
    thousandths = round(seconds * 1000)
    minutes, left = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{left // 1000:02}.{left % 1000:03}"


async def _strip(rt: Runtime, asset_id: UUID) -> Derivative:
    made = await rt.db.call(derivatives.get, AssetId(asset_id), FILMSTRIP)
    if made is not None:
        return made
    asset = await show(rt, asset_id)
    plays, job = await rt.db.call(_progress_of, AssetId(asset_id))
    if asset.type != "video" or plays is not None:
        raise NotFound("this asset has no filmstrip", code="filmstrip_missing")
    why = _why_none(rt, asset, job, _FILM)
    raise NotFound(why.message, code="filmstrip_missing") if isinstance(why, NotFound) else why


async def web_photo(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open a photo in full size as every browser shows it, its own bytes where those do; the caller closes it.

    It is made when somebody asks for it: of a RAW by developing its sensor data.

    Raises:
        NotFound: there is no such photo, or no version of it can be made (``photo_missing``).
        Retryable: it is being made (``photo_pending``).
    """
    made = await rt.db.call(derivatives.get, AssetId(asset_id), PHOTO_WEB)
    again = Retryable("this photo is being made ready for the web", code="photo_pending", after_s=PHOTO_AFTER_S)
    if made is not None:
        await _note_use(rt, made, PHOTO_WEB)
        return await _served(rt, made, f"{asset_id}", ".jpg", kinds.DEVELOP, again, "photo_missing")
    asset = await show(rt, asset_id)
    if asset.type != AssetType.PHOTO:
        raise NotFound("this asset is no photo", code="photo_missing")
    if asset.mime_type in SHOWN_BY_BROWSERS:
        return await original(rt, asset_id)
    repository_id = await rt.db.call(trash.original_repository, AssetId(asset_id))
    if repository_id is None:
        raise await deriving.no_original(rt, AssetId(asset_id))
    await _make(rt, kinds.DEVELOP, AssetId(asset_id), repository_id, "photo_missing")
    raise again


async def _make(rt: Runtime, spec: JobSpec, asset_id: AssetId, repository_id: RepositoryId, missing: str) -> None:
    """Have a derivative made by a job, unless the last one that tried has given up.

    Raises:
        NotFound: it has (``missing``).
    """
    why = _gave_up(await rt.db.call(_last_job, spec, asset_id))
    if why is not None:
        raise NotFound(f"it could not be made: {why}", code=missing)
    await rt.jobs.call(kinds.enqueue_one, kinds.about(spec, asset_id, repository_id, PRIORITY_URGENT))


async def web_video(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open a film as every browser plays it, its own bytes where those do; the caller closes it.

    Raises:
        NotFound: there is no such film, or no version of it can or is to be made (``video_missing``).
        Retryable: it is still being made, or made again because its file was lost (``video_pending``).
    """
    return await _web_version(rt, asset_id, _FILM)


async def web_audio(rt: Runtime, asset_id: UUID) -> ServedFile:
    """Open a sound as every browser plays it, its own bytes where those do; the caller closes it.

    Raises:
        NotFound: there is no such sound, or no version of it can or is to be made (``audio_missing``).
        Retryable: it is still being made, or made again because its file was lost (``audio_pending``).
    """
    return await _web_version(rt, asset_id, _SOUND)


async def _web_version(rt: Runtime, asset_id: UUID, what: _Playable) -> ServedFile:
    made = await rt.db.call(derivatives.get, AssetId(asset_id), what.kind)
    if made is not None:
        await _note_use(rt, made, what.kind)
        again = Retryable(f"this {what.word} is made again", code=f"{what.type}_pending", after_s=PENDING_AFTER_S)
        return await _served(rt, made, f"{asset_id}", what.suffix, kinds.TRANSCODE, again, f"{what.type}_missing")
    asset = await show(rt, asset_id)
    plays, job = await rt.db.call(_progress_of, AssetId(asset_id))
    if plays and asset.type == what.type:
        return await original(rt, asset_id)
    raise _why_none(rt, asset, job, what)


async def _note_use(rt: Runtime, made: Derivative, kind: str) -> None:
    if datetime.now(UTC) - made.used_at > USED_PERIOD:
        await rt.db.call(derivatives.touch, made.asset_id, kind)


def _why_none(rt: Runtime, asset: AssetDetail, job: job_admin.JobRow | None, what: _Playable) -> NotFound | Retryable:
    """Return why an asset has no version for the web: never, or not yet."""
    code = f"{what.type}_missing"
    if asset.type != what.type:
        return NotFound(f"this asset is no {what.word}", code=code)
    if what.type not in transcode.wanted(rt):
        return NotFound(f"{what.word}s get no version for the web here (media.web_{what.type}s)", code=code)
    if (why := _gave_up(job)) is not None:
        return NotFound(f"no version of this {what.word} could be made: {why}", code=code)
    message = f"this {what.word} is being made ready for the web"
    return Retryable(message, code=f"{what.type}_pending", after_s=PENDING_AFTER_S)


def _progress_of(conn: Connection, asset_id: AssetId) -> tuple[bool | None, job_admin.JobRow | None]:
    """Return whether a film plays as it is, and the job that finds out, open or given up."""
    return assets.plays_on_web(conn, asset_id), _last_job(conn, kinds.TRANSCODE, asset_id)


def _last_job(conn: Connection, spec: JobSpec, asset_id: AssetId) -> job_admin.JobRow | None:
    """Return the newest job of a kind about an asset, open or ended."""
    wanted = JobFilter(kind=spec.kind, asset_id=asset_id)
    return next(iter(job_pages.page(conn, wanted, before=None, count=1)), None)


def _gave_up(job: job_admin.JobRow | None) -> str | None:
    """Return why a job failed for good; None of one that did not, or is not there."""
    if job is None or job.state != JobState.DISCARDED:
        return None
    return str(job.errors[-1]["message"]) if job.errors else "nobody knows why"


async def _served(
    rt: Runtime, made: Derivative, name: str, suffix: str, spec: JobSpec, again: Retryable, missing: str
) -> ServedFile:
    """Open a derivative; one that was lost or cut short, as by a power failure, is made again by a job of ``spec``.

    Raises:
        Retryable: ``again``, it was lost. NotFound: and it cannot be made any more (``missing``).
    """
    opened = rt.repositories.get(made.repository_id)
    made_once = version(made.recipe, made.created_at)
    path = f".lumilio/{made.path}"
    with reaching(rt.repositories, opened), suppress(NotFound):
        if made.evicted:
            raise NotFound("it made room", code="evicted")
        file = await trio.to_thread.run_sync(open_file, opened.repository, path, "lost", limiter=rt.disk)
        found = os.fstat(file.fileno())
        if found.st_size == made.size_bytes:
            shown = f"{made.original_filename}{suffix}"
            etag, seen_at = f"{name}-{made_once}", modified(found)
            return ServedFile(file, found.st_size, seen_at, made.mime_type, shown, etag, version=made_once)
        file.close()
    await _make(rt, spec, made.asset_id, made.repository_id, missing)
    raise again
