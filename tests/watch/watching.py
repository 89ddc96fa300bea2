"""A library that watches its repository, with real events and a real engine, and what it has scanned."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio

from lumiliod.config import Watch
from lumiliod.domain.ids import RepositoryId
from lumiliod.runtime import InForce, Runtime, WatchState
from lumiliod.watch.service import watch_all
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf

WAITING_S = 30
DEBOUNCE_MS = 30
QUEUES = {"maintenance": 1}


@asynccontextmanager
async def watching(
    shelf: Shelf, *, queues: dict[str, int] | None = None, with_media: bool = False
) -> AsyncIterator[Runtime]:
    """Open the library, let it scan, and watch; what is found is looked at only where ``queues`` say so."""
    async with shelves.opened(shelf, with_media=with_media) as rt, shelves.serving(rt, queues or QUEUES):
        quick = replaced(rt)
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_all, quick)
            yield quick
            nursery.cancel_scope.cancel()


def replaced(rt: Runtime) -> Runtime:
    """Return the runtime with a debounce of tests."""
    config = rt.config
    watch = Watch(debounce_ms=DEBOUNCE_MS)
    return replace(rt, in_force=InForce(type(config)(state_dir=config.state_dir, watch=watch)))


async def quiet(rt: Runtime, shelf: Shelf) -> None:
    """Wait until the repository is watched and nothing is to be scanned."""
    await until(lambda: state(rt, shelf) is WatchState.WATCHING and not scans(shelf, open_=True))


def state(rt: Runtime, shelf: Shelf) -> WatchState | None:
    watched = rt.watched.get(RepositoryId(shelf.id))
    return watched.state if watched else None


def reason(rt: Runtime, shelf: Shelf) -> str:
    return str(rt.watched[RepositoryId(shelf.id)].reason)


def scans(shelf: Shelf, *, open_: bool) -> list[tuple[str, bool]]:
    """Return the folders of scans, waiting or done, and whether they reach what is below."""
    table = "jobs" if open_ else "job_history"
    rows = shelf.sql(f"SELECT args FROM {table} WHERE kind = 'scan' ORDER BY id")
    return [part for (args,) in rows if isinstance(args, dict) for part in parts(args)]


def parts(args: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return the folders of a scan, and whether they reach what is below."""
    folders = args.get("folders") or [(args.get("folder", ""), args.get("deep", True))]
    return [(folder, is_deep) for folder, is_deep in folders]


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    with trio.fail_after(WAITING_S):
        while not holds():
            await trio.sleep(0.01)
