"""Cancel, give up and retry jobs: as many as a filter names, a page in a transaction."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import trio

from lumiliod.contract.jobs import JobsChanged
from lumiliod.db import job_admin
from lumiliod.db.job_admin import NIL, TABLED
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, Retryable, Shape
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import FailedAttempt, JobFilter, JobState
from lumiliod.jobs import failures
from lumiliod.jobs.kind import Kind
from lumiliod.library import tasks
from lumiliod.runtime import Runtime

PAGE = 500
PASSES = 5
PAUSE_S = 0.1
"""What others held during a pass is looked for by the next, each so much later than the one before."""

RUNNING = (JobState.RUNNING,)
WAITING = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE)
FAILED = (JobState.RETRYABLE, JobState.DISCARDED)

Find = Callable[[Connection, UUID], list[JobId]]
"""Lock and return a page of ids past one."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a page: so many of its jobs were changed, and so many others with them."""

    changed: int
    others: int = 0
    tokens: Sequence[int] = ()


@dataclass(slots=True)
class _Sum:
    """What became of several pages, and of how many jobs."""

    found: int = 0
    changed: int = 0
    others: int = 0

    @property
    def left(self) -> int:
        return self.found - self.changed


@dataclass(frozen=True, slots=True)
class _Act:
    """Something done to a page of jobs in one of ``states``, before all others to those in one of ``first``.

    What ``revives`` can do so to cancelled ones, too, and its jobs may come back into these states.
    """

    verb: str
    states: tuple[JobState, ...]
    do: Callable[[Connection, Sequence[JobId]], _Done]
    first: tuple[JobState, ...] = ()
    revives: bool = False


async def cancel(rt: Runtime, wanted: JobFilter, *, everything: bool = False, dry_run: bool = False) -> JobsChanged:
    """End jobs whatever their state, and what waits for them; those that run are cancelled at once.

    Raises:
        Shape: ``bad_filter``, it names nothing and ``everything`` was not said.
        NotFound, Conflict: the one job it names is not there, or has ended.
        Retryable: the database is away; what was done until then stays done.
    """
    return await _act(rt, _Act("cancelled", TABLED, _cancel, first=RUNNING), wanted, everything, dry_run)


async def put_away(rt: Runtime, repository_id: UUID) -> JobsChanged:
    """End the jobs of a repository that run or wait; those that were given up stay among the failures.

    Raises:
        Retryable: the database is away; what was done until then stays done.
    """
    act = _Act("cancelled", (*RUNNING, *WAITING), _cancel, first=RUNNING)
    return await _act(rt, act, JobFilter(repository_id=repository_id), everything=False, dry_run=False)


async def discard(rt: Runtime, wanted: JobFilter, *, everything: bool = False, dry_run: bool = False) -> JobsChanged:
    """Give up jobs that wait: they are kept among the failures. Raises as :func:`cancel`."""
    return await _act(rt, _Act("discarded", WAITING, partial(_discard, rt.jobs.kinds)), wanted, everything, dry_run)


async def retry(rt: Runtime, wanted: JobFilter, *, everything: bool = False, dry_run: bool = False) -> JobsChanged:
    """Let jobs that failed, are put off or were given up begin anew, at once. Raises as :func:`cancel`.

    Cancelled ones and those scheduled for later, too, when ``wanted`` names ids or that state.
    """
    named = wanted.ids is not None or wanted.state == JobState.SCHEDULED
    states = (*FAILED, JobState.SCHEDULED) if named else FAILED
    return await _act(rt, _Act("retried", states, _retry, revives=True), wanted, everything, dry_run)


async def _act(rt: Runtime, act: _Act, wanted: JobFilter, everything: bool, dry_run: bool) -> JobsChanged:
    if wanted == JobFilter() and not everything:
        raise Shape("say which jobs are meant, or `all`", code="bad_filter")
    too = act.revives and _means_cancelled(wanted)
    if dry_run:
        return JobsChanged(count=await rt.db.call(_count, act, wanted, too))
    done = _Sum()
    passed_over = await _passes(rt, act, wanted, done)
    if too:
        cancelled = _Sum()
        await _pass(rt, partial(_cancelled, wanted), act, cancelled)
        done.changed += cancelled.changed
        passed_over += cancelled.left
    if done.changed == 0 and wanted.ids is not None and len(wanted.ids) == 1:
        await _explain(rt, act, wanted)
    return JobsChanged(count=done.changed + done.others, passed_over=passed_over)


