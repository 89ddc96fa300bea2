"""What the tests of the trash do in processes of their own, which may be killed at any step."""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import trio

from lumiliod.contract.trash import PurgeRequest, Removal, RemoveRequest, RestoreRequest
from lumiliod.db import integrity_runs
from lumiliod.domain.ids import RepositoryId, uuid7
from lumiliod.library import trash
from lumiliod.pipeline import adopt, kinds, untracked
from lumiliod.runtime import Runtime
from lumiliod.storage import staging
from lumiliod.testing.sources import Chunks
from tests import stepping
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf


def remove(shelf: Shelf, asset_id: UUID) -> None:
    """Ask to remove an asset, files in the user area too, and let the library do it."""
    items = [Removal(id=asset_id, delete_file=True)]
    do(shelf, lambda rt: trash.remove(rt, RemoveRequest(items=items)))


def restore(shelf: Shelf, asset_id: UUID) -> None:
    do(shelf, lambda rt: trash.restore(rt, RestoreRequest(ids=[asset_id])))


def purge(shelf: Shelf, asset_id: UUID) -> None:
    do(shelf, lambda rt: trash.purge(rt, PurgeRequest(ids=[asset_id])))


def look_for_leftovers(shelf: Shelf) -> None:
    """Look at our own folders as a scrub does: derivatives of what is purged may have come back with the power."""
    do(shelf, partial(_look_for_leftovers, shelf))


def upload(shelf: Shelf, name: str, content: bytes) -> None:
    """Take an upload, which is acknowledged, and let the library do what follows; only that may be killed."""
    do(shelf, partial(_ingest, shelf), before=partial(_stage, shelf, name, content), with_media=True)


def heal_by_work(shelf: Shelf, *, with_media: bool = False) -> None:
    """Start the library again: whatever was under way goes on."""
    do(shelf, partial(_start, shelf), with_media=with_media or _awaits(shelf))


def heal_by_scan(shelf: Shelf, *, with_media: bool = False) -> None:
    """Lose every job, scan first, and only then look for what is undone."""
    do(shelf, partial(_scan_and_start, shelf), before=_lose_jobs, with_media=with_media or _awaits(shelf))


def _awaits(shelf: Shelf) -> bool:
    """Tell whether an upload is to be identified yet, which takes a process to do so."""
    return any((shelf.path / ".lumilio" / "staging" / "incoming").iterdir())


def do(
    shelf: Shelf,
    act: Callable[[Runtime], Awaitable[object]],
    *,
    before: Callable[[Runtime], Awaitable[object]] | None = None,
    with_media: bool = False,
) -> None:
    """Open the library, act, and let it work until nothing is left to do; ``before`` is spared from killing."""

    async def main() -> None:
        async with shelves.opened(shelf, with_media=with_media) as rt:
            if before is not None:
                await before(rt)
        async with shelves.working(shelf, with_media=with_media) as rt:
            with stepping.armed():
                await act(rt)
                await shelves.idle(rt)

    trio.run(main)


async def _stage(shelf: Shelf, name: str, content: bytes, rt: Runtime) -> None:
    opened = rt.repositories.get(shelf.id)
    await staging.write(
        opened.repository, name, Chunks([content]), owner_id=rt.owner_id, max_bytes=None, min_free_bytes=0
    )


async def _ingest(shelf: Shelf, rt: Runtime) -> None:
    await adopt.staged(rt, rt.repositories.get(shelf.id))


async def _look_for_leftovers(shelf: Shelf, rt: Runtime) -> None:
    run = await rt.db.call(integrity_runs.begin_run, uuid7(), "scrub")
    assert await untracked.look(rt, rt.repositories.get(shelf.id), run, age_s=0.0) == 0


async def _lose_jobs(rt: Runtime) -> None:
    await rt.db.call(lambda conn: conn.execute("TRUNCATE jobs") and None)


async def _start(shelf: Shelf, rt: Runtime) -> None:
    await adopt.staged(rt, rt.repositories.get(shelf.id))
    for name in ("retire", "purge", "ingest"):
        await adopt.missing(rt, name)


async def _scan_and_start(shelf: Shelf, rt: Runtime) -> None:
    await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
    with trio.fail_after(shelves.WAITING_S):
        while await rt.db.call(shelves.of_job, "scan"):
            await trio.sleep(0.02)
    await _start(shelf, rt)
