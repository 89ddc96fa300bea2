"""Scrub: re-read every original within a period, a slice a day; and verify, the same on demand.

A slice may read what the days since the last one allow: all bytes, divided by the period. The ones looked at
longest ago come first, each file is stamped when it was read, so a slice that is killed goes on behind it.
What a file takes beyond the budget is missing from the next one.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import msgspec

from lumiliod.db import integrity, integrity_runs, mirrors
from lumiliod.db import jobs as db_jobs
from lumiliod.db.integrity import START, Expected
from lumiliod.db.integrity_runs import Run
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.domain.ids import AssetId, RepositoryId, shown
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds, untracked
from lumiliod.pipeline.examine import examine, says_away
from lumiliod.pipeline.mirror import BackendOf, check_copies
from lumiliod.runtime import Runtime
from lumiliod.storage import mirrors as storage
from lumiliod.storage.check import Checked, Verdict
from lumiliod.storage.throttle import UNLIMITED, Throttle

log = logging.getLogger(__name__)

PAGE = 100
DAY_S = 86_400
CATCH_UP_S = 7 * DAY_S
"""So much of what was missed is made up for at once."""
MIRROR_SLOWER = 3
"""Copies are read so many times more rarely: other eyes may look after that disk, and some stores bill reading."""
KEEP_RUNS_DAYS = 400
LIMIT_S = 30 * DAY_S


class VerifyArgs(msgspec.Struct):
    """What to verify: one asset, one repository, or everything."""

    repository: UUID | None = None
    asset: UUID | None = None


@dataclass
class Tally:
    """What a pass came to, those before a restart included; ``away`` are repositories that were not there."""

    files: int = 0
    read_bytes: int = 0
    found: int = 0
    unstable: int = 0
    away: set[RepositoryId] = field(default_factory=set[RepositoryId])

    def add(self, checked: Checked) -> None:
        """Count one file."""
        self.files += 1
        self.read_bytes += checked.read_bytes
        self.found += checked.verdict not in {Verdict.GOOD, Verdict.UNSTABLE}
        self.unstable += checked.verdict is Verdict.UNSTABLE

    def result(self, rt: Runtime) -> Result:
        """Return what is kept with the job."""
        names = {row.id: row.name for row in rt.repositories.rows()}
        return {
            "files": self.files,
            "bytes": self.read_bytes,
            "found": self.found,
            "unstable": self.unstable,
            "away": sorted(names.get(one, str(one)) for one in self.away),
        }


def setup(rt: Runtime, backend_of: BackendOf = storage.opened) -> Kind:
    """Bind the job kind ``scrub``."""

    async def run(running: Running) -> None:
        await scrub(rt, running, backend_of)

    return Kind(kinds.SCRUB.kind, kinds.SCRUB.queue, each(run), limit_s=LIMIT_S)


def setup_verify(rt: Runtime) -> Kind:
    """Bind the job kind ``verify``."""

    async def run(running: Running) -> None:
        await verify(rt, running, running.decoded(VerifyArgs))

    return Kind(kinds.VERIFY.kind, kinds.VERIFY.queue, each(run), limit_s=LIMIT_S)


async def scrub(rt: Runtime, running: Running, backend_of: BackendOf) -> None:
    """Read a slice of the originals, look for orphans, then read a slice of every mirror's copies."""
    days, rate = rt.config.integrity.scrub_days, rt.config.integrity.scrub_mb_per_s
    if not days:
        return
    throttle = Throttle(rate * (1 << 20))
    ids = [opened.id for opened in rt.repositories.online()]
    run = await rt.db.call(_begin, running.job.id, ids, days)
    tally = _tally(run)
    if run is not None:
        await over_files(rt, running, run, ids, tally, throttle)
        tally.found += await _orphans(rt, run, [one for one in ids if one not in tally.away])
    for mirror in await rt.db.call(mirrors.all_rows):
        try:
            part = await rt.db.call(_begin_copies, running.job.id, mirror.id, days * MIRROR_SLOWER)
            if part is not None:
                tally.found += await check_copies(rt, running, mirror, part, throttle, backend_of)
                await rt.db.call(integrity_runs.end_run, part.id, KEEP_RUNS_DAYS)
        except LumilioError as error:
            # a mirror that is away, or not understood, keeps nothing else from being read
            log.info("a mirror was not read", extra={"mirror": str(mirror.id), "code": error.code})
    await running.complete(partial(_end, run, tally.result(rt)))


