"""What people ask of derivatives as a whole: how they are, to make them anew, to remove what nobody needs."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import trio

from lumiliod.contract.derivatives import (
    DerivativeKind,
    DerivativeStatus,
    DerivativeWork,
    FilmPieces,
    PruneTicket,
    RebuildRequest,
    Rebuilt,
)
from lumiliod.db import assets, derivatives
from lumiliod.db import jobs as db_jobs
from lumiliod.db.derivatives import KindRow
from lumiliod.db.pool import Connection
from lumiliod.domain.derivatives import PHOTO_WEB, RECIPES, TELLING
from lumiliod.domain.errors import NotFound, Shape, Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.domain.jobs import PRIORITY_NORMAL
from lumiliod.domain.media import AssetType
from lumiliod.pipeline import adopt, kinds, transcode
from lumiliod.runtime import Runtime
from lumiliod.storage import film_cache

SPECS = {spec.kind: spec for spec in (kinds.THUMBNAILS, kinds.TRANSCODE, kinds.DEVELOP)}


async def status(rt: Runtime) -> DerivativeStatus:
    """Return how many derivatives there are, and what is to be done."""
    rows, jobs, without = await rt.db.call(_read, transcode.wanted(rt))
    items = []
    for kind, recipe in RECIPES.items():
        row = rows.get(kind) or KindRow(kind, 0, 0, 0, 0)
        told = {name: getattr(row, name) for name in ("files", "size_bytes", "outdated", "evicted")}
        items.append(DerivativeKind(kind=kind, recipe=recipe, **told))
    work = [
        DerivativeWork(job=job, open=jobs.get((job, True), 0), failed=jobs.get((job, False), 0), without_job=count)
        for job, count in without.items()
    ]
    media = rt.config.media
    return DerivativeStatus(
        items=items,
        work=work,
        web_videos_budget_bytes=media.web_videos_budget_mb << 20,
        web_photos_budget_bytes=media.web_photos_budget_mb << 20,
        film_pieces=await _film_pieces(rt),
    )


async def _film_pieces(rt: Runtime) -> FilmPieces:
    files = size_bytes = 0
    for opened in rt.repositories.online():
        with suppress(Unavailable):
            kept = await trio.to_thread.run_sync(film_cache.sizes, opened.repository, limiter=rt.disk)
            files += sum(count for count, _ in kept.values())
            size_bytes += sum(size for _, size in kept.values())
    return FilmPieces(files=files, size_bytes=size_bytes, budget_bytes=rt.config.media.hls_cache_mb << 20)


async def rebuild(rt: Runtime, wanted: RebuildRequest) -> Rebuilt:
    """Have derivatives made anew.

    Raises:
        NotFound: there is no such repository, or one of the assets is not there or has no original
            (``asset_not_found``).
        Shape: assets and a repository are named (``bad_request``).
    """
    jobs = tuple(dict.fromkeys(wanted.jobs or TELLING))
    if wanted.assets is not None:
        if wanted.repository is not None:
            raise Shape("name assets or a repository, not both", code="bad_request")
        photos = frozenset({AssetType.PHOTO}) if wanted.jobs is not None else frozenset[AssetType]()
        # photos in full size where one was made, or when they are asked for by this very name
        types = {
            kinds.THUMBNAILS.kind: frozenset(AssetType),
            kinds.TRANSCODE.kind: transcode.wanted(rt),
            kinds.DEVELOP.kind: photos,
        }
        chosen = {job: types[job] for job in jobs}
        return Rebuilt(added=await rt.jobs.call(_enqueue, wanted.assets, chosen))
    repository_id = rt.repositories.row(wanted.repository).id if wanted.repository is not None else None
    added = dict[str, int]()
    for job in jobs:
        await rt.db.call(derivatives.outdate, TELLING[job], repository_id)
        added |= await adopt.missing(rt, job)
    return Rebuilt(added=added)


async def prune(rt: Runtime) -> PruneTicket:
    """Have what nobody needs removed; it is a job of its own."""
    return PruneTicket(task_id=await rt.jobs.call(kinds.enqueue_one, kinds.prune()))


def _read(
    conn: Connection, converted: Collection[AssetType]
) -> tuple[dict[str, KindRow], dict[tuple[str, bool], int], dict[str, int]]:
    without = {
        kinds.THUMBNAILS.kind: assets.count_without_thumbnails(conn),
        kinds.TRANSCODE.kind: assets.count_without_web_version(conn, converted),
        kinds.DEVELOP.kind: len(derivatives.outdated(conn, PHOTO_WEB, kinds.DEVELOP.kind)),
    }
    return derivatives.by_kind(conn, RECIPES), derivatives.jobs(conn, list(TELLING)), without


def _enqueue(conn: Connection, ids: Sequence[UUID], types: Mapping[str, Collection[AssetType]]) -> dict[str, int]:
    """Enqueue jobs for assets, each kind for its types; photos that were made in full size are made so again."""
    found = derivatives.rebuildable(conn, ids)
    if missing := set(ids) - {asset_id for asset_id, _, _ in found}:
        raise NotFound(f"{min(missing)} is no asset with an original", code="asset_not_found")
    developed = derivatives.having(conn, PHOTO_WEB, ids)
    added = dict[str, int]()
    for job, of_types in types.items():
        having = developed if job == kinds.DEVELOP.kind else set[AssetId]()
        new = [
            kinds.about(SPECS[job], asset_id, repository_id, PRIORITY_NORMAL)
            for asset_id, repository_id, type_ in found
            if type_ in of_types or asset_id in having
        ]
        added[job] = len(db_jobs.enqueue(conn, new))
    return added
