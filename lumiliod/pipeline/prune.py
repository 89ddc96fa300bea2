"""Prune: remove derivatives that no row names, and films and photos for the web beyond their budgets."""

import re
import time
from uuid import UUID

import trio

from lumiliod.db import derivatives, integrity
from lumiliod.domain.derivatives import PHOTO_WEB, VIDEO_WEB, digest_at
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import deriving, kinds
from lumiliod.pipeline.untracked import AGE_S, DERIVATIVES, PAGE, OurFiles
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import film_cache, repository

LIMIT_S = 24 * 3600.0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``prune``."""

    async def run(running: Running) -> None:
        await prune(rt, running)

    return Kind(kinds.PRUNE.kind, kinds.PRUNE.queue, each(run), limit_s=LIMIT_S)


async def prune(rt: Runtime, running: Running, *, age_s: float = AGE_S) -> None:
    """Prune every repository that is there; files younger than ``age_s`` seconds may still wait for their row."""
    removed = evicted = 0
    removed_bytes = evicted_bytes = 0
    away = [row.name for row in rt.repositories.offline()]
    for opened in rt.repositories.online():
        try:
            for size in [*await remove_leftovers(rt, opened, age_s), *await remove_pieces(rt, opened)]:
                removed += 1
                removed_bytes += size
            for size in [*await evict(rt, opened, VIDEO_WEB), *await evict(rt, opened, PHOTO_WEB)]:
                evicted += 1
                evicted_bytes += size
        except Unavailable:
            away.append(opened.repository.marker.name)
        await running.progress(removed + evicted, None, "files", opened.repository.marker.name)
    result = {"removed": removed, "removed_bytes": removed_bytes, "evicted": evicted, "evicted_bytes": evicted_bytes}
    await running.complete(result={**result, "away": sorted(away)})


async def evict(rt: Runtime, opened: Opened, kind: str) -> list[int]:
    """Remove the versions for the web of a kind that are too much for a repository's budget; return their bytes."""
    budgets_mb = {VIDEO_WEB: rt.config.media.web_videos_budget_mb, PHOTO_WEB: rt.config.media.web_photos_budget_mb}
    if not budgets_mb[kind]:
        return []
    evicted = await rt.db.call(derivatives.evict, kind, opened.id, budgets_mb[kind] << 20)
    for place, _ in evicted:
        await deriving.discard(rt, opened.repository, place)
    return [size_bytes for _, size_bytes in evicted]


async def remove_pieces(rt: Runtime, opened: Opened) -> list[int]:
    """Remove the pieces of films that are no asset any more; return what each film's had, in bytes."""
    sizes = list[int]()
    with reaching(rt.repositories, opened):
        kept = await trio.to_thread.run_sync(film_cache.sizes, opened.repository, limiter=rt.disk)
        ids = {name: UUID(name) for name in kept if _UUID.fullmatch(name)}
        unknown = await rt.db.call(derivatives.gone, list(ids.values()))
        for name, asset_id in ids.items():
            if asset_id in unknown:
                await trio.to_thread.run_sync(film_cache.forget, opened.repository, AssetId(asset_id), limiter=rt.disk)
                sizes.append(kept[name][1])
    return sizes


async def remove_leftovers(rt: Runtime, opened: Opened, age_s: float) -> list[int]:
    """Remove derivatives, by their name, that no row names; return their sizes in bytes."""
    sizes = list[int]()
    walk = OurFiles(opened.repository, time.time_ns() - int(age_s * 1e9), (DERIVATIVES,))
    with reaching(rt.repositories, opened):
        while page := await trio.to_thread.run_sync(walk.next_page, PAGE, limiter=rt.disk):
            found = {path.removeprefix(".lumilio/"): stat.size_bytes for path, stat in page}
            places = [place for place in found if digest_at(place) is not None]
            unknown = await rt.db.call(integrity.unknown_derivatives, opened.id, places)
            if unknown:  # the walk may take hours: another's derivatives could lie there by now
                await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
            for place in unknown:
                await deriving.discard(rt, opened.repository, place)
                sizes.append(found[place])
    return sizes
