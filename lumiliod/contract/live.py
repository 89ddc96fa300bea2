"""What is going on, on the wire: the data of server-sent events."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from lumiliod.contract.jobs import Progress


class RunningJob(Struct, kw_only=True):
    """A job that runs now."""

    id: UUID
    kind: str
    queue: str
    priority: int
    attempt: int
    attempted_at: datetime
    progress: Progress | None
    asset_id: UUID | None
    repository_id: UUID | None
    worker_id: UUID


class LiveQueue(Struct, kw_only=True):
    """A queue with its jobs by state; how many of them may run at once now, and why none may."""

    name: str
    allowed: int
    reason: str | None
    counts: dict[str, int]


class LiveJobs(Struct, kw_only=True):
    """The jobs that run now, the oldest attempt first, at most 500, and the queues, by name."""

    running: list[RunningJob]
    queues: list[LiveQueue]


class Trouble(Struct, kw_only=True):
    """Why there is nothing to tell at the moment; what follows says that it is over."""

    code: str
    message: str
