"""Jobs as the engine knows them. Pure data and the rule for retrying."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from lumiliod.domain.ids import JobId


class JobState(StrEnum):
    """``completed`` and ``cancelled`` rows live in the history; ``discarded`` waits for a person."""

    AVAILABLE = "available"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class OnConflict(StrEnum):
    """What becomes of an open job under the same unique key; one that runs already is never touched.

    ``keep``: it stays and the new one is left out. ``replace``: it takes the new one's arguments,
    priority and time. ``reschedule``: it takes the time only. With the last two, when the open one
    runs, the new one is enqueued behind it and takes the key over.
    """

    KEEP = "keep"
    REPLACE = "replace"
    RESCHEDULE = "reschedule"


OPEN_STATES = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RUNNING, JobState.RETRYABLE)

PRIORITY_URGENT, PRIORITY_NORMAL, PRIORITY_LOW, PRIORITY_IDLE = 1, 2, 3, 4


class NewJob(NamedTuple):
    """A job to be enqueued; a tuple, which is made five times as quickly as a frozen dataclass.

    ``unique_key`` makes it the only open one of its kind with that key; ``on_conflict`` says which
    one stays. ``after`` names jobs and groups that must end first: a group when all of its jobs have,
    a job when it is completed; a cancelled one cancels what waits for it. ``group_id`` makes it part of a
    group, which needs no other creation. ``parent_id`` is for people to see where it came from.
    """

    id: JobId
    kind: str
    queue: str
    args: Mapping[str, Any] = MappingProxyType({})
    priority: int = PRIORITY_NORMAL
    max_attempts: int = 5
    unique_key: str | None = None
    on_conflict: OnConflict = OnConflict.KEEP
    scheduled_at: datetime | None = None
    after: tuple[UUID, ...] = ()
    group_id: UUID | None = None
    asset_id: UUID | None = None
    repository_id: UUID | None = None
    parent_id: UUID | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewJobs:
    """Many jobs of one kind, which differ in their arguments alone: the quickest to be enqueued."""

    kind: str
    queue: str
    args: Sequence[Mapping[str, Any]]
    priority: int = PRIORITY_NORMAL
    max_attempts: int = 5
    repository_id: UUID | None = None
    tags: tuple[str, ...] = ()


class ClaimedJob(NamedTuple):
    """A job this worker holds: ``token`` is this attempt's right to write a result.

    A ``suspect`` was held by a worker that died since.
    """

    id: JobId
    token: int
    kind: str
    queue: str
    priority: int
    seq: int
    attempt: int
    max_attempts: int
    args: Mapping[str, Any]
    asset_id: UUID | None
    repository_id: UUID | None
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """Why an attempt failed, as kept in the job's row; one that was ``put_off`` did not count."""

    code: str
    message: str
    error_class: str
    attempt: int
    at: datetime
    worker: str | None = None
    traceback_digest: str | None = None
    put_off: bool | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a person means; everything given must hold. ``older_s``: created longer ago than that."""

    ids: tuple[UUID, ...] | None = None
    kind: str | None = None
    queue: str | None = None
    state: JobState | None = None
    cause: str | None = None
    repository_id: UUID | None = None
    asset_id: UUID | None = None
    tag: str | None = None
    older_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """How failed attempts of a kind are repeated.

    The delay before attempt n + 1 is ``base_s`` · 2ⁿ⁻¹, at most ``max_s`` seconds, give or take the
    share ``jitter``, so that what failed together does not come back together.
    """

    base_s: float = 2.0
    max_s: float = 3600.0
    jitter: float = 0.2

    def delay_s(self, attempt: int, rng: random.Random | None = None) -> float:
        """Return the delay after failed ``attempt`` (from 1), in seconds."""
        uniform = (rng or random).uniform
        return min(self.base_s * 2.0 ** (min(attempt, 60) - 1), self.max_s) * uniform(1 - self.jitter, 1 + self.jitter)


PUT_OFF_FIRST_S = 5.0
PUT_OFF_MAX_S = 300.0
"""How long a job waits for what is away: doubled for each time in a row."""

DEATHS_MAX = 2
"""So many workers may die while they run one job alone; then the job is poison."""
