"""What becomes of an upload that is refused: it is kept, until a person has it tried again or lets it go."""

import trio

from lumiliod.db import job_admin, uploads
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import UploadId
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import refusals


async def remove(rt: Runtime, opened: Opened, upload_id: UploadId) -> None:
    """Forget a refused upload: its failed job is cancelled first, then its bytes go; doing it again ends the same.

    Raises:
        Conflict: it is being tried again (``upload_retried``). Unavailable: the database or the disk is away.
    """
    await rt.jobs.call(_end_job, upload_id)
    await trio.to_thread.run_sync(refusals.remove, opened.repository, upload_id, limiter=rt.disk)


def _end_job(conn: Connection, upload_id: UploadId) -> None:
    failed = uploads.hold_discarded(conn, upload_id)
    # whoever had it retried in between, committed before it could be held
    if db_jobs.open_by_key(conn, kinds.INGEST.kind, kinds.upload_key(upload_id)) is not None:
        raise Conflict("this upload is being tried again", code="upload_retried")
    job_admin.cancel(conn, failed)
