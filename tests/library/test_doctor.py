"""What a running daemon tells of itself: tools, services, repositories and the database, on the paths that fail."""

import datetime as dt
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import psycopg
import pytest
import trio

from lumiliod import config
from lumiliod.contract.doctor import Check
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.library import doctor
from lumiliod.media.media import Media
from lumiliod.runtime import HealthBoard, Opened, Repositories, Runtime, Watched, WatchState

HOME = RepositoryId(UUID(int=7))
NOW = dt.datetime.now(dt.UTC)


def room(*, lacking: str | None = None) -> Media:
    """Return a room for media where everything is lacking, or nothing."""
    return cast(
        Media,
        SimpleNamespace(
            tools={"libav": "61", "sandbox": "landlock"},
            degraded=lacking,
            left_out=lacking,
            unprotected=lacking,
            protections="landlock, seccomp",
        ),
    )


def runtime(database: Database, state_dir: Path) -> Runtime:
    return cast(
        Runtime,
        SimpleNamespace(
            media=room(),
            config=config.parse("[storage]\nmin_free_mb = 0", state_dir=str(state_dir)),
            db=database,
            health=HealthBoard(),
            repositories=Repositories(),
            watched={},
            disk=trio.CapacityLimiter(1),
        ),
    )


def row(root: Path, status: RepositoryStatus = RepositoryStatus.ONLINE, reason: str | None = None) -> RepositoryRow:
    return RepositoryRow(HOME, "my home", str(root), "date", status, reason, NOW)


def put(rt: Runtime, root: Path) -> None:
    rt.repositories.put(row(root), cast(Opened, SimpleNamespace(id=HOME)))


def of(checks: Iterable[Check], area: str, name: str | None = None) -> Check:
    """Return the worst of those of an area, and of a name."""
    found = [one for one in checks if one.area == area and name in (None, one.name)]
    return max(found, key=lambda one: ("ok", "warn", "fail").index(one.state))


def test_tools_that_are_lacking() -> None:
    good, bad = list(doctor.of_tools(room())), list(doctor.of_tools(room(lacking="there is none")))
    assert {one.state for one in good} == {"ok"}
    for area, name in (("tools", "metadata"), ("tools", "media types"), ("sandbox", "protections")):
        found = of(bad, area, name)
        assert (found.state, found.told) == ("warn", "there is none")
        assert found.fix


async def test_no_database_without_a_daemon(tmp_path: Path) -> None:
    away = Unavailable("it is away", code="database_away")
    told = await doctor.outside(config.parse("", state_dir=str(tmp_path)), room(), away)
    found = of(told.checks, "database")
    assert (found.state, found.told, bool(found.fix)) == ("fail", "it is away", True)


async def test_a_database_that_lacks_migrations(database: Database, conninfo: str) -> None:
    assert of(await doctor.of_database(database), "database", "migrations").state == "ok"
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("DELETE FROM schema_migrations WHERE number = (SELECT max(number) FROM schema_migrations)")
    found = of(await doctor.of_database(database), "database", "migrations")
    assert (found.state, found.fix) == ("warn", "Start the daemon: it migrates.")


async def test_services_that_are_not_well(database: Database, tmp_path: Path) -> None:
    rt = runtime(database, tmp_path)
    for name, state in (("api", "ready"), ("watch", "degraded"), ("jobs", "failed")):
        rt.health.set(name, state, None if state == "ready" else "it hums")
    checks = (await doctor.checkup(rt)).checks
    assert {one.name: one.state for one in checks if one.area == "services"} == {"watch": "warn", "jobs": "fail"}
    assert of(checks, "services", "jobs").told == "failed: it hums"


async def test_repositories_that_are_away(database: Database, tmp_path: Path) -> None:
    rt = runtime(database, tmp_path)
    rt.repositories.put(row(tmp_path, RepositoryStatus.OFFLINE, "no disk"), None)
    found = of((await doctor.checkup(rt)).checks, "repositories")
    assert (found.state, found.told) == ("fail", "offline: no disk")
    assert "relocate 'my home' PATH" in str(found.fix)
    rt.repositories.put(row(tmp_path, RepositoryStatus.DETACHED), None)
    assert of((await doctor.checkup(rt)).checks, "repositories").state == "ok"


async def test_a_repository_that_is_not_watched(database: Database, tmp_path: Path) -> None:
    rt = runtime(database, tmp_path)
    put(rt, tmp_path)
    assert of((await doctor.checkup(rt)).checks, "repositories").state == "ok"
    rt.watched[HOME] = Watched(WatchState.POLLING, "raise the limit", NOW, is_lacking=True)
    found = of((await doctor.checkup(rt)).checks, "repositories")
    assert (found.state, "raise the limit" in found.told) == ("warn", True)


async def test_a_repository_that_is_gone_meanwhile(database: Database, tmp_path: Path) -> None:
    rt = runtime(database, tmp_path)
    put(rt, tmp_path / "none")
    found = of((await doctor.checkup(rt)).checks, "repositories")
    assert (found.state, "may not be written to" in found.told) == ("fail", True)


async def test_several_repositories_are_told_in_one_order(database: Database, tmp_path: Path) -> None:
    rt = runtime(database, tmp_path)
    for number, status in enumerate((RepositoryStatus.ONLINE, RepositoryStatus.DETACHED, RepositoryStatus.OFFLINE)):
        id_ = RepositoryId(UUID(int=number))
        opened = cast(Opened, SimpleNamespace(id=id_)) if status == RepositoryStatus.ONLINE else None
        rt.repositories.put(replace(row(tmp_path, status), id=id_, name=f"{number}"), opened)
    told = [one.name for one in (await doctor.checkup(rt)).checks if one.area == "repositories"]
    # the first is looked at by a thread, and is the last to be known
    assert list(dict.fromkeys(told)) == [one.name for one in rt.repositories.rows()] == ["0", "1", "2"]


async def test_a_disk_that_hangs(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rt = runtime(database, tmp_path)
    put(rt, tmp_path)
    answers = threading.Event()
    monkeypatch.setattr(doctor, "DISK_LIMIT_S", 0.05)
    try:
        async with trio.open_nursery() as nursery:
            # whoever reads there hangs, and so does everybody behind it
            nursery.start_soon(lambda: trio.to_thread.run_sync(answers.wait, 60.0, limiter=rt.disk))
            with trio.fail_after(20):
                while not rt.disk.borrowed_tokens:
                    await trio.sleep(0.01)
            found = of((await doctor.checkup(rt)).checks, "repositories")
            answers.set()
    finally:
        answers.set()
    assert (found.state, "does not answer" in found.told) == ("fail", True)
