"""File records: what became of every file of a repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db.file_stat import columns, fitting
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileRecord, FileStat, Outcome
from lumiliod.domain.errors import Conflict, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes, shown, uuid7
from lumiliod.domain.text import storable

Q = Queries(__file__)

TAKEN_AFTER_S = 2.0
"""When to look for another name for a file whose own has become another's."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that was met; ``outcome`` is ``pending`` unless its name alone decides."""

    path: RepoPath
    stat: FileStat
    outcome: Outcome = Outcome.PENDING
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the library knows of a seen file now."""

    id: UUID
    path: RepoPath
    pending: bool
    added: bool


def seen(conn: Connection, repository_id: RepositoryId, generation: int, page: Sequence[SeenFile]) -> list[Recorded]:
    """Record files that were met outside a scan, in one statement."""
    states = [columns(file.stat) for file in page]
    rows = conn.execute(
        Q["seen"],
        {
            "repository_id": repository_id,
            "generation": generation,
            "ids": [uuid7() for _ in page],
            "paths": [path_bytes(file.path) for file in page],
            "sizes": [file.stat.size_bytes for file in page],
            "mtimes": [state["mtime_ns"] for state in states],
            "inodes": [state["inode"] for state in states],
            "outcomes": [str(file.outcome) for file in page],
            "reasons": [file.reason for file in page],
        },
    )
    return [Recorded(row[0], path_from_bytes(row[1]), row[2], row[3]) for row in rows]


def get(conn: Connection, record_id: UUID) -> FileRecord | None:
    """Return one record."""
    return get_many(conn, [record_id]).get(record_id)


def get_many(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, FileRecord]:
    """Return those of these records that there are."""
    with conn.cursor(row_factory=dict_row) as cursor:
        records = [_record(row) for row in cursor.execute(Q["get"], {"ids": list(ids)})]
    return {record.id: record for record in records}


def original_of(conn: Connection, asset_id: AssetId) -> FileRecord | None:
    """Return the record of the file an asset is served from."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["original_of"], {"asset_id": asset_id}).fetchone()
    return _record(row) if row else None


def place(
    conn: Connection,
    repository_id: RepositoryId,
    path: RepoPath,
    stat: FileStat,
    digest: Digest,
    asset_id: AssetId,
    outcome: Outcome = Outcome.ASSET,
) -> None:
    """Record a file just placed: the one its asset is served from, or a ``duplicate`` of that.

    Raises:
        Unavailable: the name has become another asset's since it was asked for (``name_taken``; see :func:`taken`).
    """
    params = {**_placed(repository_id, path, stat, digest, asset_id), "outcome": outcome}
    if not conn.execute(Q["place"], params).rowcount:
        raise Unavailable(f"{shown(path)} is another asset's", code="name_taken", after_s=TAKEN_AFTER_S)


def taken(
    conn: Connection, repository_id: RepositoryId, asset_id: AssetId | None, paths: Sequence[RepoPath]
) -> set[RepoPath]:
    """Return those of ``paths`` that records of other assets than this one have, also of files that are missing."""
    params = {"repository_id": repository_id, "asset_id": asset_id, "paths": [path_bytes(path) for path in paths]}
    return {path_from_bytes(row[0]) for row in conn.execute(Q["taken"], params)}


def place_copy(
    conn: Connection, repository_id: RepositoryId, path: RepoPath, stat: FileStat, digest: Digest, asset_id: AssetId
) -> None:
    """Record a file just placed in the inbox as a duplicate, unless there is a record of that place."""
    conn.execute(Q["place_copy"], _placed(repository_id, path, stat, digest, asset_id))


def _placed(
    repository_id: RepositoryId, path: RepoPath, stat: FileStat, digest: Digest, asset_id: AssetId
) -> dict[str, object]:
    return {
        "id": uuid7(),
        "repository_id": repository_id,
        "path": path_bytes(path),
        "digest": bytes.fromhex(digest),
        "asset_id": asset_id,
        **columns(stat),
    }


def doubt_original(conn: Connection, asset_id: AssetId, except_id: UUID) -> list[tuple[UUID, RepositoryId]]:
    """Have the file an asset was served from looked at anew, because it is not what it was; return its record."""
    rows = conn.execute(Q["doubt_original"], {"asset_id": asset_id, "except_id": except_id})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def is_doubted(conn: Connection, asset_id: AssetId) -> bool:
    """Tell whether the file of an asset waits to be looked at anew."""
    row = conn.execute(Q["is_doubted"], {"asset_id": asset_id}).fetchone()
    return bool(row and row[0])


def drop_former(conn: Connection, former: FileRecord) -> bool:
    """Forget a record whose file was found gone, if it still says what was looked at then.

    Returns whether no scan had missed it: one may have met another file there meanwhile.
    """
    row = conn.execute(Q["drop_former"], _as_seen(former)).fetchone()
    return bool(row and row[0])


def drop_missing(conn: Connection, record_id: UUID, asset_id: AssetId, path: RepoPath, stat: FileStat) -> bool:
    """Forget the record of a file of an asset that is gone for good; False when it says something else by now."""
    params = {"id": record_id, "asset_id": asset_id, "path": path_bytes(path), **columns(stat)}
    return conn.execute(Q["drop_missing"], params).rowcount == 1


def doubt_former(conn: Connection, former: FileRecord) -> bool:
    """Have a record's file looked at anew that was found changed, if it still says what was looked at then."""
    return conn.execute(Q["doubt_former"], _as_seen(former)).rowcount == 1


