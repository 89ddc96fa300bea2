"""Integrity: what was read when, what was found wrong, and how far a pass is."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes, uuid7
from lumiliod.domain.text import storable

Q = Queries(__file__)

START = ("-infinity", UUID(int=0))
"""The position before every file; see :func:`next_files`."""

TRASH = ".lumilio/trash/"
"""Begins the path of every file in the trash."""

_INODE_MASK = 0xFFFF_FFFF_FFFF_FFFF
_TIME_MAX_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Expected:
    """A file and what it should be; ``position`` is where it stands in the order of checking."""

    id: UUID
    repository_id: RepositoryId
    path: RepoPath
    stat: FileStat
    digest: Digest
    asset_id: AssetId
    position: tuple[str, UUID]

    @property
    def in_trash(self) -> bool:
        """Whether it lies in the trash of its repository; a file record never does."""
        return self.path.startswith(TRASH)


@dataclass(frozen=True, slots=True)
class Run:
    """One pass of a job, as far as it came; without a budget it reads everything."""

    id: UUID
    job_id: UUID
    kind: str
    mirror_id: UUID | None
    budget_bytes: int | None
    files: int
    read_bytes: int
    found: int
    unstable: int
    walked: bool
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Spent:
    """What one check cost and gave: bytes, seconds, findings."""

    read_bytes: int = 0
    read_s: float = 0.0
    found: int = 0
    unstable: int = 0


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


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a repository was verified within the period; ``never`` counts files, ``oldest_at`` the verified."""

    repository_id: RepositoryId
    files: int
    size_bytes: int
    verified: int
    verified_bytes: int
    never: int
    oldest_at: dt.datetime | None


def now(conn: Connection) -> dt.datetime:
    """Return the database's time."""
    return cast("dt.datetime", _one(conn, "now")[0])


def totals(conn: Connection, repositories: Sequence[RepositoryId]) -> tuple[int, int]:
    """Return how many files there are to verify, and their bytes."""
    row = _one(conn, "totals", repositories=list(repositories))
    return row[0], row[1]


# runs


def begin_run(
    conn: Connection, job_id: UUID, kind: str, *, mirror_id: UUID | None = None, budget_bytes: int | None = None
) -> Run:
    """Begin a pass, or go on with the one this job began; its budget stays then."""
    params = {"id": uuid7(), "job_id": job_id, "kind": kind, "mirror_id": mirror_id, "budget_bytes": budget_bytes}
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        run = cursor.execute(Q["begin_run"], params).fetchone()
    assert run is not None
    return run


def run_of_job(conn: Connection, job_id: UUID, mirror_id: UUID | None = None) -> Run | None:
    """Return the pass a job began."""
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(Q["run_of_job"], {"job_id": job_id, "mirror_id": mirror_id}).fetchone()


def last_scrub(conn: Connection, job_id: UUID, mirror_id: UUID | None = None) -> tuple[int, float] | None:
    """Return the bytes that the last scrub of another job left of its budget, and how many seconds ago it began."""
    row = conn.execute(Q["last_scrub"], {"job_id": job_id, "mirror_id": mirror_id}).fetchone()
    return (row[0], row[1]) if row else None


def count(conn: Connection, run_id: UUID, spent: Spent) -> None:
    """Add one check to a pass."""
    params = {"id": run_id, "read_bytes": spent.read_bytes, "read_s": spent.read_s}
    conn.execute(Q["count"], {**params, "found": spent.found, "unstable": spent.unstable})


def count_found(conn: Connection, run_id: UUID, found: int, *, walked: bool) -> None:
    """Add findings that cost no reading to a pass; ``walked``: it has looked for orphans, too."""
    conn.execute(Q["count_found"], {"id": run_id, "found": found, "walked": walked})


def end_run(conn: Connection, run_id: UUID, keep_days: int) -> None:
    """End a pass, close findings that do not hold any more and forget passes older than ``keep_days``."""
    conn.execute(Q["end_run"], {"id": run_id})
    close_settled(conn)
    conn.execute(Q["forget_runs"], {"days": keep_days})


def walked_at(conn: Connection) -> dt.datetime | None:
    """Return when orphans were looked for at last."""
    return cast("dt.datetime | None", _one(conn, "walked_at")[0])


def speed(conn: Connection) -> tuple[float | None, dt.datetime | None]:
    """Return the bytes a second of the last passes, and when the last one began."""
    row = _one(conn, "speed")
    return (None if row[0] is None else float(row[0])), row[1]


# files


def next_files(
    conn: Connection,
    repositories: Sequence[RepositoryId],
    before: dt.datetime,
    after: tuple[str, UUID],
    count: int,
) -> list[Expected]:
    """Return files last looked at before ``before``, the longest ago first, beyond the position ``after``."""
    params = {
        "repositories": list(repositories),
        "before": before,
        "after_at": after[0],
        "after_id": after[1],
        "count": count,
    }
    return expected_rows(conn, Q["next_files"], params)


def files_of_asset(conn: Connection, asset_id: AssetId, before: dt.datetime) -> list[Expected]:
    """Return the files of an asset that were last looked at before ``before``."""
    return expected_rows(conn, Q["files_of_asset"], {"asset_id": asset_id, "before": before})


def file(conn: Connection, file_id: UUID) -> Expected | None:
    """Return one file and what it should be; None when nothing is expected of it."""
    return next(iter(expected_rows(conn, Q["file"], {"id": file_id})), None)


