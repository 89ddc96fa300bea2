"""How much a person may keep."""

from lumiliod.contract.uploads import Quota
from lumiliod.db import users
from lumiliod.domain.errors import NotFound, Refused
from lumiliod.domain.ids import UserId
from lumiliod.runtime import Runtime


async def check(rt: Runtime, owner_id: UserId, size_bytes: int) -> None:
    """Make sure that ``size_bytes`` more are within what a person may keep.

    Raises:
        Refused: they are not (``quota_exceeded``). Retryable: the database is away.
    """
    found = await rt.db.call(users.quota, owner_id)
    if found is not None and found.limit_bytes is not None and found.used_bytes + size_bytes > found.limit_bytes:
        raise Refused(
            f"{found.used_bytes} of {found.limit_bytes} bytes are used; this needs {size_bytes} more",
            code="quota_exceeded",
            limit_bytes=found.limit_bytes,
            used_bytes=found.used_bytes,
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
