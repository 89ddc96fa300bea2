"""The watcher of one repository: what happens in a folder has that folder scanned.

An event only says where to look. Where the system tells nothing, or allows no watch, all is scanned now and then.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from lumiliod.db import jobs as db_jobs
from lumiliod.db import sync
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.sync import SyncType
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, WatchState, reaching
from lumiliod.storage import repository
from lumiliod.watch import mounts, tree
from lumiliod.watch.changes import Changes
from lumiliod.watch.tree import Tree

log = logging.getLogger(__name__)

_T = TypeVar("_T")

DEBOUNCES_MAX = 10
"""After so many times the debounce what is known is looked at, though more goes on happening."""

RETRY_FIRST_S, RETRY_MAX_S = 1.0, 60.0
REWATCH_S = 3600.0
"""How often watches are tried again though their limit is as it was: others may have given theirs back."""

SCAN_SHARE = 20.0
"""Polling takes a twentieth of the time at most."""


async def watch(rt: Runtime, opened: Opened) -> None:
    """Have what changes in a repository scanned, until cancelled; how that is done stands on ``rt.watching``."""
    delay_s, cause = RETRY_FIRST_S, SyncType.STARTUP
    while True:
        why = await trio.to_thread.run_sync(mounts.why_polled, opened.repository.root, limiter=rt.disk)
        if why is not None:
            rt.note_watch(opened, WatchState.POLLING, why)
            await _poll(rt, opened, "", cause)
            cause = SyncType.RECONCILIATION
            continue
        began = trio.current_time()
        try:
            await _follow(rt, opened, cause)
        except Unavailable as error:
            log.warning("watching ends", extra={"repository": opened.repository.name, "reason": error.message})
            if error.code == "watch_limit":
                rt.note_watch(opened, WatchState.POLLING, error.message, is_lacking=True)
                await _poll(rt, opened, str(error.detail["sysctl"]), cause)
                cause = SyncType.RECONCILIATION
                continue
            rt.note_watch(opened, WatchState.DEGRADED, error.message, is_lacking=True)
        # what was watched and is no longer: that is an event, too
        cause = SyncType.REALTIME
        if trio.current_time() - began > RETRY_MAX_S:
            delay_s = RETRY_FIRST_S
        await trio.sleep(delay_s)
        delay_s = min(delay_s * 2, RETRY_MAX_S)


async def _follow(rt: Runtime, opened: Opened, cause: SyncType) -> None:
    """Watch every folder and have scanned what changes, until something was not told; ``cause``: why it begins.

    Raises:
        Unavailable: it cannot be watched, or is offline.
    """
    rule = IgnoreRule(opened.repository.marker.sync_settings.ignore_patterns)
    folders = Tree(opened.repository.root, rule, rt.config.state_dir)
    try:
        with reaching(rt.repositories, opened):
            await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)
        await trio.to_thread.run_sync(folders.open, limiter=rt.disk)
        # what happened before
        await _enqueue(rt, [kinds.scan_again(opened.id, cause)])
        rt.note_watch(opened, WatchState.WATCHING)
        while not (changes := await _told(rt, folders)).is_lost:
            await _enqueue(rt, changes.scans(opened.id))
    finally:
        folders.close()
    log.warning("events were lost; all is scanned", extra={"repository": opened.repository.name})
    rt.note_watch(opened, WatchState.DEGRADED, "the system lost events; everything is looked at again")


async def _told(rt: Runtime, folders: Tree) -> Changes:
    """Wait until something has happened and then nothing for a while; return what it was."""
    debounce_s = rt.config.watch.debounce_ms / 1000
    changes, latest = Changes(), math.inf
    # what is readable is taken before a deadline that has passed is looked at
    while not changes.is_lost and trio.current_time() < latest:
        until = min(latest, trio.current_time() + debounce_s) if changes else math.inf
        with trio.move_on_at(until) as quiet:
            await trio.lowlevel.wait_readable(folders.fileno())
        if quiet.cancelled_caught:
            break
        changes.add(await trio.to_thread.run_sync(folders.take, limiter=rt.disk))
        if changes:
            latest = min(latest, trio.current_time() + DEBOUNCES_MAX * debounce_s)
    return changes


async def _poll(rt: Runtime, opened: Opened, sysctl: str, cause: SyncType) -> None:
    """Have everything scanned now and then, until the limit that ``sysctl`` names may allow watching."""
    before, rewatch_at = tree.limit(sysctl) if sysctl else "", trio.current_time() + REWATCH_S
    while True:
        await _enqueue(rt, [kinds.scan_again(opened.id, cause)])
        cause = SyncType.RECONCILIATION
        await trio.sleep(min(await _interval_s(rt, opened), REWATCH_S if sysctl else math.inf))
        if sysctl and (tree.limit(sysctl) != before or trio.current_time() >= rewatch_at):
            return


async def _interval_s(rt: Runtime, opened: Opened) -> float:
    """Return when to scan again: as the marker says, more rarely where that takes long."""
    settings = opened.repository.marker.sync_settings
    if not settings.quick_scan_interval_s:
        return math.inf
    took_s = await _patiently(lambda: rt.db.call(sync.last_full_s, opened.id))
    return min(max(settings.quick_scan_interval_s, SCAN_SHARE * took_s), settings.full_scan_interval_s or math.inf)


async def _enqueue(rt: Runtime, jobs: list[NewJob]) -> None:
    await _patiently(lambda: rt.jobs.call(db_jobs.enqueue, jobs))


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask the database until it is there; what happens meanwhile waits in the system's queue."""
    delay_s = RETRY_FIRST_S
    while True:
        try:
            return await ask()
        except Unavailable:
            await trio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)
