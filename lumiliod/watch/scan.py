"""Scan: compare a repository's folders with its file records; what changed becomes ingest jobs."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db import moves, scans, sync
from lumiliod.db.moves import Moved
from lumiliod.db.pool import Connection
from lumiliod.db.scans import Held, Merged, Met
from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.sync import Part, SyncCounts, SyncStatus, SyncType, covers, unquoted
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import FIRST, Kind, each
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import repository
from lumiliod.watch import mounts
from lumiliod.watch import moves as moving
from lumiliod.watch.conclude import conclude, mark_ahead
from lumiliod.watch.turns import by_turns
from lumiliod.watch.walks import Walks

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 5000
AHEAD = 8
"""Pages that the walk may be ahead of their comparison."""
AT_ONCE, AT_ONCE_S = 4, 0.05
"""So many pages are walked in one go, unless that takes longer: a thread costs, there and back, what 250 files do."""

CLOSE_TIMEOUT_S = 5.0

BUSY_FIRST_S, BUSY_TRIES = 0.02, 8
"""How long others may be at work on a page's records: looked after so soon, then after twice as long, so many times."""


class Args(msgspec.Struct):
    """The repository to scan, and why.

    ``folder`` is a path in it, its bytes quoted as in a URL, for a scan of what lies below, or with ``deep`` false
    of the files in the folder itself; nothing else is concluded about then. ``folders`` are several such instead, each
    with its ``deep``, and ``folder`` the one that all lie in.
    """

    repository: UUID
    folder: str = ""
    deep: bool = True
    folders: list[tuple[str, bool]] = []
    why: SyncType = SyncType.MANUAL


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``scan``."""
    run = each(by_turns(rt, Args, scan))
    return Kind(kinds.SCAN.kind, kinds.SCAN.queue, run, limit_s=86_400, missing=kinds.missing_scans)


async def scan(rt: Runtime, opened: Opened, running: Running, wanted: Args) -> None:
    """Walk a repository or folders of it, enqueue what is new or changed, mark what a complete walk did not meet.

    When that is very much, it is held until a person has approved it.

    Raises:
        Unavailable: the root is offline; nothing is concluded from that.
        Shape: the folder is no path inside a repository (``bad_path``).
    """
    repo = opened.repository
    asked = wanted.folders or [(wanted.folder, wanted.deep)]
    parts = [(unquoted(folder), is_deep) for folder, is_deep in asked]
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    operation, generation = await rt.db.call(_begin, opened, running, wanted.why, parts)
    this = _Scan(rt, opened, running)
    try:
        # as it is now: another process may have changed it, and this one is yet to hear of that
        marker = await trio.to_thread.run_sync(repository.peek, repo.root, limiter=rt.disk)
        rule = IgnoreRule(marker.sync_settings.ignore_patterns)
        walk = Walks(repo, rule, rt.config.state_dir, parts)
        known = await rt.db.call(scans.mounts, opened.id)
        await this.compare(walk, generation)
        there, away = await trio.to_thread.run_sync(mounts.below, repo.root, known, limiter=rt.disk)
        walk.leave(away)
        if there | away != known:
            await rt.db.call(scans.set_mounts, opened.id, there | away)
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        await this.mark_ahead(walk, generation)
    except Exception as error:
        reason = error.message if isinstance(error, LumilioError) else "an internal error"
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await rt.db.call(partial(sync.end, error=reason), operation, this.counts, SyncStatus.FAILED)
        raise
    name = rt.repositories.name(opened.id)
    await running.complete(partial(conclude, opened.id, name, generation, operation, this.counts, walk))


def _begin(
    conn: Connection, opened: Opened, running: Running, why: SyncType, parts: Sequence[Part]
) -> tuple[UUID, int]:
    operation = sync.begin(conn, opened.id, why, *covers(parts), running.job.id)
    return operation, scans.next_generation(conn, opened.id)


class _Scan:
    """A scan under way: the walk is read ahead in a thread while the database compares what was met before."""

    def __init__(self, rt: Runtime, opened: Opened, running: Running) -> None:
        self.counts = SyncCounts()
        self._rt = rt
        self._opened = opened
        self._running = running
        self._keeps_inodes = False
        self._absent = 0

    async def compare(self, walk: Walks, generation: int) -> None:
        """Bring the records in step with everything that ``walk`` meets.

        Raises:
            LumilioError: what stopped it first.
        """
        root = self._opened.repository.root
        self._keeps_inodes = await trio.to_thread.run_sync(mounts.keeps_inodes, root, limiter=self._rt.disk)
        ahead, pages = trio.open_memory_channel[Met](AHEAD)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, walk, ahead)
                if walk.is_full:
                    nursery.start_soon(self._enqueue_lost)
                async with pages:
                    async for page in pages:
                        await self._compare_page(page, generation)
        except BaseExceptionGroup as group:
            raise _first_error(group) from None

    async def mark_ahead(self, walk: Walks, generation: int) -> None:
        """Leave so much of what is missing to the end of the job as one transaction should mark."""
        rt, repository_id = self._rt, self._opened.id
        if walk.unread:
            await rt.db.call(scans.note_unread, repository_id, generation, walk.unread)
        marked = int(self._absent > scans.STEP)
        while marked:
            marked = await rt.jobs.call(partial(mark_ahead, repository_id, generation, walk))
            self.counts = replace(self.counts, missing=self.counts.missing + marked)

    async def _read(self, walk: Walks, ahead: trio.MemorySendChannel[Met]) -> None:
        async with ahead:
            while some := await trio.to_thread.run_sync(_next_pages, walk, limiter=self._rt.disk):
                for page in some:
                    await ahead.send(page)

    async def _enqueue_lost(self) -> None:
        """Have files looked at that wait for it and whose jobs are lost or were given up."""
        lacks = await self._rt.db.once(scans.lacks_jobs, self._opened.id)
        after: UUID | None = FIRST if lacks else None
        while after is not None:
            lost, after = await self._rt.db.call(scans.pending_without_job, self._opened.id, after, PAGE)
            if lost:
                jobs = [kinds.ingest_file(file_id, self._opened.id) for file_id in lost]
                await self._rt.jobs.call(db_jobs.enqueue, jobs)

    async def _compare_page(self, page: Met, generation: int) -> None:
        rt, repository_id = self._rt, self._opened.id
        held: Held = await rt.db.once(scans.held, repository_id, page)
        merged, moved = Merged(0, 0, held.files), 0
        if held.digest != page.digest or held.to_retry:
            if page.paths:
                moved = await _when_free(partial(self._follow_moves, page, generation))
                merged = await self._merge(page, generation)
                if page.left_out:
                    await rt.db.call(scans.release_left_out, repository_id, list(page.left_out))
            else:
                merged = Merged(0, 0, 0)
            if held.files > merged.known - moved:
                after: bytes | None = page.stretch.after
                while after is not None:
                    noted, after = await rt.db.call(scans.note_absent, repository_id, generation, page, after)
                    self._absent += noted
        self.counts = replace(
            self.counts,
            found=self.counts.found + len(page.paths),
            added=self.counts.added + merged.added,
            changed=self.counts.changed + merged.changed,
            moved=self.counts.moved + moved,
            returned=self.counts.returned + merged.returned,
            ignored=self.counts.ignored + len(page.left_out),
        )
        await self._running.progress(self.counts.found, unit="files", text=self._opened.repository.name)

    async def _follow_moves(self, page: Met, generation: int) -> int:
        """Have the records of files that were moved into a page follow them; return how many did."""
        rt, opened = self._rt, self._opened
        found = await rt.db.once(moves.moved_here, opened.id, page) if self._keeps_inodes else []
        if found:
            found = await trio.to_thread.run_sync(moving.really, opened.repository, found, limiter=rt.disk)
        if not found:
            return 0
        moved: Moved = await rt.jobs.call(moving.follow, opened.id, generation, found)
        self._absent += moved.absent
        return len(moved.followed)

    async def _merge(self, page: Met, generation: int) -> Merged:
        """Record what is new or changed, also where others are at work on the records, once they are done.

        Raises:
            Retryable: they are not (``database_busy``).
        """
        repository_id, call, keeps = self._opened.id, self._rt.jobs.call, self._keeps_inodes
        like = kinds.ingest_file(repository_id, repository_id)
        merged = await _when_free(lambda: call(scans.merge, repository_id, generation, page, like, keeps))
        for number in range(BUSY_TRIES):
            if not merged.left:
                return merged
            await trio.sleep(BUSY_FIRST_S * 2**number)
            left = scans.part(page, set(merged.left))
            merged = merged.and_then(await call(scans.merge, repository_id, generation, left, like, keeps))
        raise Retryable("others are at work on what a scan has met", code="database_busy")


def _next_pages(walk: Walks) -> list[Met]:
    """Walk on for a little; return no page at the end."""
    pages, until_s = list[Met](), time.monotonic() + AT_ONCE_S
    while len(pages) < AT_ONCE and (page := walk.next_page(PAGE)) is not None:
        pages.append(page)
        if time.monotonic() > until_s:
            break
    return pages


async def _when_free(act: Callable[[], Awaitable[T]]) -> T:
    """Do it, again where somebody was in its way and the database has given precedence to the other.

    Raises:
        Retryable: somebody is each time (``database_busy``).
    """
    for _ in range(BUSY_TRIES):
        try:
            return await act()
        except Retryable as error:
            if error.code != "database_busy":
                raise
    return await act()


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that stopped it; cancellation only when there is nothing else."""
    return next((error for error in _leaves(group) if not isinstance(error, trio.Cancelled)), group)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
