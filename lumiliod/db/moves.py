"""Files that were moved within a repository by somebody: told by their inodes, without being read."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from lumiliod.db import trash
from lumiliod.db.encoding import bytes_array, plain_array
from lumiliod.db.pool import Connection
from lumiliod.db.scans import Met
from lumiliod.db.sql import Queries
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
    is_taken: bool = False
    """Whether another file lies where it was."""


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


def move(
    conn: Connection, repository_id: RepositoryId, generation: int, moves: Sequence[Move]
) -> tuple[list[tuple[bytes, AssetId]], list[UUID]]:
    """Have records say where their files lie now, those of a folder in one statement.

    What changed since is left to the scan, as is a place where another file has its record still.

    Returns:
        The places of those that followed, and their assets; the records of those that could not, and are to be looked
        at.
    """
    trash.hold(conn, *(one.asset_id for one in moves))
    held = {"ids": [one.record_id for one in moves], "before": [one.before for one in moves]}
    rows = conn.execute(Q["hold_moving"], held | {"inodes": [one.inode for one in moves]})
    unchanged = {row[0] for row in rows}
    moves = [one for one in moves if one.record_id in unchanged]
    where = {"repository_id": repository_id, "paths": [one.path for one in moves]}
    occupied: dict[bytes, UUID] = dict(conn.execute(Q["at_paths"], where).fetchall())
    following = possible(moves, occupied)
    if left := {one.record_id for one in moves if one.is_taken} - {one.record_id for one in following}:
        conn.execute(Q["doubt"], {"ids": list(left)})
    moves = following
    if not moves:
        return [], list(left)
    moving = {one.record_id for one in moves}
    if in_the_way := [occupied[one.path] for one in moves if one.path in occupied]:
        assert moving.issuperset(in_the_way)
        conn.execute(Q["park"], {"ids": in_the_way})
    params = {
        "generation": generation,
        "ids": [one.record_id for one in moves],
        "paths": [one.path for one in moves],
        "ctimes": [one.ctime_ns for one in moves],
    }
    return [(path, AssetId(asset_id)) for path, asset_id in conn.execute(Q["move"], params)], list(left)


def unrecorded(conn: Connection, repository_id: RepositoryId, paths: Sequence[bytes]) -> list[bytes]:
    """Return those of ``paths`` that no record has."""
    where = {"repository_id": repository_id, "paths": list(paths)}
    recorded = {path for path, _ in conn.execute(Q["at_paths"], where)}
    return [path for path in paths if path not in recorded]


def possible(moves: Sequence[Move], occupied: dict[bytes, UUID]) -> list[Move]:
    """Return those whose place is free, or becomes so by another of them."""
    while True:
        moving = {one.record_id for one in moves}
        possible = [one for one in moves if one.path not in occupied or occupied[one.path] in moving]
        if len(possible) == len(moves):
            return possible
        moves = possible
