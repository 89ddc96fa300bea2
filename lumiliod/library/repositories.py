"""Repositories as people manage them."""

import os
from pathlib import Path
from uuid import UUID

import trio

from lumiliod import plugins
from lumiliod.contract.repositories import File, FilePage, NewRepository, Repository, RepositoryList, ScanTicket
from lumiliod.db import files as db_files
from lumiliod.db import job_admin
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import RepositoryRow, Size
from lumiliod.domain.assets import FileRecord, Outcome
from lumiliod.domain.errors import Conflict, NotFound, Shape
from lumiliod.domain.ids import RepositoryId, path_bytes, shown
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.library import convert
from lumiliod.pipeline import adopt, kinds, schedules
from lumiliod.runtime import Runtime
from lumiliod.storage import repository as storage
from lumiliod.storage.layout import GROUP as LAYOUTS


async def add(rt: Runtime, new: NewRepository) -> Repository:
    """Create a repository at a folder, or take in the one whose marker lies there.

    Raises:
        Shape, NotFound, Forbidden: the folder cannot be one.
        Conflict: its name or folder is known already.
    """
    strategy = new.storage_strategy or "date"
    if strategy not in plugins.names(LAYOUTS):
        raise Shape(f"storage_strategy is one of {', '.join(plugins.names(LAYOUTS))}", code="bad_storage_strategy")
    async with rt.adding:
        found = await trio.to_thread.run_sync(_create_or_open, rt, new, strategy, limiter=rt.disk)
        marker = found.marker
        row = RepositoryRow(
            id=marker.id,
            name=storage.checked_name(new.name or marker.name),
            root=found.root,
            storage_strategy=marker.storage_strategy,
            status=RepositoryStatus.ONLINE,
            status_reason=None,
            created_at=marker.created_at,
        )
        _refuse_known(rt, row.name, row.root, row.id)
        opened = await trio.to_thread.run_sync(rt.repositories.open, found, limiter=rt.disk)
        try:
            await rt.db.call(db_repositories.insert, row)
        except BaseException:
            rt.repositories.release(row.id)
            raise
        rt.repositories.put(row, opened)
    await adopt.staged(rt, opened)
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    return await show(rt, str(row.id))


def _create_or_open(rt: Runtime, new: NewRepository, strategy: str) -> storage.Repository:
    root = os.path.realpath(new.path) if new.path.startswith("/") else new.path
    _refuse_known(rt, new.name, root, None)
    try:
        return storage.open_repository(root)
    except NotFound as error:
        if error.code != "not_a_repository":
            raise
    return storage.create(
        root,
        new.name or Path(root).name,
        storage_strategy=strategy,
        known_roots=[row.root for row in rt.repositories.rows()],
        forbidden=[os.path.join(rt.config.state_dir, own) for own in ("postgres", "run")],
    )


def _refuse_known(rt: Runtime, name: str | None, root: str, repository_id: RepositoryId | None) -> None:
    for row in rt.repositories.rows():
        if row.root == root:
            raise Conflict(f"the library knows the repository at {shown(root)} already: {row.name}", code="exists")
        if row.id == repository_id:
            raise Conflict(
                f"{shown(root)} is a copy of the repository {row.name} at {shown(row.root)}: both have its id",
                code="repository_copied",
            )
        if name == row.name:
            raise Conflict(f"there is a repository named {name} already", code="name_taken")


async def list_all(rt: Runtime) -> RepositoryList:
    """Return every repository, by name."""
    sizes, scanning = await rt.db.call(_sizes_and_scans, None)
    return RepositoryList(items=[_wire(row, sizes, scanning) for row in rt.repositories.rows()])


async def show(rt: Runtime, ref: str) -> Repository:
    """Return one repository by name or id.

    Raises:
        NotFound: there is none.
    """
    row = rt.repositories.row(ref)
    sizes, scanning = await rt.db.call(_sizes_and_scans, row.id)
    return _wire(row, sizes, scanning)


async def files(rt: Runtime, ref: str, *, outcome: str | None, cursor: str | None, limit: int) -> FilePage:
    """Return what became of a repository's files, in the order of their paths.

    Raises:
        NotFound: no such repository. Shape: an unknown outcome, a bad limit or cursor.
    """
    row = rt.repositories.row(ref)
    if outcome is not None and outcome not in set(Outcome):
        raise Shape(f"outcome is one of {', '.join(Outcome)}", code="bad_outcome")
    after = convert.from_cursor(cursor, tuple[bytes])[0] if cursor else b""
    records = await rt.db.call(_page, row.id, outcome, after, convert.limited(limit) + 1)
    next_cursor = convert.cursor(path_bytes(records[limit - 1].path)) if len(records) > limit else None
    return FilePage(items=[_file(record) for record in records[:limit]], next_cursor=next_cursor)


async def scan(rt: Runtime, ref: str) -> ScanTicket:
    """Ask for a scan; one that waits already is the answer.

    Raises:
        NotFound: no such repository. Retryable: it is offline.
    """
    opened = rt.repositories.get(rt.repositories.row(ref).id)
    return ScanTicket(task_id=await rt.jobs.call(kinds.enqueue_one, kinds.scan(opened.id)))


def _page(
    conn: Connection, repository_id: RepositoryId, outcome: str | None, after: bytes, count: int
) -> list[FileRecord]:
    return db_files.page(conn, repository_id, outcome=outcome, after=after, count=count)


def _sizes_and_scans(conn: Connection, only: RepositoryId | None) -> tuple[dict[RepositoryId, Size], set[UUID]]:
    scans = job_admin.open_of_kind(conn, kinds.SCAN.kind)
    return db_repositories.sizes(conn, only), {scan["repository_id"] for scan in scans}


def _wire(row: RepositoryRow, sizes: dict[RepositoryId, Size], scanning: set[UUID]) -> Repository:
    size = sizes.get(row.id)
    return Repository(
        id=row.id,
        name=row.name,
        path=row.root,
        storage_strategy=row.storage_strategy,
        status=row.status,
        status_reason=row.status_reason,
        created_at=row.created_at,
        assets=size.assets if size else 0,
        files=size.files if size else 0,
        size_bytes=size.size_bytes if size else 0,
        scanning=row.id in scanning,
    )


def _file(record: FileRecord) -> File:
    return File(
        path=shown(record.path),
        outcome=record.outcome,
        reason=record.reason,
        asset_id=record.asset_id,
        size_bytes=record.stat.size_bytes,
    )
