"""File records: what became of every file of a repository; and the runs that looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileRecord, FileStat, Outcome
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes, uuid7

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that a walk met; ``outcome`` is ``pending`` unless its name alone decides."""

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


@dataclass(frozen=True, slots=True)
class SyncCounts:
    """What a scan found, in files."""

    found: int = 0
    added: int = 0
    changed: int = 0
    missing: int = 0
    ignored: int = 0


def next_generation(conn: Connection, repository_id: RepositoryId) -> int:
    """Begin a scan: every file it meets is marked with the number returned."""
    row = conn.execute(Q["next_generation"], {"id": repository_id}).fetchone()
    if row is None:
        raise LookupError(f"no repository {repository_id}")
    return cast("int", row[0])


def seen(conn: Connection, repository_id: RepositoryId, generation: int, page: Sequence[SeenFile]) -> list[Recorded]:
    """Record one page of a walk in one statement."""
    rows = conn.execute(
        Q["seen"],
        {
            "repository_id": repository_id,
            "generation": generation,
            "ids": [uuid7() for _ in page],
            "paths": [path_bytes(file.path) for file in page],
            "sizes": [file.stat.size_bytes for file in page],
            "mtimes": [file.stat.mtime_ns for file in page],
            "inodes": [_signed(file.stat.inode) for file in page],
            "outcomes": [str(file.outcome) for file in page],
            "reasons": [file.reason for file in page],
        },
    )
    return [Recorded(row[0], path_from_bytes(row[1]), row[2], row[3]) for row in rows]


def get(conn: Connection, record_id: UUID) -> FileRecord | None:
    """Return one record."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["get"], {"id": record_id}).fetchone()
    return _record(row) if row else None


def original_of(conn: Connection, asset_id: AssetId) -> FileRecord | None:
    """Return the record of the file an asset is served from."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["original_of"], {"asset_id": asset_id}).fetchone()
    return _record(row) if row else None


def place(
    conn: Connection, repository_id: RepositoryId, path: RepoPath, stat: FileStat, digest: Digest, asset_id: AssetId
) -> None:
    """Record a file just placed in the inbox as the one its asset is served from."""
    params = {
        "id": uuid7(),
        "repository_id": repository_id,
        "path": path_bytes(path),
        "digest": bytes.fromhex(digest),
        "asset_id": asset_id,
        **_stat(stat),
    }
    conn.execute(Q["place"], params)


def drop_original(conn: Connection, asset_id: AssetId, except_id: UUID) -> None:
    """Forget where an asset was served from, because that file is gone."""
    conn.execute(Q["drop_original"], {"asset_id": asset_id, "except_id": except_id})


def settle(
    conn: Connection, record_id: UUID, outcome: Outcome, stat: FileStat, digest: Digest, asset_id: AssetId
) -> None:
    """Say which asset a file holds; ``outcome`` is ``asset`` or ``duplicate``."""
    params = {
        "id": record_id,
        "outcome": outcome,
        "reason": None,
        "asset_id": asset_id,
        "digest": bytes.fromhex(digest),
        **_stat(stat),
    }
    conn.execute(Q["settle"], params)


def reject(conn: Connection, record_id: UUID, outcome: Outcome, reason: str) -> None:
    """Say why a file is no asset."""
    conn.execute(Q["reject"], {"id": record_id, "outcome": outcome, "reason": reason})


def forget(conn: Connection, record_id: UUID) -> None:
    """Delete the record of a file that vanished before it was understood."""
    conn.execute(Q["forget"], {"id": record_id})


def attach_sidecars(
    conn: Connection, repository_id: RepositoryId, paths: Sequence[RepoPath], asset_id: AssetId
) -> None:
    """Give sidecars at ``paths`` to the asset they are named after."""
    params = {"repository_id": repository_id, "paths": [path_bytes(path) for path in paths], "asset_id": asset_id}
    conn.execute(Q["attach_sidecars"], params)


def attach_sidecar(conn: Connection, repository_id: RepositoryId, record_id: UUID, owners: Sequence[RepoPath]) -> None:
    """Give one sidecar to the asset whose file is at one of ``owners``, if there is one yet."""
    params = {"repository_id": repository_id, "paths": [path_bytes(path) for path in owners], "id": record_id}
    conn.execute(Q["attach_sidecar"], params)


def count_unseen(conn: Connection, repository_id: RepositoryId, generation: int) -> tuple[int, int]:
    """Return how many present files a walk did not meet, and how many there were in all."""
    row = conn.execute(Q["count_unseen"], {"repository_id": repository_id, "generation": generation}).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def mark_missing(conn: Connection, repository_id: RepositoryId, generation: int) -> int:
    """Mark what a complete walk did not meet; return how many."""
    return conn.execute(Q["mark_missing"], {"repository_id": repository_id, "generation": generation}).rowcount


def page(
    conn: Connection, repository_id: RepositoryId, *, outcome: str | None, after: bytes, count: int
) -> list[FileRecord]:
    """Return records in the order of their paths' bytes."""
    params = {"repository_id": repository_id, "outcome": outcome, "after": after, "count": count}
    with conn.cursor(row_factory=dict_row) as cursor:
        return [_record(row) for row in cursor.execute(Q["page"], params)]


def pending_without_job(conn: Connection, count: int) -> list[tuple[UUID, RepositoryId]]:
    """Return files that wait to be ingested and have no job: missing work is a query."""
    rows = conn.execute(Q["pending_without_job"], {"count": count})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def begin_sync(conn: Connection, repository_id: RepositoryId, type_: Literal["full", "folder"]) -> UUID:
    """Open the record of one run; runs that a killed daemon left open are closed as failed."""
    conn.execute(Q["abandon_syncs"], {"repository_id": repository_id})
    operation = uuid7()
    conn.execute(Q["begin_sync"], {"id": operation, "repository_id": repository_id, "type": type_})
    return operation


def end_sync(conn: Connection, operation: UUID, counts: SyncCounts, error: str | None) -> None:
    """Close the record of one run."""
    params = {
        "id": operation,
        "status": "failed" if error else "completed",
        "found": counts.found,
        "added": counts.added,
        "changed": counts.changed,
        "missing": counts.missing,
        "ignored": counts.ignored,
        "error": error,
    }
    conn.execute(Q["end_sync"], params)


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


def _stat(stat: FileStat) -> dict[str, int]:
    return {"size_bytes": stat.size_bytes, "mtime_ns": stat.mtime_ns, "inode": _signed(stat.inode)}


def _signed(inode: int) -> int:
    """Fit an unsigned 64-bit inode number into a bigint."""
    return inode - (1 << 64) if inode >= 1 << 63 else inode
