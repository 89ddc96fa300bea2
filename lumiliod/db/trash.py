"""The trash: which assets are in it, where their files are going, and what becomes of their rows.

Functions that change the state of assets lock their rows first, in the order of their ids.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, cast
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db import files
from lumiliod.db.file_stat import columns, file_stat, unsigned
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UserId, path_bytes, path_from_bytes, uuid7
from lumiliod.domain.media import AssetType
from lumiliod.domain.text import storable
from lumiliod.domain.trash import TrashFile, TrashItem, TrashState, Why

Q = Queries(__file__)


class Comeback(Enum):
    """What asking an asset back from the trash came to."""

    LIVE = "it is not in the trash"
    BACK = "it is in the library again"
    COMING = "its files are moved back first"
    DOOMED = "it is being purged"
    NO_FILE = "no file holds its bytes"
    GONE = "there is no such asset, or none any more"


@dataclass(frozen=True, slots=True)
class Removal:
    """What was put into the trash, and in which repositories files of it are to be moved."""

    removed: Sequence[AssetId]
    moving: dict[AssetId, RepositoryId]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the trash holds: assets, those a purge was refused of, those hidden in the user area, files and bytes."""

    count: int
    refused: int
    hidden: int
    files: int
    size_bytes: int
    oldest_at: datetime | None
    purgeable_since: datetime | None
    """Since when the first that is to be purged has been there: see ``TrashItem.kept_since``."""


def states(conn: Connection, ids: Sequence[AssetId]) -> dict[AssetId, TrashState]:
    """Return the state of those of ``ids`` that are in the trash."""
    return {AssetId(row[0]): TrashState(row[1]) for row in conn.execute(Q["states"], {"ids": list(ids)})}


def item(conn: Connection, asset_id: AssetId) -> TrashItem | None:
    """Return one asset of the trash with its files."""
    return next(iter(_items(conn, [asset_id])), None)


def held(conn: Connection, asset_id: AssetId) -> TrashItem | None:
    """Lock an asset and return it if it is in the trash."""
    conn.execute(Q["lock"], {"ids": [asset_id]})
    return item(conn, asset_id)


def hold(conn: Connection, *asset_ids: AssetId | None) -> None:
    """Lock assets that one transaction has to do with, before any record of theirs."""
    if ids := [id_ for id_ in asset_ids if id_ is not None]:
        conn.execute(Q["lock"], {"ids": ids})


def page(conn: Connection, *, before: tuple[datetime, UUID] | None, count: int) -> list[TrashItem]:
    """Return assets of the trash, the latest first."""
    at, id_ = before or (None, None)
    rows = conn.execute(Q["page"], {"before_at": at, "before_id": id_, "count": count})
    return _items(conn, [AssetId(row[0]) for row in rows])


def totals(conn: Connection) -> Totals:
    """Count what the trash holds."""
    row = conn.execute(Q["totals"]).fetchone()
    size = conn.execute(Q["bytes"]).fetchone()
    assert row is not None
    assert size is not None
    return Totals(row[0], row[1], row[4], size[1], size[0], row[2], row[3])


def remove(
    conn: Connection, ids: Collection[AssetId], *, why: Why, by: UserId | None, with_files: Collection[AssetId] = ()
) -> Removal:
    """Put assets into the trash: their files in the inbox are to be moved, those in the user area are hidden.

    What is there already is passed over. Of ``with_files`` every file is to be moved, wherever it is.
    """
    conn.execute(Q["lock"], {"ids": list(ids)})
    params: dict[str, Any] = {"ids": list(ids), "why": why, "by": by}
    removed = [AssetId(row[0]) for row in conn.execute(Q["delete"], params)]
    rows = conn.execute(Q["movable"], {"ids": removed, "with_files": list(with_files)}).fetchall()
    records = [row[0] for row in rows]
    moving = conn.execute(Q["move"], {"ids": [uuid7() for _ in records], "records": records}).fetchall()
    conn.execute(Q["set_out"], {"ids": [row[0] for row in moving]})
    conn.execute(Q["hide"], {"ids": removed})
    return Removal(removed, {AssetId(row[0]): RepositoryId(row[1]) for row in moving})


def count_live(conn: Connection, ids: Sequence[AssetId]) -> int:
    """Count those of ``ids`` that are assets outside the trash."""
    row = conn.execute(Q["count_live"], {"ids": list(ids)}).fetchone()
    return int(row[0]) if row else 0


def file_left(conn: Connection, asset_id: AssetId) -> None:
    """Have an asset that a file holds no longer served from a further copy; without one it goes into the trash."""
    conn.execute(Q["lock"], {"ids": [asset_id]})
    files_left(conn, [asset_id])


def files_left(conn: Connection, ids: Sequence[AssetId]) -> list[AssetId]:
    """As :func:`file_left`, of assets whose rows the caller holds; return which went into the trash."""
    conn.execute(Q["promote"], {"ids": list(ids)})
    return [AssetId(row[0]) for row in conn.execute(Q["retire_without_file"], {"ids": list(ids)})]