async def _passes(rt: Runtime, act: _Act, wanted: JobFilter, done: _Sum) -> int:
    """Go over the table until nothing is left but what a pass had in its hands and left; return how much that is.

    Jobs that begin anew may fail anew meanwhile: of those as many are looked for as there were at first.
    """
    expected = await rt.db.call(job_admin.matching, wanted, act.states) if act.revives else 0
    this = _Sum()
    for number in range(PASSES):
        await trio.sleep(PAUSE_S * number)
        this = _Sum()
        try:
            if act.first:
                await _pass(rt, partial(_tabled, wanted, act.first), act, this)
            await _pass(rt, partial(_tabled, wanted, act.states), act, this)
        except Retryable as error:
            if error.code != "database_busy" or number == PASSES - 1:
                raise
            continue
        finally:
            done.found += this.found
            done.changed += this.changed
            done.others += this.others
        if act.revives and done.found >= expected:
            break
        if not act.revives and await rt.db.call(job_admin.matching, wanted, act.states) <= this.left:
            break
    return this.left


async def _pass(rt: Runtime, find: Find, act: _Act, done: _Sum) -> None:
    after: UUID | None = NIL
    while after is not None:
        count, after, page = await rt.jobs.call(_page, find, act, after)
        done.found += count
        done.changed += page.changed
        done.others += page.others
        if page.tokens:
            await rt.jobs.told(tokens=page.tokens)


def _count(conn: Connection, act: _Act, wanted: JobFilter, cancelled: bool) -> int:
    return job_admin.matching(conn, wanted, act.states) + (
        job_admin.matching_cancelled(conn, wanted) if cancelled else 0
    )


def _page(conn: Connection, find: Find, act: _Act, after: UUID) -> tuple[int, UUID | None, _Done]:
    ids = find(conn, after)
    if not ids:
        return 0, None, _Done(0)
    return len(ids), ids[-1] if len(ids) == PAGE else None, act.do(conn, ids)


def _tabled(wanted: JobFilter, states: Sequence[JobState], conn: Connection, after: UUID) -> list[JobId]:
    return job_admin.find(conn, wanted, states, after=after, count=PAGE)


def _cancelled(wanted: JobFilter, conn: Connection, after: UUID) -> list[JobId]:
    return job_admin.find_cancelled(conn, wanted, after=after, count=PAGE)


def _means_cancelled(wanted: JobFilter) -> bool:
    if wanted.cause is not None:  # a cancelled job has none
        return False
    return wanted.state is JobState.CANCELLED or (wanted.ids is not None and wanted.state is None)


def _cancel(conn: Connection, ids: Sequence[JobId]) -> _Done:
    done = job_admin.cancel(conn, ids)
    return _Done(len(ids), done.count - len(ids), done.tokens)


def _discard(kinds: Mapping[str, Kind], conn: Connection, ids: Sequence[JobId]) -> _Done:
    code, message = "discarded", "given up by a person"
    jobs = job_admin.discard(conn, ids, code, message)
    now = dt.datetime.now(dt.UTC)
    for job in jobs:
        kind = kinds.get(job.kind)
        failed = FailedAttempt(code, message, "Discarded", job.attempt, now)
        failures.discard(conn, kind.on_discard if kind else None, job, failed)
    return _Done(len(jobs))


def _retry(conn: Connection, ids: Sequence[JobId]) -> _Done:
    return _Done(len(job_admin.retry(conn, ids)))


async def _explain(rt: Runtime, act: _Act, wanted: JobFilter) -> None:
    """Say why nothing was done to the one job that ``wanted`` names."""
    assert wanted.ids is not None
    job = await tasks.show(rt, wanted.ids[0])
    left = await rt.db.call(job_admin.matching, wanted, act.states)
    if left and job.state in act.states:
        if not act.revives:
            raise Retryable(f"the job {job.id} is in use this moment", code="job_busy", after_s=1.0)
        reason = "waits for others" if job.waits_on else "need not be: another one does its work, or it is in use"
        raise Conflict(f"the job {job.id} is {job.state} and {reason}", code="job_state")
    raise Conflict(f"the job {job.id} is {job.state} and cannot be {act.verb}", code="job_state")
