"""Repositories that come, go and move: where each lies, told apart by the identity in its marker."""

import os
from dataclasses import replace
from uuid import UUID

import trio

from lumiliod.contract.repositories import Attached, Attachment, Relocation
from lumiliod.db import jobs as db_jobs
from lumiliod.db import relayout as db_relayout
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import Conflict, NotFound, Permanent
from lumiliod.domain.ids import RepoPath, shown
from lumiliod.domain.repositories import RepositoryStatus, checked_name
from lumiliod.library import repositories, task_control
from lumiliod.pipeline import adopt, kinds, purge, schedules
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import repository as storage
from lumiliod.storage import roots
from lumiliod.storage.check import recorded

PAGE = 1000


async def relocate(rt: Runtime, ref: str, wanted: Relocation) -> Attached:
    """Go on with a repository whose folder was moved, or whose disk is mounted elsewhere; nothing is done again.

    Raises:
        NotFound: no such repository, or none lies there. Shape, Forbidden: none may lie there.
        Conflict: another one lies there (``another_repository``), its old folder is still there, so that one of them
            is a copy (``repository_copied``), it is there already (``exists``), or another process has it
            (``repository_in_use``).
    """
    async with rt.adding:
        row = rt.repositories.row(ref)
        root = await trio.to_thread.run_sync(_new_root, rt, row, wanted.path, limiter=rt.disk)
        return await _settled(rt, row, root)


async def attach(rt: Runtime, wanted: Attachment) -> Attached:
    """Take a detached repository back, wherever it lies now; or a copy as one of its own.

    Raises:
        NotFound: no marker lies there, or the library does not know it. Shape, Forbidden: none may lie there.
        Conflict: it is attached (``exists``), was moved without being detached (``repository_moved``), or is a copy
            of one that is there (``repository_copied``).
    """
    if wanted.as_new:
        return await _attach_as_new(rt, wanted)
    async with rt.adding:
        row, root = await trio.to_thread.run_sync(_known_at, rt, wanted.path, limiter=rt.disk)
        return await _settled(rt, row, root)


async def detach(rt: Runtime, ref: str) -> None:
    """Put a repository away: its assets stay and are offline, nothing looks for it, and its files are not touched.

    Raises:
        NotFound: no such repository. Conflict: it is detached (``already_detached``).
    """
    async with rt.adding:
        row = rt.repositories.row(ref)
        if row.status == RepositoryStatus.DETACHED:
            raise Conflict(f"the repository {row.name} is detached already", code="already_detached")
        away = replace(row, status=RepositoryStatus.DETACHED, status_reason=None)
        await rt.db.call(db_repositories.set_status, row.id, away.status, None)
        rt.repositories.put(away, None)
        rt.repositories.announce()
    await task_control.put_away(rt, row.id)
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)


def _new_root(rt: Runtime, row: RepositoryRow, path: str) -> str:
    marker = storage.peek(roots.existing(path))
    if marker.id != row.id:
        what = f"{shown(path)} is another repository, {marker.name}: its marker has another id"
        raise Conflict(what, code="another_repository")
    root = roots.moved(path, _others(rt, row), repositories.forbidden(rt))
    if rt.repositories.is_open(row.id) and root == row.root:
        raise Conflict(f"the repository {row.name} lies at {shown(root)} already", code="exists")
    if root != row.root and repositories.still_there(row, root):
        repositories.refuse_copy(row, root)
    return root


def _known_at(rt: Runtime, path: str) -> tuple[RepositoryRow, str]:
    """Return which repository lies at a path, and its real root."""
    marker = storage.peek(roots.existing(path))
    row = rt.repositories.known(marker.id)
    if row is None:
        raise NotFound(
            f"the library does not know {marker.name}, which lies there: lumilio repos add", code="repository_not_found"
        )
    root = roots.moved(path, _others(rt, row), repositories.forbidden(rt))
    if rt.repositories.is_open(row.id) and root == row.root:
        raise Conflict(f"the repository {row.name} is attached at {shown(root)}", code="exists")
    if root != row.root and (row.status != RepositoryStatus.DETACHED or repositories.still_there(row, root)):
        repositories.refuse_copy(row, root)
    return row, root