def waiting_jobs(conn: Connection, ids: Sequence[AssetId]) -> list[UUID]:
    """Lock and return the jobs that wait to understand assets, those others hold this moment left out."""
    return [row[0] for row in conn.execute(Q["waiting_jobs"], {"ids": list(ids)})]


def replaceable(
    conn: Connection, repository_id: RepositoryId, path: RepoPath, owner_id: UserId
) -> tuple[AssetId, FileStat] | None:
    """Return the asset whose only file is at ``path``, and the state of that file on record; None for any other."""
    params = {"repository_id": repository_id, "path": path_bytes(path), "owner_id": owner_id}
    row = conn.execute(Q["replaceable"], params).fetchone()
    return (AssetId(row[0]), FileStat(row[1], row[2], unsigned(row[3]))) if row else None


def leaving(conn: Connection, repository_id: RepositoryId, path: RepoPath) -> AssetId | None:
    """Return the asset whose file is on its way from ``path`` into the trash."""
    row = conn.execute(Q["leaving"], {"repository_id": repository_id, "path": path_bytes(path)}).fetchone()
    return AssetId(row[0]) if row else None


def retired(
    conn: Connection, asset_id: AssetId, kept: Sequence[tuple[UUID, FileStat]], lost: Sequence[UUID]
) -> Comeback | None:
    """Write down that the files of a retiring asset are in the trash, or were not there to be moved.

    Returns what became of the wish to have it back, None when there was none or it is not retiring any more.
    """
    conn.execute(Q["lock"], {"ids": [asset_id]})
    wanted = conn.execute(Q["is_wanted"], {"id": asset_id}).fetchone()
    if wanted is None:
        return None
    _set_stats(conn, kept)
    drop_files(conn, lost)
    conn.execute(Q["retired"], {"id": asset_id})
    return bring_back(conn, asset_id) if wanted[0] else None


def bring_back(conn: Connection, asset_id: AssetId) -> Comeback:
    """Take an asset out of the trash: at once, or when its files have been moved back (``COMING``).

    One whose files are still on their way into the trash comes back after that.
    """
    is_there = conn.execute(Q["lock"], {"ids": [asset_id]}).fetchone() is not None
    found = item(conn, asset_id)
    if found is None:
        return Comeback.LIVE if is_there else Comeback.GONE
    match found.state:
        case TrashState.DOOMED:
            return Comeback.DOOMED
        case TrashState.RETIRING:
            conn.execute(Q["want_back"], {"id": asset_id})
            return Comeback.COMING
        case TrashState.RESTORING:
            return Comeback.COMING
        case _:
            pass
    if found.files:
        conn.execute(Q["set_back"], {"id": asset_id})
        return Comeback.COMING
    if not found.hidden:
        return Comeback.NO_FILE
    _leave(conn, asset_id)
    return Comeback.BACK


def restored(conn: Connection, found: TrashItem, placed: Sequence[tuple[TrashFile, RepoPath, FileStat]]) -> bool:
    """Take a restoring asset out of the trash, its files being back; tell whether it still was restoring."""
    now = held(conn, found.asset_id)
    if now is None or now.state is not TrashState.RESTORING:
        return False
    # its original last: an asset has one at a time
    for file, path, stat in sorted(placed, key=lambda one: one[0].was_original):
        conn.execute(Q["demote"], {"id": found.asset_id})
        files.place(conn, file.repository_id, path, stat, found.digest, found.asset_id)
    _leave(conn, found.asset_id)
    return True


def supersede(conn: Connection, asset_id: AssetId) -> list[tuple[UUID, RepositoryId]] | None:
    """Take an asset out of the trash whose files there are gone or damaged: other bytes of it are given anew.

    Returns the records of hidden files that are to be looked at anew; None while its files are moved.
    What lies in the trash folder stays there.
    """
    found = held(conn, asset_id)
    if found is not None and found.state is not TrashState.TRASHED:
        return None
    rows = conn.execute(Q["doubt_hidden"], {"id": asset_id}).fetchall() if found else []
    if found is not None:
        _leave(conn, asset_id)
    return [(row[0], RepositoryId(row[1])) for row in rows]


def drop_files(conn: Connection, ids: Sequence[UUID]) -> None:
    """Forget files of the trash that are not there any more."""
    conn.execute(Q["drop_files"], {"ids": list(ids)})


def refuse(conn: Connection, asset_id: AssetId, reason: str, *from_states: TrashState) -> None:
    """Leave an asset in the trash, with the reason why it was not restored or purged."""
    conn.execute(Q["lock"], {"ids": [asset_id]})
    params = {"id": asset_id, "reason": storable(reason), "states": [str(state) for state in from_states]}
    conn.execute(Q["refuse"], params)


def hidden_paths(conn: Connection, asset_id: AssetId) -> list[tuple[RepositoryId, RepoPath]]:
    """Return where files of an asset lie that stayed in the user area."""
    rows = conn.execute(Q["hidden_paths"], {"id": asset_id})
    return [(RepositoryId(row[0]), path_from_bytes(row[1])) for row in rows]


def original_repository(conn: Connection, asset_id: AssetId) -> RepositoryId | None:
    """Return the repository an asset is served from."""
    row = conn.execute(Q["original_repository"], {"id": asset_id}).fetchone()
    return RepositoryId(row[0]) if row else None