def stamp(conn: Connection, expected: Expected, *, good: bool, found: FileStat | None = None) -> bool:
    """Note that a file was looked at; False when its record expects other bytes by now.

    A good one in the trash is on record as it was ``found`` from then on: nobody but us has to do with it there.
    """
    params = {"id": expected.id, "digest": bytes.fromhex(expected.digest), "good": good}
    if not expected.in_trash:
        return conn.execute(Q["stamp"], params).rowcount == 1
    if good and found is not None:
        return conn.execute(Q["settle_in_trash"], {**params, **_columns(found)}).rowcount == 1
    return conn.execute(Q["stamp_in_trash"], params).rowcount == 1


def relax(conn: Connection) -> None:
    """Let this transaction's commit not wait for the disk: what it says can be found out again."""
    conn.execute(Q["relax"])


def reopen(conn: Connection, expected: Expected, found: FileStat) -> bool:
    """Have a file that somebody wrote looked at anew; False when its record expects other bytes by now.

    What is in the trash is only what it was, and never anything new.
    """
    if expected.in_trash:
        return False
    params = {"id": expected.id, "digest": bytes.fromhex(expected.digest), **_columns(found)}
    return conn.execute(Q["reopen"], params).rowcount == 1


def settle_healed(conn: Connection, finding_id: UUID, expected: Expected, stat: FileStat) -> None:
    """Record that good bytes stand in a file's place again, in the state ``stat``, and close what was found."""
    query = Q["settle_in_trash"] if expected.in_trash else Q["settle_healed"]
    conn.execute(query, {"id": expected.id, "digest": bytes.fromhex(expected.digest), **_columns(stat)})
    conn.execute(Q["close_healed"], {"id": finding_id})
    close_of_file(conn, expected.id, "healed")


def twins(conn: Connection, asset_id: AssetId, digest: Digest, except_id: UUID | None) -> list[Expected]:
    """Return other files of an asset with the same bytes, which nothing is known against."""
    params = {"asset_id": asset_id, "digest": bytes.fromhex(digest), "except_id": except_id}
    return expected_rows(conn, Q["twins"], params)


def generation(conn: Connection, repository_id: RepositoryId) -> int:
    """Return the generation of the latest scan of a repository."""
    return cast("int", _one(conn, "generation", id=repository_id)[0])


def unknown_files(conn: Connection, repository_id: RepositoryId, paths: Sequence[RepoPath]) -> list[RepoPath]:
    """Return those of ``paths`` that no file record names."""
    params = {"repository_id": repository_id, "paths": [path_bytes(path) for path in paths]}
    return [path_from_bytes(row[0]) for row in conn.execute(Q["unknown_files"], params)]


def unknown_derivatives(conn: Connection, repository_id: RepositoryId, paths: Sequence[str]) -> list[str]:
    """Return those of ``paths``, relative to ``.lumilio`` and valid text, that no derivative's row names."""
    folders = [path.rpartition("/")[0] for path in paths]
    params = {"repository_id": repository_id, "paths": list(paths), "folders": folders}
    return [row[0] for row in conn.execute(Q["unknown_derivatives"], params)]


# findings


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
        **(_columns(new.found) if new.found else {"size_bytes": None, "mtime_ns": None, "inode": None}),
    }
    conn.execute(Q["close_others"], params)
    row = _one(conn, "report", **params)
    return row[0], row[1] == "open"


def close(conn: Connection, finding_id: UUID, state: str) -> None:
    """Close a finding as ``healed`` or ``resolved``."""
    conn.execute(Q["close"], {"id": finding_id, "state": state})


def close_of_file(conn: Connection, file_id: UUID, state: str) -> None:
    """Close what was found of a file."""
    conn.execute(Q["close_of_file"], {"file_id": file_id, "state": state})


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


def coverage(conn: Connection, days: int) -> dict[RepositoryId, Coverage]:
    """Return how much of each repository was verified within so many days."""
    with conn.cursor(row_factory=class_row(Coverage)) as cursor:
        return {one.repository_id: one for one in cursor.execute(Q["coverage"], {"days": days})}


def _one(conn: Connection, query: str, **params: object) -> tuple[Any, ...]:
    row = conn.execute(Q[query], params).fetchone()
    assert row is not None
    return row


def expected_rows(conn: Connection, query: LiteralString, params: dict[str, Any]) -> list[Expected]:
    """Return what a query with the columns of :class:`Expected` finds."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return [
            Expected(
                id=row["id"],
                repository_id=RepositoryId(row["repository_id"]),
                path=path_from_bytes(row["path"]),
                stat=FileStat(row["size_bytes"], row["mtime_ns"], row["inode"] & _INODE_MASK),
                digest=Digest(row["digest"]),
                asset_id=AssetId(row["asset_id"]),
                position=(row["position"], row["id"]),
            )
            for row in cursor.execute(query, params)
        ]


def _findings(conn: Connection, query: str, params: dict[str, Any]) -> list[Finding]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(Q[query], params).fetchall()
    return [_finding(row) for row in rows]


def _finding(row: dict[str, Any]) -> Finding:
    size, mtime_ns, inode = row.pop("size_bytes"), row.pop("mtime_ns"), row.pop("inode")
    found = None if size is None else FileStat(size, mtime_ns, inode & _INODE_MASK)
    return Finding(**{**row, "path": path_from_bytes(row["path"])}, found=found)


def _columns(stat: FileStat) -> dict[str, int]:
    """Fit a state into bigints: unsigned inodes, and years beyond 2262."""
    inode = stat.inode - (1 << 64) if stat.inode >= 1 << 63 else stat.inode
    mtime_ns = max(min(stat.mtime_ns, _TIME_MAX_NS), -_TIME_MAX_NS - 1)
    return {"size_bytes": stat.size_bytes, "mtime_ns": mtime_ns, "inode": inode}
