"""Empty the trash of what is due: verified file by file, derivatives first, rows last.

``purging`` says what is to go, ``doomed`` that it was verified; so whatever a crash leaves is taken up
where it was. What is not exactly what the rows say is kept, with the reason. What lies in a repository that
is away waits for it, and no job does: :func:`take_up` asks for it when the repository is back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import trio

from lumiliod.db import due, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import NotFound, Permanent, Retryable, Shape, Unavailable
from lumiliod.domain.ids import AssetId, RepositoryId
from lumiliod.domain.trash import TrashItem, TrashState
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import FIRST, Kind, each
from lumiliod.pipeline import kinds
from lumiliod.pipeline.retire import note_of
from lumiliod.runtime import Runtime, reaching
from lumiliod.storage import derivatives, film_cache
from lumiliod.storage import trash as storage
from lumiliod.storage.repository import Repository

PAGE = 500
REFUSED_SHOWN = 20
AGAIN_AFTER_S = 60.0

T = TypeVar("T")


class Args(msgspec.Struct):
    """What is due besides what people asked for: whatever was seen in the trash for so many seconds."""

    older_s: float | None = None


@dataclass
class _Done:
    purged: int = 0
    freed_bytes: int = 0
    postponed: int = 0
    refused: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``purge``."""

    async def run(running: Running) -> None:
        await purge(rt, running)

    return Kind(kinds.PURGE.kind, kinds.PURGE.queue, each(run), limit_s=86_400, missing=kinds.missing_purge)


async def purge(rt: Runtime, running: Running) -> None:
    """Purge what people asked for and what is due.

    Raises:
        Unavailable: a repository went offline, or an asset is worked on; the others are purged.
    """
    older_s = running.decoded(Args).older_s
    if older_s is not None:
        await rt.db.call(due.mark_aged, older_s)
    done, after = _Done(), FIRST
    while page := await rt.db.call(due.purging, after, PAGE):
        for asset_id in page:
            await _purge_one(rt, asset_id, done)
            await running.progress(done.purged, unit="assets")
        after = page[-1]
    if done.postponed:
        message = f"{done.postponed} assets could not be purged yet, {done.purged} were"
        raise Unavailable(message, code="purge_postponed", after_s=AGAIN_AFTER_S)
    told = {"purged": done.purged, "freed_bytes": done.freed_bytes, "purge_refused": len(done.refused)}
    away = await rt.db.call(due.count_away)
    await running.complete(result={**told, "refused": done.refused[:REFUSED_SHOWN], "away": away})


def take_up(conn: Connection, repository_id: RepositoryId) -> None:
    """Have purged what was to be while its repository was away."""
    if due.purging_in(conn, repository_id):
        db_jobs.enqueue(conn, [kinds.purge()])


async def _purge_one(rt: Runtime, asset_id: AssetId, done: _Done) -> None:
    try:
        freed_bytes = await _purge_alone(rt, asset_id)
    except Retryable:
        done.postponed += 1
    except (NotFound, Permanent, Shape) as error:
        reason = f"{error.code}: {error.message}"
        await rt.db.call(trash.refuse, asset_id, reason, TrashState.PURGING, TrashState.DOOMED)
        done.refused.append({"asset_id": str(asset_id), "code": error.code, "reason": error.message})
    else:
        if freed_bytes is not None:
            done.purged += 1
            done.freed_bytes += freed_bytes


async def _purge_alone(rt: Runtime, asset_id: AssetId) -> int | None:
    """Purge an asset while nobody takes in, moves or heals its bytes."""
    found = await rt.db.call(trash.item, asset_id)
    if found is None:
        return None
    async with rt.digests.holding(found.digest):
        return await purge_one(rt, asset_id)


async def purge_one(rt: Runtime, asset_id: AssetId) -> int | None:
    """Verify and remove one asset that is to be purged; return the bytes this freed, None when it came back meanwhile.

    Raises:
        NotFound, Permanent: a file of it is not what its row says; nothing was removed, or nothing more.
        Unavailable: a repository is offline, a disk does not take it now, or a job is at work on the asset.
    """
    found = await rt.db.call(trash.item, asset_id)
    if found is None or found.state not in (TrashState.PURGING, TrashState.DOOMED):
        return None
    for file in found.files:
        rt.repositories.get(file.repository_id)  # before anything of it is read
    if found.state is TrashState.PURGING:
        verified = [
            (file.id, await _at(rt, file.repository_id, storage.verify, note_of(found, file), file.stat))
            for file in found.files
        ]
        doomed = await rt.db.call(trash.doom, asset_id, verified)
        if doomed is None:
            await _check_came_back(rt, asset_id)
            return None
        found = doomed
    return await _remove(rt, found)


async def _check_came_back(rt: Runtime, asset_id: AssetId) -> None:
    if (await rt.db.call(trash.states, [asset_id])).get(asset_id) is TrashState.PURGING:
        raise Unavailable("a job is at work on this asset", code="asset_busy", after_s=AGAIN_AFTER_S)


async def _remove(rt: Runtime, found: TrashItem) -> int:
    if not found.hidden:
        for repository_id, path in await rt.db.call(trash.derivatives, found.asset_id):
            await _at(rt, repository_id, derivatives.remove, path)
    freed_bytes = 0
    for file in found.files:
        await _at(rt, file.repository_id, film_cache.forget, found.asset_id)
        freed_bytes += await _at(rt, file.repository_id, storage.remove, note_of(found, file), file.stat)
        await rt.db.call(trash.drop_files, [file.id])
    await rt.db.call(trash.delete, found.asset_id)
    return freed_bytes


async def _at(rt: Runtime, repository_id: RepositoryId, act: Callable[..., T], *args: object) -> T:
    """Do something in a repository, in a thread."""
    opened = rt.repositories.get(repository_id)

    def do(repo: Repository) -> T:
        return act(repo, *args)

    with reaching(rt.repositories, opened):
        return await trio.to_thread.run_sync(do, opened.repository, limiter=rt.disk)
