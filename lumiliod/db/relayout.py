"""Re-layouts and their journal: which file of an inbox goes where, and what became of each move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from psycopg.rows import class_row, dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, path_bytes, path_from_bytes
from lumiliod.domain.text import storable

Q = Queries(__file__)

_INODE_MASK = (1 << 64) - 1

TURNED_AFTER_S = 1.0

State = Literal["running", "done", "undoing", "undone"]
MoveState = Literal["pending", "done", "undone", "skipped"]
OPEN: tuple[State, ...] = ("running", "undoing")


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file of an inbox as its record tells it, and what a layout may know of its asset."""

    id: UUID
    path: bytes
    outcome: str
    size_bytes: int
    is_missing: bool
    asset_id: UUID | None
    digest: str | None
    original_filename: str | None
    mime_type: str | None
    taken_at_local: datetime | None


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
class Relayout:
    """A re-layout; ``halted``: a person cancelled its job, and it goes on when a person wants it."""

    id: UUID
    repository_id: RepositoryId
    from_strategy: str
    to_strategy: str
    state: State
    verify: bool
    job_id: UUID
    halted: bool
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewRelayout:
    """A re-layout to be written; its job is made in the same transaction."""

    id: UUID
    repository_id: RepositoryId
    from_strategy: str
    to_strategy: str
    job_id: UUID
    verify: bool = False


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


def inbox(conn: Connection, repository_id: RepositoryId) -> list[InboxFile]:
    """Return every file of an inbox, the originals first, each group by path."""
    with conn.cursor(row_factory=class_row(InboxFile)) as cursor:
        return cursor.execute(Q["inbox"], {"repository_id": repository_id}).fetchall()


def staying(conn: Connection, repository_id: RepositoryId) -> tuple[int, int, int]:
    """Return what no layout touches: files of the user area, their bytes, and files in the trash."""
    row = conn.execute(Q["staying"], {"repository_id": repository_id}).fetchone()
    return (row[0], row[1], row[2]) if row else (0, 0, 0)


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


def get(conn: Connection, relayout_id: UUID) -> Relayout | None:
    """Return one re-layout."""
    with conn.cursor(row_factory=class_row(Relayout)) as cursor:
        return cursor.execute(Q["get"], {"id": relayout_id}).fetchone()


def latest(conn: Connection, repository_id: RepositoryId) -> Relayout | None:
    """Return a repository's last re-layout that was not undone; else its last."""
    with conn.cursor(row_factory=class_row(Relayout)) as cursor:
        return cursor.execute(Q["latest"], {"repository_id": repository_id}).fetchone()


def go_on(conn: Connection, relayout_id: UUID, state: State, job_id: UUID) -> None:
    """Have a re-layout done, or undone, by a new job."""
    conn.execute(Q["go_on"], {"id": relayout_id, "state": state, "job_id": job_id})


def halt(conn: Connection) -> None:
    """Note which re-layouts were cancelled."""
    conn.execute(Q["halt"])


def without_job(conn: Connection, after: UUID, count: int) -> list[tuple[UUID, RepositoryId]]:
    """Return re-layouts beyond ``after`` that are to go on and that no job does, by id."""
    rows = conn.execute(Q["without_job"], {"after": after, "count": count})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def set_job(conn: Connection, relayout_id: UUID, job_id: UUID) -> None:
    """Note which job does a re-layout."""
    conn.execute(Q["set_job"], {"id": relayout_id, "job_id": job_id})


def set_strategy(conn: Connection, repository_id: RepositoryId, strategy: str) -> None:
    """Note by which layout a repository goes; its marker decides."""
    conn.execute(Q["set_strategy"], {"id": repository_id, "strategy": strategy})


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
        record=None if found["path"] is None else _record(found, found["record_asset_id"]),
    )


def hold(conn: Connection, work: Relayout, seen: Move) -> tuple[MoveState, Record | None]:
    """Lock the asset, the move and the record of a file, in this order; return the state and the record as they are.

    Raises:
        Unavailable: the re-layout is undone now, or done, which its job finds when it comes again (``turned``).
    """
    relayout_id = work.id
    if seen.asset_id is not None:
        conn.execute(Q["lock_asset"], {"id": seen.asset_id})
    _check_course(conn.execute(Q["lock_relayout"], {"id": relayout_id}).fetchone(), work)
    row = conn.execute(Q["lock_move"], {"id": relayout_id, "seq": seen.seq}).fetchone()
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(Q["lock_record"], {"id": seen.record_id}).fetchone()
    state = cast("MoveState", row[0]) if row else "skipped"
    return state, None if found is None else _record(found, found["asset_id"])


def where_owner_went(
    conn: Connection, relayout_id: UUID, owner_id: UUID
) -> tuple[RepoPath, RepoPath, MoveState] | None:
    """Return from where to where the original of a sidecar goes, and how far that is."""
    row = conn.execute(Q["owner_move"], {"id": relayout_id, "record_id": owner_id}).fetchone()
    return (path_from_bytes(row[0]), path_from_bytes(row[1]), row[2]) if row else None


