"""Repositories as people manage them."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import trio

from lumiliod import plugins
from lumiliod.contract.repositories import (
    File,
    FilePage,
    NewRepository,
    Repository,
    RepositoryChange,
    RepositoryList,
    RepositorySettings,
    ScanTicket,
    Watch,
)
from lumiliod.db import files as db_files
from lumiliod.db import job_admin
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection
from lumiliod.db.repositories import RepositoryRow, Size
from lumiliod.domain.assets import FileRecord, Outcome
from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Shape
from lumiliod.domain.ids import RepositoryId, path_bytes, shown
from lumiliod.domain.repositories import Marker, RepositoryStatus, checked_name
from lumiliod.library import convert
from lumiliod.pipeline import adopt, kinds, schedules
from lumiliod.runtime import Opened, Runtime, WatchState, reaching
from lumiliod.storage import repository as storage
from lumiliod.storage.layout import GROUP as LAYOUTS

CLOSE_TIMEOUT_S = 5.0


async def add(rt: Runtime, new: NewRepository) -> Repository:
    """Create a repository at a folder, or take in the one whose marker lies there.

    Raises:
        Shape, NotFound, Forbidden: the folder cannot be one.
        Conflict: its name or folder is known already; or it lies elsewhere (:func:`refuse_copy`).
    """
    strategy = new.storage_strategy or "date"
    if strategy not in plugins.names(LAYOUTS):
        raise Shape(f"storage_strategy is one of {', '.join(plugins.names(LAYOUTS))}", code="bad_storage_strategy")
    async with rt.adding:
        found = await trio.to_thread.run_sync(_create_or_open, rt, new, strategy, limiter=rt.disk)
        opened = await take_in(rt, found, checked_name(new.name or found.name))
    await adopt.staged(rt, opened)
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    return await show(rt, str(opened.id))


async def take_in(rt: Runtime, found: storage.Repository, name: str) -> Opened:
    """Have the library know a repository from now on; the caller holds ``rt.adding``.

    Raises:
        Conflict: its name, folder or id is known already, or another process has it (``repository_in_use``).
    """
    marker = found.marker
    row = RepositoryRow(
        id=marker.id,
        name=name,
        root=found.root,
        storage_strategy=marker.storage_strategy,
        status=RepositoryStatus.ONLINE,
        status_reason=None,
        created_at=marker.created_at,
    )
    await trio.to_thread.run_sync(_refuse_known, rt, row.name, row.root, row.id, limiter=rt.disk)
    opened = await trio.to_thread.run_sync(rt.repositories.open, found, limiter=rt.disk)
    try:
        await rt.db.call(db_repositories.insert, row)
    except BaseException:
        rt.repositories.release(row.id)
        raise
    rt.repositories.put(row, opened)
    return opened


async def change(rt: Runtime, ref: str, wanted: RepositoryChange) -> Repository:
    """Change a repository's settings, in its marker and for the running daemon at once: all of them or none.

    What was left out by other patterns or another size limit is looked at by a scan.

    Raises:
        NotFound: no such repository. Shape, Conflict: its name cannot be, or is taken.
        Unavailable: it is offline or detached, or its disk or the database takes nothing now; then nothing has changed.
    """
    async with rt.adding:
        row = rt.repositories.row(ref)
        opened = rt.repositories.get(row.id)
        name = checked_name(wanted.name) if wanted.name is not None else None
        if any(other.name == name and other.id != opened.id for other in rt.repositories.rows()):
            raise Conflict(f"there is a repository named {name} already", code="name_taken")
        marker = _changed(opened.repository.marker, wanted, name)
        settled = replace(opened, repository=replace(opened.repository, marker=marker))
        with reaching(rt.repositories, opened):
            try:
                await rt.jobs.call(_settle, opened, settled, name)
            except BaseException:
                # the marker may be written and the rows not: the commit failed, or whoever asked has gone
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                    await trio.to_thread.run_sync(_put_back, opened.repository, limiter=rt.disk)
                raise
        rt.repositories.put(replace(row, name=name or row.name), settled)
    return await show(rt, str(opened.id))


def _settle(conn: Connection, opened: Opened, settled: Opened, name: str | None) -> None:
    """Change the rows, then the marker, then commit."""
    before, after = opened.repository.marker, settled.repository.marker
    if name is not None:
        db_repositories.set_name(conn, opened.id, name)
    schedules.declare_scan(conn, settled)
    old, new = before.sync_settings.ignore_patterns, after.sync_settings.ignore_patterns
    if old != new or before.local_settings.max_file_size_kb != after.local_settings.max_file_size_kb:
        kinds.enqueue_one(conn, kinds.scan_again(opened.id))
    # workers go by the marker, too
    db_repositories.tell(conn)
    storage.check_identity(opened.repository)
    storage.save(opened.repository, after)


def _put_back(repo: storage.Repository) -> None:
    """Have the marker say again what it said before, as far as its disk allows. Blocks."""
    with suppress(LumilioError):
        if storage.peek(repo.root) != repo.marker:
            storage.save(repo, repo.marker)


def _changed(marker: Marker, wanted: RepositoryChange, name: str | None) -> Marker:
    """Return a marker with what is wanted; what is not mentioned stays."""
    local: dict[str, Any] = {
        "max_file_size_kb": wanted.max_file_size_kb,
        "handle_duplicate_filenames": wanted.handle_duplicate_filenames,
        "preserve_original_filename": wanted.preserve_original_filename,
    }
    sync: dict[str, Any] = {
        "ignore_patterns": None if wanted.ignore_patterns is None else tuple(wanted.ignore_patterns),
        "quick_scan_interval_s": wanted.quick_scan_interval_s,
        "full_scan_interval_s": wanted.full_scan_interval_s,
    }
    return replace(
        marker,
        name=name or marker.name,
        local_settings=replace(marker.local_settings, **_given(local)),
        sync_settings=replace(marker.sync_settings, **_given(sync)),
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def forbidden(rt: Runtime) -> list[str]:
    """Return the daemon's own folders, where no repository lies."""
    return [os.path.join(rt.config.state_dir, own) for own in ("postgres", "run")]


