"""The periodic jobs that the code declares."""

import os

from lumiliod.db import mirrors
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Shape
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.domain.schedules import MAX_EVERY_S, MAX_JITTER_S, Schedule, Timing, zone_named
from lumiliod.domain.sync import NIGHTLY_S, SyncType
from lumiliod.jobs import schedule
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Repositories
from lumiliod.storage.mirrors import declared_location

SCAN_PREFIX = "scan:"
TRASH = "trash-purge"
SCRUB = "scrub"
DAY_S = 86_400

QUIET, QUIET_S = "30 2 * * *", 7200
"""What is done every day is done within two hours when most people sleep."""

JITTER_SHARE = 0.05
"""Of the interval between scans: repositories that came together are not scanned together for ever."""


def declare_repositories(conn: Connection, repositories: Repositories) -> None:
    """Have every open repository scanned as often as its marker says, and forget those that are gone.

    One that is offline keeps its schedule: its marker cannot be read, and a scan waits until it is back.
    """
    scans = {opened.id: full_scan(opened) for opened in repositories.online()}
    schedule.declare(conn, [scan for scan in scans.values() if scan is not None])
    known = {row.id for row in repositories.rows() if row.status != RepositoryStatus.DETACHED} | set(scans)
    keep = [f"{SCAN_PREFIX}{one}" for one in known if one not in scans or scans[one] is not None]
    schedule.undeclare(conn, SCAN_PREFIX, keep=keep)
    mirrors.declare(conn, {opened.id: declared_location(opened.repository) for opened in repositories.online()})


def declares(repositories: Repositories, mirror: mirrors.Mirror) -> bool:
    """Tell whether its repository's marker names a mirror, which therefore comes back when it is removed."""
    if not repositories.is_open(mirror.repository_id):
        return mirror.declared
    return declared_location(repositories.get(mirror.repository_id).repository) == mirror.location


def declare_scan(conn: Connection, opened: Opened) -> None:
    """Have one repository scanned as often as its marker says."""
    scan = full_scan(opened)
    if scan is None:
        schedule.undeclare(conn, f"{SCAN_PREFIX}{opened.id}")
    else:
        schedule.declare(conn, [scan])


def declare_trash(conn: Connection, trash_days: int) -> None:
    """Have the trash purged every day of what has been in it for ``trash_days``; 0: never."""
    if trash_days > 0:
        timing = Timing(every_s=DAY_S, jitter_s=int(DAY_S * JITTER_SHARE))
        schedule.declare(conn, [Schedule(TRASH, timing, kinds.purge(older_s=float(trash_days * DAY_S)))])
    else:
        schedule.undeclare(conn, TRASH)


def declare_scrub(conn: Connection, scrub_days: int) -> None:
    """Have a slice of everything read again every day, so that all of it is within ``scrub_days``; 0: never."""
    if scrub_days > 0:
        timing = Timing(every_s=DAY_S, jitter_s=int(DAY_S * JITTER_SHARE))
        schedule.declare(conn, [Schedule(SCRUB, timing, kinds.scrub())])
    else:
        schedule.undeclare(conn, SCRUB)


def local_zone(link: str = "/etc/localtime") -> str:
    """Return the machine's time zone as systemd keeps it (localtime(5)); UTC where there is none."""
    _, is_zone, name = os.path.realpath(link).partition("/zoneinfo/")
    try:
        return zone_named(name).key if is_zone else "UTC"
    except Shape:
        return "UTC"


def full_scan(opened: Opened) -> Schedule | None:
    """Return a repository's periodic scan; None when its ``full_scan_interval`` is nought."""
    interval_s = opened.repository.marker.sync_settings.full_scan_interval_s
    if interval_s <= 0:
        return None
    every_s = int(min(max(1.0, interval_s), MAX_EVERY_S))
    if every_s == NIGHTLY_S:
        timing = Timing(cron=QUIET, time_zone=local_zone(), jitter_s=QUIET_S)
    else:
        timing = Timing(every_s=every_s, jitter_s=min(int(every_s * JITTER_SHARE), MAX_JITTER_S))
    return Schedule(f"{SCAN_PREFIX}{opened.id}", timing, kinds.scan(opened.id, SyncType.RECONCILIATION))