def taken(conn: Connection, repository_id: RepositoryId, seen: Move, paths: Sequence[RepoPath]) -> set[RepoPath]:
    """Return those of ``paths`` that records of other assets have."""
    params = {
        "repository_id": repository_id,
        "paths": [path_bytes(path) for path in paths],
        "record_id": seen.record_id,
        "asset_id": seen.asset_id,
    }
    return {path_from_bytes(row[0]) for row in conn.execute(Q["taken"], params)}


def is_in_use(conn: Connection, asset_id: AssetId) -> bool:
    """Tell whether a job is at work on an asset: it reads the file by its name."""
    row = conn.execute(Q["is_in_use"], {"asset_id": asset_id}).fetchone()
    return bool(row and row[0])


def of_asset_at(
    conn: Connection, repository_id: RepositoryId, asset_id: AssetId, paths: Sequence[RepoPath]
) -> tuple[UUID, RepoPath] | None:
    """Return the record of an asset at one of ``paths``, its original first."""
    params = {
        "repository_id": repository_id,
        "asset_id": asset_id,
        "paths": [path_bytes(path) for path in paths],
    }
    row = conn.execute(Q["of_asset_at"], params).fetchone()
    return (row[0], path_from_bytes(row[1])) if row else None


def put(
    conn: Connection, repository_id: RepositoryId, record_id: UUID, path: RepoPath, stat: FileStat
) -> AssetId | None:
    """Write where the file of a record lies now; a record that has the name gives way.

    Returns the asset that has lost its record so, unless it is the same.
    """
    place = {"repository_id": repository_id, "path": path_bytes(path)}
    before = conn.execute(Q["lock_record"], {"id": record_id}).fetchone()
    there = conn.execute(Q["at"], place).fetchone()
    displaced, promoted = None, False
    if there is not None and there[0] != record_id:
        asset_id = before[2] if before else None
        promoted = there[1] == "asset" and there[2] == asset_id
        displaced = there[2] if there[1] in ("asset", "duplicate") and there[2] != asset_id else None
        conn.execute(Q["drop_record"], {"id": there[0]})
    conn.execute(Q["close_findings"], {**place, "file_id": record_id})
    conn.execute(Q["move_findings"], {"path": place["path"], "file_id": record_id})
    conn.execute(Q["put_record"], {"id": record_id, "path": place["path"], "promoted": promoted, **_stat(stat)})
    return displaced


def merge(conn: Connection, repository_id: RepositoryId, record_id: UUID, kept: RepoPath) -> bool:
    """Drop the record of a file that was merged into that at ``kept``; False when that has no record of this asset."""
    ours = conn.execute(Q["lock_record"], {"id": record_id}).fetchone()
    there = conn.execute(Q["at"], {"repository_id": repository_id, "path": path_bytes(kept)}).fetchone()
    is_same = ours is not None and there is not None and there[2] == ours[2] and there[1] in ("asset", "duplicate")
    if ours is None or there is None or not is_same:
        return False
    conn.execute(Q["drop_record"], {"id": record_id})
    if ours[1] == "asset":
        conn.execute(Q["promote"], {"id": there[0]})
    return True


def add_record(conn: Connection, repository_id: RepositoryId, seen: Move, path: RepoPath, stat: FileStat) -> bool:
    """Record a further copy that is back at ``path``; False when its asset is gone."""
    params = {
        "id": seen.record_id,
        "repository_id": repository_id,
        "path": path_bytes(path),
        "digest": seen.digest,
        "asset_id": seen.asset_id,
        **_stat(stat),
    }
    return bool(conn.execute(Q["add_record"], params).rowcount)


def adopt(conn: Connection, repository_id: RepositoryId, seen: Move, stat: FileStat) -> bool:
    """Give a file that has none its record again, to be looked at anew; False when another one has its name."""
    place = {"repository_id": repository_id, "path": path_bytes(seen.from_path)}
    return bool(conn.execute(Q["adopt"], {"id": seen.record_id, **place, **_stat(stat)}).rowcount)


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


def finish(conn: Connection, work: Relayout) -> None:
    """Write that a re-layout, or its undoing, is at its end. Raises as :func:`hold`."""
    _check_course(conn.execute(Q["lock_relayout"], {"id": work.id}).fetchone(), work)
    conn.execute(Q["finish"], {"id": work.id, "state": "undone" if work.state == "undoing" else "done"})


def misled(conn: Connection, relayout_id: UUID) -> list[UUID]:
    """Return given up jobs that looked for a file at the name it had before."""
    return [row[0] for row in conn.execute(Q["misled"], {"id": relayout_id})]


def _check_course(row: tuple[Any, ...] | None, work: Relayout) -> None:
    if row is None or row[0] != work.state:
        raise Unavailable("this re-layout has been turned about", code="turned", after_s=TURNED_AFTER_S)


def _record(row: dict[str, Any], asset_id: AssetId | None) -> Record:
    stat = FileStat(row["size_bytes"], row["mtime_ns"], row["inode"] & _INODE_MASK)
    return Record(path_from_bytes(row["path"]), row["outcome"], asset_id, stat)


def _stat(stat: FileStat) -> dict[str, int]:
    inode = stat.inode - (1 << 64) if stat.inode >= 1 << 63 else stat.inode
    return {
        "size_bytes": stat.size_bytes,
        "mtime_ns": max(min(stat.mtime_ns, (1 << 63) - 1), -(1 << 63)),
        "inode": inode,
    }
