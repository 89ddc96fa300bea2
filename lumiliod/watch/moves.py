"""Files that somebody moved: a scan knows them by their inodes and does not read them again."""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from lumiliod.db import jobs as db_jobs
from lumiliod.db import moves
from lumiliod.db.file_stat import unsigned
from lumiliod.db.moves import Move, Moved
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.domain.sync import SyncType
from lumiliod.pipeline import kinds, sidecars
from lumiliod.storage import repository
from lumiliod.storage.local import stat_of
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
        if one.record_id in gone or one.path in places:
            continue
        try:
            there = _file_at(os.path.join(root, one.before))
        except OSError:
            continue
        if there is None or there.inode != unsigned(one.inode):
            gone[one.record_id] = replace(one, taken_by=there)
            places.add(one.path)
    if gone:
        repository.check_identity(repo)
    return list(gone.values())


def _file_at(path: bytes) -> FileStat | None:
    """Return which file lies at a path; None where there is none, or a folder."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(found.st_mode) else stat_of(found)


def follow(conn: Connection, repository_id: RepositoryId, generation: int, found: Sequence[Move]) -> Moved:
    """Have records follow their files, and sidecars that lie there follow them.

    What has taken their places, and has no record now, is looked for by a scan: this one may have passed it.
    """
    moved = moves.move(conn, repository_id, generation, found)
    if moved.followed:
        sidecars.beside(conn, [(repository_id, path_from_bytes(path), asset_id) for path, asset_id in moved.followed])
    db_jobs.enqueue(conn, [kinds.ingest_file(record_id, repository_id) for record_id in moved.to_read])
    places = {path for path, _ in moved.followed}
    taken = [one.before for one in found if one.taken_by and one.path in places]
    left = moves.unrecorded(conn, repository_id, taken) if taken else []
    folders = {path_from_bytes(path.rpartition(b"/")[0]) for path in left}
    if folders:
        parts = [(folder, False) for folder in sorted(folders)]
        db_jobs.enqueue(conn, [kinds.scan_folders(repository_id, parts, SyncType.REALTIME)])
    return moved
