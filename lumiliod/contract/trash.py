"""The trash on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

MAX_IDS = 10_000
MAX_AGE_S = 3.2e9

TrashOutcome = Literal[
    "removed",
    "restored",
    "restoring",
    "purging",
    "in_trash",
    "not_in_trash",
    "not_found",
    "in_motion",
    "in_user_area",
    "not_old_enough",
    "away",
    "doomed",
    "no_file",
]
"""What may become of an asset; see :class:`TrashResult`."""

Ids = Annotated[list[UUID], Meta(max_length=MAX_IDS)]


class TrashFile(Struct, kw_only=True):
    """A file in the trash: its id there, and where it was, relative to the root of its repository."""

    id: UUID
    repository_id: UUID
    path: str
    size_bytes: int


class TrashItem(Struct, kw_only=True):
    """An asset in the trash; it keeps albums, tags, people and ratings.

    ``state`` is ``retiring | trashed | restoring | purging | doomed``, ``why`` is ``removed | replaced |
    no_file``. ``size_bytes`` is that of its files in the trash. ``hidden`` counts files in the user area, which
    stay where they are. ``purge_at`` is when it is purged at the earliest; null when it is not. It goes by the days
    the library saw it in the trash: while the daemon is off, and when a clock is set, they become later, never
    sooner. ``refused`` says why the last restoring or purging was not done.
    """

    asset_id: UUID
    type: str
    original_filename: str
    mime_type: str
    digest: str
    state: str
    why: str
    deleted_at: datetime
    deleted_by: UUID | None
    size_bytes: int
    files: list[TrashFile]
    hidden: int
    purge_at: datetime | None
    refused: str | None


class TrashSummary(Struct, kw_only=True):
    """What the trash holds: assets, and files with their bytes.

    ``hidden`` of the assets have files that stay in the user area, of ``refused`` a restoring or purging was
    not done. ``next_purge_at`` is when the next is due; null when none is. ``untracked`` counts what no row knows
    in the trash of repositories that can be reached; null beyond the first page, for their disks are asked.
    """

    count: int
    files: int
    size_bytes: int
    hidden: int
    refused: int
    untracked: int | None
    oldest_at: datetime | None
    next_purge_at: datetime | None
    trash_days: int


class TrashPage(Struct, kw_only=True):
    """One page of the trash, the latest first; ``next_cursor`` goes into ``?cursor=``."""

    items: list[TrashItem]
    summary: TrashSummary
    next_cursor: str | None = None


class Removal(Struct, kw_only=True, forbid_unknown_fields=True):
    """One asset to remove; only with ``delete_file`` are its files in the user area moved to the trash, too."""

    id: UUID
    delete_file: bool = False


class RemoveRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /trash``: assets, or what a query of the one grammar finds; never both.

    With ``dry_run`` nothing is done: the answer says how many are meant.
    """

    items: Annotated[list[Removal], Meta(max_length=MAX_IDS)] | None = None
    ids: Ids | None = None
    query: str | None = None
    dry_run: bool = False


class RestoreRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /trash/restore``: assets, or all of them."""

    ids: Ids | None = None
    all: bool = False
    dry_run: bool = False


class PurgeRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /trash/purge``: assets, those removed longer ago than ``older_s`` seconds, or all of them."""

    ids: Ids | None = None
    older_s: Annotated[float, Meta(ge=0, le=MAX_AGE_S)] | None = None
    all: bool = False
    dry_run: bool = False


class TrashResult(Struct, kw_only=True):
    """What became of one asset that was named.

    ``removed``, ``restored``, ``restoring``, ``purging``; or why not: ``in_trash``, ``not_in_trash``, ``not_found``,
    ``in_motion`` (its files are being moved), ``in_user_area`` (nothing of it lies in the trash),
    ``not_old_enough`` (removed more lately than was said), ``away`` (a repository with something of it is offline or
    detached), ``doomed`` (it is being purged), ``no_file`` (no file holds its bytes).
    """

    asset_id: UUID
    outcome: str


class TrashChanged(Struct, kw_only=True):
    """What became of assets: how many were changed, and each of those named; the task that does the rest, if one.

    Of those to be restored ``restoring`` are not back yet: a job moves their files back first.
    """

    count: int
    restoring: int = 0
    results: list[TrashResult] = []
    task_id: UUID | None = None


class Stray(Struct, kw_only=True):
    """Something in the trash of a repository that no row knows.

    What is known of it comes from the note beside it. A note without a file has no ``size_bytes``; ``id`` is null for
    what is not ours.
    """

    repository: str
    repository_id: UUID
    name: str
    id: UUID | None
    size_bytes: int | None
    path: str | None
    asset_id: UUID | None
    digest: str | None
    original_filename: str | None
    deleted_at: datetime | None


class StrayList(Struct, kw_only=True):
    """What no row knows in the trash of every repository that can be reached."""

    items: list[Stray]


class StrayRestored(Struct, kw_only=True):
    """Where a file was put back; it is looked at like any other."""

    path: str
