"""Repositories: their settings as people write them, and their state. Pure data."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import RepositoryId

LayoutName = str
DuplicateNames = Literal["rename", "uuid", "overwrite"]

THUMBNAIL_SIZES: tuple[int, ...] = (150, 300, 1024)
"""Long side in pixels of the thumbnails every asset with a picture has."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How often to scan, in seconds, and what to leave out besides the default patterns."""

    quick_scan_interval_s: float = 300.0
    full_scan_interval_s: float = 86_400.0
    ignore_patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How originals are named and bounded in the inbox; ``max_file_size_kb`` 0 means no limit."""

    preserve_original_filename: bool = True
    handle_duplicate_filenames: DuplicateNames = "rename"
    max_file_size_kb: int = 0
    create_backups: bool = False
    backup_path: str = ""


@dataclass(frozen=True, slots=True)
class Marker:
    """The content of ``.lumiliorepo``: a repository's identity and settings, travelling with its files."""

    id: RepositoryId
    name: str
    created_at: datetime
    storage_strategy: LayoutName = "date"
    version: str = "1.0"
    sync_settings: SyncSettings = field(default_factory=SyncSettings)
    local_settings: LocalSettings = field(default_factory=LocalSettings)


class RepositoryStatus(StrEnum):
    """``offline``: the root is missing, empty, unmounted or another repository; nothing is concluded from it.

    ``detached``: a person put it away; its assets stay, and nothing tries to reach it.
    """

    ONLINE = "online"
    OFFLINE = "offline"
    DETACHED = "detached"


def checked_name(name: str) -> str:
    """Return a repository's name, as a person or a marker gives it, without spaces around it.

    Raises:
        Shape: it cannot stand in a path of the API, or not be shown (``bad_name``).
    """
    name = name.strip()
    if not name or len(name) > 255 or not name.isprintable() or "/" in name or name in {".", ".."}:
        raise Shape("a repository's name has 1 to 255 printable characters and no slash", code="bad_name")
    return name
