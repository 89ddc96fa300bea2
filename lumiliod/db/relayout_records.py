"""The records of files while a re-layout moves them, each in the transaction of its move."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db.file_stat import columns
from lumiliod.db.pool import Connection
from lumiliod.db.relayout import Relayout, check_course
from lumiliod.db.relayout_journal import Move, MoveState, Record, record_from
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId, path_bytes, path_from_bytes

Q = Queries(__file__)


def hold(conn: Connection, work: Relayout, seen: Move) -> tuple[MoveState, Record | None]:
    """Lock the asset, the move and the record of a file, in this order; return the state and the record as they are.

    Raises:
        Unavailable: the re-layout is undone now, or done, which its job finds when it comes again (``turned``).
    """
    relayout_id = work.id
    if seen.asset_id is not None:
        conn.execute(Q["lock_asset"], {"id": seen.asset_id})
    check_course(conn, work)
    row = conn.execute(Q["lock_move"], {"id": relayout_id, "seq": seen.seq}).fetchone()
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(Q["lock_record"], {"id": seen.record_id}).fetchone()
    state = cast("MoveState", row[0]) if row else "skipped"
    return state, None if found is None else record_from(found, found["asset_id"])


def taken(conn: Connection, repository_id: RepositoryId, seen: Move, paths: Sequence[RepoPath]) -> set[RepoPath]:
    """Return those of ``paths`` that records of other assets have."""
    params = {
        "repository_id": repository_id,
        "paths": [path_bytes(path) for path in paths],
        "record_id": seen.record_id,
        "asset_id": seen.asset_id,
    }
    return {path_from_bytes(row[0]) for row in conn.execute(Q["taken"], params)}


def is_in_use(conn: Connection, asset_id: AssetId) -> bool:
    """Tell whether a job is at work on an asset: it reads the file by its name."""
    row = conn.execute(Q["is_in_use"], {"asset_id": asset_id}).fetchone()
    return bool(row and row[0])


def of_asset_at(
    conn: Connection, repository_id: RepositoryId, asset_id: AssetId, paths: Sequence[RepoPath]
) -> tuple[UUID, RepoPath] | None:
    """Return the record of an asset at one of ``paths``, its original first."""
    params = {
        "repository_id": repository_id,
        "asset_id": asset_id,
        "paths": [path_bytes(path) for path in paths],
    }
    row = conn.execute(Q["of_asset_at"], params).fetchone()
    return (row[0], path_from_bytes(row[1])) if row else None


def put(
    conn: Connection, repository_id: RepositoryId, record_id: UUID, path: RepoPath, stat: FileStat
) -> AssetId | None:
    """Write where the file of a record lies now; a record that has the name gives way.

    Returns the asset that has lost its record so, unless it is the same.
    """
    place = {"repository_id": repository_id, "path": path_bytes(path)}
    before = conn.execute(Q["lock_record"], {"id": record_id}).fetchone()
    there = conn.execute(Q["at"], place).fetchone()
    displaced, promoted = None, False
    if there is not None and there[0] != record_id:
        asset_id = before[2] if before else None
        promoted = there[1] == "asset" and there[2] == asset_id
        displaced = there[2] if there[1] in ("asset", "duplicate") and there[2] != asset_id else None
        conn.execute(Q["drop_record"], {"id": there[0]})
    conn.execute(Q["close_findings"], {**place, "file_id": record_id})
    conn.execute(Q["move_findings"], {"path": place["path"], "file_id": record_id})
    conn.execute(Q["put_record"], {"id": record_id, "path": place["path"], "promoted": promoted, **columns(stat)})
    return displaced


def merge(conn: Connection, repository_id: RepositoryId, record_id: UUID, kept: RepoPath) -> bool:
    """Drop the record of a file that was merged into that at ``kept``; False when that has no record of this asset."""
    ours = conn.execute(Q["lock_record"], {"id": record_id}).fetchone()
    there = conn.execute(Q["at"], {"repository_id": repository_id, "path": path_bytes(kept)}).fetchone()
    is_same = ours is not None and there is not None and there[2] == ours[2] and there[1] in ("asset", "duplicate")
    if ours is None or there is None or not is_same:
        return False
    conn.execute(Q["drop_record"], {"id": record_id})
    if ours[1] == "asset":
        conn.execute(Q["promote"], {"id": there[0]})
    return True


def add_record(conn: Connection, repository_id: RepositoryId, seen: Move, path: RepoPath, stat: FileStat) -> bool:
    """Record a further copy that is back at ``path``; False when its asset is gone."""
    params = {
        "id": seen.record_id,
        "repository_id": repository_id,
        "path": path_bytes(path),
        "digest": seen.digest,
        "asset_id": seen.asset_id,
        **columns(stat),
    }
    return bool(conn.execute(Q["add_record"], params).rowcount)


def adopt(conn: Connection, repository_id: RepositoryId, seen: Move, stat: FileStat) -> bool:
    """Give a file that has none its record again, to be looked at anew; False when another one has its name."""
    place = {"repository_id": repository_id, "path": path_bytes(seen.from_path)}
    return bool(conn.execute(Q["adopt"], {"id": seen.record_id, **place, **columns(stat)}).rowcount)
