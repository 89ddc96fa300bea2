"""Repositories as rows; their files and settings lie on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.rows import class_row

from lumiliod.db.file_stat import signed, unsigned
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId, path_bytes, path_from_bytes
from lumiliod.domain.repositories import RepositoryStatus

Q = Queries(__file__)

CHANNEL = "lumilio_repositories"
"""Notification channel: rows of repositories, or their markers, have changed; the payload is empty."""

WHOLE_TIMEOUT_MS = 600_000
"""The longest a statement about all files or assets of a repository may take."""


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository the library knows."""

    id: RepositoryId
    name: str
    root: str
    storage_strategy: str
    status: RepositoryStatus
    status_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Size:
    """How much lies in a repository; ``size_bytes`` counts originals."""

    repository_id: RepositoryId
    assets: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a repository means; see ``contract.repositories.RemovalPlan`` for meanings and units."""

    forgotten: int
    kept: int
    trashed: int
    files: int
    size_bytes: int
    derivatives: int
    derivative_bytes: int
    mirrors: int
    jobs: int


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as its record tells it."""

    id: UUID
    path: RepoPath
    stat: FileStat


def insert(conn: Connection, row: RepositoryRow) -> None:
    """Record a repository.

    Raises:
        Conflict: its name (``name_taken``), root or id (``exists``) is known already.
    """
    params: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "root": row.root,
        "storage_strategy": row.storage_strategy,
        "created_at": row.created_at,
    }
    try:
        conn.execute(Q["insert"], params)
    except errors.UniqueViolation as error:
        if error.diag.constraint_name == "repositories_name_key":
            raise Conflict(f"there is a repository named {row.name} already", code="name_taken") from None
        raise Conflict(f"the library knows the repository at {row.root} already", code="exists") from None
    tell(conn)


def tell(conn: Connection) -> None:
    """Have other processes look at repositories again once this transaction has committed."""
    conn.execute(Q["tell"], {"channel": CHANNEL})


def all_rows(conn: Connection) -> list[RepositoryRow]:
    """Return every repository, by name."""
    with conn.cursor(row_factory=class_row(RepositoryRow)) as cursor:
        return cursor.execute(Q["all"]).fetchall()


def set_status(conn: Connection, repository_id: RepositoryId, status: RepositoryStatus, reason: str | None) -> None:
    """Say whether a repository can be reached, and why not."""
    if conn.execute(Q["set_status"], {"id": repository_id, "status": status, "reason": reason}).rowcount:
        tell(conn)


def note_status(conn: Connection, row: RepositoryRow) -> None:
    """Say of a repository that was tried how it is, unless a person has moved it or put it away meanwhile."""
    params = {"id": row.id, "root": row.root, "status": row.status, "reason": row.status_reason}
    if conn.execute(Q["note_status"], params).rowcount:
        tell(conn)


def sizes(conn: Connection, repository_id: RepositoryId | None = None) -> dict[RepositoryId, Size]:
    """Return how much lies in each repository, or in one."""
    with conn.cursor(row_factory=class_row(Size)) as cursor:
        return {size.repository_id: size for size in cursor.execute(Q["sizes"], {"id": repository_id})}


def set_root(conn: Connection, repository_id: RepositoryId, root: str) -> None:
    """Say where a repository lies now; it can be reached there.

    Raises:
        Conflict: another one is known to lie there (``exists``).
    """
    try:
        conn.execute(Q["set_root"], {"id": repository_id, "root": root})
    except errors.UniqueViolation:
        raise Conflict(f"the library knows a repository at {root} already", code="exists") from None
    tell(conn)


def set_name(conn: Connection, repository_id: RepositoryId, name: str) -> None:
    """Call a repository otherwise.

    Raises:
        Conflict: another one is called so (``name_taken``).
    """
    try:
        conn.execute(Q["set_name"], {"id": repository_id, "name": name})
    except errors.UniqueViolation:
        raise Conflict(f"there is a repository named {name} already", code="name_taken") from None
    tell(conn)


def take_time(conn: Connection) -> None:
    """Let each statement of this transaction take so long as one about a whole repository may."""
    conn.execute(Q["take_time"], {"timeout_ms": WHOLE_TIMEOUT_MS})


def lock(conn: Connection, repository_id: RepositoryId) -> None:
    """Let nobody record anything about a repository until this transaction ends."""
    conn.execute(Q["lock"], {"id": repository_id})


def removal(conn: Connection, repository_id: RepositoryId) -> Removal:
    """Count what removing a repository means."""
    with conn.cursor(row_factory=class_row(Removal)) as cursor:
        found = cursor.execute(Q["removal"], {"id": repository_id}).fetchone()
    assert found is not None
    return found


def remove(conn: Connection, repository_id: RepositoryId) -> list[tuple[AssetId, RepositoryId]]:
    """Delete a repository with every row about it, and the assets that have files nowhere else.

    Returns the assets that lost their pictures with it, each with the repository it is served from now.
    """
    take_time(conn)
    params: dict[str, Any] = {"id": repository_id}
    params["ids"] = [row[0] for row in conn.execute(Q["touched"], params)]
    for query in ("lock_assets", "drop_files", "drop_trash_files", "promote"):
        conn.execute(Q[query], params)
    orphans = {"ids": [row[0] for row in conn.execute(Q["orphans"], params)]}
    for query in ("release_sidecars", "drop_trash", "drop_assets"):
        conn.execute(Q[query], orphans)
    bare = conn.execute(Q["without_pictures"], params).fetchall()
    conn.execute(Q["delete"], params)
    tell(conn)
    return [(AssetId(row[0]), RepositoryId(row[1])) for row in bare]


def stats(conn: Connection, repository_id: RepositoryId, after: RepoPath | None, count: int) -> list[KnownFile]:
    """Return a page of the files that are there, by the bytes of their paths, beyond ``after``."""
    params = {"id": repository_id, "after": b"" if after is None else path_bytes(after), "count": count}
    return [
        KnownFile(row[0], path_from_bytes(row[1]), FileStat(row[2], row[3], unsigned(row[4])))
        for row in conn.execute(Q["stats"], params)
    ]


def set_inodes(conn: Connection, inodes: Mapping[UUID, int]) -> None:
    """Write the inode numbers that files have on another disk, by their records."""
    as_bigints = [signed(inode) for inode in inodes.values()]
    conn.execute(Q["set_inodes"], {"ids": list(inodes), "inodes": as_bigints})
