"""Take bytes from a person: staged and durable before they are told so."""

from collections.abc import Sequence
from uuid import UUID

import trio

from lumiliod.contract.assets import UploadTicket
from lumiliod.contract.uploads import DigestsKnown, KnownDigest
from lumiliod.db import assets, uploads
from lumiliod.domain.errors import Shape, Unavailable
from lumiliod.domain.ids import Digest, JobId, RepositoryId, UploadId, UserId, is_digest, shown
from lumiliod.library import quota
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import staging
from lumiliod.storage.pump import Source
from lumiliod.storage.staging import Staged

MIB = 1 << 20

QUEUE_TRIES = 8
QUEUE_PERIOD_S = 1.0
"""A database that restarts is back within seconds; the bytes are here already."""


async def receive(
    rt: Runtime,
    *,
    repository: str | None,
    filename: str,
    body: Source,
    expected_digest: str | None,
    announced_bytes: int | None,
    least_bytes: int = 0,
) -> UploadTicket:
    """Stage an upload, then insert its ingest job; when this returns, the bytes survive power loss.

    Args:
        rt: the daemon.
        repository: name or id; may be left out where there is just one.
        filename: what the person calls it; only ever used as a name.
        body: the bytes.
        expected_digest: BLAKE3-256 the sender computed.
        announced_bytes: the size the sender announced.
        least_bytes: how large it will be at least, where that is all that is known.

    Raises:
        Refused: too large, or over the quota. Shape: the bytes are not what was announced.
        NotFound, Retryable: no such repository, or it is offline.
    """
    found = opened(rt, repository)
    if expected_digest is not None and not is_digest(expected_digest.lower()):
        raise Shape("a content hash is 64 hex digits of BLAKE3-256", code="bad_digest")
    promised = Digest(expected_digest.lower()) if expected_digest else None
    # a library that could not remember the upload must not take its bytes
    quota_bytes = await quota.check(rt, rt.owner_id, max(announced_bytes or 0, least_bytes), promised)
    with reaching(rt.repositories, found):
        staged = await staging.write(
            found.repository,
            filename,
            body,
            owner_id=rt.owner_id,
            max_bytes=limit(rt, found),
            quota_bytes=quota_bytes,
            min_free_bytes=rt.config.storage.min_free_mb * MIB,
            announced_bytes=announced_bytes,
            expected_digest=promised,
        )
    try:
        task = await enqueue(rt, found, staged)
    except BaseException:
        # nobody was told that these bytes are kept; should the job exist after all, it says that they are gone
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(staging.forget, found.repository, staged.id, limiter=rt.disk)
        raise
    return UploadTicket(
        task_id=task,
        status="queued",
        filename=staged.filename,
        digest=staged.digest,
        size_bytes=staged.size_bytes,
    )


def opened(rt: Runtime, repository: str | None) -> Opened:
    """Return the repository that an upload goes to, by name or id; None is the only one there is.

    Raises:
        NotFound, Unavailable: no such repository, or it is offline.
    """
    return rt.repositories.get(rt.repositories.row(repository).id) if repository else rt.repositories.only()


def limit(rt: Runtime, into: Opened) -> int | None:
    """Return the size in bytes of the largest file that a repository takes, None without a limit."""
    limits = [into.repository.marker.local_settings.max_file_size_kb * 1024, rt.config.storage.max_upload_mb * MIB]
    return min((limit for limit in limits if limit), default=None)


def checked_name(raw: str) -> str:
    r"""Return the last component of a client's file name, for a person to read.

    Some browsers send a whole Windows path. Bytes that are not UTF-8 become ``\xff``.

    Raises:
        Shape: ``bad_filename`` when nothing usable is left.
    """
    name = raw.rsplit("/", 1)[-1]
    if len(name) > 2 and name[0].isalpha() and name[1:3] == ":\\":
        name = name.rsplit("\\", 1)[-1]
    if name in ("", ".", "..") or "\0" in name:
        raise Shape("The file name is not usable.", code="bad_filename")
    return shown(name)


async def enqueue(rt: Runtime, into: Opened, staged: Staged) -> JobId:
    """Insert the ingest job of a staged upload, or find it; waits a while for a database that is away.

    Raises:
        Refused: it is more than its owner may keep (``quota_exceeded``). Retryable: the database stays away.
    """
    wanted = staged, RepositoryId(into.id), staged.owner_id or rt.owner_id
    for _ in range(QUEUE_TRIES - 1):
        try:
            return await rt.jobs.call(quota.enqueue, *wanted)
        except Unavailable:
            await trio.sleep(QUEUE_PERIOD_S)
    return await rt.jobs.call(quota.enqueue, *wanted)


async def adopt(rt: Runtime, into: Opened, staged: Staged) -> JobId:
    """Insert the ingest job of an upload that was staged when its daemon was killed, or find it.

    What it takes was taken then: it is not refused, nor does it matter when a job that nobody knew of is done with it.

    Raises:
        Retryable: the database is away.
    """
    job = kinds.ingest_upload(staged, RepositoryId(into.id), rt.owner_id, may_be_done=True)
    return await rt.jobs.call(kinds.enqueue_one, job)


async def job_of(rt: Runtime, upload_id: UploadId, owner_id: UUID | None = None) -> JobId | None:
    """Return the ingest job of an upload, whether or not it has ended; None when there never was one."""
    return await rt.db.call(uploads.job_of, upload_id, UserId(owner_id) if owner_id else rt.owner_id)


async def check(rt: Runtime, digests: Sequence[str]) -> DigestsKnown:
    """Tell which originals the library has already, so that they need not be sent unless they are in the trash.

    Raises:
        Shape: one is no digest (``bad_digest``).
    """
    wanted = [digest.lower() for digest in digests]
    for digest in wanted:
        if not is_digest(digest):
            raise Shape("a digest is 64 hex digits of BLAKE3-256", code="bad_digest")
    found = await rt.db.call(assets.by_digests, rt.owner_id, [Digest(digest) for digest in wanted])
    known = {row.digest: row for row in found}
    return DigestsKnown(
        known=[KnownDigest(digest=row.digest, asset_id=row.asset_id, in_trash=row.in_trash) for row in known.values()],
        unknown=[digest for digest in dict.fromkeys(wanted) if digest not in known],
    )
