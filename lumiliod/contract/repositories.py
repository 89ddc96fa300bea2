"""Repositories and their files on the wire."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class Repository(Struct, kw_only=True):
    """A library root. ``status`` is ``online | offline``, with ``status_reason``."""

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
