"""Uploads in several requests that nobody goes on with: those that are whole are staged, others given up."""

import logging
from datetime import UTC, datetime

import trio

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Refused, Shape
from lumiliod.library import quota
from lumiliod.library.resumable import Uploads
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import partial as partials
from lumiliod.storage import partial_sweep
from lumiliod.storage.partial import Partial

log = logging.getLogger(__name__)

SWEEP_PERIOD_S = 6 * 3600.0


async def sweep(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Stage, now and then, uploads that were cut after their last byte; forget those nobody goes on with; a service."""
    task_status.started()
    while True:
        for opened in rt.repositories.online():
            # what keeps one from being staged keeps none from being given up
            for step in (_finish, _expire):
                try:
                    await step(rt, opened)
                except LumilioError as error:
                    log.warning("uploads cannot be swept now", extra={"code": error.code, "reason": error.message})
        await trio.sleep(SWEEP_PERIOD_S)


async def _finish(rt: Runtime, opened: Opened) -> None:
    """Stage every upload that is whole and nobody writes; one that cannot be is left as it is, for its sender to hear.

    Raises:
        Unavailable: the disk fails, or the repository is offline.
    """

    def unfinished() -> list[Partial]:
        return [one for one in partials.arriving(opened.repository) if one.is_unfinished]

    uploads = Uploads(rt)
    with reaching(rt.repositories, opened):
        for one in await trio.to_thread.run_sync(unfinished, limiter=rt.disk):
            try:
                # nobody would hear that it may not be kept: that is for who asks for it
                await quota.check(rt, rt.owner_id, one.offset, one.terms.promised)
                await uploads.finish(one.id)
            except (Conflict, NotFound, Shape, Refused) as error:
                log.info("an upload is not staged", extra={"upload": str(one.id), "code": error.code})


async def _expire(rt: Runtime, opened: Opened) -> None:
    """Forget what nobody goes on with.

    Raises:
        Unavailable: the disk fails, or the repository is offline.
    """
    with reaching(rt.repositories, opened):
        now = datetime.now(UTC)
        gone = await trio.to_thread.run_sync(partial_sweep.expire, opened.repository, now, limiter=rt.disk)
    if gone:
        log.info("uploads given up", extra={"count": len(gone)})
