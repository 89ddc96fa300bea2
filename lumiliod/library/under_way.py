"""Uploads in several requests as a person looks at them."""

import trio

from lumiliod.contract.uploads import UploadUnderWay
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import partial as partials
from lumiliod.storage.partial import Partial


async def under_way(rt: Runtime) -> list[UploadUnderWay]:
    """Return the uploads that have begun and are not complete, oldest first; not those of a repository that is away.

    Raises:
        Unavailable: a disk fails, or a repository goes away this moment.
    """
    found: list[UploadUnderWay] = []
    for opened in rt.repositories.online():
        with reaching(rt.repositories, opened):
            arriving = await trio.to_thread.run_sync(_arriving, opened, limiter=rt.disk)
        found.extend(_told(rt, opened, one) for one in arriving if one.terms.digest is None)
    return sorted(found, key=lambda one: one.id)


def _arriving(opened: Opened) -> list[Partial]:
    return list(partials.arriving(opened.repository))


def _told(rt: Runtime, opened: Opened, one: Partial) -> UploadUnderWay:
    terms = one.terms
    return UploadUnderWay(
        id=one.id,
        filename=terms.filename,
        repository=rt.repositories.name(opened.id),
        owner_id=terms.owner_id,
        is_part=terms.is_part,
        offset=one.offset,
        size_bytes=terms.size_bytes,
        created_at=terms.created_at,
        expires_at=terms.expires_at,
    )
