"""Whether files are still what was written of them: they may have changed while they were looked at.

A scan that passed meanwhile has met the change or its absence, and found the job that was still running; what that
writes afterwards would stand until the next one.
"""

import os
import stat
from collections.abc import Sequence

import trio

from lumiliod.db import files
from lumiliod.db import jobs as db_jobs
from lumiliod.db.file_stat import fitting
from lumiliod.domain.assets import FileRecord, FileStat
from lumiliod.domain.ids import RepoPath
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime

Written = tuple[FileRecord, FileStat | None]
"""A file as it was looked at, and the state that its record says now; None where it was forgotten."""


async def look_back(rt: Runtime, opened: Opened, written: Sequence[Written]) -> None:
    """Have the folders scanned of those files that are not what was written of them, after that was committed.

    A record that followed its file elsewhere meanwhile tells now what was seen at its old place.
    """
    if not written:
        return
    changed = await trio.to_thread.run_sync(_changed, opened, written, limiter=rt.disk)
    now = await rt.db.once(files.get_many, [record.id for record, _ in written])
    changed += [now[record.id].path for record, _ in written if record.id in now and now[record.id].path != record.path]
    folders = {RepoPath(path.rpartition("/")[0]) for path in changed}
    if folders:
        jobs = [kinds.scan_folder(opened.id, folder, deep=False) for folder in sorted(folders)]
        await rt.jobs.call(db_jobs.enqueue, jobs)


def _changed(opened: Opened, written: Sequence[Written]) -> list[RepoPath]:
    return [record.path for record, state in written if _state(opened.repository.absolute(record.path)) != _of(state)]


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        # a link in its place is the walk's to tell
        return None
    # not its inode, which some file systems make up anew at every look
    return found.st_size, fitting(found.st_mtime_ns)


def _of(state: FileStat | None) -> tuple[int, int] | None:
    return None if state is None else (state.size_bytes, fitting(state.mtime_ns))
