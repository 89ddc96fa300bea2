"""The watchers of all open repositories, as these come and go, and disks that do."""

import trio

from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import RepositoryId
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import repository
from lumiliod.watch.mounts import Mounts
from lumiliod.watch.watcher import watch


async def watch_all(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep a watcher on every open repository, and look for those whose disk comes or goes."""
    watchers: dict[RepositoryId, tuple[Opened, trio.CancelScope]] = {}
    rt.watched.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(_mind_mounts, rt)
        task_status.started()
        while True:
            came_or_went = rt.repositories.came_or_went
            online = {opened.id: opened for opened in rt.repositories.online()}
            for id_, (opened, scope) in list(watchers.items()):
                if online.get(id_) is not opened:
                    scope.cancel()
                    del watchers[id_]
                    rt.watched.pop(id_, None)
            for opened in online.values():
                if opened.id not in watchers:
                    scope = trio.CancelScope()
                    watchers[opened.id] = opened, scope
                    nursery.start_soon(_within, scope, rt, opened)
            rt.report_watches()
            await came_or_went.wait()


async def _within(scope: trio.CancelScope, rt: Runtime, opened: Opened) -> None:
    with scope:
        await watch(rt, opened)


async def _mind_mounts(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with Mounts() as mounts:
        task_status.started()
        while True:
            await mounts.changed()
            for opened in rt.repositories.online():
                try:
                    with reaching(rt.repositories, opened):
                        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
                except Unavailable:
                    continue
            if rt.repositories.offline():
                rt.repositories.announce()
