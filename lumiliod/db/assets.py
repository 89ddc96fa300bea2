"""Assets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from lumiliod.db.encoding import dumped
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import Admitted, AssetDetails, AssetRow, NewAsset
from lumiliod.domain.derivatives import AUDIO_WEB, FILMSTRIP, RECIPES, THUMBNAIL_RECIPE, VIDEO_WEB
from lumiliod.domain.ids import AssetId, Digest, RepositoryId, UserId
from lumiliod.domain.media import AssetType, Metadata
from lumiliod.domain.text import search_text, storable

Q = Queries(__file__)

_FIRST, _ALL = UUID(int=0), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of an asset are read from."""

    id: AssetId
    type: AssetType
    mime_type: str
    width: int | None
    height: int | None
    duration_s: float | None
    original_filename: str
    size_bytes: int
    digest: Digest
    repository_id: RepositoryId
    path: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Known:
    """An asset whose bytes somebody asked for."""

    digest: str
    asset_id: AssetId
    in_trash: bool


def admit(conn: Connection, asset: NewAsset) -> Admitted:
    """Insert an asset, or find the one with the same owner and digest, in the trash or not."""
    if admit_new(conn, [asset]):
        return Admitted(asset.id, duplicate=False)
    existing = by_digest(conn, asset.owner_id, asset.digest)
    if existing is None:
        raise LookupError("the asset that was in the way is gone")
    return Admitted(existing, duplicate=True)


def admit_new(conn: Connection, new: Sequence[NewAsset]) -> set[AssetId]:
    """Insert those assets whose bytes their owner had not; return which these are."""
    rows = [{**asdict(asset), "search_text": search_text(asset.original_filename)} for asset in new]
    return {AssetId(row[0]) for row in conn.execute(Q["admit"], {"assets": dumped(rows)})}


def by_digest(conn: Connection, owner_id: UserId, digest: Digest) -> AssetId | None:
    """Return the owner's asset with these bytes, in the trash or not."""
    params = {"owner_id": owner_id, "digest": bytes.fromhex(digest)}
    row = conn.execute(Q["by_digest"], params).fetchone()
    return AssetId(row[0]) if row else None


def has_digest(conn: Connection, asset_id: AssetId, digest: Digest) -> bool:
    """Tell whether an asset has these bytes: somebody may have written over its file."""
    row = conn.execute(Q["has_digest"], {"id": asset_id, "digest": bytes.fromhex(digest)}).fetchone()
    return bool(row and row[0])


def with_digests(conn: Connection, wanted: Mapping[AssetId, Digest]) -> set[AssetId]:
    """Return those assets that have these bytes still, and hold their rows."""
    params = {"ids": list(wanted), "digests": [bytes.fromhex(digest) for digest in wanted.values()]}
    return {AssetId(row[0]) for row in conn.execute(Q["with_digests"], params)}


def by_digests(conn: Connection, owner_id: UserId, digests: Sequence[Digest]) -> list[Known]:
    """Return those of the owner's assets that have one of these digests."""
    params = {"owner_id": owner_id, "digests": [bytes.fromhex(digest) for digest in digests]}
    with conn.cursor(row_factory=class_row(Known)) as cursor:
        return cursor.execute(Q["by_digests"], params).fetchall()


def set_metadata(
    conn: Connection, asset_id: AssetId, digest: Digest, original_filename: str, metadata: Metadata
) -> None:
    """Write what the file with these bytes says of itself; what a person has set (rating, title, keywords) stays.

    Nothing is written of an asset that has other bytes by now.
    """
    taken = metadata.taken
    params = {
        "id": asset_id,
        "digest": bytes.fromhex(digest),
        "width": metadata.width,
        "height": metadata.height,
        "duration_s": metadata.duration_s,
        "orientation": metadata.orientation,
        "taken_at": taken.utc if taken else None,
        "taken_at_local": taken.local if taken else None,
        "tz_source": taken.tz_source if taken else None,
        "latitude": metadata.latitude,
        "longitude": metadata.longitude,
        "altitude_m": metadata.altitude_m,
        "camera_make": metadata.camera_make,
        "camera_model": metadata.camera_model,
        "lens_model": metadata.lens_model,
        "iso": metadata.iso,
        "f_number": metadata.f_number,
        "exposure_s": metadata.exposure_s,
        "focal_length_mm": metadata.focal_length_mm,
        "rating": metadata.rating,
        "title": metadata.title,
        "description": metadata.description,
        "keywords": list(metadata.keywords),
        "content_id": metadata.content_id,
        "burst_id": metadata.burst_id,
        "video_codec": metadata.video_codec,
        "audio_codec": metadata.audio_codec,
        "artist": metadata.artist,
        "album_title": metadata.album,
        "motion_offset": metadata.motion.offset_bytes if metadata.motion else None,
        "motion_bytes": metadata.motion.size_bytes if metadata.motion else None,
        "regions": Jsonb(storable([asdict(region) for region in metadata.regions])),
        "tags": Jsonb(storable(metadata.tags)),
        "search_text": search_text(
            original_filename,
            metadata.title,
            metadata.description,
            *metadata.keywords,
            metadata.camera_make,
            metadata.camera_model,
            metadata.lens_model,
            metadata.artist,
            metadata.album,
        ),
    }
    conn.execute(Q["set_metadata"], {name: _clean(value) for name, value in params.items()})


def _clean(value: object) -> object:
    return value if isinstance(value, Jsonb) else storable(value)


def set_ready(conn: Connection, ids: Sequence[AssetId]) -> None:
    """Say that the pictures of assets are there, where they have any."""
    conn.execute(Q["set_ready"], {"ids": list(ids)})


