"""The periodic jobs that the code declares."""

from lumiliod.db.pool import Connection
from lumiliod.domain.schedules import MAX_EVERY_S, MAX_JITTER_S, Schedule, Timing
from lumiliod.jobs import schedule
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Repositories

SCAN_PREFIX = "scan:"

JITTER_SHARE = 0.05
"""Of the interval between scans: repositories that came together are not scanned together for ever."""


def declare_repositories(conn: Connection, repositories: Repositories) -> None:
    """Have every open repository scanned as often as its marker says, and forget those that are gone.

    One that is offline keeps its schedule: its marker cannot be read, and a scan waits until it is back.
    """
    scans = {opened.id: full_scan(opened) for opened in repositories.online()}
    schedule.declare(conn, [scan for scan in scans.values() if scan is not None])
    known = {row.id for row in repositories.rows()} | set(scans)
    keep = [f"{SCAN_PREFIX}{one}" for one in known if one not in scans or scans[one] is not None]
    schedule.undeclare(conn, SCAN_PREFIX, keep=keep)


def full_scan(opened: Opened) -> Schedule | None:
    """Return a repository's periodic scan; None when its ``full_scan_interval`` is nought."""
    interval_s = opened.repository.marker.sync_settings.full_scan_interval_s
    if interval_s <= 0:
        return None
    every_s = int(min(max(1.0, interval_s), MAX_EVERY_S))
    timing = Timing(every_s=every_s, jitter_s=min(int(every_s * JITTER_SHARE), MAX_JITTER_S))
    return Schedule(f"{SCAN_PREFIX}{opened.id}", timing, kinds.scan(opened.id))
