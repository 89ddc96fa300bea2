"""Assets and file records as the library knows them. Pure data."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO
from uuid import UUID

from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UserId
from lumiliod.domain.media import AssetType


class AssetStatus(StrEnum):
    """How far an asset is understood."""

    PROCESSING = "processing"
    READY = "ready"
    UNDECODABLE = "undecodable"
    """The original is kept and served, but its picture, sound or film cannot be decoded."""


class Outcome(StrEnum):
    """What became of a file in a repository."""

    PENDING = "pending"
    ASSET = "asset"
    DUPLICATE = "duplicate"
    TRASHED = "trashed"
    """A file of the user area whose asset is in the trash: it stays where it is, and out of the library."""
    SIDECAR = "sidecar"
    IGNORED = "ignored"
    UNSUPPORTED = "unsupported"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class NewAsset:
    """What must be known of an original for its row to exist."""

    id: AssetId
    owner_id: UserId
    type: AssetType
    digest: Digest
    size_bytes: int
    mime_type: str
    original_filename: str
    width: int | None
    height: int | None
    duration_s: float | None
    taken_at: datetime
    taken_at_local: datetime
    tz_source: str
    taken_source: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """What admitting an original did: the asset it is, and whether the library had these bytes before."""

    asset_id: AssetId
    duplicate: bool


@dataclass(frozen=True, slots=True)
class AssetRow:
    """An asset as stored, with where its original lies; see ``contract.assets.Asset`` for meanings and units."""

    id: AssetId
    owner_id: UserId
    type: AssetType
    status: AssetStatus
    status_reason: str | None
    original_filename: str
    repository_id: RepositoryId | None
    repository: str | None
    path: bytes | None
    digest: bytes
    size_bytes: int
    mime_type: str
    width: int | None
    height: int | None
    duration_s: float | None
    taken_at: datetime
    taken_at_local: datetime
    tz_source: str
    taken_source: str
    latitude: float | None
    longitude: float | None
    altitude_m: float | None
    camera_make: str | None
    camera_model: str | None
    lens_model: str | None
    iso: int | None
    f_number: float | None
    exposure_s: float | None
    focal_length_mm: float | None
    rating: int | None
    liked: bool
    title: str | None
    description: str | None
    keywords: list[str]
    added_at: datetime
    thumbnails: list[int]
    thumbhash: bytes | None
    thumbnail_recipe: str | None
    thumbnails_made_at: datetime | None
    motion_offset: int | None
    motion_bytes: int | None


@dataclass(frozen=True, slots=True)
class AssetDetails:
    """What is told of one asset alone; see ``contract.assets.AssetDetail``."""

    orientation: int | None
    content_id: str | None
    burst_id: str | None
    video_codec: str | None
    audio_codec: str | None
    artist: str | None
    album: str | None
    regions: list[dict[str, Any]]
    tags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewDerivative:
    """A derivative that lies in the store: ``path`` is relative to the repository's ``.lumilio``."""

    kind: str
    path: str
    recipe: str
    mime_type: str
    size_bytes: int
    width: int | None
    height: int | None
    details: dict[str, int | float] | None = None
    """What pixels and bytes do not say, by its kind."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What the file system says of one file: bytes, nanoseconds, inode number.

    The inode's time of change, where it is known, is no part of what a file is: a new name changes it.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    ctime_ns: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One row per file of a repository, inbox and user area alike."""

    id: UUID
    repository_id: RepositoryId
    path: RepoPath
    stat: FileStat
    outcome: Outcome
    reason: str | None
    asset_id: AssetId | None
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file the API may send, already open; whoever is given it closes ``opened``."""

    opened: BinaryIO
    size_bytes: int
    modified_at: datetime
    mime_type: str
    filename: str
    etag: str
    """Validator without quotes: the digest of an original, what a derivative is of and its version."""
    etag_is_weak: bool = False
    """The bytes are not those the library knows: what was read before must not be continued with them."""
    version: str | None = None
    """Of a derivative, its name as it was made once: asked for by that, it may be kept for ever."""
    offset_bytes: int = 0
    """Where in ``opened`` its bytes begin."""