def give_up(conn: Connection, asset_id: AssetId, reason: str) -> None:
    """Say why an asset that is to be understood has no picture."""
    conn.execute(Q["give_up"], {"id": asset_id, "reason": storable(reason)})


def sources(conn: Connection, ids: Sequence[AssetId]) -> dict[AssetId, Source]:
    """Return where to read these assets' originals; those without a file are left out."""
    with conn.cursor(row_factory=class_row(Source)) as cursor:
        return {source.id: source for source in cursor.execute(Q["source"], {"ids": list(ids)})}


def select(conn: Connection, rest: LiteralString, params: dict[str, Any]) -> list[AssetRow]:
    """Return assets by the clauses ``rest`` (WHERE, ORDER BY, LIMIT) over the tables a, f and r."""
    with conn.cursor(row_factory=class_row(AssetRow)) as cursor:
        return cursor.execute(Q["columns"] + "\n" + rest, params).fetchall()


def rows(conn: Connection, ids: Sequence[AssetId]) -> dict[AssetId, AssetRow]:
    """Return those of these assets that are not in the trash."""
    return {
        row.id: row for row in select(conn, "WHERE a.id = ANY (%(ids)s) AND a.deleted_at IS NULL", {"ids": list(ids)})
    }


def show(conn: Connection, asset_id: AssetId) -> tuple[AssetRow, AssetDetails] | None:
    """Return one asset with everything its file says of itself; not from the trash."""
    found = select(conn, "WHERE a.id = %(id)s AND a.deleted_at IS NULL", {"id": asset_id})
    if not found:
        return None
    with conn.cursor(row_factory=class_row(AssetDetails)) as cursor:
        details = cursor.execute(Q["details"], {"id": asset_id}).fetchone()
    return (found[0], details) if details else None


def rate(conn: Connection, asset_id: AssetId, rating: int | None) -> None:
    """Give an asset 0 to 5 stars, or none; one in the trash is left as it is."""
    conn.execute(Q["rate"], {"id": asset_id, "rating": rating})


def like(conn: Connection, asset_id: AssetId, *, liked: bool) -> None:
    """Say whether an asset is liked; one in the trash is left as it is."""
    conn.execute(Q["like"], {"id": asset_id, "liked": liked})


def counts(conn: Connection) -> list[tuple[str, str, int]]:
    """Count assets outside the trash by type and status."""
    return [(type_, status, count) for type_, status, count in conn.execute(Q["counts"])]


def undone(conn: Connection, asset_id: AssetId) -> list[str]:
    """Return the job kinds (``metadata``, ``thumbnails``, ``transcode``) whose work an asset lacks."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["undone"], {"id": asset_id}).fetchone() or {}
    return [kind for kind, lacks in row.items() if lacks]


def without_metadata(conn: Connection, after: UUID, count: int) -> list[tuple[AssetId, RepositoryId]]:
    """Return assets beyond ``after`` whose metadata was not read and that have no job for it, by id."""
    rows = conn.execute(Q["without_metadata"], {"after": after, "count": count}).fetchall()
    return [(AssetId(row[0]), RepositoryId(row[1])) for row in rows]


def set_plays_on_web(conn: Connection, asset_id: AssetId, *, plays: bool) -> None:
    """Say whether every browser plays a film or a sound as it is."""
    conn.execute(Q["set_plays_on_web"], {"id": asset_id, "plays": plays})


def plays_on_web(conn: Connection, asset_id: AssetId) -> bool | None:
    """Tell whether every browser plays an asset as it is; None when nobody has looked, or it is none of the library."""
    row = conn.execute(Q["plays_on_web"], {"id": asset_id}).fetchone()
    return row[0] if row else None


def without_web_version(
    conn: Connection, types: Collection[AssetType], after: UUID, count: int
) -> list[tuple[AssetId, RepositoryId]]:
    """Return assets of ``types`` beyond ``after`` that have no job and lack a version by today's recipe, by id.

    What plays as it is needs none; whether it does may not be known yet. Films lack their strip, too, when it was made
    by another recipe.
    """
    rows = conn.execute(Q["without_web_version"], _lacking_version(types, after, count)).fetchall()
    return [(AssetId(row[0]), RepositoryId(row[1])) for row in rows]


def count_without_web_version(conn: Connection, types: Collection[AssetType]) -> int:
    """Count what :func:`without_web_version` returns page by page."""
    return conn.execute(Q["without_web_version"], _lacking_version(types, _FIRST, _ALL)).rowcount


def _lacking_version(types: Collection[AssetType], after: UUID, count: int) -> dict[str, Any]:
    recipes = {
        "video_recipe": RECIPES[VIDEO_WEB],
        "audio_recipe": RECIPES[AUDIO_WEB],
        "strip_recipe": RECIPES[FILMSTRIP],
    }
    return {"types": sorted(types), "after": after, "count": count, **recipes}


def without_thumbnails(conn: Connection, after: UUID, count: int) -> list[tuple[AssetId, RepositoryId]]:
    """Return assets beyond ``after`` without pictures by today's recipe that have no job for them, by id."""
    rows = conn.execute(Q["without_thumbnails"], _lacking_thumbnails(after, count)).fetchall()
    return [(AssetId(row[0]), RepositoryId(row[1])) for row in rows]


def count_without_thumbnails(conn: Connection) -> int:
    """Count what :func:`without_thumbnails` returns page by page."""
    return conn.execute(Q["without_thumbnails"], _lacking_thumbnails(_FIRST, _ALL)).rowcount


def _lacking_thumbnails(after: UUID, count: int) -> dict[str, Any]:
    return {"recipe": THUMBNAIL_RECIPE, "after": after, "count": count}
