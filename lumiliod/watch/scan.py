"""Scan: compare a repository's folders with its file records; what changed becomes ingest jobs."""

import logging
from dataclasses import replace
from functools import partial
from uuid import UUID

import msgspec
import trio

from lumiliod.db import files
from lumiliod.db import jobs as db_jobs
from lumiliod.db.files import SeenFile, SyncCounts
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import shown
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import repository
from lumiliod.watch.walk import Walk

log = logging.getLogger(__name__)

PAGE = 1000
CLOSE_TIMEOUT_S = 5.0

HOLD_SHARE, HOLD_FILES = 0.20, 50
"""More than a fifth and more than fifty files gone at once is not believed (an unmounted disk looks like that)."""


class Args(msgspec.Struct):
    """The repository to scan, and whether a person has approved that much is missing."""

    repository: UUID
    approved: bool = False


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``scan``."""

    async def run(running: Running) -> None:
        wanted = running.decoded(Args)
        opened = rt.repositories.get(wanted.repository)
        with reaching(rt.repositories, opened):
            await scan(rt, opened, running, approved=wanted.approved)

    return Kind(kinds.SCAN.kind, kinds.SCAN.queue, each(run), limit_s=86_400, missing=kinds.missing_scans)


async def scan(rt: Runtime, opened: Opened, running: Running, *, approved: bool = False) -> None:
    """Walk the whole repository, enqueue what is new or changed, and mark what a complete walk did not meet.

    When that is very much, it is marked only where a person has ``approved`` it.

    Raises:
        Unavailable: the root is offline; nothing is concluded from that.
    """
    repo = opened.repository
    await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    operation = await rt.db.call(files.begin_sync, opened.id, "full")
    counts = SyncCounts()
    try:
        generation = await rt.db.call(files.next_generation, opened.id)
        # as it is now: another process may have changed it, and this one is yet to hear of that
        marker = await trio.to_thread.run_sync(repository.peek, repo.root, limiter=rt.disk)
        rule = IgnoreRule(marker.sync_settings.ignore_patterns)
        walk = Walk(repo, rule, rt.config.state_dir)
        while page := await trio.to_thread.run_sync(walk.next_page, PAGE, limiter=rt.disk):
            added, pending = await rt.jobs.call(_record_page, opened, generation, page)
            ignored = sum(file.outcome == "ignored" for file in page)
            counts = replace(
                counts,
                found=counts.found + len(page),
                added=counts.added + added,
                changed=counts.changed + max(pending - added, 0),
                ignored=counts.ignored + ignored,
            )
            await running.progress(counts.found, unit="files", text=repo.name)
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    except Exception as error:
        reason = error.message if isinstance(error, LumilioError) else "an internal error"
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await rt.db.call(files.end_sync, operation, counts, reason)
        raise
    await running.complete(partial(_conclude, opened, generation, operation, counts, walk, approved))


def _record_page(conn: Connection, opened: Opened, generation: int, page: list[SeenFile]) -> tuple[int, int]:
    recorded = files.seen(conn, opened.id, generation, page)
    pending = [found for found in recorded if found.pending]
    db_jobs.enqueue(conn, [kinds.ingest_file(found.id, opened.id) for found in pending])
    return sum(found.added and found.pending for found in recorded), len(pending)


def _conclude(
    opened: Opened, generation: int, operation: UUID, counts: SyncCounts, walk: Walk, approved: bool, conn: Connection
) -> Result:
    unread = list(walk.unread)
    unseen, known = files.count_unseen(conn, opened.id, generation, unread)
    notes: list[str] = []
    if unread:
        first = f"{shown(unread[0])[:200] or '.'} ({walk.unread[unread[0]]})"
        notes.append(f"{len(unread)} folders could not be read, the first {first}; nothing below is marked missing")
    if walk.too_long:
        notes.append(f"{walk.too_long} paths are too long")
    if unseen > HOLD_FILES and unseen > known * HOLD_SHARE and not approved:
        notes.append(
            f"{unseen} of {known} files are missing at once; that is held until a person approves it: "
            f"lumilio repos approve-deletions {opened.repository.name}"
        )
    elif unseen:
        counts = replace(counts, missing=files.mark_missing(conn, opened.id, generation, unread))
    note = "; ".join(notes) or None
    files.end_sync(conn, operation, counts, note)
    return {"found": counts.found, "added": counts.added, "changed": counts.changed, "missing": counts.missing,
            "ignored": counts.ignored, "note": note}  # fmt: skip
