"""A library that does nothing but scan, and what is on the disk told independently of a walk."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from lumiliod.domain.ids import RepoPath, RepositoryId
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs import service
from lumiliod.library import tasks
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf

WAITING_S = 60

State = tuple[int, int, int, int]
"""Bytes, mtime in ns, inode, ctime in ns."""


@asynccontextmanager
async def scanning(shelf: Shelf) -> AsyncIterator[Runtime]:
    """Open the library and let its engine scan; what is found is not looked at."""
    async with shelves.opened(shelf) as rt, trio.open_nursery() as nursery:
        stop = trio.Event()
        await nursery.start(partial(service.serve, rt.jobs, {"maintenance": 1}, stop=stop, grace_s=5.0))
        yield rt
        stop.set()


async def scanned(rt: Runtime, shelf: Shelf, folder: str | None = None, *, deep: bool = True) -> dict[str, Any]:
    """Scan the repository, or a folder of it; return the result."""
    repository_id = RepositoryId(shelf.id)
    if folder is None:
        return await result_of(rt, kinds.scan_again(repository_id))
    return await result_of(rt, kinds.scan_folder(repository_id, RepoPath(folder), deep=deep))


async def result_of(rt: Runtime, job: NewJob) -> dict[str, Any]:
    return await ended(rt, await rt.jobs.call(kinds.enqueue_one, job))


async def ended(rt: Runtime, task_id: UUID) -> dict[str, Any]:
    """Wait until a job has ended; return its result."""
    with trio.fail_after(WAITING_S):
        while (task := await tasks.show(rt, task_id)).state not in {"completed", "discarded"}:
            await trio.sleep(0.01)
    assert task.result is not None, task
    return dict(task.result)


async def looked_at_first(rt: Runtime, shelf: Shelf, path: str) -> None:
    """Let the file at a path be looked at, and everything else when that has been."""
    its = "unique_key = (SELECT 'file:' || id FROM file_records WHERE path = convert_to(%s, 'UTF8'))"
    put_off = (
        "UPDATE jobs SET state = 'scheduled', scheduled_at = now() + interval '1 h' WHERE kind = 'ingest' AND NOT "
    )
    shelf.sql(put_off + its, path)
    async with shelves.serving(rt, {"ingest": 2}):
        await until(lambda: shelf.sql(f"SELECT 1 FROM jobs WHERE kind = 'ingest' AND {its}", path) == [])
    shelf.sql("UPDATE jobs SET scheduled_at = now() WHERE kind = 'ingest'")
    async with shelves.serving(rt, shelves.QUEUES):
        await shelves.idle(rt)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    with trio.fail_after(WAITING_S):
        while not holds():
            await trio.sleep(0.01)


def settled(shelf: Shelf) -> None:
    """Say of every file that it was looked at."""
    shelf.sql("UPDATE file_records SET outcome = 'unsupported', reason = 'no picture' WHERE outcome = 'pending'")
    shelf.sql("DELETE FROM jobs WHERE kind = 'ingest'")


def rested(shelf: Shelf) -> None:
    """Say of every record that it was written a while ago."""
    shelf.sql("UPDATE file_records SET updated_at = updated_at - interval '2 minutes'")


def versions(shelf: Shelf) -> set[tuple[object, ...]]:
    """Return which rows there are, each with what its next version would change."""
    rows = shelf.sql("SELECT 'f', id, ctid::text, xmin::text FROM file_records WHERE repository_id = %s", shelf.id)
    return {*rows, *shelf.sql("SELECT 'j', id, ctid::text, xmin::text FROM jobs WHERE kind = 'ingest'")}


def recorded(shelf: Shelf) -> dict[bytes, tuple[str, State]]:
    """Return what the records say of every file that is there: its outcome and state."""
    rows = shelf.sql(
        "SELECT path, outcome, size_bytes, mtime_ns, inode, ctime_ns FROM file_records"
        " WHERE repository_id = %s AND missing_since IS NULL",
        shelf.id,
    )
    return {path: (outcome, tuple(state)) for path, outcome, *state in rows}  # type: ignore[misc]


def asked_for(shelf: Shelf) -> set[object]:
    """Return the paths of files that a job is to look at."""
    rows = shelf.sql(
        "SELECT f.path FROM jobs j JOIN file_records f ON j.unique_key = 'file:' || f.id WHERE f.repository_id = %s"
        " AND j.args = jsonb_build_object('file', f.id::text, 'repository', f.repository_id::text)"
        " AND j.repository_id = f.repository_id AND j.state = 'available'",
        shelf.id,
    )
    return {path for (path,) in rows}


def on_disk(shelf: Shelf) -> dict[bytes, State]:
    """Return every file below the root that no name leaves out with its folder, and its state."""
    found: dict[bytes, State] = {}
    root, rule = os.fsencode(shelf.root), IgnoreRule()
    for folder, folders, names in os.walk(root):
        is_root = folder == root
        folders[:] = [
            name
            for name in folders
            if not (is_root and name == b".lumilio")
            and rule.reason(os.fsdecode(name)) is None
            and not os.path.lexists(os.path.join(folder, name, b".lumiliorepo"))
        ]
        for name in names:
            if not (is_root and name == b".lumiliorepo"):
                path = os.path.join(folder, name)
                state = os.lstat(path)
                inside = path[len(root) + 1 :]
                found[inside] = (state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns)
    return found


@contextmanager
def mounted_inside(source: Path, target: Path) -> Iterator[None]:
    """Mount a folder at another place; skips where that is not allowed."""
    if subprocess.run(["mount", "--bind", source, target], capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True)


@contextmanager
def failing_disk(target: Path) -> Iterator[None]:
    """Mount a file system that fails in the middle of its folder; skips where that is not allowed."""
    command = [sys.executable, str(Path(__file__).with_name("failing_disk.py")), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != b"mounted\n":
            process.wait()
            pytest.skip("mounting is not allowed")
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()
