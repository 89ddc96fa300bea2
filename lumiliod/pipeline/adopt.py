"""Taking up what was left: staged uploads of a killed daemon, and work that has no job."""

import logging
from collections.abc import Sequence

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.domain.errors import BAD_DATA, LumilioError, NotFound, Unavailable
from lumiliod.jobs.backfill import backfill, queries
from lumiliod.pipeline import kinds, strays
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import derivatives, partial_sweep, staging
from lumiliod.storage.staging import Staged

log = logging.getLogger(__name__)

AT_ONCE = 200
"""So many uploads get their jobs in one transaction."""


async def staged(rt: Runtime, opened: Opened) -> None:
    """Give every whole staged upload of a repository its job again, and remove half ones.

    Uploads may come and be ingested meanwhile: what arrives is locked, and a job whose bytes are gone has been done.

    Raises:
        Unavailable: its staging cannot be read (``repository_offline``); it is noted as lost, and all of this is to be
            done again.
    """
    with reaching(rt.repositories, opened):
        found = await trio.to_thread.run_sync(_sweep, opened, limiter=rt.disk)
    await _enqueue(rt, opened, found)
    await strays.tell(rt, opened)


async def missing_work(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Enqueue, once after the start, whatever a query finds undone and no job does; a service."""
    task_status.started()
    for kind, query in queries(rt.jobs):
        # a repository nobody has asked to scan is left to its schedule
        if kind != kinds.SCAN.kind:
            await backfill(rt.jobs, kind, query)
    await trio.sleep_forever()


async def missing(rt: Runtime, kind: str | None = None) -> dict[str, int]:
    """Enqueue the work of ``kind``, or of every kind, that is not done and that no job does; return how many jobs.

    Raises:
        NotFound: there is no such kind, or it cannot tell what it lacks.
    """
    wanted = [(name, query) for name, query in queries(rt.jobs) if kind in (None, name)]
    if not wanted:
        raise NotFound(f"no kind of job named {kind} tells what it lacks", code="kind_not_found")
    added = {name: await backfill(rt.jobs, name, query) for name, query in wanted}
    if kinds.INGEST.kind in added:
        for opened in rt.repositories.online():
            found = await trio.to_thread.run_sync(staging.waiting, opened.repository, limiter=rt.disk)
            added[kinds.INGEST.kind] += await _enqueue(rt, opened, found)
    return added


async def _enqueue(rt: Runtime, opened: Opened, uploads: Sequence[Staged]) -> int:
    """Give uploads their jobs but those that have one; return how many were added."""
    added = 0
    for start in range(0, len(uploads), AT_ONCE):
        some = uploads[start : start + AT_ONCE]
        jobs = [kinds.ingest_upload(upload, opened.id, rt.owner_id, may_be_done=True) for upload in some]
        added += len(await rt.jobs.call(db_jobs.enqueue, jobs))
    return added


def _sweep(opened: Opened) -> list[Staged]:
    try:
        partial_sweep.recover(opened.repository)
        staging.sweep(opened.repository)
        derivatives.sweep_scratch(opened.repository)
        return staging.waiting(opened.repository)
    except LumilioError as error:
        raise Unavailable(error.message, code="repository_offline") from error
    except BAD_DATA as error:
        message = f"its staging holds what nobody foresaw: {type(error).__name__}: {error}"
        raise Unavailable(message, code="repository_offline") from error
