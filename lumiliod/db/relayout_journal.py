"""The journal of a re-layout: which file goes where, and what became of each move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.file_stat import file_stat
from lumiliod.db.pool import Connection
from lumiliod.db.relayout import NewRelayout
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import AssetId, Digest, RepoPath, path_bytes, path_from_bytes
from lumiliod.domain.text import storable

Q = Queries(__file__)

MoveState = Literal["pending", "done", "undone", "skipped"]


@dataclass(frozen=True, slots=True)
class NewMove:
    """A move to be made; ``owner_id`` is the record a sidecar follows, and such a one has neither asset nor digest."""

    record_id: UUID
    owner_id: UUID | None
    asset_id: UUID | None
    digest: Digest | None
    from_path: RepoPath
    to_path: RepoPath
    wanted: RepoPath


@dataclass(frozen=True, slots=True)
class Counts:
    """How many moves are in which state."""

    pending: int
    done: int
    undone: int
    skipped: int
    merged: int
    total: int


@dataclass(frozen=True, slots=True)
class Record:
    """Where the file of a move is on record, and its state there."""

    path: RepoPath
    outcome: str
    asset_id: AssetId | None
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the journal with the record of its file, None when that is gone."""

    seq: int
    record_id: UUID
    owner_id: UUID | None
    asset_id: AssetId | None
    digest: Digest | None
    from_path: RepoPath
    to_path: RepoPath
    wanted: RepoPath
    state: MoveState
    merged: bool
    record: Record | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A move that did not go as planned, or of which there is something to say."""

    seq: int
    from_path: bytes
    to_path: bytes
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class WayBack:
    """What undoing would do about one move: ``stays`` says why nothing, by the records."""

    from_path: bytes
    to_path: bytes
    merged: bool
    size_bytes: int
    stays: str | None


def insert(conn: Connection, row: NewRelayout, moves: Sequence[NewMove]) -> None:
    """Write a re-layout and every move it will make.

    Raises:
        Conflict: another one of this repository is not at its end (``relayout_open``).
    """
    params = {
        "id": row.id,
        "repository_id": row.repository_id,
        "from_strategy": row.from_strategy,
        "to_strategy": row.to_strategy,
        "verify": row.verify,
        "job_id": row.job_id,
    }
    if not conn.execute(Q["insert"], params).rowcount:
        raise Conflict("another re-layout of this repository is not at its end", code="relayout_open")
    add_moves(conn, row.id, moves)


def add_moves(conn: Connection, relayout_id: UUID, moves: Sequence[NewMove]) -> int:
    """Add moves to the end of the journal, those of files that are in it already left out; return how many."""
    last = conn.execute(Q["last_seq"], {"id": relayout_id}).fetchone()
    params = {
        "relayout_id": relayout_id,
        "after": last[0] if last else 0,
        "records": [move.record_id for move in moves],
        "owners": [move.owner_id for move in moves],
        "assets": [move.asset_id for move in moves],
        "digests": [move.digest for move in moves],
        "froms": [path_bytes(move.from_path) for move in moves],
        "tos": [path_bytes(move.to_path) for move in moves],
        "wanteds": [path_bytes(move.wanted) for move in moves],
    }
    return conn.execute(Q["add_moves"], params).rowcount


def planned(conn: Connection, relayout_id: UUID) -> set[UUID]:
    """Return the records that a journal has moves of."""
    return {row[0] for row in conn.execute(Q["planned"], {"id": relayout_id})}


def counts(conn: Connection, relayout_id: UUID) -> Counts:
    """Count the moves of a re-layout."""
    with conn.cursor(row_factory=class_row(Counts)) as cursor:
        found = cursor.execute(Q["counts"], {"id": relayout_id}).fetchone()
    assert found is not None
    return found


def troubles(conn: Connection, relayout_id: UUID, count: int) -> list[Trouble]:
    """Return moves of which there is something to say, in their order."""
    with conn.cursor(row_factory=class_row(Trouble)) as cursor:
        return cursor.execute(Q["troubles"], {"id": relayout_id, "count": count}).fetchall()


def ways_back(conn: Connection, relayout_id: UUID) -> list[WayBack]:
    """Return what undoing would do about each move, in its order."""
    with conn.cursor(row_factory=class_row(WayBack)) as cursor:
        return cursor.execute(Q["ways_back"], {"id": relayout_id}).fetchall()


def ahead(conn: Connection, relayout_id: UUID, after: int, count: int) -> list[int]:
    """Return moves that are still to be made, beyond ``after``, in their order."""
    return [row[0] for row in conn.execute(Q["ahead"], {"id": relayout_id, "after": after, "count": count})]


def behind(conn: Connection, relayout_id: UUID, before: int, count: int) -> list[int]:
    """Return moves that are still to be undone, before ``before``, the last first."""
    return [row[0] for row in conn.execute(Q["behind"], {"id": relayout_id, "before": before, "count": count})]


def move(conn: Connection, relayout_id: UUID, seq: int) -> Move:
    """Return one move with the record of its file."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(Q["move"], {"id": relayout_id, "seq": seq}).fetchone()
    assert row is not None
    found: dict[str, Any] = row
    return Move(
        seq=found["seq"],
        record_id=found["record_id"],
        owner_id=found["owner_id"],
        asset_id=found["asset_id"],
        digest=found["digest"],
        from_path=path_from_bytes(found["from_path"]),
        to_path=path_from_bytes(found["to_path"]),
        wanted=path_from_bytes(found["wanted"]),
        state=found["state"],
        merged=found["merged"],
        record=None if found["path"] is None else record_from(found, found["record_asset_id"]),
    )


def where_owner_went(
    conn: Connection, relayout_id: UUID, owner_id: UUID
) -> tuple[RepoPath, RepoPath, MoveState] | None:
    """Return from where to where the original of a sidecar goes, and how far that is."""
    row = conn.execute(Q["owner_move"], {"id": relayout_id, "record_id": owner_id}).fetchone()
    return (path_from_bytes(row[0]), path_from_bytes(row[1]), row[2]) if row else None


def end_move(
    conn: Connection,
    relayout_id: UUID,
    seen: Move,
    state: MoveState,
    *,
    to_path: RepoPath | None = None,
    record_id: UUID | None = None,
    merged: bool = False,
    reason: str | None = None,
) -> None:
    """Write what became of a move."""
    params = {
        "id": relayout_id,
        "seq": seen.seq,
        "state": state,
        "to_path": None if to_path is None else path_bytes(to_path),
        "record_id": record_id or seen.record_id,
        "merged": merged,
        "reason": storable(reason),
    }
    conn.execute(Q["end_move"], params)
    if record_id is not None:
        conn.execute(Q["follow"], {"id": relayout_id, "record_id": record_id, "before": seen.record_id})


def folders(conn: Connection, relayout_id: UUID, state: Literal["done", "undone"]) -> set[str]:
    """Return the folders that files have left: by moves that are ``done``, or ``undone``."""
    rows = conn.execute(Q["folders"], {"id": relayout_id, "state": state})
    left = {path_from_bytes(row[0] if state == "done" else row[1]) for row in rows}
    return {path.rpartition("/")[0] for path in left}


def misled(conn: Connection, relayout_id: UUID) -> list[UUID]:
    """Return given up jobs that looked for a file at the name it had before."""
    return [row[0] for row in conn.execute(Q["misled"], {"id": relayout_id})]


def record_from(row: dict[str, Any], asset_id: AssetId | None) -> Record:
    """Return where a file is on record, from the columns of its record."""
    return Record(path_from_bytes(row["path"]), row["outcome"], asset_id, file_stat(row))
