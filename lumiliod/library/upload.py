"""Take bytes from a person: staged and durable before they are told so."""

from collections.abc import AsyncIterator

import trio

from lumiliod.contract.assets import UploadTicket
from lumiliod.db import repositories as db_repositories
from lumiliod.domain.errors import Shape, Unavailable
from lumiliod.domain.ids import Digest, JobId, RepositoryId, is_digest
from lumiliod.domain.jobs import NewJob
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime, reaching
from lumiliod.storage import staging

MIB = 1 << 20

QUEUE_TRIES = 8
QUEUE_PERIOD_S = 1.0
"""A database that restarts is back within seconds; the bytes are here already."""


async def receive(
    rt: Runtime,
    *,
    repository: str | None,
    filename: str,
    body: AsyncIterator[bytes],
    expected_digest: str | None,
    announced_bytes: int | None,
) -> UploadTicket:
    """Stage an upload, then insert its ingest job; when this returns, the bytes survive power loss.

    Args:
        rt: the daemon.
        repository: name or id; may be left out where there is just one.
        filename: what the person calls it; only ever used as a name.
        body: the bytes.
        expected_digest: BLAKE3-256 the sender computed.
        announced_bytes: the size the sender announced.

    Raises:
        Refused: too large, or no room. Shape: the bytes are not what was announced.
        NotFound, Retryable: no such repository, or it is offline.
    """
    repositories = rt.repositories
    opened = repositories.get(repositories.row(repository).id) if repository else repositories.only()
    if expected_digest is not None and not is_digest(expected_digest.lower()):
        raise Shape("a content hash is 64 hex digits of BLAKE3-256", code="bad_digest")
    repo = opened.repository
    limits = [repo.marker.local_settings.max_file_size_kb * 1024, rt.config.storage.max_upload_mb * MIB]
    # a library that could not remember the upload must not take its bytes
    await rt.db.call(db_repositories.all_rows)
    with reaching(repositories, opened):
        staged = await staging.write(
            repo,
            filename,
            body,
            owner_id=rt.owner_id,
            max_bytes=min((limit for limit in limits if limit), default=None),
            min_free_bytes=rt.config.storage.min_free_mb * MIB,
            announced_bytes=announced_bytes,
            expected_digest=Digest(expected_digest.lower()) if expected_digest else None,
        )
    job = kinds.ingest_upload(staged.id, RepositoryId(opened.id), staged.filename)
    try:
        task = await _queued(rt, job)
    except BaseException:
        # nobody was told that these bytes are kept; should the job exist after all, it says that they are gone
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(staging.forget, repo, staged.id, limiter=rt.disk)
        raise
    return UploadTicket(
        task_id=task,
        status="queued",
        filename=staged.filename,
        digest=staged.digest,
        size_bytes=staged.size_bytes,
    )


async def _queued(rt: Runtime, job: NewJob) -> JobId:
    for _ in range(QUEUE_TRIES - 1):
        try:
            return await rt.jobs.call(kinds.enqueue_one, job)
        except Unavailable:
            await trio.sleep(QUEUE_PERIOD_S)
    return await rt.jobs.call(kinds.enqueue_one, job)
