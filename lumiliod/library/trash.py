"""Remove assets, look at the trash, restore, purge."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from lumiliod.contract.trash import (
    PurgeRequest,
    RemoveRequest,
    RestoreRequest,
    Stray,
    StrayList,
    StrayRestored,
    TrashChanged,
    TrashFile,
    TrashItem,
    TrashOutcome,
    TrashPage,
    TrashResult,
    TrashSummary,
)
from lumiliod.db import due, trash
from lumiliod.db import search as db_search
from lumiliod.db.pool import Connection
from lumiliod.db.search import After
from lumiliod.db.trash import Comeback, Totals
from lumiliod.domain import trash as domain
from lumiliod.domain.errors import LumilioError, NotFound, Shape
from lumiliod.domain.ids import AssetId, JobId, UserId, shown
from lumiliod.domain.query import Query, parse
from lumiliod.domain.trash import TrashState, Why
from lumiliod.jobs.kind import FIRST
from lumiliod.library import convert
from lumiliod.pipeline import kinds, strays
from lumiliod.pipeline import trash as removal
from lumiliod.runtime import Opened, Runtime

PAGE = 500

_BACK: dict[Comeback, TrashOutcome] = {
    Comeback.LIVE: "not_in_trash",
    Comeback.BACK: "restored",
    Comeback.COMING: "restoring",
    Comeback.DOOMED: "doomed",
    Comeback.NO_FILE: "no_file",
    Comeback.GONE: "not_in_trash",
}


async def remove_one(rt: Runtime, asset_id: UUID, *, delete_file: bool) -> TrashItem:
    """Put an asset into the trash, or find it there.

    Raises:
        NotFound: there is none with this id (``asset_not_found``).
    """
    wanted = AssetId(asset_id)
    found = await rt.jobs.call(_remove_one, wanted, delete_file, rt.owner_id)
    if found is None:
        raise NotFound(f"there is no asset {asset_id}", code="asset_not_found")
    return _item(rt, found)


def _remove_one(conn: Connection, wanted: AssetId, delete_file: bool, by: UserId) -> domain.TrashItem | None:
    _remove(conn, [wanted], [wanted] if delete_file else [], by)
    # as it is now: a moment later somebody may have brought it back
    return trash.item(conn, wanted)


async def remove(rt: Runtime, request: RemoveRequest) -> TrashChanged:
    """Put assets into the trash: those named, or all that a query finds, a page in a transaction.

    Raises:
        Shape: neither or both are given (``bad_selection``), or the query is malformed.
    """
    named = [*(request.ids or []), *(one.id for one in request.items or [])]
    if (request.query is None) == (request.ids is None and request.items is None):
        raise Shape("say which assets are meant: by their ids, or by a query", code="bad_selection")
    if request.query is not None:
        if not request.query.strip():
            raise Shape("an empty query finds everything: say what is meant", code="bad_selection")
        return await _remove_found(rt, parse(request.query), dry_run=request.dry_run)
    wanted = list(dict.fromkeys(AssetId(id_) for id_ in named))
    if request.dry_run:
        return TrashChanged(count=await rt.db.call(trash.count_live, wanted))
    with_files = [AssetId(one.id) for one in request.items or [] if one.delete_file]
    removed: set[AssetId] = set()
    for start in range(0, len(wanted), PAGE):
        removed.update(await rt.jobs.call(_remove, wanted[start : start + PAGE], with_files, rt.owner_id))
    left = await rt.db.call(trash.states, wanted)
    results = [
        TrashResult(asset_id=id_, outcome="removed" if id_ in removed else "in_trash" if id_ in left else "not_found")
        for id_ in wanted
    ]
    return TrashChanged(count=len(removed), results=results)


async def _remove_found(rt: Runtime, query: Query, *, dry_run: bool) -> TrashChanged:
    if dry_run:
        return TrashChanged(count=await rt.db.call(db_search.count, query))
    count, after = 0, None
    while True:
        found, after = await rt.jobs.call(_remove_page, query, after, rt.owner_id)
        count += found
        if after is None:
            return TrashChanged(count=count)


def _remove_page(conn: Connection, query: Query, after: After | None, by: UserId) -> tuple[int, After | None]:
    rows = db_search.page(conn, query, after=after, count=PAGE)
    removed = _remove(conn, [row.id for row in rows], [], by)
    return len(removed), After(rows[-1].taken_at, rows[-1].id) if len(rows) == PAGE else None


def _remove(conn: Connection, ids: Sequence[AssetId], with_files: Sequence[AssetId], by: UserId) -> list[AssetId]:
    return removal.remove(conn, ids, why=Why.REMOVED, by=by, with_files=with_files)


async def page(rt: Runtime, *, limit: int, cursor: str | None) -> TrashPage:
    """Return what is in the trash, the latest first.

    Raises:
        Shape: a bad limit or cursor.
    """
    before = convert.from_cursor(cursor, tuple[dt.datetime, UUID]) if cursor else None
    rows, totals = await rt.db.call(_page, before, convert.limited(limit) + 1)
    untracked = None if cursor else len((await untracked_files(rt)).items)
    last = rows[limit - 1] if len(rows) > limit else None
    return TrashPage(
        items=[_item(rt, row) for row in rows[:limit]],
        summary=_summary(rt, totals, untracked),
        next_cursor=convert.cursor(last.deleted_at, last.asset_id) if last else None,
    )


def _page(
    conn: Connection, before: tuple[dt.datetime, UUID] | None, count: int
) -> tuple[list[domain.TrashItem], Totals]:
    return trash.page(conn, before=before, count=count), trash.totals(conn)


async def show(rt: Runtime, asset_id: UUID) -> TrashItem:
    """Return one asset of the trash.

    Raises:
        NotFound: it is not there (``not_in_trash``).
    """
    found = await rt.db.call(trash.item, AssetId(asset_id))
    if found is None:
        raise NotFound(f"asset {asset_id} is not in the trash", code="not_in_trash")
    return _item(rt, found)


async def restore(rt: Runtime, request: RestoreRequest) -> TrashChanged:
    """Take assets out of the trash; where files are to be moved back first, a job does that.

    Raises:
        Shape: neither or both of ids and all are given (``bad_selection``).
    """
    if request.all == (request.ids is not None):
        raise Shape("say which assets are meant: by their ids, or all", code="bad_selection")
    if request.dry_run:
        ids = None if request.ids is None else [AssetId(id_) for id_ in request.ids]
        return TrashChanged(count=await rt.db.call(trash.count_at_rest, ids))
    if request.ids is not None:
        wanted = [AssetId(id_) for id_ in dict.fromkeys(request.ids)]
        comebacks: dict[AssetId, Comeback] = {}
        for start in range(0, len(wanted), PAGE):
            comebacks |= await rt.jobs.call(_bring_back, wanted[start : start + PAGE])
        results = [TrashResult(asset_id=id_, outcome=_BACK[comebacks[id_]]) for id_ in wanted]
        return _restored(Counter(comebacks.values()), results)
    count, after = Counter[Comeback](), FIRST
    while ids := await rt.db.call(trash.at_rest, after, PAGE):
        count.update((await rt.jobs.call(_bring_back, ids)).values())
        after = ids[-1]
    return _restored(count, [])


def _bring_back(conn: Connection, ids: Sequence[AssetId]) -> dict[AssetId, Comeback]:
    trash.hold(conn, *ids)
    comebacks = {id_: trash.bring_back(conn, id_) for id_ in ids}
    # repository by repository, each with its mirrors' jobs: two that do this take them in one order
    for id_ in sorted(ids, key=lambda one: str(trash.original_repository(conn, one))):
        removal.follow(conn, id_, comebacks[id_])
    return comebacks


def _restored(count: Counter[Comeback], results: list[TrashResult]) -> TrashChanged:
    coming = count[Comeback.COMING]
    return TrashChanged(count=count[Comeback.BACK] + coming, restoring=coming, results=results)


async def purge(rt: Runtime, request: PurgeRequest) -> TrashChanged:
    """Have assets purged before their time: verified and removed by a job, the task of the answer.

    Raises:
        Shape: it says nothing, or ``all`` and something else (``bad_selection``).
    """
    if request.all == (request.ids is not None or request.older_s is not None):
        raise Shape("say which assets are meant: by their ids, their age, or all", code="bad_selection")
    ids = None if request.ids is None else [AssetId(id_) for id_ in dict.fromkeys(request.ids)]
    if request.dry_run:
        return TrashChanged(count=await rt.db.call(_count_due, ids, request.older_s))
    count, outcomes, task = await rt.jobs.call(_mark_due, ids, request.older_s)
    results = [TrashResult(asset_id=id_, outcome=outcomes[id_]) for id_ in ids or []]
    return TrashChanged(count=count, results=results, task_id=task)


def _count_due(conn: Connection, ids: list[AssetId] | None, older_s: float | None) -> int:
    return due.count_due(conn, ids=ids, older_s=older_s)


def _mark_due(
    conn: Connection, ids: list[AssetId] | None, older_s: float | None
) -> tuple[int, dict[AssetId, str], JobId | None]:
    marked = set(due.mark_due(conn, ids=ids, older_s=older_s))
    task = kinds.enqueue_one(conn, kinds.purge()) if marked else None
    states, reasons = trash.states(conn, ids or []), due.why_not_due(conn, ids or [], older_s)
    outcomes = {id_: "purging" if id_ in marked else _purged(states.get(id_), reasons.get(id_)) for id_ in ids or []}
    return len(marked), outcomes, task


def _purged(state: TrashState | None, reason: str | None) -> str:
    match state:
        case None:
            return "not_in_trash"
        case TrashState.PURGING | TrashState.DOOMED:
            return "purging"
        case _:
            return reason or "in_motion"


async def untracked_files(rt: Runtime) -> StrayList:
    """Return what no row knows in the trash of every repository that can be reached."""
    items: list[Stray] = []
    for opened in rt.repositories.online():
        try:
            found = await strays.found(rt, opened)
        except LumilioError:
            continue
        items += [_stray(rt, opened, stray) for stray in found]
    return StrayList(items=items)


async def restore_untracked(rt: Runtime, repository: str, stray_id: UUID) -> StrayRestored:
    """Put a file back that no row knows, and have it looked at.

    Raises:
        NotFound: no such repository or file. Permanent: what it was is not known, or it is not that any more.
        Unavailable: the repository is offline.
    """
    opened = rt.repositories.get(rt.repositories.row(repository).id)
    return StrayRestored(path=shown(await strays.put_back(rt, opened, stray_id)))


def _item(rt: Runtime, found: domain.TrashItem) -> TrashItem:
    files = [
        TrashFile(id=file.id, repository_id=file.repository_id, path=shown(file.path), size_bytes=file.stat.size_bytes)
        for file in found.files
    ]
    is_purged = bool(files) or not found.hidden
    return TrashItem(
        asset_id=found.asset_id,
        type=found.type,
        original_filename=found.original_filename,
        mime_type=found.mime_type,
        digest=found.digest,
        state=found.state,
        why=found.why,
        deleted_at=found.deleted_at,
        deleted_by=found.deleted_by,
        size_bytes=sum(file.size_bytes for file in files),
        files=files,
        hidden=found.hidden,
        purge_at=_purge_at(rt, found.kept_since) if is_purged else None,
        refused=found.refused,
    )


def _summary(rt: Runtime, totals: Totals, untracked: int | None) -> TrashSummary:
    since = totals.purgeable_since
    return TrashSummary(
        count=totals.count,
        files=totals.files,
        size_bytes=totals.size_bytes,
        hidden=totals.hidden,
        refused=totals.refused,
        untracked=untracked,
        oldest_at=totals.oldest_at,
        next_purge_at=_purge_at(rt, since) if since is not None else None,
        trash_days=rt.config.storage.trash_days,
    )


def _purge_at(rt: Runtime, kept_since: dt.datetime) -> dt.datetime | None:
    days = rt.config.storage.trash_days
    return kept_since + dt.timedelta(days=days) if days else None


def _stray(rt: Runtime, opened: Opened, stray: strays.Stray) -> Stray:
    note = stray.note
    return Stray(
        repository=rt.repositories.name(opened.id),
        repository_id=opened.id,
        name=stray.name,
        id=stray.id,
        size_bytes=stray.size_bytes,
        path=note.path if note else None,
        asset_id=note.asset_id if note else None,
        digest=note.digest if note else None,
        original_filename=note.original_filename if note else None,
        deleted_at=note.deleted_at if note else None,
    )
