"""Heal: put an original's good bytes back, from a mirror or from another file that has them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO
from uuid import UUID

import msgspec
import trio

from lumiliod.db import findings, integrity, mirrors
from lumiliod.db import jobs as db_jobs
from lumiliod.db.findings import Finding
from lumiliod.db.integrity import Expected
from lumiliod.db.mirrors import Copy, Mirror
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Unavailable
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.pipeline.examine import examine, examine_copy
from lumiliod.pipeline.mirror import BackendOf, reached
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import heal as storage
from lumiliod.storage import mirrors as storage_mirrors
from lumiliod.storage import trash
from lumiliod.storage.backend import Backend
from lumiliod.storage.check import Verdict
from lumiliod.storage.heal import Place
from lumiliod.storage.throttle import UNLIMITED

COPY_AWAY = frozenset({"copy_away", "mirror_offline"})
"""Codes that say of another copy that it cannot be read now."""


class Args(msgspec.Struct):
    """The finding to heal."""

    finding: UUID


@dataclass(frozen=True, slots=True)
class _Source:
    """Another copy of the bytes: in a mirror, or another file of the library."""

    mirror: Mirror | None = None
    twin: Expected | None = None


def setup(rt: Runtime, backend_of: BackendOf = storage_mirrors.opened) -> Kind:
    """Bind the job kind ``heal``."""

    async def run(running: Running) -> None:
        await heal(rt, running, running.decoded(Args).finding, backend_of)

    return Kind(kinds.HEAL.kind, kinds.HEAL.queue, each(run), limit_s=86_400)


async def heal(rt: Runtime, running: Running, finding_id: UUID, backend_of: BackendOf) -> None:
    """Heal what was found, if it still is so; a copy in a mirror is made anew by the mirror's own job.

    Raises:
        Permanent: there is no good copy (``no_good_copy``). Unavailable: every copy there may be is away.
    """
    finding = await rt.db.call(findings.finding, finding_id)
    if finding is None or finding.state not in {"open", "ignored"}:
        return
    if finding.mirror_id is not None:
        await running.complete(partial(_remake, finding.mirror_id, finding))
        return
    if finding.file_id is None or finding.digest is None:
        await running.complete(partial(_resolve, finding))
        return
    opened = rt.repositories.get(finding.repository_id)
    async with rt.digests.holding(finding.digest):
        # a job of this process that moves it to the trash, or back, holds the digest, too; for all others what
        # is to be replaced is compared with what was found
        expected = await rt.db.call(integrity.file, finding.file_id)
        if expected is None or expected.digest != finding.digest:
            await running.complete(partial(_resolve, finding))
            return
        with reaching(rt.repositories, opened):
            stat = await _restored(rt, opened, finding, expected, backend_of)
            await running.complete(partial(_settle, finding, expected, stat))


async def mended(rt: Runtime, opened: Opened, file_id: UUID, backend_of: BackendOf) -> FileStat | None:
    """Put good bytes in the place of a file of the trash that is damaged or gone; the caller holds its digest.

    Returns:
        Its state then; None when no good copy can be read now. What is wrong with it is a finding.

    Raises:
        Unavailable: its repository is away, or its disk takes nothing now.
    """
    expected = await rt.db.call(integrity.file, file_id)
    if expected is None:
        return None
    checked = await examine(rt, opened, expected, None, UNLIMITED)
    if checked.verdict is Verdict.GOOD:
        return checked.found
    finding = await rt.db.call(findings.finding_of_file, file_id)
    if finding is None:
        return None
    try:
        stat = await _restored(rt, opened, finding, expected, backend_of)
    except (Permanent, Conflict):
        return None
    except Unavailable as error:
        if error.code not in COPY_AWAY:
            raise
        return None
    await rt.jobs.call(partial(_settle, finding, expected, stat))
    return stat


async def _restored(
    rt: Runtime, opened: Opened, finding: Finding, expected: Expected, backend_of: BackendOf
) -> FileStat:
    """Restore from the first copy that turns out to be good; those that do not are findings themselves."""
    reason = storage.why(
        finding.id, finding.kind, finding.detail, finding.path, asset_id=finding.asset_id, digest=finding.digest
    )
    size_bytes = await rt.db.call(integrity.size_of, expected.asset_id)
    place = Place(expected.path, expected.digest, size_bytes, expected.stat.mtime_ns, finding.found)
    away: Unavailable | None = None
    for source in await rt.db.call(_sources, expected):
        changed: Conflict | None = None
        try:
            backend, open_good = await _copy_at(rt, source, expected, backend_of)
            restore = partial(storage.restore, opened.repository, place, open_good, reason)
            with suppress(Permanent, NotFound):
                return await trio.to_thread.run_sync(restore, limiter=rt.disk)
            await _doubt(rt, source, backend, expected, size_bytes)
        except Conflict as error:
            if error.code != "file_changed":
                raise
            changed = error
        except Unavailable as error:
            away = away or _elsewhere(error, opened)
        if changed is not None:
            # it is not what was found any more: what it is now is another finding
            await examine(rt, opened, expected, None, UNLIMITED)
            raise changed
    raise away or Permanent("there is no good copy of this original", code="no_good_copy")


def _elsewhere(error: Unavailable, opened: Opened) -> Unavailable:
    """Return what an error means for the healing; another repository that is away is not this one.

    Raises:
        Unavailable: this repository is away.
    """
    if error.code not in {"repository_offline", "repository_detached"}:
        return error
    if error.detail.get("repository_id") == str(opened.id):
        raise error
    return Unavailable("another copy is away", code="copy_away", after_s=error.after_s)


def _sources(conn: Connection, expected: Expected) -> list[_Source]:
    """Return where else these bytes should be: other files first, which are near, then mirrors."""
    twins = integrity.twins(conn, expected.asset_id, expected.digest, expected.id)
    return [
        *(_Source(twin=twin) for twin in twins),
        *(_Source(mirror=mirror) for mirror in mirrors.copies_of(conn, expected.digest)),
    ]


async def _copy_at(
    rt: Runtime, source: _Source, expected: Expected, backend_of: BackendOf
) -> tuple[Backend, Callable[[], BinaryIO]]:
    """Return where a copy lies, and what opens it.

    Raises:
        Unavailable: it is away.
    """
    if source.twin is not None:
        other = rt.repositories.get(source.twin.repository_id)
        if source.twin.in_trash:
            return other.backend, partial(trash.open_file, other.repository, source.twin.id)
        return other.backend, partial(other.backend.open, source.twin.path)
    assert source.mirror is not None
    backend = await reached(rt, source.mirror, backend_of)
    return backend, partial(backend.open, storage_mirrors.original_path(expected.digest))


async def _doubt(rt: Runtime, source: _Source, backend: Backend, expected: Expected, size_bytes: int) -> None:
    """Look at a copy that was not as it should be; if it is bad, that is a finding of its own."""
    if source.twin is not None:
        await examine(rt, rt.repositories.get(source.twin.repository_id), source.twin, None, UNLIMITED)
    elif source.mirror is not None:
        copy = Copy(expected.digest, size_bytes, expected.asset_id, source.mirror.created_at)
        await examine_copy(rt, source.mirror, backend, copy, None, UNLIMITED)


def _settle(finding: Finding, expected: Expected, stat: FileStat, conn: Connection) -> Result:
    integrity.settle_healed(conn, finding.id, expected, stat)
    return {"outcome": "healed", "file": str(expected.id)}


def _resolve(finding: Finding, conn: Connection) -> Result:
    findings.close(conn, finding.id, "resolved")
    return {"outcome": "resolved"}


def _remake(mirror_id: UUID, finding: Finding, conn: Connection) -> Result:
    db_jobs.enqueue(conn, [kinds.mirror(mirror_id, finding.repository_id)])
    return {"outcome": "mirror"}
