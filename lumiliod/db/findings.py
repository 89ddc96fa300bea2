"""Findings: what was found wrong, whether it holds still, and how it ended."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db.file_stat import columns, file_stat
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes, uuid7
from lumiliod.domain.text import storable
from lumiliod.domain.trash import TRASH

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class NewFinding:
    """What is wrong at a place: of a file, or with ``mirror_id`` of a copy. ``found`` is what was there."""

    kind: str
    code: str
    detail: str
    repository_id: RepositoryId
    path: RepoPath
    digest: Digest | None
    found: FileStat | None = None
    mirror_id: UUID | None = None
    file_id: UUID | None = None
    asset_id: AssetId | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding as kept: ``state`` is ``open``, ``ignored`` (by a person), ``healed`` (by us) or ``resolved``."""

    id: UUID
    kind: str
    code: str
    state: str
    repository_id: RepositoryId
    mirror_id: UUID | None
    file_id: UUID | None
    asset_id: AssetId | None
    path: RepoPath
    digest: Digest | None
    found: FileStat | None
    detail: str
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    closed_at: dt.datetime | None

    @property
    def in_trash(self) -> bool:
        """Whether it is about a file in the trash."""
        return self.mirror_id is None and self.path.startswith(TRASH)


def report(conn: Connection, new: NewFinding) -> tuple[UUID, bool]:
    """Keep a finding, or note that it was seen again; return its id and whether it is open (not ignored)."""
    digest = bytes.fromhex(new.digest) if new.digest is not None else None
    params = {
        "id": uuid7(),
        "kind": new.kind,
        "code": new.code,
        "detail": storable(new.detail),
        "repository_id": new.repository_id,
        "mirror_id": new.mirror_id,
        "file_id": new.file_id,
        "asset_id": new.asset_id,
        "path": path_bytes(new.path),
        "digest": digest,
        **(columns(new.found) if new.found else {"size_bytes": None, "mtime_ns": None, "inode": None}),
    }
    conn.execute(Q["close_others"], params)
    row = conn.execute(Q["report"], params).fetchone()
    assert row is not None
    return row[0], row[1] == "open"


def close(conn: Connection, finding_id: UUID, state: str) -> None:
    """Close a finding as ``healed`` or ``resolved``."""
    conn.execute(Q["close"], {"id": finding_id, "state": state})


def close_of_file(conn: Connection, file_id: UUID, state: str) -> None:
    """Close what was found of a file."""
    conn.execute(Q["close_of_file"], {"file_id": file_id, "state": state})


def close_healed(conn: Connection, finding_id: UUID) -> None:
    """Close a finding as healed, whatever became of it meanwhile."""
    conn.execute(Q["close_healed"], {"id": finding_id})


def close_of_copy(conn: Connection, mirror_id: UUID, path: RepoPath, state: str) -> None:
    """Close what was found of a copy in a mirror."""
    conn.execute(Q["close_of_copy"], {"mirror_id": mirror_id, "path": path_bytes(path), "state": state})


def close_unmet(conn: Connection, repository_id: RepositoryId, before: dt.datetime) -> None:
    """Close orphans that a complete walk, begun at ``before``, did not meet again."""
    conn.execute(Q["close_unmet"], {"repository_id": repository_id, "before": before})


def close_settled(conn: Connection) -> None:
    """Close open findings that do not hold any more, whoever settled them."""
    conn.execute(Q["close_settled"])


def ignore(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Have open findings ignored; return those that were open."""
    return [row[0] for row in conn.execute(Q["ignore"], {"ids": list(ids)})]


def notice(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Have ignored findings open again; return those that were ignored."""
    return [row[0] for row in conn.execute(Q["notice"], {"ids": list(ids)})]


def states(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the states of those of ``ids`` that are findings."""
    return {row[0]: row[1] for row in conn.execute(Q["states"], {"ids": list(ids)})}


def finding(conn: Connection, finding_id: UUID) -> Finding | None:
    """Return one finding."""
    return next(iter(_findings(conn, "finding", {"id": finding_id})), None)


def finding_of_file(conn: Connection, file_id: UUID) -> Finding | None:
    """Return what is known against a file."""
    return next(iter(_findings(conn, "finding_of_file", {"file_id": file_id})), None)


def standing(conn: Connection, ids: Sequence[UUID] | None, after: UUID, count: int) -> list[Finding]:
    """Return open findings that still hold, beyond ``after`` by id: those of ``ids``, or all."""
    params = {"ids": None if ids is None else list(ids), "after": after, "count": count}
    return _findings(conn, "standing", params)


def page(
    conn: Connection,
    *,
    state: str | None,
    kind: str | None,
    repository_id: RepositoryId | None,
    before: UUID | None,
    count: int,
) -> list[Finding]:
    """Return findings, the newest first."""
    params = {"state": state, "kind": kind, "repository_id": repository_id, "before": before, "count": count}
    return _findings(conn, "page", params)


def counts(conn: Connection) -> dict[str, int]:
    """Return how many findings of each kind are open."""
    return {row[0]: row[1] for row in conn.execute(Q["counts"])}


def _findings(conn: Connection, query: str, params: dict[str, Any]) -> list[Finding]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(Q[query], params).fetchall()
    return [_finding(row) for row in rows]


def _finding(row: dict[str, Any]) -> Finding:
    stat = {name: row.pop(name) for name in ("size_bytes", "mtime_ns", "inode")}
    found = None if stat["size_bytes"] is None else file_stat(stat)
    return Finding(**{**row, "path": path_from_bytes(row["path"])}, found=found)
