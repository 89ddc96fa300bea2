"""Mirror: copy every original to a second place, read each back, and say beside them which is which."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod import config
from lumiliod.db import findings, mirrors
from lumiliod.db.findings import NewFinding
from lumiliod.db.integrity import Expected
from lumiliod.db.integrity_runs import Run
from lumiliod.db.mirrors import BEFORE_ALL, Copy, Line, Mirror
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import ConfigError, LumilioError, NotFound, Refused, Shape, Unavailable
from lumiliod.domain.ids import path_from_bytes, shown, uuid7
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import FIRST, Kind, each
from lumiliod.pipeline import kinds
from lumiliod.pipeline.examine import examine, examine_copy
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import check, repository, secrets
from lumiliod.storage import mirrors as storage
from lumiliod.storage.backend import Backend
from lumiliod.storage.check import Checked, Verdict
from lumiliod.storage.mirrors import ManifestLine, Mark
from lumiliod.storage.throttle import UNLIMITED, Throttle
from lumiliod.storage.verified import put_verified

log = logging.getLogger(__name__)

BackendOf = Callable[[str, Mapping[str, str]], Backend]
"""What opens a mirror by its location and its options, secrets resolved."""

PAGE = 100
MANIFEST_FULL, MANIFEST_PAGE = 1000, 5000
"""Lines from which a manifest is left as it is, and most lines of one."""

MIRRORS_OWN = frozenset({"mirror_offline", "no_space", "not_writable"})
"""Codes that say of a mirror that it takes or gives nothing now."""


class Args(msgspec.Struct):
    """The mirror to bring up to date."""

    mirror: UUID


def setup(rt: Runtime, backend_of: BackendOf = storage.opened) -> Kind:
    """Bind the job kind ``mirror``."""

    async def run(running: Running) -> None:
        await fill(rt, running, running.decoded(Args).mirror, backend_of)

    spec = kinds.MIRROR
    return Kind(spec.kind, spec.queue, each(run), limit_s=30 * 86_400, missing=kinds.missing_mirrors)


async def fill(rt: Runtime, running: Running, mirror_id: UUID, backend_of: BackendOf) -> None:
    """Copy what a mirror lacks, page by page, then list it. Killed anywhere, it goes on where it was.

    Raises:
        Unavailable: the mirror or the repository is away, or the mirror takes nothing now.
    """
    mirror = await rt.db.call(mirrors.get, mirror_id)
    if mirror is None:
        return
    opened = rt.repositories.get(mirror.repository_id)
    with reaching(rt.repositories, opened):
        backend = await reached(rt, mirror, backend_of)
        copied = skipped = 0
        after = FIRST
        async with _noting_trouble(rt, mirror):
            await trio.to_thread.run_sync(storage.sweep, backend, limiter=rt.disk)
            while page := await rt.db.call(mirrors.lacking, mirror, after, PAGE):
                for original in page:
                    done = await _copied(rt, opened, mirror, backend, original)
                    copied, skipped = copied + done, skipped + (not done)
                    await running.progress(copied + skipped, None, "originals", mirror.location)
                after = page[-1].id
            await _list(rt, mirror, backend)
    await running.complete(partial(_conclude, mirror, copied, skipped))


async def reached(rt: Runtime, mirror: Mirror, backend_of: BackendOf) -> Backend:
    """Return the backend of a mirror that is there; one that was never used is introduced.

    Raises:
        Unavailable: it is away (``mirror_offline``), which its row says from then on.
    """
    async with _noting_trouble(rt, mirror):
        backend = await trio.to_thread.run_sync(reach, rt, mirror, backend_of, limiter=rt.disk)
    if mirror.introduced_at is None or mirror.status == "offline":
        await rt.db.call(mirrors.note_reached, mirror.id)
    return backend


def reach(rt: Runtime, mirror: Mirror, backend_of: BackendOf) -> Backend:
    """Open a mirror that is there; one that was never used is introduced. This blocks.

    Raises:
        Unavailable: it is away (``mirror_offline``).
    """
    try:
        options = secrets.resolved(mirror.options, config.secrets_dir(rt.config), os.environ)
        backend = backend_of(mirror.location, options)
        if mirror.introduced_at is None:
            _introduce(rt, mirror, backend)
    except (ConfigError, Shape, NotFound) as error:
        raise Unavailable(error.message, code="mirror_offline", after_s=storage.AWAY_AFTER_S) from error
    storage.check_there(backend, mirror.id)
    return backend


def _introduce(rt: Runtime, mirror: Mirror, backend: Backend) -> None:
    repo = rt.repositories.get(mirror.repository_id).repository
    if mirror.location != storage.own_location(repo):
        if mirror.declared:
            # who brings a disk writes its marker: that alone does not say where originals may be copied to
            message = f"{repo.name}'s marker wants copies in {mirror.location}, which a person has to confirm once: "
            raise NotFound(
                message + f"lumilio mirrors add {mirror.repository_id} {mirror.location}", code="unconfirmed"
            )
        roots = [row.root for row in rt.repositories.rows()]
        storage.checked_location(mirror.location, mirror.options, roots, config.secrets_dir(rt.config))
    storage.introduce(backend, Mark(mirror.id, repo.id, repo.name), repo)


@asynccontextmanager
async def _noting_trouble(rt: Runtime, mirror: Mirror) -> AsyncIterator[None]:
    """Say of a mirror why it cannot be used, when that is why what runs inside ends; the error goes on."""
    trouble: Unavailable | None = None
    try:
        yield
    except Unavailable as error:
        trouble = error
    if trouble is not None:
        if trouble.code in MIRRORS_OWN:
            status = "offline" if trouble.code == "mirror_offline" else "degraded"
            await rt.db.call(mirrors.set_status, mirror.id, status, trouble.message)
        raise trouble


async def _copied(rt: Runtime, opened: Opened, mirror: Mirror, backend: Backend, original: Expected) -> bool:
    """Copy one original; False when it, or the mirror, is not as it should be, which is a finding then.

    Raises:
        Unavailable: one of them is away, or the mirror takes nothing now.
    """
    error = await _put(rt, opened, backend, original)
    if isinstance(error, Refused):
        # nothing was sent: the store takes no file like this, which says nothing of either
        await rt.db.call(mirrors.set_status, mirror.id, "degraded", error.message)
        return False
    if error is not None:
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
        await trio.to_thread.run_sync(storage.check_there, backend, mirror.id, limiter=rt.disk)
        if isinstance(error, Unavailable) and error.code in MIRRORS_OWN:
            raise error
        if (await examine(rt, opened, original, None, UNLIMITED)).verdict is not Verdict.GOOD:
            return False
        # the original is good, so what is wrong is the copy
        if not await _remade(rt, opened, mirror, backend, original):
            return False
    await rt.db.call(_record_copy, mirror, original)
    return True


async def _put(rt: Runtime, opened: Opened, backend: Backend, original: Expected) -> LumilioError | None:
    """Store a copy and read it back; return what kept it from being believed."""
    source = opened.repository.absolute(original.path)
    path = storage.original_path(original.digest)
    put = partial(put_verified, backend, source, path, original.digest, original.stat.size_bytes)
    try:
        await trio.to_thread.run_sync(put, limiter=rt.disk)
    except LumilioError as error:
        return error
    return None


async def _remade(rt: Runtime, opened: Opened, mirror: Mirror, backend: Backend, original: Expected) -> bool:
    """Take a bad copy of a good original away and store it once more."""
    path = storage.original_path(original.digest)
    size = original.stat.size_bytes
    reading = partial(check.check_copy, backend, path, original.digest, size, UNLIMITED)
    if (await trio.to_thread.run_sync(reading, limiter=rt.disk)).verdict is Verdict.GOOD:
        return True
    await trio.to_thread.run_sync(backend.remove, path, limiter=rt.disk)
    error = await _put(rt, opened, backend, original)
    if error is not None:
        checked = await trio.to_thread.run_sync(reading, limiter=rt.disk)
        await trio.to_thread.run_sync(storage.check_there, backend, mirror.id, limiter=rt.disk)
        if checked.verdict is Verdict.GOOD:
            return True
        log.error("a mirror does not keep what it is given", extra={"mirror": str(mirror.id), "code": error.code})
        await rt.db.call(_distrust, mirror, original, checked)
        return False
    return True


def _record_copy(conn: Connection, mirror: Mirror, original: Expected) -> None:
    mirrors.put_copy(conn, mirror.id, original)
    findings.close_of_copy(conn, mirror.id, storage.original_path(original.digest), "healed")


def _distrust(conn: Connection, mirror: Mirror, original: Expected, checked: Checked) -> None:
    finding = NewFinding(
        kind=checked.verdict,
        code=checked.code,
        detail=f"the mirror did not keep what it was given: {checked.detail}",
        repository_id=mirror.repository_id,
        path=storage.original_path(original.digest),
        digest=original.digest,
        mirror_id=mirror.id,
        asset_id=original.asset_id,
    )
    findings.report(conn, finding)
    mirrors.set_status(conn, mirror.id, "degraded", "it does not keep what it is given")


def _conclude(mirror: Mirror, copied: int, skipped: int, conn: Connection) -> Result:
    if not skipped:
        mirrors.set_status(conn, mirror.id, "online")
    return {"copied": copied, "skipped": skipped}


async def _list(rt: Runtime, mirror: Mirror, backend: Backend) -> None:
    """Write manifests until every copy is named by one: bytes, then row, then forget the one it replaces."""
    while True:
        replaced, lines = await rt.db.call(mirrors.next_manifest, mirror.id, MANIFEST_FULL, MANIFEST_PAGE)
        if not lines:
            return
        manifest_id = uuid7()
        told = [_told(line) for line in lines]
        path = storage.manifest_path(mirror.repository_id, manifest_id)
        await trio.to_thread.run_sync(storage.put_manifest, backend, path, told, limiter=rt.disk)
        digests = [line.digest for line in lines]
        await rt.db.call(mirrors.list_in, mirror.id, manifest_id, digests, replaced)
        if replaced is not None:
            old = storage.manifest_path(mirror.repository_id, replaced)
            await trio.to_thread.run_sync(backend.remove, old, limiter=rt.disk)


def _told(line: Line) -> ManifestLine:
    path = shown(path_from_bytes(line.path)) if line.path is not None else None
    return ManifestLine(line.digest, line.size_bytes, line.asset_id, path, line.filename)


async def check_copies(
    rt: Runtime, running: Running, mirror: Mirror, run: Run, throttle: Throttle, backend_of: BackendOf
) -> int:
    """Read the copies of a mirror, the ones read longest ago first, within the budget of ``run``; return the bad ones.

    Raises:
        Unavailable: the mirror or its repository is away; nothing is concluded.
    """
    backend = await reached(rt, mirror, backend_of)
    read_bytes, bad = run.read_bytes, 0
    after = BEFORE_ALL
    while page := await rt.db.call(mirrors.next_copies, mirror.id, run.started_at, after, PAGE):
        for copy in page:
            if run.budget_bytes is not None and read_bytes >= run.budget_bytes:
                return bad
            checked = await _checked_copy(rt, mirror, backend, copy, run, throttle)
            read_bytes += checked.read_bytes
            bad += checked.verdict is not Verdict.GOOD
            await running.progress(read_bytes, run.budget_bytes, "bytes", mirror.location)
            after = (copy.verified_at, copy.digest)
    return bad


async def _checked_copy(
    rt: Runtime, mirror: Mirror, backend: Backend, copy: Copy, run: Run, throttle: Throttle
) -> Checked:
    async with _noting_trouble(rt, mirror):
        return await examine_copy(rt, mirror, backend, copy, run, throttle)
