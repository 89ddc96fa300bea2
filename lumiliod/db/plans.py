"""Plans: what a scan would do, file by file, without doing it; the last one of each repository is kept."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.encoding import bytes_array, plain_array
from lumiliod.db.moves import Move, Occupant, left_to, possible, to_make_way
from lumiliod.db.pool import Connection
from lumiliod.db.scans import STEP, Met, below
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import RepoPath, RepositoryId, path_bytes
from lumiliod.domain.sync import SyncScope

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan, in files; see ``contract.sync.SyncPlan`` for meanings. ``folder`` is a path's bytes."""

    id: UUID
    repository_id: RepositoryId
    scope: str
    folder: bytes
    found: int
    ignored: int
    added: int
    updated: int
    moved: int
    returned: int
    retired: int
    would_hold: bool
    note: str | None
    started_at: dt.datetime
    finished_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """What would become of the file at ``path``, by its bytes."""

    action: str
    path: bytes
    from_path: bytes | None
    size_bytes: int


def begin(conn: Connection, plan_id: UUID, repository_id: RepositoryId, scope: SyncScope, folder: RepoPath) -> None:
    """Begin a plan, in place of the repository's last one."""
    params = {"id": plan_id, "repository_id": repository_id, "scope": scope, "folder": path_bytes(folder)}
    conn.execute(Q["forget"], params)
    conn.execute(Q["sweep"])
    conn.execute(Q["begin"], params)


def compare(
    conn: Connection,
    plan_id: UUID,
    repository_id: RepositoryId,
    page: Met,
    moves: Sequence[Move],
    keeps_inodes: bool = True,
) -> int:
    """Tell what would become of the files that a walk met in a stretch; return how many have a record of one there.

    Args:
        conn: a transaction.
        plan_id: the plan.
        repository_id: where the files are.
        page: what the walk met.
        moves: records of files that were moved there, as far as an earlier page has not taken them.
        keeps_inodes: whether another inode is another file; some file systems make them up whenever they are mounted.
    """
    moves, made_way = _possible(conn, plan_id, repository_id, moves) if moves else (moves, [])
    params = _where(plan_id, repository_id, page)
    params |= {"paths": bytes_array(page.paths), "left_out": bytes_array(page.left_out), "keeps_inodes": keeps_inodes}
    for name, column in zip(("sizes", "mtimes", "inodes", "ctimes"), page.columns, strict=True):
        params[name] = plain_array(map(str, column))
    row = conn.execute(Q["compare"], params).fetchone()
    if moves:
        conn.execute(Q["move"], {"plan_id": plan_id} | _moving(moves))
    if made_way:
        firsts = [first.record_id for _, first in made_way]
        conn.execute(Q["make_way"], {"plan_id": plan_id, "firsts": firsts} | to_make_way(made_way))
    return int(row[0]) if row else 0


def _possible(
    conn: Connection, plan_id: UUID, repository_id: RepositoryId, moves: Sequence[Move]
) -> tuple[Sequence[Move], list[tuple[Occupant, Move]]]:
    movable = {row[0] for row in conn.execute(Q["movable"], {"plan_id": plan_id} | _moving(moves))}
    moves = [one for one in moves if one.record_id in movable]
    where = {"plan_id": plan_id, "repository_id": repository_id, "paths": [one.path for one in moves]}
    rows = conn.execute(Q["occupied"], where).fetchall()
    at = {place: (Occupant(*row), makes_way) for place, makes_way, *row in rows}
    yielding = {one.id: one for one, makes_way in at.values() if makes_way}
    occupied = {place: one.id for place, (one, _) in at.items()}
    moves = possible(moves, occupied, yielding)
    return moves, [(yielding[record_id], first) for record_id, first in left_to(moves, occupied).items()]


def _moving(moves: Sequence[Move]) -> dict[str, object]:
    return {
        "ids": [one.record_id for one in moves],
        "before": [one.before for one in moves],
        "paths": [one.path for one in moves],
    }


def note_absent(
    conn: Connection, plan_id: UUID, repository_id: RepositoryId, page: Met, after: bytes | None = None
) -> bytes | None:
    """Tell which files of a stretch the walk has not met; return where to go on, None at its end."""
    where = _where(plan_id, repository_id, page)
    if after is not None:
        where["after"] = after
    row = conn.execute(Q["step"], where | {"count": STEP}).fetchone()
    if row is not None:
        where["until"] = row[0]
    conn.execute(Q["note_absent"], where | {"paths": bytes_array(page.paths)})
    return row[0] if row is not None else None


def forget_unread(conn: Connection, plan_id: UUID, unread: Iterable[RepoPath]) -> None:
    """Say nothing of what lies below folders that could not be read."""
    conn.execute(Q["forget_unread"], {"plan_id": plan_id} | below(unread))


def forget_left(conn: Connection, plan_id: UUID) -> None:
    """Say of files that were moved nothing else, and of those that lie where they were that they are new."""
    conn.execute(Q["take_over"], {"plan_id": plan_id})
    conn.execute(Q["forget_left"], {"plan_id": plan_id})
    conn.execute(Q["forget_taken"], {"plan_id": plan_id})


def count_retired(conn: Connection, plan_id: UUID, repository_id: RepositoryId) -> tuple[int, int]:
    """Return how many files are not there, and how many of those nothing holds yet."""
    row = conn.execute(Q["count_retired"], {"plan_id": plan_id, "repository_id": repository_id}).fetchone()
    assert row is not None
    return row[0], row[1]


def spare_held(conn: Connection, plan_id: UUID, repository_id: RepositoryId) -> None:
    """Say nothing of files that are held: a scan leaves them as they are."""
    conn.execute(Q["spare_held"], {"plan_id": plan_id, "repository_id": repository_id})


def finish(conn: Connection, plan_id: UUID, found: int, ignored: int, would_hold: bool, note: str | None) -> None:
    """End a plan and count its entries."""
    params = {"id": plan_id, "found": found, "ignored": ignored, "would_hold": would_hold, "note": note}
    conn.execute(Q["finish"], params)


def plan(conn: Connection, plan_id: UUID) -> PlanRow | None:
    """Return a plan; None when there is none, or another has taken its place."""
    with conn.cursor(row_factory=class_row(PlanRow)) as cursor:
        return cursor.execute(Q["plan"], {"id": plan_id}).fetchone()


def entries(conn: Connection, plan_id: UUID, action: str | None, after: bytes, count: int) -> Sequence[EntryRow]:
    """Return what would become of files, in the order of their paths' bytes, beyond ``after``."""
    params = {"id": plan_id, "action": action, "after": after, "count": count}
    with conn.cursor(row_factory=class_row(EntryRow)) as cursor:
        return cursor.execute(Q["entries"], params).fetchall()


def _where(plan_id: UUID, repository_id: RepositoryId, page: Met) -> dict[str, object]:
    stretch = page.stretch
    return {
        "plan_id": plan_id,
        "repository_id": repository_id,
        "after": stretch.after,
        "until": stretch.until,
        "name_at": stretch.name_at,
    }
