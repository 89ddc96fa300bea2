"""Jobs on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

MAX_IDS = 10_000
MAX_AGE_S = 3.2e9

JobSort = Literal[
    "-created",
    "created",
    "kind",
    "-kind",
    "queue",
    "-queue",
    "state",
    "-state",
    "cause",
    "-cause",
    "priority",
    "-priority",
    "attempt",
    "-attempt",
    "scheduled",
    "-scheduled",
]
"""What jobs are sorted by; ``-`` is the other way round. All but ``created`` leave out jobs that have ended."""


class JobError(Struct, kw_only=True, omit_defaults=True):
    """One failed attempt: stable ``code``, message for people, the exception's class and when.

    One that was ``put_off`` did not count: what the work needs was away.
    """

    code: str
    message: str
    error_class: str
    attempt: int
    at: datetime
    worker: str | None = None
    traceback_digest: str | None = None
    put_off: bool | None = None


class Progress(Struct, kw_only=True):
    """How far a running job is, in its own ``unit``; ``total`` is null while that is unknown."""

    done: int
    total: int | None = None
    unit: str = ""
    text: str = ""


class Job(Struct, kw_only=True):
    """A unit of work.

    ``state`` is ``available | scheduled | running | retryable | completed | cancelled | discarded``.
    ``cause`` groups jobs that failed for the same reason. ``waits_on`` are the jobs and groups that must
    end before it begins, ``parent_id`` is the job that it came from. ``about`` is for people: the path of the file in
    its repository, or the name of an upload.
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
    progress: Progress | None
    cause: str | None
    tags: list[str]
    unique_key: str | None
    parent_id: UUID | None
    group_id: UUID | None
    waits_on: list[UUID]
    worker_id: UUID | None
    about: str | None = None


class JobPage(Struct, kw_only=True):
    """One page of jobs in the order that was asked for; a cursor leads on, or back, in that order."""

    items: list[Job]
    next_cursor: str | None = None
    prev_cursor: str | None = None


class JobSelection(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which jobs are meant: everything given must hold.

    ``repository`` is a name or an id; ``older_s``: created longer ago than that. Only with ``all`` may
    nothing else be given. With ``dry_run`` nothing is done: the answer says how many are meant.
    """

    ids: Annotated[list[UUID], Meta(max_length=MAX_IDS)] | None = None
    kind: str | None = None
    queue: str | None = None
    state: str | None = None
    cause: str | None = None
    repository: str | None = None
    asset: UUID | None = None
    tag: str | None = None
    older_s: Annotated[float, Meta(ge=0, le=MAX_AGE_S)] | None = None
    all: bool = False
    dry_run: bool = False


class JobsChanged(Struct, kw_only=True):
    """What became of the jobs that were meant.

    ``count`` were changed, with cancelling those that waited for them, too. ``passed_over`` were not:
    another open job does their work, or they wait for others.
    """

    count: int
    passed_over: int = 0


class Cause(Struct, kw_only=True):
    """Jobs of a kind that failed for the same reason; message, class and ``example``, a job, are the newest's.

    ``discarded`` of ``count`` wait for a person, the others for another attempt.
    """

    kind: str
    cause: str
    count: int
    discarded: int
    first_at: datetime
    last_at: datetime
    error_class: str
    message: str
    example: UUID


class CauseList(Struct, kw_only=True):
    """Why jobs failed, the most frequent reason first."""

    items: list[Cause]


class BackfillRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /jobs/backfill``: the kind of job, every kind unless given."""

    kind: str | None = None


class Backfilled(Struct, kw_only=True):
    """How many jobs were added, by kind, for work that is not done and that no job did."""

    added: dict[str, int]
