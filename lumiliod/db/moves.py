"""Files that were moved within a repository by somebody: told by their inodes, without being read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db import trash
from lumiliod.db.encoding import bytes_array, plain_array
from lumiliod.db.file_stat import fitting, unsigned
from lumiliod.db.pool import Connection
from lumiliod.db.scans import Met
from lumiliod.db.sql import Queries
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import AssetId, RepositoryId

Q = Queries(__file__)

LINKS = 8
"""Records of one inode that are looked at: hard links of one file."""


@dataclass(frozen=True, slots=True)
class Move:
    """A record of a file that a walk has met elsewhere: where it was, and where it is now."""

    record_id: UUID
    asset_id: AssetId
    before: bytes
    path: bytes
    inode: int
    mtime_ns: int
    ctime_ns: int
    taken_by: FileStat | None = None
    """The file that lies where it was, if one does."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of moves."""

    followed: list[tuple[bytes, AssetId]]
    """Where records have followed their files to, and their assets."""
    to_read: list[UUID]
    """Records that are to be looked at."""
    absent: int = 0
    """Records whose place another's file has taken, and whose own was not met yet."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A record at a place to which another's file was moved, and that may make way."""

    id: UUID
    asset_id: AssetId | None
    path: bytes
    inode: int
    size_bytes: int
    mtime_ns: int
    is_asset: bool

    def is_home(self, first: Move) -> bool:
        """Tell whether its file lies where that of ``first`` was; of what is no asset, names decide what it is."""
        found = first.taken_by
        if found is None or not self.is_asset or found.inode != unsigned(self.inode):
            return False
        return (found.size_bytes, fitting(found.mtime_ns)) == (self.size_bytes, self.mtime_ns)


def moved_here(conn: Connection, repository_id: RepositoryId, page: Met) -> list[Move]:
    """Return records whose files may have been moved to where a walk met them: they lie there no more if they were.

    Of files in the inbox, and of such as a finding is open for, there are none; nor of file systems' inodes that are
    not kept is anything known here.
    """
    params = {
        "repository_id": repository_id,
        "paths": bytes_array(page.paths),
        "after": page.stretch.after,
        "until": page.stretch.until,
        "left_out": bytes_array(page.left_out),
        "links": LINKS,
    }
    for name, column in zip(("sizes", "mtimes", "inodes", "ctimes"), page.columns, strict=True):
        params[name] = plain_array(map(str, column))
    return [Move(*row) for row in conn.execute(Q["moved_here"], params)]


def move(conn: Connection, repository_id: RepositoryId, generation: int, moves: Sequence[Move]) -> Moved:
    """Have records say where their files lie now, those of a folder in one statement.

    A record that is in the way, and whose own file was not met, makes way: the file at its place is another's for
    certain. What changed since is left to the scan. Where times are of whole seconds, as from a card, other files may
    have the same: then the content is to be read after all.
    """
    moves, occupied, yielding = _held(conn, repository_id, moves)
    following = possible(moves, occupied, yielding)
    doubted = {one.record_id for one in moves if one.taken_by} - {one.record_id for one in following}
    if doubted:
        conn.execute(Q["doubt"], {"ids": list(doubted)})
    if not following:
        return Moved([], list(doubted))
    if in_the_way := [occupied[one.path] for one in following if one.path in occupied]:
        conn.execute(Q["park"], {"ids": in_the_way})
    params = {
        "generation": generation,
        "ids": [one.record_id for one in following],
        "paths": [one.path for one in following],
        "ctimes": [one.ctime_ns for one in following],
    }
    followed = [(path, AssetId(asset_id)) for path, asset_id in conn.execute(Q["move"], params)]
    made_way = [(yielding[record_id], first) for record_id, first in left_to(following, occupied).items()]
    if made_way:
        where = {"repository_id": repository_id, "generation": generation}
        conn.execute(Q["make_way"], where | to_make_way(made_way))
    home = [(one, first) for one, first in made_way if one.is_home(first)]
    followed += [(first.before, one.asset_id) for one, first in home if one.asset_id]
    unsure = [one.record_id for one in following if _is_whole(one.mtime_ns)]
    unsure += [one.id for one, _ in home if _is_whole(one.mtime_ns)]
    return Moved(followed, [*doubted, *unsure], len(made_way) - len(home))


def _held(
    conn: Connection, repository_id: RepositoryId, moves: Sequence[Move]
) -> tuple[list[Move], dict[bytes, UUID], dict[UUID, Occupant]]:
    """Lock what moves and what may make way; return those that are still what they were, and all that is in the way."""
    where = {"repository_id": repository_id, "paths": [one.path for one in moves]}
    with conn.cursor(row_factory=class_row(Occupant)) as cursor:
        yielding = {one.id: one for one in cursor.execute(Q["in_the_way"], where)}
    trash.hold(conn, *(one.asset_id for one in moves), *(one.asset_id for one in yielding.values()))
    places = {one.id: (one.path, one.inode) for one in yielding.values()}
    places |= {one.record_id: (one.before, one.inode) for one in moves}
    before, inodes = (list(column) for column in zip(*places.values(), strict=True))
    rows = conn.execute(Q["hold_moving"], {"ids": list(places), "before": before, "inodes": inodes})
    unchanged: dict[UUID, bool] = dict(rows.fetchall())
    occupied: dict[bytes, UUID] = dict(conn.execute(Q["at_paths"], where).fetchall())
    return (
        [one for one in moves if unchanged.get(one.record_id)],
        occupied,
        {id_: one for id_, one in yielding.items() if id_ in unchanged},
    )


def to_make_way(made_way: Sequence[tuple[Occupant, Move]]) -> dict[str, list[Any]]:
    """Return what statements want to know of records that make way, each with the move whose former place it gets."""
    return {
        "ids": [one.id for one, _ in made_way],
        "paths": [first.before for _, first in made_way],
        "are_home": [one.is_home(first) for one, first in made_way],
        "are_taken": [first.taken_by is not None for _, first in made_way],
    }


def _is_whole(time_ns: int) -> bool:
    return time_ns % 1_000_000_000 == 0


def left_to(moves: Sequence[Move], occupied: Mapping[bytes, UUID]) -> dict[UUID, Move]:
    """Return to whose former place each record goes that makes way: the first one's of those that follow each other."""
    moving = {one.record_id for one in moves}
    to = {occupied[one.path]: one for one in moves if one.path in occupied}
    left = dict[UUID, Move]()
    for record_id in to.keys() - moving:
        first = to[record_id]
        while first.record_id in to:
            first = to[first.record_id]
        left[record_id] = first
    return left


def unrecorded(conn: Connection, repository_id: RepositoryId, paths: Sequence[bytes]) -> list[bytes]:
    """Return those of ``paths`` that no record has."""
    where = {"repository_id": repository_id, "paths": list(paths)}
    recorded = {path for path, _ in conn.execute(Q["at_paths"], where)}
    return [path for path in paths if path not in recorded]


def possible(moves: Sequence[Move], occupied: Mapping[bytes, UUID], yielding: Collection[UUID]) -> list[Move]:
    """Return those whose place is free, or becomes so by another of them, or by a record that makes way."""
    while True:
        moving = {one.record_id for one in moves}.union(yielding)
        possible = [one for one in moves if one.path not in occupied or occupied[one.path] in moving]
        if len(possible) == len(moves):
            return possible
        moves = possible
