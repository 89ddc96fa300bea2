"""Repositories are scanned as often as their markers say."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import psycopg
import pytest

from lumiliod.db import repositories as db_repositories
from lumiliod.db.repositories import RepositoryRow
from lumiliod.db.schedules import ScheduleRow
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.repositories import Marker, RepositoryStatus, SyncSettings
from lumiliod.domain.sync import SyncType
from lumiliod.jobs import schedule
from lumiliod.pipeline import kinds, schedules
from lumiliod.runtime import Opened, Repositories
from lumiliod.storage.backend import Backend
from lumiliod.storage.layout import Layout
from lumiliod.storage.repository import Repository

WHEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def known(conn: psycopg.Connection, repositories: Repositories, number: int, interval_s: float | None) -> RepositoryId:
    """Take in a repository; without an interval it is offline."""
    id_ = RepositoryId(UUID(int=number))
    status = RepositoryStatus.OFFLINE if interval_s is None else RepositoryStatus.ONLINE
    row = RepositoryRow(id_, f"home {number}", f"/home/{number}", "date", status, None, WHEN)
    if conn.execute("SELECT 1 FROM repositories WHERE id = %s", (id_,)).fetchone() is None:
        db_repositories.insert(conn, row)
    opened = None
    if interval_s is not None:
        marker = Marker(id_, row.name, WHEN, sync_settings=SyncSettings(full_scan_interval_s=interval_s))
        found = cast(Repository, SimpleNamespace(marker=marker))
        opened = Opened(found, cast(Backend, None), cast(Layout, None))
    repositories.put(row, opened)
    return id_


def listed(conn: psycopg.Connection) -> dict[str, ScheduleRow]:
    return {row.name: row for row in schedule.listed(conn)}


def test_every_open_repository_is_scanned(conn: psycopg.Connection) -> None:
    repositories = Repositories()
    home = known(conn, repositories, 1, 86_400.0)
    schedules.declare_repositories(conn, repositories)
    row = listed(conn)[f"scan:{home}"]
    like = kinds.scan(home, SyncType.RECONCILIATION)
    made = row.job()
    assert (made.kind, made.queue, made.args, made.priority) == (like.kind, like.queue, like.args, like.priority)
    assert (made.unique_key, made.repository_id, made.max_attempts) == (like.unique_key, home, like.max_attempts)
    # every day, at night
    assert (row.cron, row.every_s, row.jitter_s) == ("30 2 * * *", None, 7200)


def test_night_is_when_it_is_night_here(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    assert schedules.local_zone(str(link)) == "UTC"
    for target, zone in {
        "/usr/share/zoneinfo/Europe/Zurich": "Europe/Zurich",
        "/usr/share/zoneinfo/Nowhere/Else": "UTC",
        "/etc/hostname": "UTC",
    }.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert schedules.local_zone(str(link)) == zone


@pytest.mark.parametrize(
    ("interval_s", "every_s", "jitter_s"),
    [(0.25, 1, 0), (90.5, 90, 4), (1e12, 366 * 86_400, 86_400)],
)
def test_odd_intervals(conn: psycopg.Connection, interval_s: float, every_s: int, jitter_s: int) -> None:
    repositories = Repositories()
    known(conn, repositories, 1, interval_s)
    schedules.declare_repositories(conn, repositories)
    (row,) = schedule.listed(conn)
    assert (row.every_s, row.jitter_s) == (every_s, jitter_s)


def test_what_is_gone_is_forgotten_and_what_is_offline_kept(conn: psycopg.Connection) -> None:
    repositories = Repositories()
    ids = [known(conn, repositories, number, 3600.0) for number in (1, 2, 3)]
    schedules.declare_repositories(conn, repositories)
    assert set(listed(conn)) == {f"scan:{one}" for one in ids}
    after = Repositories()
    known(conn, after, 1, None)
    known(conn, after, 2, 0.0)
    schedules.declare_repositories(conn, after)
    assert set(listed(conn)) == {f"scan:{ids[0]}"}
    conn.execute("DELETE FROM repositories")
    assert listed(conn) == {}
