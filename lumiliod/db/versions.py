"""Versions of assets: what lay at an asset's place before somebody wrote other bytes there."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import NewAsset
from lumiliod.domain.derivatives import AUDIO_WEB, FILMSTRIP, PHOTO_WEB, VIDEO_WEB
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UserId, path_bytes

Q = Queries(__file__)

_FOR_THE_WEB = [PHOTO_WEB, VIDEO_WEB, AUDIO_WEB, FILMSTRIP]


@dataclass(frozen=True, slots=True)
class Version:
    """The bytes an asset had from ``added_at`` to ``replaced_at``; the first is number 1."""

    number: int
    digest: Digest
    size_bytes: int
    mime_type: str
    taken_at: dt.datetime
    added_at: dt.datetime
    replaced_at: dt.datetime


def is_being_scanned(conn: Connection, repository_id: RepositoryId) -> bool:
    """Tell whether a scan of a repository is under way, or is to begin now."""
    row = conn.execute(Q["is_being_scanned"], {"repository_id": repository_id}).fetchone()
    return bool(row and row[0])


def renewable(conn: Connection, asset_id: AssetId, record_id: UUID, path: RepoPath, type_: str) -> bool:
    """Tell whether new bytes of ``type_`` where an asset's file lay are a new version of it; its row is held."""
    params = {"asset_id": asset_id, "record_id": record_id, "path": path_bytes(path), "type": type_}
    row = conn.execute(Q["renewable"], params).fetchone()
    return bool(row and row[0])


def renew(conn: Connection, asset_id: AssetId, new: NewAsset) -> None:
    """Give an asset the bytes of ``new``; it keeps its id and all that people made of it, and remembers what it was."""
    conn.execute(Q["keep"], {"id": asset_id})
    _become(conn, asset_id, new)


def overtaken(conn: Connection, owner_id: UserId, files: Mapping[UUID, Digest]) -> dict[UUID, AssetId]:
    """Return the assets whose bytes files had when they were met, and that others have made a version of meanwhile."""
    params = {"owner_id": owner_id, "records": list(files), "digests": list(files.values())}
    return {record_id: AssetId(asset_id) for record_id, asset_id in conn.execute(Q["overtaken"], params)}


def take_back(
    conn: Connection, asset_id: AssetId, record_id: UUID, new: NewAsset
) -> list[tuple[UUID, RepositoryId]] | None:
    """Give an asset back what it was, bytes that another file has held all the time; its row is held.

    Returns:
        The files that held it, which are to be looked at; None where it is not what was asked for any longer.
    """
    if not conn.execute(Q["forget_last"], {"id": asset_id, "digest": new.digest, "type": new.type}).rowcount:
        return None
    rows = conn.execute(Q["release_files"], {"id": asset_id, "except_id": record_id}).fetchall()
    _become(conn, asset_id, new)
    return [(id_, RepositoryId(repository_id)) for id_, repository_id in rows]


def _become(conn: Connection, asset_id: AssetId, new: NewAsset) -> None:
    conn.execute(Q["renew"], asdict(new) | {"id": asset_id})
    conn.execute(Q["outdate"], {"id": asset_id})
    conn.execute(Q["drop_versions_for_the_web"], {"id": asset_id, "kinds": _FOR_THE_WEB})
    conn.execute(Q["drop_embeddings"], {"id": asset_id})


def of_asset(conn: Connection, asset_id: AssetId) -> list[Version]:
    """Return what an asset was before, the latest first."""
    with conn.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(Q["of_asset"], {"id": asset_id}).fetchall()
