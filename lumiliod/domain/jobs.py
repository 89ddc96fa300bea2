"""Jobs as the engine knows them. Pure data and the rule for retrying."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
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


OPEN_STATES = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RUNNING, JobState.RETRYABLE)

PRIORITY_URGENT, PRIORITY_NORMAL, PRIORITY_LOW, PRIORITY_IDLE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be enqueued. ``unique_key`` makes it the only open one of its kind with that key."""

    id: JobId
    kind: str
    queue: str
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    priority: int = PRIORITY_NORMAL
    max_attempts: int = 5
    unique_key: str | None = None
    scheduled_at: datetime | None = None
    asset_id: UUID | None = None
    repository_id: UUID | None = None
    parent_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job this worker holds: ``token`` is this attempt's right to write a result.

    A ``suspect`` was held by each of the last three workers that died.
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


BACKOFF_BASE_S = 2.0
BACKOFF_MAX_S = 3600.0

PUT_OFF_FIRST_S = 5.0
PUT_OFF_MAX_S = 300.0
"""How long a job waits for what is away: doubled for each time in a row."""


def backoff_s(attempt: int, rng: random.Random | None = None) -> float:
    """Return the delay after failed ``attempt`` (from 1): 2 s doubled each time, at most an hour, ±20 % jitter."""
    delay_s = min(BACKOFF_BASE_S * 2.0 ** (min(attempt, 30) - 1), BACKOFF_MAX_S)
    uniform = (rng or random).uniform
    return delay_s * uniform(0.8, 1.2)