def at_rest(conn: Connection, after: UUID, count: int) -> list[AssetId]:
    """Return assets that can be brought back, beyond ``after``, by id."""
    return [AssetId(row[0]) for row in conn.execute(Q["at_rest"], {"after": after, "count": count})]


def count_at_rest(conn: Connection, ids: Sequence[AssetId] | None) -> int:
    """Count the assets, or those of ``ids``, that can be brought back."""
    row = conn.execute(Q["count_at_rest"], {"ids": None if ids is None else list(ids)}).fetchone()
    return int(row[0]) if row else 0


def doom(conn: Connection, asset_id: AssetId, verified: Sequence[tuple[UUID, FileStat]] = ()) -> TrashItem | None:
    """Decide that a verified asset is removed now, and return it; None when it came back, or a job is at work on it.

    ``verified`` are the states its files were found in: on another disk they have other inodes.
    """
    conn.execute(Q["lock"], {"ids": [asset_id]})
    if not conn.execute(Q["doom"], {"id": asset_id}).rowcount:
        return None
    _set_stats(conn, verified)
    return item(conn, asset_id)


def derivatives(conn: Connection, asset_id: AssetId) -> list[tuple[RepositoryId, str]]:
    """Return the derivatives that an asset alone has: their repositories, and their paths relative to ``.lumilio``."""
    return [(RepositoryId(row[0]), row[1]) for row in conn.execute(Q["derivatives"], {"id": asset_id})]


def delete(conn: Connection, asset_id: AssetId) -> bool:
    """Delete a doomed asset whose bytes are gone, with all it had; one with a file in the user area stays, hidden.

    Returns whether it was deleted.
    """
    conn.execute(Q["lock"], {"ids": [asset_id]})
    conn.execute(Q["drop_all_files"], {"id": asset_id})
    if conn.execute(Q["rest"], {"id": asset_id}).rowcount:
        return False
    if not conn.execute(Q["forget_doomed"], {"id": asset_id}).rowcount:
        return False
    for query in ("release_sidecars", "delete_missing", "delete_asset"):
        conn.execute(Q[query], {"id": asset_id})
    return True


def moving_without_job(conn: Connection, after: UUID, count: int) -> list[tuple[AssetId, RepositoryId | None]]:
    """Return assets beyond ``after`` whose files are on their way and that no job moves, by id."""
    rows = conn.execute(Q["moving_without_job"], {"after": after, "count": count})
    return [(AssetId(row[0]), RepositoryId(row[1]) if row[1] else None) for row in rows]


def purge_without_job(conn: Connection) -> bool:
    """Tell whether something is to be purged and no job does it."""
    row = conn.execute(Q["purge_without_job"]).fetchone()
    return bool(row and row[0])


def unknown(conn: Connection, repository_id: RepositoryId, ids: Sequence[UUID]) -> set[UUID]:
    """Return those of ``ids``, files in a repository's trash, that no row knows."""
    return {row[0] for row in conn.execute(Q["unknown"], {"repository_id": repository_id, "ids": list(ids)})}


def adopt(conn: Connection, repository_id: RepositoryId, path: RepoPath, stat: FileStat) -> UUID:
    """Have a file looked at that was put back from the trash without a row; return its record."""
    params = {"id": uuid7(), "repository_id": repository_id, "path": path_bytes(path), **columns(stat)}
    row = conn.execute(Q["adopt"], params).fetchone()
    assert row is not None
    return cast("UUID", row[0])


def _set_stats(conn: Connection, stats: Sequence[tuple[UUID, FileStat]]) -> None:
    for id_, stat in stats:
        conn.execute(Q["set_stat"], {"id": id_, **columns(stat)})


def _leave(conn: Connection, asset_id: AssetId) -> None:
    for query in ("unhide", "undelete", "forget"):
        conn.execute(Q[query], {"id": asset_id})


def _items(conn: Connection, ids: Sequence[AssetId]) -> list[TrashItem]:
    """Return those of ``ids`` that are in the trash, in the order of ``ids``."""
    of_asset: dict[UUID, list[TrashFile]] = defaultdict(list)
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = {row["asset_id"]: row for row in cursor.execute(Q["items"], {"ids": list(ids)})}
        for row in cursor.execute(Q["files"], {"ids": list(rows)}) if rows else ():
            of_asset[row["asset_id"]].append(_file(row))
    return [_item(rows[id_], of_asset[id_]) for id_ in ids if id_ in rows]


def _item(row: dict[str, Any], its_files: Sequence[TrashFile]) -> TrashItem:
    typed = {
        "type": AssetType(row["type"]),
        "digest": Digest(row["digest"]),
        "state": TrashState(row["state"]),
        "why": Why(row["why"]),
        "files": tuple(its_files),
    }
    return TrashItem(**{**row, **typed})


def _file(row: dict[str, Any]) -> TrashFile:
    path = path_from_bytes(row["path"])
    return TrashFile(row["id"], RepositoryId(row["repository_id"]), path, file_stat(row), row["was_original"])
