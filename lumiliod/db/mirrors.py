"""Mirrors and the copies that were read back from them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from lumiliod.db.integrity import Expected, expected_rows
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import AssetId, Digest, RepositoryId, uuid7
from lumiliod.domain.text import storable

Q = Queries(__file__)

BEFORE_ALL = (dt.datetime(1, 1, 2, tzinfo=dt.UTC), Digest(""))
"""The position before every copy; see :func:`next_copies`."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A second place for a repository's originals; ``declared`` by its marker, not by a person."""

    id: UUID
    repository_id: RepositoryId
    location: str
    options: dict[str, str] = field(repr=False)
    declared: bool
    status: str
    status_reason: str | None
    introduced_at: dt.datetime | None
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was good when it was read at last."""

    digest: Digest
    size_bytes: int
    asset_id: AssetId | None
    verified_at: dt.datetime


@dataclass(frozen=True, slots=True)
class MirrorSize:
    """How much lies in a mirror; ``oldest_at`` is when the copy was read that was read longest ago."""

    mirror_id: UUID
    copies: int
    size_bytes: int
    oldest_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Line:
    """What a manifest says of one copy."""

    digest: Digest
    size_bytes: int
    asset_id: AssetId | None
    path: bytes | None
    filename: str | None


def insert(conn: Connection, repository_id: RepositoryId, location: str, options: Mapping[str, str]) -> Mirror:
    """Add a mirror, or make a person's what only a marker declared there.

    Raises:
        Conflict: the repository has one there (``exists``).
    """
    params = {"id": uuid7(), "repository_id": repository_id, "location": location, "options": Jsonb(dict(options))}
    row = conn.execute(Q["insert"], params).fetchone()
    if row is None:
        raise Conflict(f"there is a mirror at {location} already", code="exists")
    mirror = get(conn, row[0])
    assert mirror is not None
    return mirror


def declare(conn: Connection, wanted: Mapping[RepositoryId, str | None]) -> None:
    """Have the mirrors that markers name, and forget those they do not name any more; repositories left out stay."""
    params = {"repositories": list(wanted), "locations": list(wanted.values())}
    conn.execute(Q["undeclare"], params)
    named = {repository_id: location for repository_id, location in wanted.items() if location is not None}
    if named:
        ids = [uuid7() for _ in named]
        conn.execute(Q["declare"], {"ids": ids, "repositories": list(named), "locations": list(named.values())})


def all_rows(conn: Connection) -> list[Mirror]:
    """Return every mirror, by repository."""
    with conn.cursor(row_factory=class_row(Mirror)) as cursor:
        return cursor.execute(Q["all"]).fetchall()


def of_repository(conn: Connection, repository_id: RepositoryId) -> list[UUID]:
    """Return the mirrors of a repository."""
    return [row[0] for row in conn.execute(Q["of_repository"], {"repository_id": repository_id})]


def get(conn: Connection, mirror_id: UUID) -> Mirror | None:
    """Return one mirror."""
    with conn.cursor(row_factory=class_row(Mirror)) as cursor:
        return cursor.execute(Q["get"], {"id": mirror_id}).fetchone()


def remove(conn: Connection, mirror_id: UUID) -> bool:
    """Forget a mirror; what lies there stays. Tell whether there was one."""
    return conn.execute(Q["remove"], {"id": mirror_id}).rowcount == 1


def set_status(conn: Connection, mirror_id: UUID, status: str, reason: str | None = None) -> None:
    """Say how a mirror is: ``online | degraded | offline``; all but the first with a reason."""
    conn.execute(Q["set_status"], {"id": mirror_id, "status": status, "reason": storable(reason)})


def note_reached(conn: Connection, mirror_id: UUID) -> None:
    """Note that a mirror is there, with its mark."""
    conn.execute(Q["note_reached"], {"id": mirror_id})


# copies


def lacking(conn: Connection, mirror: Mirror, after: UUID, count: int) -> list[Expected]:
    """Return originals beyond ``after`` that a mirror has no copy of, by the id of their record."""
    params = {"mirror_id": mirror.id, "repository_id": mirror.repository_id, "after": after, "count": count}
    return expected_rows(conn, Q["lacking"], params)


def behind(conn: Connection, after: UUID, count: int) -> list[tuple[UUID, RepositoryId]]:
    """Return mirrors beyond ``after`` that lack something and that no job fills: missing work is a query."""
    rows = conn.execute(Q["behind"], {"after": after, "count": count})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def put_copy(conn: Connection, mirror_id: UUID, original: Expected) -> None:
    """Record a copy that was read back and is good."""
    params = {
        "mirror_id": mirror_id,
        "digest": bytes.fromhex(original.digest),
        "size_bytes": original.stat.size_bytes,
        "asset_id": original.asset_id,
    }
    conn.execute(Q["put_copy"], params)


def drop_copy(conn: Connection, mirror_id: UUID, digest: Digest) -> None:
    """Forget a copy that is not good: it is lacking now."""
    conn.execute(Q["drop_copy"], {"mirror_id": mirror_id, "digest": bytes.fromhex(digest)})


def stamp_copy(conn: Connection, mirror_id: UUID, digest: Digest) -> None:
    """Note that a copy was read and is good."""
    conn.execute(Q["stamp_copy"], {"mirror_id": mirror_id, "digest": bytes.fromhex(digest)})


def next_copies(
    conn: Connection, mirror_id: UUID, before: dt.datetime, after: tuple[dt.datetime, Digest], count: int
) -> list[Copy]:
    """Return copies last read before ``before``, the longest ago first, beyond the position ``after``."""
    params = {
        "mirror_id": mirror_id,
        "before": before,
        "after_at": after[0],
        "after_digest": bytes.fromhex(after[1]),
        "count": count,
    }
    with conn.cursor(row_factory=class_row(Copy)) as cursor:
        return cursor.execute(Q["next_copies"], params).fetchall()


def copies_bytes(conn: Connection, mirror_id: UUID) -> int:
    """Return the bytes of all copies in a mirror."""
    row = conn.execute(Q["copies_bytes"], {"mirror_id": mirror_id}).fetchone()
    return row[0] if row else 0


def copies_of(conn: Connection, digest: Digest) -> list[Mirror]:
    """Return the mirrors that have a copy of these bytes, the one verified last first."""
    with conn.cursor(row_factory=class_row(Mirror)) as cursor:
        return cursor.execute(Q["copies_of"], {"digest": bytes.fromhex(digest)}).fetchall()


def sizes(conn: Connection, only: UUID | None = None) -> dict[UUID, MirrorSize]:
    """Return how much lies in each mirror, or in one, that has anything."""
    with conn.cursor(row_factory=class_row(MirrorSize)) as cursor:
        return {size.mirror_id: size for size in cursor.execute(Q["sizes"], {"id": only})}


def lacking_counts(conn: Connection, only: UUID | None = None) -> dict[UUID, int]:
    """Return how many originals each mirror, or one, has no copy of; complete ones are left out."""
    return {row[0]: row[1] for row in conn.execute(Q["lacking_counts"], {"id": only})}


def fewer_copies(conn: Connection, wanted: int) -> tuple[int, int]:
    """Return of how many originals there are fewer copies than wanted, themselves included, and how many there are."""
    row = conn.execute(Q["fewer_copies"], {"wanted": wanted}).fetchone()
    return (row[0], row[1]) if row else (0, 0)


# manifests


def next_manifest(conn: Connection, mirror_id: UUID, full: int, count: int) -> tuple[UUID | None, list[Line]]:
    """Return the lines of the next manifest, up to ``count``, and the one it replaces; no lines when all is listed.

    A manifest with fewer than ``full`` entries is replaced.
    """
    row = conn.execute(Q["has_unlisted"], {"mirror_id": mirror_id}).fetchone()
    if not (row and row[0]):
        return None, []
    tail = conn.execute(Q["tail"], {"mirror_id": mirror_id, "full": full}).fetchone()
    replaced = tail[0] if tail else None
    params: dict[str, Any] = {"mirror_id": mirror_id, "replaced": replaced, "count": count}
    with conn.cursor(row_factory=class_row(Line)) as cursor:
        return replaced, cursor.execute(Q["unlisted"], params).fetchall()


def list_in(
    conn: Connection, mirror_id: UUID, manifest_id: UUID, digests: Sequence[Digest], replaced: UUID | None
) -> None:
    """Record a manifest that lies in the mirror, in the place of another."""
    params = {"id": manifest_id, "mirror_id": mirror_id, "entries": len(digests)}
    conn.execute(Q["put_manifest"], params)
    listed = [bytes.fromhex(digest) for digest in digests]
    conn.execute(Q["list_in"], {"mirror_id": mirror_id, "manifest_id": manifest_id, "digests": listed})
    if replaced is not None:
        conn.execute(Q["drop_manifest"], {"id": replaced})