async def _settled(rt: Runtime, row: RepositoryRow, root: str) -> Attached:
    """Open a repository at ``root``, which was checked, and compare it with what is known: one scan."""
    rt.repositories.lose(row.id, f"it goes to {shown(root)}")
    try:
        opened = await trio.to_thread.run_sync(_opened, rt, row, root, limiter=rt.disk)
        await rt.db.call(db_repositories.set_root, row.id, root)
    except BaseException:
        rt.repositories.release(row.id)
        raise
    strategy = opened.repository.marker.storage_strategy
    now = replace(row, root=root, status=RepositoryStatus.ONLINE, status_reason=None, storage_strategy=strategy)
    rt.repositories.put(now, opened)
    rt.repositories.announce()
    await _take_up_inodes(rt, opened)
    await adopt.staged(rt, opened)
    await rt.jobs.call(db_jobs.hasten, opened.id)
    await rt.jobs.call(purge.take_up, opened.id)
    task = await rt.jobs.call(kinds.enqueue_one, kinds.scan_again(opened.id))
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    note = await rt.db.call(_halted, now)
    return Attached(repository=await repositories.show(rt, str(row.id)), task_id=task, note=note)


def _halted(conn: Connection, row: RepositoryRow) -> str | None:
    """Say which re-layout of a repository ended when it was put away, and how to go on."""
    db_relayout.halt(conn)
    last = db_relayout.latest(conn, row.id)
    if last is None or not last.halted or last.state not in db_relayout.OPEN:
        return None
    if last.state == "undoing":
        return f"a re-layout was being undone and is halted: lumilio repos relayout {row.name} --undo goes on"
    return (
        f"a re-layout to {last.to_strategy} is halted: lumilio repos relayout {row.name} --to {last.to_strategy} "
        f"goes on, --undo brings back what was moved"
    )


def _opened(rt: Runtime, row: RepositoryRow, root: str) -> Opened:
    return rt.repositories.open(storage.reopen(root, row.id, row.name))


async def _take_up_inodes(rt: Runtime, opened: Opened) -> None:
    """Where files are on another disk, take their numbers there for known: they are the same by size and time.

    A repository on the same disk, moved or mounted elsewhere, keeps them, and its first files tell so.
    """
    after: RepoPath | None = None
    while page := await rt.db.call(db_repositories.stats, opened.id, after, PAGE):
        inodes = await trio.to_thread.run_sync(_other_inodes, opened, page, limiter=rt.disk)
        if not inodes:
            return
        await rt.db.call(db_repositories.set_inodes, inodes)
        after = page[-1].path


def _other_inodes(opened: Opened, page: list[db_repositories.KnownFile]) -> dict[UUID, int]:
    found: dict[UUID, int] = {}
    for file in page:
        try:
            now = recorded(opened.backend.stat(file.path))
        except (NotFound, Permanent):
            continue
        if now != file.stat and replace(now, inode=file.stat.inode) == file.stat:
            found[file.id] = now.inode
    return found


async def _attach_as_new(rt: Runtime, wanted: Attachment) -> Attached:
    async with rt.adding:
        made = await trio.to_thread.run_sync(_renewed, rt, wanted, limiter=rt.disk)
        opened = await repositories.take_in(rt, made, made.name)
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    task = await rt.jobs.call(kinds.enqueue_one, kinds.scan_again(opened.id))
    return Attached(repository=await repositories.show(rt, str(opened.id)), task_id=task)


def _renewed(rt: Runtime, wanted: Attachment) -> storage.Repository:
    marker = storage.peek(roots.existing(wanted.path))
    name = checked_name(wanted.name or marker.name)
    for row in rt.repositories.rows():
        if row.name == name:
            message = f"there is a repository named {name} already: give this one another --name"
            raise Conflict(message, code="name_taken")
        if os.path.realpath(row.root) == os.path.realpath(wanted.path):
            message = f"{shown(wanted.path)} is the repository {row.name} itself, not a copy"
            raise Conflict(message, code="exists")
        if row.id == marker.id and not repositories.still_there(row, roots.existing(wanted.path)):
            repositories.refuse_copy(row, wanted.path)
    root = roots.moved(wanted.path, [row.root for row in rt.repositories.rows()], repositories.forbidden(rt))
    return storage.renew(root, name)


def _others(rt: Runtime, row: RepositoryRow) -> list[str]:
    return [other.root for other in rt.repositories.rows() if other.id != row.id]
