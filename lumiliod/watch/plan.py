"""Plan: what a scan would do, told and not done."""

from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod.db import held, moves, plans, scans
from lumiliod.db.moves import Move
from lumiliod.db.pool import Connection
from lumiliod.db.scans import Held, Met
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import path_from_bytes
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.sync import HOLD_FILES, Verdict, covers, unquoted
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import repository
from lumiliod.watch import mounts
from lumiliod.watch.conclude import judge, notes_of
from lumiliod.watch.moves import really
from lumiliod.watch.turns import by_turns
from lumiliod.watch.walk import Walk
from lumiliod.watch.walks import AWAY

PAGE = 5000


class Args(msgspec.Struct):
    """The repository, and a folder of it, its bytes quoted as in a URL; empty: everything."""

    repository: UUID
    folder: str = ""


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``plan``."""
    return Kind(kinds.PLAN.kind, kinds.PLAN.queue, each(by_turns(rt, Args, plan)), limit_s=86_400)


async def plan(rt: Runtime, opened: Opened, running: Running, wanted: Args) -> None:
    """Walk a repository or a folder of it and tell, page by page, what a scan would do; nothing else is written.

    Raises:
        Unavailable: the root is offline; nothing is told.
        Shape: the folder is no path inside a repository (``bad_path``).
        Conflict: another process has begun another plan of the repository (``plan_replaced``).
    """
    repo, folder = opened.repository, unquoted(wanted.folder)
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    plan_id = running.job.id
    await rt.db.call(plans.begin, plan_id, opened.id, *covers([(folder, True)]))
    marker = await trio.to_thread.run_sync(repository.peek, repo.root, limiter=rt.disk)
    walk = Walk(repo, IgnoreRule(marker.sync_settings.ignore_patterns), rt.config.state_dir, folder)
    found = ignored = 0
    keeps_inodes = await trio.to_thread.run_sync(mounts.keeps_inodes, repo.root, limiter=rt.disk)
    while page := await trio.to_thread.run_sync(walk.next_page, PAGE, limiter=rt.disk):
        await _compare(rt, opened, plan_id, page, keeps_inodes)
        found, ignored = found + len(page.paths), ignored + len(page.left_out)
        await running.progress(found, unit="files", text=repo.name)
    known = await rt.db.call(scans.mounts, opened.id)
    _, away = await trio.to_thread.run_sync(mounts.below, repo.root, known, limiter=rt.disk)
    walk.unread.update((path_from_bytes(place), AWAY) for place in away)
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    await running.complete(partial(_finish, opened, plan_id, walk, found, ignored))


async def _compare(rt: Runtime, opened: Opened, plan_id: UUID, page: Met, keeps_inodes: bool) -> None:
    known: Held = await rt.db.once(scans.held, opened.id, page)
    if known.digest == page.digest and not known.to_retry:
        return
    met, found = 0, list[Move]()
    if page.paths and keeps_inodes:
        found = await rt.db.once(moves.moved_here, opened.id, page)
    if found:
        found = await trio.to_thread.run_sync(really, opened.repository, found, limiter=rt.disk)
    if page.paths:
        met = await rt.db.call(plans.compare, plan_id, opened.id, page, found, keeps_inodes)
    after: bytes | None = page.stretch.after if known.files > met else None
    while after is not None:
        after = await rt.db.call(plans.note_absent, plan_id, opened.id, page, after)


def _finish(opened: Opened, plan_id: UUID, walk: Walk, found: int, ignored: int, conn: Connection) -> Result:
    is_full = walk.is_full
    plans.forget_unread(conn, plan_id, walk.unread)
    plans.forget_left(conn, plan_id)
    absent, new = plans.count_retired(conn, plan_id, opened.id)
    row = next(iter(held.held(conn, opened.id)), None)
    known = scans.count_present(conn, opened.id) if new > HOLD_FILES or (row and is_full) else 0
    following = (held.lock(conn, opened.id) or 0) + 1
    verdict = judge(row, absent, new, known, is_full=is_full, generation=following)
    if verdict in (Verdict.KEEP, Verdict.BELIEVE_NEW):
        plans.spare_held(conn, plan_id, opened.id)
    note = "; ".join(notes_of(walk)) or None
    plans.finish(conn, plan_id, found, ignored, verdict is Verdict.HOLD, note)
    ended = plans.plan(conn, plan_id)
    if ended is None:
        raise Conflict("another plan of this repository has begun meanwhile", code="plan_replaced")
    return {"found": found, "added": ended.added, "updated": ended.updated, "moved": ended.moved,
            "returned": ended.returned, "retired": ended.retired, "ignored": ignored,
            "would_hold": ended.would_hold, "note": note}  # fmt: skip
