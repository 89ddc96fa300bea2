"""Files that somebody moved: a scan knows them by their inodes and does not read them again."""

import os
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from lumiliod.db import jobs as db_jobs
from lumiliod.db import moves
from lumiliod.db.file_stat import unsigned
from lumiliod.db.moves import Move
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.domain.sync import SyncType
from lumiliod.pipeline import kinds, sidecars
from lumiliod.storage import repository
from lumiliod.storage.repository import Repository

UNKNOWN = -1


def really(repo: Repository, found: Sequence[Move]) -> list[Move]:
    """Return those whose file is not where its record says, one for each record and each place. Blocks.

    Raises:
        Unavailable: the repository is not there: nothing is concluded from what is missing in it.
    """
    root = os.fsencode(repo.root)
    gone: dict[UUID, Move] = {}
    places = set[bytes]()
    for one in found:
        if one.record_id in gone or one.path in places:
            continue
        inode = _inode_at(os.path.join(root, one.before))
        if inode is None or inode not in (UNKNOWN, unsigned(one.inode)):
            gone[one.record_id] = replace(one, is_taken=inode is not None)
            places.add(one.path)
    if gone:
        repository.check_identity(repo)
    return list(gone.values())


def _inode_at(path: bytes) -> int | None:
    """Return which file lies at a path, ``UNKNOWN`` where that cannot be told; None where there is none."""
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return UNKNOWN


def follow(conn: Connection, repository_id: RepositoryId, generation: int, found: Sequence[Move]) -> int:
    """Have records follow their files, and sidecars that lie there follow them; return how many did.

    What has taken their places, and has no record now, is looked for by a scan: this one may have passed it. Where
    times are of whole seconds, as from a card, other files may have the same: then the content is read after all.
    """
    moved, doubted = moves.move(conn, repository_id, generation, found)
    if moved:
        sidecars.beside(conn, [(repository_id, path_from_bytes(path), asset_id) for path, asset_id in moved])
    places = {path for path, _ in moved}
    unsure = [one.record_id for one in found if one.path in places and one.mtime_ns % 1_000_000_000 == 0]
    db_jobs.enqueue(conn, [kinds.ingest_file(record_id, repository_id) for record_id in [*unsure, *doubted]])
    taken = [one.before for one in found if one.is_taken and one.path in places]
    left = moves.unrecorded(conn, repository_id, taken) if taken else []
    folders = {path_from_bytes(path.rpartition(b"/")[0]) for path in left}
    if folders:
        parts = [(folder, False) for folder in sorted(folders)]
        db_jobs.enqueue(conn, [kinds.scan_folders(repository_id, parts, SyncType.REALTIME)])
    return len(moved)
