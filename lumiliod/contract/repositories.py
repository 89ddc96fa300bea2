"""Repositories and their files on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

Pattern = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f/]+$")]
Seconds = Annotated[float, Meta(ge=0, le=3.2e9)]


class RepositorySettings(Struct, kw_only=True):
    """What a repository's marker says; intervals in seconds, 0 for never, and ``max_file_size_kb`` 0 for no limit."""

    max_file_size_kb: int
    handle_duplicate_filenames: str
    preserve_original_filename: bool
    ignore_patterns: list[str]
    quick_scan_interval_s: float
    full_scan_interval_s: float


class Watch(Struct, kw_only=True):
    """How changes on disk are noticed: ``watching | polling | degraded | offline``, why so, and since when."""

    state: str
    reason: str | None = None
    since: datetime | None = None


class Repository(Struct, kw_only=True):
    """A library root. ``status`` is ``online | offline | detached``, with ``status_reason``.

    ``settings`` are known while it is online. ``watch`` is null where the daemon does not watch.
    """

    id: UUID
    name: str
    path: str
    storage_strategy: str
    status: str
    status_reason: str | None
    created_at: datetime
    assets: int
    """Assets whose original lies here."""
    files: int
    """Files known here, whatever became of them."""
    size_bytes: int
    """Bytes of the originals here."""
    scanning: bool
    settings: RepositorySettings | None = None
    watch: Watch | None = None


class RepositoryList(Struct, kw_only=True):
    """All repositories, by name."""

    items: list[Repository]


class NewRepository(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /repositories``: create one at ``path``, or open the one whose marker is there."""

    path: str
    name: str | None = None
    storage_strategy: str | None = None


class File(Struct, kw_only=True):
    r"""What became of one file.

    ``outcome`` is ``asset | sidecar | ignored | duplicate | unsupported | corrupt | too_large |
    unreadable | pending``. Bytes of ``path`` that are not UTF-8 appear as ``\xff``.
    """

    path: str
    outcome: str
    reason: str | None
    asset_id: UUID | None
    size_bytes: int


class FilePage(Struct, kw_only=True):
    """One page of files, by path."""

    items: list[File]
    next_cursor: str | None = None


class ScanTicket(Struct, kw_only=True):
    """The answer to a scan request; the scan is a job of its own."""

    task_id: UUID


class RepositoryChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /repositories/{ref}``: what is left out stays as it is; see :class:`RepositorySettings`."""

    name: str | None = None
    max_file_size_kb: Annotated[int, Meta(ge=0, le=1 << 50)] | None = None
    handle_duplicate_filenames: Literal["rename", "uuid", "overwrite"] | None = None
    preserve_original_filename: bool | None = None
    ignore_patterns: Annotated[list[Pattern], Meta(max_length=1000)] | None = None
    quick_scan_interval_s: Seconds | None = None
    full_scan_interval_s: Seconds | None = None


class Relocation(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /repositories/{ref}/relocate``: where the folder lies now."""

    path: str


class Attachment(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /repositories/attach``: a folder with a marker.

    With ``as_new`` it becomes a repository of its own, called ``name`` or as its marker says.
    """

    path: str
    as_new: bool = False
    name: str | None = None


class Attached(Struct, kw_only=True):
    """A repository at its place, and the one scan that compares it with what is known.

    ``note`` says, for people, what was under way and waits for a person.
    """

    repository: Repository
    task_id: UUID
    note: str | None = None


class RemovalPlan(Struct, kw_only=True):
    """What removing a repository from the library would do; nothing on its disk is touched.

    ``forgotten`` assets have files nowhere else, ``kept`` ones do and are served from there. ``staged`` uploads have
    not become assets yet and wait on its disk; null when that is away. Bytes are of originals, and of derivatives.
    """

    repository: str
    path: str
    forgotten: int
    kept: int
    trashed: int
    files: int
    size_bytes: int
    derivatives: int
    derivative_bytes: int
    mirrors: int
    jobs: int
    staged: int | None


class Removed(Struct, kw_only=True):
    """What was removed."""

    plan: RemovalPlan
