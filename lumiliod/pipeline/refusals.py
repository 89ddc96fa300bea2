"""What becomes of an upload that is refused: it is kept, until a person has it tried again or lets it go."""

import logging
from collections.abc import Sequence
from functools import partial

import trio

from lumiliod.db import job_admin, uploads
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, LumilioError
from lumiliod.domain.ids import Digest, JobId, UploadId
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import refusals, staging
from lumiliod.storage.staging import Staged

log = logging.getLogger(__name__)


async def set_aside(rt: Runtime, opened: Opened, staged: Staged, error: LumilioError) -> None:
    """Keep an upload whose job was discarded just now, with the reason; of one person's same bytes only the newest.

    The newest is durable before another is let go, and no two ever let go of each other: whatever is killed or taken
    back in between, one of them stays. What could not be let go is by the next refusal of the same bytes.

    Raises:
        Unavailable: the disk does not take it now.
    """
    fail = partial(staging.fail, opened.repository, staged.id, error.code, error.message)
    await trio.to_thread.run_sync(fail, limiter=rt.disk)
    try:
        owner_id = staged.owner_id or rt.owner_id
        alike = await rt.db.call(uploads.refused_alike, owner_id, opened.id, staged.digest)
        newest = await trio.to_thread.run_sync(_newest, opened, alike, staged.digest, limiter=rt.disk)
        for upload_id in alike[: alike.index(newest)] if newest is not None else ():
            await rt.jobs.call(_supersede, opened, upload_id)
        await rt.jobs.call(_end_older_jobs, staged.id)
    except LumilioError as failure:
        log.info("an older refusal is kept", extra={"upload": str(staged.id), "code": failure.code})


def _newest(opened: Opened, upload_ids: Sequence[UploadId], digest: Digest) -> UploadId | None:
    """Return the last one whose bytes are kept as refused ones."""
    for upload_id in reversed(upload_ids):
        reason = refusals.find(opened.repository, upload_id)
        if reason is not None and reason.digest == digest:
            return upload_id
    return None


def _supersede(conn: Connection, opened: Opened, upload_id: UploadId) -> None:
    """Let go of a refused upload whose bytes are kept as another; killed before the end, its job still tells of it."""
    failed = _held(conn, upload_id)
    if failed is None or staging.load(opened.repository, upload_id) is not None:
        return
    refusals.remove(opened.repository, upload_id)
    job_admin.cancel(conn, failed)


def _end_older_jobs(conn: Connection, upload_id: UploadId) -> None:
    """Leave one failed job of an upload; it has several when its daemon was killed before its bytes were set aside."""
    job_admin.cancel(conn, uploads.hold_discarded(conn, upload_id)[:-1])


async def remove(rt: Runtime, opened: Opened, upload_id: UploadId) -> None:
    """Forget a refused upload that a person wants to be forgotten.

    Its failed job ends first, then its bytes go: until they have it is still told of, and can be removed again.

    Raises:
        Conflict: it is being tried again (``upload_retried``). Unavailable: the database or the disk is away.
    """
    await rt.jobs.call(_end_job, upload_id)
    await trio.to_thread.run_sync(refusals.remove, opened.repository, upload_id, limiter=rt.disk)


def _end_job(conn: Connection, upload_id: UploadId) -> None:
    failed = _held(conn, upload_id)
    if failed is None:
        raise Conflict("this upload is being tried again", code="upload_retried")
    job_admin.cancel(conn, failed)


def _held(conn: Connection, upload_id: UploadId) -> list[JobId] | None:
    """Hold the failed jobs of an upload, so that nobody retries them; None when somebody has."""
    failed = uploads.hold_discarded(conn, upload_id)
    is_open = db_jobs.open_by_key(conn, kinds.INGEST.kind, kinds.upload_key(upload_id)) is not None
    return None if is_open else failed