def refuse_copy(row: RepositoryRow, root: str) -> None:
    """Refuse a folder with the identity of a repository that is known to lie elsewhere. Blocks.

    Raises:
        Conflict: that one is still there, so this is a copy (``repository_copied``); or it is not, so this is where
            it was moved (``repository_moved``).
    """
    if still_there(row, root):
        raise Conflict(
            f"{shown(root)} is a copy of the repository {row.name} at {shown(row.root)}: both have its id; "
            f"lumilio repos attach --as-new makes it one of its own",
            code="repository_copied",
            repository=row.name,
            known_root=shown(row.root),
        )
    raise Conflict(
        f"the repository {row.name} was moved from {shown(row.root)}: lumilio repos relocate {row.name} {shown(root)}",
        code="repository_moved",
        repository=row.name,
        known_root=shown(row.root),
    )


def still_there(row: RepositoryRow, root: str) -> bool:
    """Tell whether a repository lies at its known root, in another folder than ``root``. Blocks.

    What cannot be told counts as there.
    """
    try:
        return storage.lies_at(row.root, row.id) and not Path(row.root).samefile(root)
    except (LumilioError, OSError):
        return True


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
        forbidden=forbidden(rt),
    )


def _refuse_known(rt: Runtime, name: str | None, root: str, repository_id: RepositoryId | None) -> None:
    for row in rt.repositories.rows():
        if row.root == root:
            raise Conflict(f"the library knows the repository at {shown(root)} already: {row.name}", code="exists")
        if row.id == repository_id:
            refuse_copy(row, root)
        if name == row.name:
            raise Conflict(f"there is a repository named {name} already", code="name_taken")


async def list_all(rt: Runtime) -> RepositoryList:
    """Return every repository, by name."""
    sizes, scanning = await rt.db.call(_sizes_and_scans, None)
    return RepositoryList(items=[_wire(rt, row, sizes, scanning) for row in rt.repositories.rows()])


async def show(rt: Runtime, ref: str) -> Repository:
    """Return one repository by name or id.

    Raises:
        NotFound: there is none.
    """
    row = rt.repositories.row(ref)
    sizes, scanning = await rt.db.call(_sizes_and_scans, row.id)
    return _wire(rt, row, sizes, scanning)


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
    """Ask for a scan; one that waits already is the answer, and one that runs is followed by it.

    Raises:
        NotFound: no such repository. Retryable: it is offline.
    """
    opened = rt.repositories.get(rt.repositories.row(ref).id)
    return ScanTicket(task_id=await rt.jobs.call(kinds.enqueue_one, kinds.scan_again(opened.id)))


def _page(
    conn: Connection, repository_id: RepositoryId, outcome: str | None, after: bytes, count: int
) -> list[FileRecord]:
    return db_files.page(conn, repository_id, outcome=outcome, after=after, count=count)


def _sizes_and_scans(conn: Connection, only: RepositoryId | None) -> tuple[dict[RepositoryId, Size], set[UUID]]:
    scans = job_admin.open_of_kind(conn, kinds.SCAN.kind)
    return db_repositories.sizes(conn, only), {scan["repository_id"] for scan in scans}


def _wire(rt: Runtime, row: RepositoryRow, sizes: dict[RepositoryId, Size], scanning: set[UUID]) -> Repository:
    size = sizes.get(row.id)
    marker = rt.repositories.get(row.id).repository.marker if rt.repositories.is_open(row.id) else None
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
        settings=_settings(marker) if marker is not None else None,
        watch=watch(rt, row),
    )


def watch(rt: Runtime, row: RepositoryRow) -> Watch | None:
    """Return how changes in a repository are noticed; None where nobody watches."""
    if not rt.config.watch.enabled or row.status == RepositoryStatus.DETACHED:
        return None
    if not rt.repositories.is_open(row.id):
        return Watch(state=WatchState.OFFLINE, reason=row.status_reason)
    watched = rt.watched.get(row.id)
    if watched is None:
        return Watch(state=WatchState.DEGRADED, reason="its folders are being looked through")
    return Watch(state=watched.state, reason=watched.reason, since=watched.since)


def _settings(marker: Marker) -> RepositorySettings:
    sync, local = marker.sync_settings, marker.local_settings
    return RepositorySettings(
        max_file_size_kb=local.max_file_size_kb,
        handle_duplicate_filenames=local.handle_duplicate_filenames,
        preserve_original_filename=local.preserve_original_filename,
        ignore_patterns=list(sync.ignore_patterns),
        quick_scan_interval_s=sync.quick_scan_interval_s,
        full_scan_interval_s=sync.full_scan_interval_s,
    )


def _file(record: FileRecord) -> File:
    return File(
        path=shown(record.path),
        outcome=record.outcome,
        reason=record.reason,
        asset_id=record.asset_id,
        size_bytes=record.stat.size_bytes,
    )
