"""Jobs on the wire."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class JobError(Struct, kw_only=True, omit_defaults=True):
    """One failed attempt: stable ``code``, message for people, the exception's class and when."""

    code: str
    message: str
    error_class: str
    attempt: int
    at: datetime
    worker: str | None = None
    traceback_digest: str | None = None


class Job(Struct, kw_only=True):
    """A unit of work.

    ``state`` is ``available | scheduled | running | retryable | completed | cancelled | discarded``.
    """

    id: UUID
    kind: str
    queue: str
    state: str
    priority: int
    attempt: int
    max_attempts: int
    args: dict[str, Any]
    result: dict[str, Any] | None
    errors: list[JobError]
    asset_id: UUID | None
    repository_id: UUID | None
    created_at: datetime
    scheduled_at: datetime
    attempted_at: datetime | None
    finished_at: datetime | None


class JobPage(Struct, kw_only=True):
    """One page of jobs, newest first."""

    items: list[Job]
    next_cursor: str | None = None
