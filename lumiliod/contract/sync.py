"""Keeping in step with the disk, on the wire: runs, plans of runs, and deletions that are held."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from lumiliod.contract.jobs import Progress
from lumiliod.contract.repositories import Watch

SyncTypeName = Literal["realtime", "reconciliation", "startup", "manual"]
SyncStatusName = Literal["running", "completed", "failed", "held"]
PlanAction = Literal["added", "updated", "moved", "returned", "retired"]

Folder = Annotated[str, Meta(max_length=8192)]


class SyncOperation(Struct, kw_only=True):
    r"""One run. ``type`` is why it ran, ``scope`` what it covered: ``full``, ``folder`` with all below, or ``files``.

    ``held`` is its status where more was missing than is believed. Bytes of ``folder`` that are not UTF-8 appear as
    ``\xff``; it is empty for the root.
    """

    id: UUID
    repository: str
    repository_id: UUID
    type: SyncTypeName
    scope: str
    folder: str
    status: SyncStatusName
    found: int
    added: int
    changed: int
    moved: int
    missing: int
    ignored: int
    duration_s: float | None
    """Null while it runs."""
    error: str | None
    note: str | None
    task_id: UUID | None
    started_at: datetime
    finished_at: datetime | None


class SyncOperationPage(Struct, kw_only=True):
    """One page of runs, the newest first."""

    items: list[SyncOperation]
    next_cursor: str | None = None


class OpenSync(Struct, kw_only=True):
    """A scan, or the plan of one, that waits or runs: its job, and what was asked for."""

    task_id: UUID
    is_plan: bool
    state: str
    type: str
    scope: str
    folder: str
    progress: Progress | None


class HeldDeletions(Struct, kw_only=True):
    r"""Files of a repository that are missing in numbers that are not believed: ``files`` of ``known`` ones.

    ``state`` is ``held | approved | rejected``: nobody has decided; a scan is to mark them; or their records stay as
    they are. ``plan_id`` is another whenever there is more to decide. ``examples`` are the first of their paths.
    """

    plan_id: UUID
    repository: str
    repository_id: UUID
    state: str
    files: int
    known: int
    since: datetime
    decided_at: datetime | None
    examples: list[str]


class HeldList(Struct, kw_only=True):
    """What is held, the longest held first."""

    items: list[HeldDeletions]


class HeldFilePage(Struct, kw_only=True):
    """One page of the paths that are held, in the order of their bytes."""

    items: list[str]
    next_cursor: str | None = None


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of approving and rejecting: the ``plan_id`` that was shown; without it, whatever is held now."""

    plan_id: UUID | None = None


class RepositorySync(Struct, kw_only=True):
    """How one repository is kept in step: how it is watched and why, what ran last, what waits or runs, what is held.

    ``last`` is the last scan of everything that has ended.
    """

    repository: str
    repository_id: UUID
    status: str
    status_reason: str | None
    watch: Watch | None
    last: SyncOperation | None
    open: list[OpenSync]
    held: HeldDeletions | None


class SyncOverview(Struct, kw_only=True):
    """All repositories, by name."""

    items: list[RepositorySync]


class SyncRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /repositories/{ref}/sync``: a folder, its bytes quoted as in a URL, or everything.

    With ``plan`` nothing is done: what would be is told by ``GET /sync/plans/{task_id}`` once the job has ended.
    """

    folder: Folder = ""
    plan: bool = False


class SyncTicket(Struct, kw_only=True):
    """The answer to a request for a scan or a plan: the job that does it."""

    task_id: UUID
    repository: str


class SyncPlan(Struct, kw_only=True):
    """What a scan would do, in files; ``would_hold``: so much is missing that a person would be asked.

    ``updated`` files are looked at anew; ``moved`` and ``returned`` ones keep what they are; ``retired`` ones are not
    there.
    """

    id: UUID
    repository: str
    repository_id: UUID
    scope: str
    folder: str
    found: int
    ignored: int
    added: int
    updated: int
    moved: int
    returned: int
    retired: int
    would_hold: bool
    note: str | None
    started_at: datetime
    finished_at: datetime | None


class PlanEntry(Struct, kw_only=True):
    r"""What would become of one file; bytes of paths that are not UTF-8 appear as ``\xff``."""

    action: PlanAction
    path: str
    from_path: str | None
    size_bytes: int


class SyncPlanPage(Struct, kw_only=True):
    """A plan, and one page of its entries in the order of the paths' bytes."""

    plan: SyncPlan
    items: list[PlanEntry]
    next_cursor: str | None = None


class LiveSync(Struct, kw_only=True):
    """The newest runs, the newest first: told again whenever one begins or ends."""

    items: list[SyncOperation]
