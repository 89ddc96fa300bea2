"""Uploads, as the job table knows them."""

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import JobId, UploadId, UserId

Q = Queries(__file__)


def job_of(conn: Connection, upload_id: UploadId, owner_id: UserId) -> JobId | None:
    """Return the ingest job of an upload, the open one or else the last that ended."""
    row = conn.execute(Q["job_of"], {"upload": str(upload_id), "owner": str(owner_id)}).fetchone()
    return JobId(row[0]) if row else None
