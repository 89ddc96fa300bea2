"""Periodic jobs over the API, with a real database and no daemon."""

import datetime as dt
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from lumiliod.api import app as api
from lumiliod.contract.problems import Problem
from lumiliod.contract.schedules import RunTicket, Schedule, ScheduleList
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain import schedules as domain
from lumiliod.domain.ids import JobId, RepositoryId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.domain.schedules import Timing
from lumiliod.jobs import schedule
from lumiliod.jobs.engine import Engine
from lumiliod.runtime import HealthBoard, Repositories, Runtime

from .wire import Reply, Running, serving

HOME = RepositoryId(UUID(int=7))
SCAN = f"scan:{HOME}"
SWEEP = "sweep of 100% ü"
SCAN_PATH = f"/api/v1/schedules/scan%3A{HOME}"
SWEEP_PATH = "/api/v1/schedules/sweep%20of%20100%25%20%C3%BC"


@pytest.fixture
async def server(database: Database, socket_path: str) -> AsyncIterator[Running]:
    """The API of a library with one repository and two periodic jobs."""
    row = RepositoryRow(HOME, "home", "/home", "date", RepositoryStatus.OFFLINE, None, dt.datetime.now(dt.UTC))
    await database.call(db_repositories.insert, row)
    repositories = Repositories()
    repositories.put(row, None)
    scan = NewJob(JobId(uuid7()), "scan", "maintenance", unique_key="home", repository_id=HOME)
    sweep = NewJob(JobId(uuid7()), "sweep", "maintenance")
    declared = [
        domain.Schedule(SCAN, Timing(every_s=86_400, jitter_s=4320), scan),
        domain.Schedule(SWEEP, Timing(cron="0 3 * * *", time_zone="Europe/Zurich"), sweep),
    ]
    await database.call(schedule.declare, declared)
    jobs = Engine(database, [])
    rt = SimpleNamespace(health=HealthBoard(), repositories=repositories, db=database, jobs=jobs)
    async with serving(api.create(cast(Runtime, rt)), socket_path) as running:
        yield running


async def patched(server: Running, path: str, **change: Any) -> Reply:
    return await server.ask("PATCH", path, body=msgspec.json.encode(change))


async def changed(server: Running, path: str, **change: Any) -> Schedule:
    reply = await patched(server, path, **change)
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=Schedule)


def is_problem(reply: Reply, status: int, code: str) -> None:
    told = msgspec.json.decode(reply.body, type=Problem)
    assert (reply.status, told.status, told.code) == (status, status, code)


async def test_list_and_show(server: Running) -> None:
    reply = await server.ask("GET", "/api/v1/schedules")
    found = msgspec.json.decode(reply.body, type=ScheduleList).items
    assert [(one.name, one.repository, one.paused) for one in found] == [(SCAN, "home", False), (SWEEP, None, False)]
    assert found[1].next_at.minute == 0
    for path, one in ((SCAN_PATH, found[0]), (SWEEP_PATH, found[1]), (f"/api/v1/schedules/{SCAN}", found[0])):
        assert msgspec.json.decode((await server.ask("GET", path)).body, type=Schedule) == one


async def test_pause_and_resume(server: Running) -> None:
    assert (await changed(server, SWEEP_PATH, paused=True)).paused
    assert (await changed(server, SWEEP_PATH, paused=True)).paused
    assert (await changed(server, SWEEP_PATH)).paused
    assert not (await changed(server, SWEEP_PATH, paused=False)).paused
    assert not (await changed(server, SCAN_PATH, paused=False)).paused


async def test_another_timing(server: Running) -> None:
    before = dt.datetime.now(dt.UTC)
    one = await changed(server, SCAN_PATH, every_s=3600)
    assert (one.every_s, one.jitter_s) == (3600, 180)  # the share it was
    assert one.next_at - before < dt.timedelta(seconds=3600 + 180 + 20)
    one = await changed(server, SCAN_PATH, cron="30 2 * * *", time_zone="America/New_York", paused=True)
    assert (one.cron, one.every_s, one.time_zone, one.jitter_s) == ("30 2 * * *", None, "America/New_York", 180)
    assert one.paused
    assert (await changed(server, SCAN_PATH, jitter_s=0)).cron == "30 2 * * *"
    one = await changed(server, SWEEP_PATH, time_zone="UTC")
    assert (one.cron, one.time_zone, one.next_at.hour) == ("0 3 * * *", "UTC", 3)
    one = await changed(server, SWEEP_PATH, every_s=60, jitter_s=60)
    assert (one.cron, one.every_s, one.jitter_s) == (None, 60, 60)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cron": "0 0 31 2 *"}, "bad_cron"),
        ({"cron": "@daily"}, "bad_cron"),
        ({"cron": "0 3 * * *", "time_zone": "Mars/Olympus"}, "bad_time_zone"),
        ({"time_zone": "../../etc/passwd"}, "bad_time_zone"),
        ({"every_s": 0}, "bad_interval"),
        ({"every_s": -5}, "bad_interval"),
        ({"every_s": 60, "jitter_s": 61}, "bad_jitter"),
        ({"every_s": 60, "cron": "0 3 * * *"}, "bad_timing"),
        ({"every_s": "60"}, "bad_request"),
        ({"every_s": 10**30}, "bad_interval"),
        ({"cron": None}, "bad_request"),
        ({"paused": "no"}, "bad_request"),
        ({"evry_s": 60}, "bad_request"),
    ],
)
async def test_what_is_wrong_changes_nothing(server: Running, change: dict[str, Any], code: str) -> None:
    before = (await server.ask("GET", SCAN_PATH)).json
    is_problem(await patched(server, SCAN_PATH, **{"paused": True, **change}), 400, code)
    assert (await server.ask("GET", SCAN_PATH)).json == before


async def test_run_now(server: Running, database: Database) -> None:
    reply = await server.ask("POST", f"{SCAN_PATH}/run")
    assert reply.status == 202
    ticket = msgspec.json.decode(reply.body, type=RunTicket)
    assert reply.headers["location"] == f"/api/v1/tasks/{ticket.task_id}"
    assert (await server.ask("POST", f"{SCAN_PATH}/run")).json == reply.json  # it is open still
    one = msgspec.json.decode((await server.ask("GET", SCAN_PATH)).body, type=Schedule)
    assert one.last_job_id == ticket.task_id
    assert one.last_fire_at is not None


async def test_what_is_unknown(server: Running) -> None:
    for name in ("nothing", "a%00b", "%EF%BF%BD", "..", "%2e%2e", "x" * 3000, "'; --"):
        path = f"/api/v1/schedules/{name.replace(' ', '%20')}"
        reply = await server.ask("GET", path)
        assert reply.status == 404, (name, reply.body)
    is_problem(await server.ask("GET", "/api/v1/schedules/nothing"), 404, "schedule_not_found")
    is_problem(await patched(server, "/api/v1/schedules/nothing", paused=True), 404, "schedule_not_found")
    is_problem(await server.ask("POST", "/api/v1/schedules/nothing/run"), 404, "schedule_not_found")
    is_problem(await server.ask("GET", "/api/v1/schedules/a%2Fb"), 404, "not_found")
