"""How much a person may keep."""

from lumiliod.contract.uploads import Quota
from lumiliod.db import assets, users
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import NotFound, Refused
from lumiliod.domain.ids import Digest, JobId, RepositoryId, UserId
from lumiliod.domain.text import size_text
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from lumiliod.storage.pump import QUOTA_HINT
from lumiliod.storage.staging import Staged


async def check(rt: Runtime, owner_id: UserId, size_bytes: int, digest: str | None = None) -> int | None:
    """Make sure that ``size_bytes`` more are within what a person may keep; return how many are, None for any number.

    Nothing is held by that: only :func:`enqueue` says whether bytes that arrived may stay.

    Args:
        rt: the daemon.
        owner_id: who.
        size_bytes: how many more.
        digest: of which bytes; those that the person keeps already take no room.

    Raises:
        Refused: they are not (``quota_exceeded``). Retryable: the database is away.
    """
    return await rt.db.call(_check, owner_id, size_bytes, digest)


def _check(conn: Connection, owner_id: UserId, size_bytes: int, digest: str | None) -> int | None:
    found = users.quota(conn, owner_id)
    if found is None or found.limit_bytes is None:
        return None
    if digest is not None and assets.by_digest(conn, owner_id, Digest(digest)) is not None:
        return None
    if found.used_bytes + size_bytes > found.limit_bytes:
        raise _exceeded(found.limit_bytes, found.used_bytes, size_bytes)
    return found.limit_bytes - found.used_bytes


def enqueue(conn: Connection, staged: Staged, repository_id: RepositoryId, owner_id: UserId) -> JobId:
    """Enqueue the ingest of an upload where its owner may keep it, or find the open one; one owner at a time.

    Raises:
        Refused: it is more than its owner may keep (``quota_exceeded``).
    """
    if not users.hold_quota(conn, owner_id):
        return kinds.enqueue_one(conn, kinds.ingest_upload(staged, repository_id, owner_id))
    counts = assets.by_digest(conn, owner_id, staged.digest) is None
    job = kinds.ingest_upload(staged, repository_id, owner_id, counts=counts)
    job_id = kinds.enqueue_one(conn, job)
    found = users.quota(conn, owner_id) if counts and job_id == job.id else None
    if found is not None and found.limit_bytes is not None and found.used_bytes > found.limit_bytes:
        raise _exceeded(found.limit_bytes, found.used_bytes - staged.size_bytes, staged.size_bytes)
    return job_id


def _exceeded(limit_bytes: int, used_bytes: int, size_bytes: int) -> Refused:
    used, limit, needed = size_text(used_bytes), size_text(limit_bytes), size_text(size_bytes)
    missing_bytes = used_bytes + size_bytes - limit_bytes
    return Refused(
        f"this needs {needed}; {used} of the {limit} its owner may keep are used, so that {size_text(missing_bytes)}"
        f" are missing; {QUOTA_HINT}",
        code="quota_exceeded",
        limit_bytes=limit_bytes,
        used_bytes=used_bytes,
        missing_bytes=missing_bytes,
    )


async def show(rt: Runtime, name: str) -> Quota:
    """Return what a person may keep and keeps.

    Raises:
        NotFound: there is no such person.
    """
    owner_id = await rt.db.call(users.by_name, name)
    found = None if owner_id is None else await rt.db.call(users.quota, owner_id)
    if found is None:
        raise NotFound(f"there is no user {name!r}", code="user_not_found")
    assert owner_id is not None
    return Quota(user=name, limit_bytes=found.limit_bytes, used_bytes=await rt.db.call(users.used_bytes, owner_id))


async def change(rt: Runtime, name: str, limit_bytes: int | None) -> Quota:
    """Say how much a person may keep, None for as much as there is room for; what is there stays.

    Raises:
        NotFound: there is no such person.
    """
    await rt.db.call(users.set_quota, name, limit_bytes)
    return await show(rt, name)
