"""Health and status on the wire."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class ServiceHealth(Struct, kw_only=True):
    """One service: ``state`` is ``starting | ready | degraded | failed | stopped``, with its reason."""

    name: str
    state: str
    reason: str | None
    since: datetime
    restarts: int


class Health(Struct, kw_only=True):
    """The daemon's health: ``status`` is ``ok | degraded | failed``, the worst of its services."""

    status: str
    version: str
    started_at: datetime
    uptime_s: float
    loop_lag_ms: float
    """Worst delay of the event loop in the last ten seconds, milliseconds."""
    memory_bytes: int = 0
    """What the daemon's own process has in memory, shared pages included; 0 where that is not known."""
    services: list[ServiceHealth]


class Live(Struct, kw_only=True):
    """The process answers; nothing else was looked at."""

    status: str = "ok"


class JobCount(Struct, kw_only=True):
    """Open and dead jobs of one kind and state."""

    kind: str
    queue: str
    state: str
    count: int


class StageTime(Struct, kw_only=True):
    """Work finished by one job kind since the daemon started; seconds are wall time inside the job."""

    kind: str
    completed: int
    total_s: float
    mean_ms: float


class RunningScan(Struct, kw_only=True):
    """A scan that waits or runs."""

    repository: str
    repository_id: UUID
    task_id: UUID
    state: str
    done: int
    total: int | None


class Status(Struct, kw_only=True):
    """One look at everything: what is in the library, what is still to do."""

    version: str
    health: str
    assets: dict[str, int]
    """Assets by type."""
    asset_states: dict[str, int]
    repositories: int
    open_jobs: int
    """Jobs that will still run: available, scheduled, running and retryable."""
    discarded_jobs: int
    refused_uploads: int
    """Those of the discarded jobs whose upload was refused and is kept; nobody has retried or removed it yet."""
    refused_files: list[str]
    """What the newest of these uploads are called."""
    open_findings: int
    """What is wrong with originals or their copies, and nobody has settled yet."""
    away_mirrors: int
    """Mirrors that could not be reached, or used, when they were needed last."""
    held_repositories: list[str]
    """Of these more files are missing than is believed, and nobody has decided yet."""
    jobs: list[JobCount]
    scans: list[RunningScan]
    stages: list[StageTime]
