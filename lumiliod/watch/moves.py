"""Files that somebody moved: a scan knows them by their inodes and does not read them again."""

import os
from collections.abc import Sequence
from uuid import UUID

from lumiliod.db import moves
from lumiliod.db.file_stat import unsigned
from lumiliod.db.moves import Move
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.pipeline import sidecars
from lumiliod.storage import repository
from lumiliod.storage.repository import Repository


def really(repo: Repository, found: Sequence[Move]) -> list[Move]:
    """Return those whose file is not where its record says, one for each record and each place. Blocks.

    Raises:
        Unavailable: the repository is not there: nothing is concluded from what is missing in it.
    """
    root = os.fsencode(repo.root)
    gone: dict[UUID, Move] = {}
    places = set[bytes]()
    for one in found:
        if one.record_id not in gone and one.path not in places and not _is_there(root, one):
            gone[one.record_id] = one
            places.add(one.path)
    if gone:
        repository.check_identity(repo)
    return list(gone.values())


def _is_there(root: bytes, one: Move) -> bool:
    try:
        there = os.lstat(os.path.join(root, one.before))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return there.st_ino == unsigned(one.inode)


def follow(conn: Connection, repository_id: RepositoryId, generation: int, found: Sequence[Move]) -> int:
    """Have records follow their files, and sidecars that lie there follow them; return how many did."""
    moved = moves.move(conn, repository_id, generation, found)
    if moved:
        sidecars.beside(conn, [(repository_id, path_from_bytes(path), asset_id) for path, asset_id in moved])
    return len(moved)
