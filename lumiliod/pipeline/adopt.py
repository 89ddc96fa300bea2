"""Taking up what was left: staged uploads of a killed daemon, and work that has no job."""

import logging
from functools import partial
from uuid import UUID

import trio

from lumiliod.db.pool import Connection
from lumiliod.jobs.kind import JobSpec
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import derivatives, staging
from lumiliod.storage.staging import Staged

log = logging.getLogger(__name__)

FIRST = UUID(int=0)


async def staged(rt: Runtime, opened: Opened) -> None:
    """Give every whole staged upload of a repository its job again, and remove half ones.

    Only while no upload of this repository is being ingested: at start, or when it has just come (back).
    """
    for upload in await trio.to_thread.run_sync(_sweep, opened, limiter=rt.disk):
        await rt.jobs.call(kinds.enqueue_one, kinds.ingest_upload(upload.id, opened.id, upload.filename))


async def missing_work(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Enqueue whatever a query finds undone and no job does, page by page, once; a service.

    Missing work is a query.
    """
    task_status.started()
    for page in (
        kinds.backfill_files,
        partial(_assets, kinds.METADATA),
        partial(_assets, kinds.THUMBNAILS),
    ):
        after: UUID | None = FIRST
        while after is not None:
            after = await rt.jobs.call(page, after)
    await trio.sleep_forever()


def _assets(spec: JobSpec, conn: Connection, after: UUID) -> UUID | None:
    return kinds.backfill_assets(conn, spec, after)


def _sweep(opened: Opened) -> list[Staged]:
    staging.sweep(opened.repository)
    derivatives.sweep_scratch(opened.repository)
    return staging.waiting(opened.repository)