def demote_former(conn: Connection, former: FileRecord) -> bool:
    """Have a record be a further copy of its asset, with the bytes it had, if it still says what was looked at."""
    return conn.execute(Q["demote_former"], _as_seen(former)).rowcount == 1


def drop_missing_original(conn: Connection, asset_id: AssetId, except_id: UUID) -> bool:
    """Forget the original of an asset where a scan has marked it missing; tell whether it had."""
    params = {"asset_id": asset_id, "except_id": except_id}
    return conn.execute(Q["drop_missing_original"], params).rowcount > 0


def has_original(conn: Connection, asset_id: AssetId, except_id: UUID) -> bool:
    """Tell whether an asset is served from another file than this one."""
    row = conn.execute(Q["has_original"], {"asset_id": asset_id, "except_id": except_id}).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Settled:
    """Which asset a file, in the state ``stat``, holds: ``outcome`` is ``asset``, ``duplicate`` or ``trashed``."""

    record_id: UUID
    outcome: Outcome
    stat: FileStat
    digest: Digest
    asset_id: AssetId
    path: RepoPath | None = None
    """Where it was read, where the record may have followed its file elsewhere since."""


def settle(conn: Connection, settled: Sequence[Settled]) -> None:
    """Say which assets files hold.

    Raises:
        Conflict: a record is gone, or tells of another place by now; the file will be met again by the next scan.
    """
    states = [columns(one.stat) for one in settled]
    params = {
        "ids": [one.record_id for one in settled],
        "outcomes": [str(one.outcome) for one in settled],
        "asset_ids": [one.asset_id for one in settled],
        "digests": [bytes.fromhex(one.digest) for one in settled],
        "sizes": [state["size_bytes"] for state in states],
        "mtimes": [state["mtime_ns"] for state in states],
        "inodes": [state["inode"] for state in states],
        "ctimes": [_ctime(one.stat) for one in settled],
        "paths": [None if one.path is None else path_bytes(one.path) for one in settled],
    }
    if conn.execute(Q["settle"], params).rowcount < len(settled):
        raise Conflict("the record of this file is gone", code="record_gone")


def keep_expected(conn: Connection, record: FileRecord, stat: FileStat) -> bool:
    """Leave a record the original of its asset though its file, in the state ``stat``, is not.

    Returns:
        False where nothing is lost: the asset has another file.
    """
    params: dict[str, object] = {"id": record.id, "asset_id": record.asset_id, "expected": record.digest}
    params |= {**columns(stat), "ctime_ns": _ctime(stat)}
    return conn.execute(Q["keep_expected"], params).rowcount == 1


def release(conn: Connection, record_id: UUID, asset_id: AssetId, stat: FileStat) -> bool:
    """Have a file looked at anew as if it were new; False when its record is another asset's by now."""
    params = {"id": record_id, "asset_id": asset_id, **columns(stat)}
    return conn.execute(Q["release"], params).rowcount == 1


def reject(conn: Connection, record: FileRecord | Recorded, outcome: Outcome, reason: str, stat: FileStat) -> None:
    """Say why a file, in the state ``stat``, is no asset.

    Raises:
        Conflict: its record is gone, or tells of another place by now.
    """
    params = {"id": record.id, "path": path_bytes(record.path), "outcome": outcome, "reason": storable(reason)}
    if not conn.execute(Q["reject"], {**params, **columns(stat), "ctime_ns": _ctime(stat)}).rowcount:
        raise Conflict("the record of this file is gone", code="record_gone")


def forget(conn: Connection, record_id: UUID, path: RepoPath) -> bool:
    """Delete the record of a file that vanished before it was understood, if it is at its path still; tell if so."""
    return conn.execute(Q["forget"], {"id": record_id, "path": path_bytes(path)}).rowcount > 0


def page(
    conn: Connection, repository_id: RepositoryId, *, outcome: str | None, after: bytes, count: int
) -> list[FileRecord]:
    """Return records in the order of their paths' bytes."""
    params = {"repository_id": repository_id, "outcome": outcome, "after": after, "count": count}
    with conn.cursor(row_factory=dict_row) as cursor:
        return [_record(row) for row in cursor.execute(Q["page"], params)]


def pending_without_job(conn: Connection, after: UUID, count: int) -> list[tuple[UUID, RepositoryId]]:
    """Return files beyond ``after`` that wait to be ingested and have no job, by id: missing work is a query."""
    rows = conn.execute(Q["pending_without_job"], {"after": after, "count": count})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def _record(row: dict[str, object]) -> FileRecord:
    stat = FileStat(
        cast("int", row["size_bytes"]), cast("int", row["mtime_ns"]), cast("int", row["inode"]) & 0xFFFF_FFFF_FFFF_FFFF
    )
    return FileRecord(
        id=cast("UUID", row["id"]),
        repository_id=RepositoryId(cast("UUID", row["repository_id"])),
        path=path_from_bytes(cast("bytes", row["path"])),
        stat=stat,
        outcome=Outcome(cast("str", row["outcome"])),
        reason=cast("str | None", row["reason"]),
        asset_id=cast("AssetId | None", row["asset_id"]),
        digest=cast("Digest | None", row["digest"]),
    )


def _ctime(stat: FileStat) -> int | None:
    return None if stat.ctime_ns is None else fitting(stat.ctime_ns)


def _as_seen(record: FileRecord) -> dict[str, object]:
    return {"id": record.id, "asset_id": record.asset_id, "path": path_bytes(record.path), **columns(record.stat)}