async def verify(rt: Runtime, running: Running, wanted: VerifyArgs) -> None:
    """Read everything that is wanted now, as fast as the disk gives it to who asks last.

    Raises:
        Unavailable: the one repository that is wanted is away, or every one with a file of the asset.
    """
    run = await rt.db.call(integrity_runs.begin_run, running.job.id, "verify")
    tally = _tally(run)
    if wanted.asset is not None:
        files = await rt.db.call(integrity.files_of_asset, AssetId(wanted.asset), run.started_at)
        for expected in files:
            await _checked(rt, run, expected, tally, UNLIMITED)
        if tally.away and not tally.files:
            rt.repositories.get(next(iter(tally.away)))
    else:
        ids = [opened.id for opened in rt.repositories.online()]
        if wanted.repository is not None:
            ids = [rt.repositories.get(wanted.repository).id]
        else:
            tally.away.update(row.id for row in rt.repositories.offline())
        await over_files(rt, running, run, ids, tally, UNLIMITED)
        if wanted.repository is not None and tally.away:
            rt.repositories.get(wanted.repository)
        tally.found += await _orphans(rt, run, [one for one in ids if one not in tally.away])
    await running.complete(partial(_end, run, tally.result(rt)))


async def over_files(
    rt: Runtime, running: Running, run: Run, ids: Iterable[RepositoryId], tally: Tally, throttle: Throttle
) -> None:
    """Check files, the ones looked at longest ago first, until the budget of ``run`` is spent or none is left.

    A repository that goes away is passed over from then on and noted in ``tally``.
    """
    wanted = set(ids)
    _, total = await rt.db.call(integrity.totals, list(wanted))
    after = START
    while page := await rt.db.call(integrity.next_files, list(wanted), run.started_at, after, PAGE):
        for expected in page:
            if run.budget_bytes is not None and tally.read_bytes >= run.budget_bytes:
                return
            after = expected.position
            if expected.repository_id in wanted and not await _checked(rt, run, expected, tally, throttle):
                wanted.discard(expected.repository_id)
            await running.progress(tally.read_bytes, run.budget_bytes or total, "bytes", shown(expected.path))


async def _checked(rt: Runtime, run: Run, expected: Expected, tally: Tally, throttle: Throttle) -> bool:
    """Check one file; False when its repository is away."""
    try:
        opened = rt.repositories.get(expected.repository_id)
        tally.add(await examine(rt, opened, expected, run, throttle))
    except Unavailable as error:
        if not says_away(error):
            raise
        tally.away.add(expected.repository_id)
        return False
    return True


async def _orphans(rt: Runtime, run: Run, ids: Iterable[RepositoryId]) -> int:
    """Look for files that no row knows, once a run; return how many there are."""
    if run.walked:
        return 0
    found = 0
    for repository_id in ids:
        try:
            found += await untracked.look(rt, rt.repositories.get(repository_id), run)
        except Unavailable as error:
            if not says_away(error):
                raise
    await rt.db.call(_count_orphans, run.id, found)
    return found


def credit_bytes(left_bytes: int, age_s: float, total_bytes: int, days: int) -> int:
    """Return what a slice may read: all bytes a period, for the time since the last slice, and what that one left.

    ``left_bytes`` is negative when the last one read more than it might. What was missed is made up
    for up to a week.
    """
    rate = total_bytes / (days * DAY_S)
    return int(min(left_bytes + rate * age_s, rate * CATCH_UP_S))


def _begin(conn: Connection, job_id: UUID, ids: list[RepositoryId], days: int) -> Run | None:
    run = integrity_runs.run_of_job(conn, job_id)
    if run is not None:
        return run
    _, total = integrity.totals(conn, ids)
    return _begin_within(conn, job_id, None, total, days)


def _begin_copies(conn: Connection, job_id: UUID, mirror_id: UUID, days: int) -> Run | None:
    run = integrity_runs.run_of_job(conn, job_id, mirror_id)
    if run is not None:
        return run
    return _begin_within(conn, job_id, mirror_id, mirrors.copies_bytes(conn, mirror_id), days)


def _begin_within(conn: Connection, job_id: UUID, mirror_id: UUID | None, total: int, days: int) -> Run | None:
    """Begin a slice with what it may read; None when that is nothing."""
    left, age_s = integrity_runs.last_scrub(conn, job_id, mirror_id) or (0, float(DAY_S))
    budget = credit_bytes(left, age_s, total, days)
    if budget <= 0:
        return None
    return integrity_runs.begin_run(conn, job_id, "scrub", mirror_id=mirror_id, budget_bytes=budget)


def _tally(run: Run | None) -> Tally:
    return Tally() if run is None else Tally(run.files, run.read_bytes, run.found, run.unstable)


def _count_orphans(conn: Connection, run_id: UUID, found: int) -> None:
    integrity_runs.count_found(conn, run_id, found, walked=True)


def _end(run: Run | None, result: Result, conn: Connection) -> Result:
    if run is not None:
        integrity_runs.end_run(conn, run.id, KEEP_RUNS_DAYS)
    jobs, _ = kinds.missing_mirrors(conn, UUID(int=0))
    db_jobs.enqueue(conn, jobs)
    return result
