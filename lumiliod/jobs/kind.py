"""What the engine must know of a kind of job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from lumiliod.db.pool import Connection
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import PRIORITY_NORMAL, ClaimedJob, FailedAttempt, NewJob, NewJobs, OnConflict, Retries
from lumiliod.jobs.running import Running

Handler = Callable[[Sequence[Running]], Awaitable[None]]
OnDiscard = Callable[[Connection, ClaimedJob, FailedAttempt], None]

Missing = Callable[[Connection, UUID], tuple[list[NewJob], UUID | None]]
"""Returns a page of jobs for the work of a kind that is not done and that no job does, past an id, and where
to go on, None at the end. ``FIRST`` begins."""

FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job and the function that does it.

    Args:
        name: the kind, as stored.
        queue: the lane it runs in.
        run: does up to ``batch`` jobs at once. It finishes each by ``complete`` or ``fail``; one it
            leaves unfinished is completed when it returns, and failed with its exception when it raises.
        batch: how many jobs of this kind ``run`` takes together at most.
        together: which jobs it takes together, by their arguments; each of the others comes by itself. Without, all.
        limit_s: wall-clock limit of one call of ``run``, in seconds.
        on_discard: runs in the transaction that discards a job, to mark what it was about.
        retries: when a failed attempt is repeated.
        missing: finds the kind's work that no job does: after the job table was lost, it is made anew by that.
    """

    name: str
    queue: str
    run: Handler
    batch: int = 1
    together: Callable[[Mapping[str, Any]], bool] | None = None
    limit_s: float = 3600.0
    on_discard: OnDiscard | None = None
    retries: Retries = field(default_factory=Retries)
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """How to enqueue a kind of job; lives beside its arguments, so that enqueuing needs no engine."""

    kind: str
    queue: str
    max_attempts: int = 5
    priority: int = PRIORITY_NORMAL

    def new(
        self,
        args: Mapping[str, Any],
        *,
        unique_key: str | None = None,
        on_conflict: OnConflict = OnConflict.KEEP,
        priority: int | None = None,
        scheduled_at: datetime | None = None,
        after: Sequence[UUID] = (),
        group_id: UUID | None = None,
        parent_id: UUID | None = None,
        asset_id: UUID | None = None,
        repository_id: UUID | None = None,
        tags: Sequence[str] = (),
    ) -> NewJob:
        """Make a job of this kind, ready for :func:`lumiliod.db.jobs.enqueue`; see :class:`NewJob`."""
        return NewJob(
            id=JobId(uuid7()),
            kind=self.kind,
            queue=self.queue,
            args=args,
            priority=priority or self.priority,
            max_attempts=self.max_attempts,
            unique_key=unique_key,
            on_conflict=on_conflict,
            scheduled_at=scheduled_at,
            after=tuple(after),
            group_id=group_id,
            parent_id=parent_id,
            asset_id=asset_id,
            repository_id=repository_id,
            tags=tuple(tags),
        )

    def many(
        self,
        args: Sequence[Mapping[str, Any]],
        *,
        priority: int | None = None,
        repository_id: UUID | None = None,
        tags: Sequence[str] = (),
    ) -> NewJobs:
        """Make many jobs of this kind, ready for :func:`lumiliod.db.jobs.enqueue_many`."""
        return NewJobs(
            self.kind, self.queue, args, priority or self.priority, self.max_attempts, repository_id, tuple(tags)
        )


def each(handle: Callable[["Running"], Awaitable[None]]) -> Handler:
    """Adapt a function of one job to the engine's batches of one."""

    async def run(jobs: Sequence[Running]) -> None:
        for job in jobs:
            await handle(job)

    return run
