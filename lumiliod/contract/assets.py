"""Assets on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct


class Stack(Struct, kw_only=True):
    """What an asset is one thing with to a person: ``kind`` is ``raw_jpeg | live | burst``.

    ``cover`` is the member that is shown for all ``count`` of them, and ``why`` says in words what holds them together.
    """

    kind: str
    cover: UUID
    count: int
    why: str


class Asset(Struct, kw_only=True):
    """One photo, video or audio item.

    ``width`` and ``height`` are pixels as shown, after orientation. ``taken_at`` is UTC,
    ``taken_at_local`` the wall clock where it was made, without a zone; ``tz_source`` says how the
    zone is known (``offset_tag | gps | utc | unknown``) and ``taken_source`` which clock was read
    (``capture | file | upload``). ``path`` is relative to the repository's root. ``digest`` is
    BLAKE3-256 in hex. ``status`` is ``processing | ready | undecodable``, with ``status_reason``.
    """

    id: UUID
    type: str
    status: str
    status_reason: str | None
    original_filename: str
    repository: str
    repository_id: UUID
    path: str | None
    digest: str
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
    """Long sides in pixels of the thumbnails that exist."""
    thumbnail_version: str | None
    """What ``?version=`` of a thumbnail's address is given so that it may be kept for ever."""
    thumbhash: str | None
    """ThumbHash in base64: what to show until a thumbnail is there (https://evanw.github.io/thumbhash/)."""

    motion: bool
    """Whether a photo moves: `/assets/{id}/motion` has its film."""
    live_id: UUID | None
    """The film of a live photo, or the photo of its film, where that is an asset of its own."""
    stack: Stack | None
    """What it belongs to, told anew whenever it is asked for, by what lies beside it and by the camera's ids."""


class StackMember(Struct, kw_only=True):
    """A member of an asset's stack: ``role`` is ``photo | raw | film | frame | version``, ``why`` says why it is one.

    A ``version`` is a further still or film of the same shot.
    """

    id: UUID
    name: str
    role: str
    why: str


class Region(Struct, kw_only=True):
    """A part of a picture that its file names: left, top, width, height in shares of the upright picture, 0 to 1.

    ``type`` is ``face | pet | focus | barcode``.
    """

    name: str | None
    type: str
    x: float
    y: float
    w: float
    h: float


class Appearance(Struct, kw_only=True):
    """What a picture looks like in numbers; a film's are those of its poster.

    ``phash`` is a 64-bit perceptual hash in hex, None of a picture of one colour. ``sharpness`` is the variance of the
    Laplacian in squared levels of 255, at 1024 pixels on the long side. ``brightness`` is the mean luma, ``dark_share``
    and ``bright_share`` how much is black or blown out, all 0 to 1.
    """

    phash: str | None
    sharpness: float
    brightness: float
    dark_share: float
    bright_share: float


class Companion(Struct, kw_only=True):
    """What comes with an asset and is none itself: ``kind`` is ``sidecar | motion``, ``why`` says why it is its.

    ``path`` is relative to the root of ``repository_id``. ``is_read`` tells whether its content counts for what is said
    of the asset; of several sidecars one is read. A ``motion`` is the film within the asset's own file.
    """

    kind: str
    repository_id: UUID | None
    path: str | None
    is_read: bool
    why: str


class AssetVersion(Struct, kw_only=True):
    """What an asset was from ``added_at`` until somebody wrote other bytes in its place; the first is number 1."""

    number: int
    digest: str
    size_bytes: int
    mime_type: str
    taken_at: datetime
    added_at: datetime
    replaced_at: datetime


class AssetDetail(Asset, kw_only=True):
    """An asset with everything its file says of itself, and what it looks like.

    ``orientation`` is EXIF's, 1 to 8, as it is written: what is shown is upright. ``content_id`` is what the photo and
    the film of a live photo have in common, ``burst_id`` what the photos of a burst do.
    """

    orientation: int | None
    content_id: str | None
    burst_id: str | None
    video_codec: str | None
    audio_codec: str | None
    artist: str | None
    album: str | None
    regions: list[Region]
    tags: dict[str, Any]
    appearance: Appearance | None
    stack_members: list[StackMember]
    """Of its stack all, itself included, shot by shot; none where it is in none."""
    companions: list[Companion]
    versions: list[AssetVersion]
    """What it was before, the latest first."""


class NearDuplicate(Struct, kw_only=True):
    """An asset that looks like another: their hashes differ in ``distance`` of 64 bits."""

    distance: int
    asset: Asset


class NearDuplicates(Struct, kw_only=True):
    """Assets that look like one, the nearest first."""

    items: list[NearDuplicate]


class AssetPage(Struct, kw_only=True):
    """One page; ``next_cursor`` goes into ``?cursor=`` for the next, absent on the last."""

    items: list[Asset]
    next_cursor: str | None = None


class SearchPage(Struct, kw_only=True):
    """One page of search results, best or newest first; ``total`` counts all matches."""

    query: str
    items: list[Asset]
    total: int
    next_cursor: str | None = None


class SearchRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /assets/search`` and ``POST /assets/filter``; ``query`` uses the one query grammar."""

    query: str = ""
    limit: int = 50
    cursor: str | None = None


class RatingChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT /assets/{id}/rating``: 0 to 5 stars, null for none."""

    rating: Annotated[int, Meta(ge=0, le=5)] | None


class LikeChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT /assets/{id}/like``."""

    liked: bool


class UploadTicket(Struct, kw_only=True):
    """The answer to an accepted upload: its bytes are durable; the task tells what becomes of them.

    ``status`` is always ``queued``: whether the library has these bytes already, and has them whole, is seen when they
    are ingested. What is known need not be sent: ask ``POST /assets/check`` first.

    The result of the task then has the ``asset_id`` and the ``outcome``, ``asset`` or ``duplicate``. A duplicate that
    is ``restored`` came back from the trash, one with a ``path`` is kept there, too (``storage.duplicates``), any other
    was let go. ``same_as`` is the task of an earlier file of the same request with the same bytes.
    """

    task_id: UUID
    status: str
    filename: str
    digest: str
    size_bytes: int
    same_as: UUID | None = None


class UploadFailure(Struct, kw_only=True):
    """One refused file of a batch."""

    filename: str
    code: str
    detail: str


class BatchTicket(Struct, kw_only=True):
    """The answer to ``POST /assets/batch``: per-file results in request order."""

    accepted: list[UploadTicket]
    failed: list[UploadFailure]
