"""The trash: what was removed and can come back. Pure data."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UserId
from lumiliod.domain.media import AssetType

INBOX = "inbox/"
"""Begins the path of every original that is ours to move."""

TRASH = ".lumilio/trash/"
"""Begins the path of every file in the trash."""


class TrashState(StrEnum):
    """Where the files of an asset in the trash are, or are going."""

    RETIRING = "retiring"
    TRASHED = "trashed"
    RESTORING = "restoring"
    PURGING = "purging"
    DOOMED = "doomed"
    """Verified and being removed: nothing brings it back."""


class Why(StrEnum):
    """Why an asset is in the trash."""

    REMOVED = "removed"
    """A person removed it."""
    REPLACED = "replaced"
    """An upload took the name of its file, as the repository's policy ``overwrite`` wants it."""
    NO_FILE = "no_file"
    """No file holds its bytes any more: somebody removed or changed it on disk."""


@dataclass(frozen=True, slots=True)
class TrashFile:
    """One file in the trash: its name there, where it was, and the stat it has."""

    id: UUID
    repository_id: RepositoryId
    path: RepoPath
    stat: FileStat
    was_original: bool
    """Its asset was served from it; else it was a further copy."""


@dataclass(frozen=True, slots=True)
class TrashItem:
    """An asset in the trash. ``hidden`` counts its files that stayed where they are, in the user area."""

    asset_id: AssetId
    owner_id: UserId
    type: AssetType
    original_filename: str
    mime_type: str
    size_bytes: int
    digest: Digest
    state: TrashState
    why: Why
    deleted_at: datetime
    deleted_by: UserId | None
    kept_since: datetime
    """Since when it has been here as far as that was observed; that is what its purge goes by."""
    restore_wanted: bool
    refused: str | None
    refused_at: datetime | None
    hidden: int
    files: tuple[TrashFile, ...]
