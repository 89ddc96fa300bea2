"""Uploads, as the job table knows them."""

from collections.abc import Sequence
from uuid import UUID

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import Digest, JobId, RepositoryId, UploadId, UserId

Q = Queries(__file__)


def job_of(conn: Connection, upload_id: UploadId, owner_id: UserId) -> JobId | None:
    """Return the ingest job of an upload, the open one or else the last that ended."""
    row = conn.execute(Q["job_of"], {"upload": str(upload_id), "owner": str(owner_id)}).fetchone()
    return JobId(row[0]) if row else None


def jobs_of(conn: Connection, upload_ids: Sequence[UploadId]) -> dict[UUID, tuple[JobId, bool]]:
    """Return the ingest job of each upload that ever had one, as :func:`job_of` does, and whether it is open."""
    rows = conn.execute(Q["jobs_of"], {"uploads": [str(id_) for id_ in upload_ids]})
    return {UUID(upload): (JobId(job_id), is_open) for upload, job_id, is_open in rows}


def hold_discarded(conn: Connection, upload_id: UploadId) -> list[JobId]:
    """Lock and return the discarded jobs of an upload."""
    return [JobId(row[0]) for row in conn.execute(Q["hold_discarded"], {"upload": str(upload_id)})]


def refused_alike(conn: Connection, owner_id: UserId, repository_id: RepositoryId, digest: Digest) -> list[UploadId]:
    """Return the uploads of the same bytes to the same place whose jobs are discarded, oldest first."""
    params = {"owner": str(owner_id), "repository_id": repository_id, "digest": digest}
    return [UploadId(UUID(row[0])) for row in conn.execute(Q["refused_alike"], params)]


def refused(conn: Connection, *, names: int) -> tuple[int, list[str]]:
    """Count the uploads that were discarded for their content, and return the names of the newest."""
    row = conn.execute(Q["refused"], {"names": names}).fetchone()
    return (row[0], row[1] or []) if row else (0, [])
