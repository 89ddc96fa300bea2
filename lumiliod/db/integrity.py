"""Integrity: which files there are to read, and what was read when."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db import findings
from lumiliod.db.file_stat import columns, file_stat
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes
from lumiliod.domain.trash import TRASH

Q = Queries(__file__)


START = ("-infinity", UUID(int=0))
"""The position before every file; see :func:`next_files`."""


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


def size_of(conn: Connection, asset_id: AssetId) -> int:
    """Return how many bytes every file of an asset should have, whatever is on record of one."""
    return cast("int", _one(conn, "size_of", id=asset_id)[0])


def stamp(conn: Connection, expected: Expected, *, good: bool, found: FileStat | None = None) -> bool:
    """Note that a file was looked at; False when its record expects other bytes by now.

    A good one in the trash is on record as it was ``found`` from then on: nobody but us has to do with it there.
    """
    params = {"id": expected.id, "digest": bytes.fromhex(expected.digest), "good": good}
    if not expected.in_trash:
        return conn.execute(Q["stamp"], params).rowcount == 1
    if good and found is not None:
        return conn.execute(Q["settle_in_trash"], {**params, **columns(found)}).rowcount == 1
    return conn.execute(Q["stamp_in_trash"], params).rowcount == 1


def relax(conn: Connection) -> None:
    """Let this transaction's commit not wait for the disk: what it says can be found out again."""
    conn.execute(Q["relax"])


def reopen(conn: Connection, expected: Expected) -> bool:
    """Have a file that somebody wrote looked at anew; False when its record expects other bytes by now.

    What is in the trash is only what it was, and never anything new.
    """
    if expected.in_trash:
        return False
    params = {"id": expected.id, "digest": bytes.fromhex(expected.digest)}
    return conn.execute(Q["reopen"], params).rowcount == 1


def settle_healed(conn: Connection, finding_id: UUID, expected: Expected, stat: FileStat) -> None:
    """Record that good bytes stand in a file's place again, in the state ``stat``, and close what was found."""
    query = Q["settle_in_trash"] if expected.in_trash else Q["settle_healed"]
    conn.execute(query, {"id": expected.id, "digest": bytes.fromhex(expected.digest), **columns(stat)})
    findings.close_healed(conn, finding_id)
    findings.close_of_file(conn, expected.id, "healed")


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


def coverage(conn: Connection, days: int) -> dict[RepositoryId, Coverage]:
    """Return how much of each repository was verified within so many days."""
    with conn.cursor(row_factory=class_row(Coverage)) as cursor:
        return {one.repository_id: one for one in cursor.execute(Q["coverage"], {"days": days})}


def expected_rows(conn: Connection, query: LiteralString, params: dict[str, Any]) -> list[Expected]:
    """Return what a query with the columns of :class:`Expected` finds."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return [
            Expected(
                id=row["id"],
                repository_id=RepositoryId(row["repository_id"]),
                path=path_from_bytes(row["path"]),
                stat=file_stat(row),
                digest=Digest(row["digest"]),
                asset_id=AssetId(row["asset_id"]),
                position=(row["position"], row["id"]),
            )
            for row in cursor.execute(query, params)
        ]


def _one(conn: Connection, query: str, **params: object) -> tuple[Any, ...]:
    row = conn.execute(Q[query], params).fetchone()
    assert row is not None
    return row
