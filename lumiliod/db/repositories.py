"""Repositories as rows; their files and settings lie on disk."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import errors
from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.repositories import RepositoryStatus

Q = Queries(__file__)


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


def all_rows(conn: Connection) -> list[RepositoryRow]:
    """Return every repository, by name."""
    with conn.cursor(row_factory=class_row(RepositoryRow)) as cursor:
        return cursor.execute(Q["all"]).fetchall()


def set_status(conn: Connection, repository_id: RepositoryId, status: RepositoryStatus, reason: str | None) -> None:
    """Say whether a repository can be reached, and why not."""
    conn.execute(Q["set_status"], {"id": repository_id, "status": status, "reason": reason})


def sizes(conn: Connection, repository_id: RepositoryId | None = None) -> dict[RepositoryId, Size]:
    """Return how much lies in each repository, or in one."""
    with conn.cursor(row_factory=class_row(Size)) as cursor:
        return {size.repository_id: size for size in cursor.execute(Q["sizes"], {"id": repository_id})}
