"""Refused uploads as a person looks at them, and their removal."""

from uuid import UUID

import trio

from lumiliod.contract.uploads import RefusedUpload
from lumiliod.db import uploads, users
from lumiliod.domain.errors import Forbidden
from lumiliod.domain.ids import JobId, UploadId, UserId
from lumiliod.pipeline import refusals
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import partial as partials
from lumiliod.storage import refusals as storage
from lumiliod.storage.staging import Reason


async def refused(rt: Runtime) -> list[RefusedUpload]:
    """Return the uploads whose bytes are kept though they could not be ingested, oldest first.

    Those of a repository that is away are not among them.

    Raises:
        Unavailable: a disk or the database fails, or a repository goes away this moment.
    """
    found: list[tuple[Opened, UploadId, Reason]] = []
    for opened in rt.repositories.online():
        with reaching(rt.repositories, opened):
            kept = await trio.to_thread.run_sync(storage.kept, opened.repository, limiter=rt.disk)
        found.extend((opened, *one) for one in kept)
    if not found:
        return []
    jobs = await rt.db.call(uploads.jobs_of, [upload_id for _, upload_id, _ in found])
    names = await rt.db.call(users.names)
    return sorted((_told(rt, *one, jobs, names) for one in found), key=lambda one: (one.refused_at, one.id))


async def remove(rt: Runtime, upload_id: UploadId) -> bool:
    """Forget a refused upload and the complaint of its job; tell whether there was one.

    Raises:
        Conflict: it is being tried again (``upload_retried``). Unavailable: the database or a disk is away.
    """
    opened = await _keeper(rt, upload_id)
    if opened is None:
        return False
    with reaching(rt.repositories, opened):
        await refusals.remove(rt, opened, upload_id)
        # what was said of one that came in several requests is kept for a day otherwise
        await trio.to_thread.run_sync(partials.remove, opened.repository, upload_id, limiter=rt.disk)
    return True


async def check_not_kept(rt: Runtime, upload_id: UploadId) -> None:
    """Make sure that an upload is none whose bytes wait for a person to decide about them.

    Raises:
        Forbidden: it was refused (``upload_refused``). Unavailable: a disk fails.
    """
    if await _keeper(rt, upload_id) is not None:
        message = "this upload was refused, and its bytes are kept: lumilio uploads remove"
        raise Forbidden(message, code="upload_refused")


async def _keeper(rt: Runtime, upload_id: UploadId) -> Opened | None:
    """Return the repository that keeps the bytes of a refused upload."""
    for opened in rt.repositories.online():
        with reaching(rt.repositories, opened):
            if await trio.to_thread.run_sync(storage.find, opened.repository, upload_id, limiter=rt.disk) is not None:
                return opened
    return None


def _told(
    rt: Runtime,
    opened: Opened,
    upload_id: UploadId,
    reason: Reason,
    jobs: dict[UUID, tuple[JobId, bool]],
    names: dict[UserId, str],
) -> RefusedUpload:
    owner_id = UserId(reason.owner_id) if reason.owner_id is not None else rt.owner_id
    task_id, is_open = jobs.get(upload_id, (None, False))
    return RefusedUpload(
        id=upload_id,
        state="queued" if is_open else "refused",
        filename=reason.filename,
        repository=rt.repositories.name(opened.id),
        owner_id=owner_id,
        owner=names.get(owner_id),
        size_bytes=reason.size_bytes,
        digest=reason.digest or None,
        code=reason.code,
        reason=reason.message,
        refused_at=reason.at,
        task_id=task_id,
    )
