"""Queues and workers over the API, with a real engine and a real database."""

import datetime as dt
import os
from typing import Any

import msgspec
import pytest

from lumiliod.contract.queues import Queue, QueueList, QuietHours, WorkerList
from lumiliod.db.pool import Database
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs.kind import Kind, each
from tests.jobs.conftest import state_of, until

from .working import WORK, Steps, Working, working


async def queues(library: Working, method: str = "GET", path: str = "", **body: Any) -> QueueList:
    return msgspec.convert(await library.ask(method, f"/queues{path}", **body), QueueList)


async def one(library: Working, method: str, path: str, **body: Any) -> Queue:
    (found,) = (await queues(library, method, f"/work{path}", **body)).items
    return found


async def test_a_paused_queue_begins_nothing_until_it_is_resumed(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library:
        (running,) = await library.enqueue(WORK.new({}))
        await until(lambda: steps.began)
        paused = await one(library, "POST", "/pause")
        assert (paused.allowed, paused.reason) == (0, "paused")
        assert paused.paused_at is not None
        assert library.engine.queues.allowed("work") == 0
        (job,) = await library.enqueue(WORK.new({}))
        assert (await one(library, "POST", "/pause")).paused_at == paused.paused_at
        steps.go.set()
        await state_of(database, running, "completed")  # what runs goes on
        assert (await library.ask("GET", f"/jobs/{job}"))["state"] == "available"
        assert steps.began == [running]
        resumed = await one(library, "POST", "/resume")
        assert (resumed.allowed, resumed.reason, resumed.paused_at) == (2, None, None)
        await state_of(database, job, "completed")
        assert (await one(library, "POST", "/resume")).allowed == 2


@pytest.mark.parametrize("name", ["*", "all", "%2A"])
async def test_everything_is_paused_and_resumed(database: Database, socket_path: str, name: str) -> None:
    steps = Steps()
    steps.go.set()
    other = Kind("other", "more", each(steps.run))
    async with working(database, socket_path, [steps.kind, other]) as library:
        told = await queues(library, "POST", f"/{name}/pause")
        assert told.paused_at is not None
        assert [(queue.name, queue.reason, queue.paused_at) for queue in told.items] == [
            ("more", "paused", None),
            ("work", "paused", None),
        ]
        jobs = await library.enqueue(WORK.new({}), NewJob(JobId(uuid7()), "other", "more"))
        assert [queue.counts for queue in (await queues(library)).items] == [{"available": 1}, {"available": 1}]
        await one(library, "POST", "/pause")
        told = await queues(library, "POST", f"/{name}/resume")
        assert told.paused_at is None
        assert [(queue.name, queue.reason) for queue in told.items] == [("more", None), ("work", "paused")]
        await state_of(database, jobs[1], "completed")
        assert (await library.ask("GET", f"/jobs/{jobs[0]}"))["state"] == "available"


async def test_concurrency_changes_while_jobs_run(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind], concurrency=1) as library:
        await library.enqueue(*(WORK.new({}) for _ in range(6)))
        await until(lambda: len(steps.began) == 1)
        told = await one(library, "PATCH", "", concurrency=4)
        assert (told.concurrency, told.configured, told.allowed) == (4, 1, 4)
        await until(lambda: len(steps.began) == 4)
        told = await one(library, "PATCH", "", concurrency=None)
        assert (told.concurrency, told.configured, told.allowed) == (1, 1, 1)
        assert steps.cancelled == []
        steps.go.set()
        await until(lambda: len(steps.began) == 6)


async def test_quiet_hours(database: Database, socket_path: str) -> None:
    steps = Steps()
    steps.go.set()
    now = dt.datetime.now(dt.UTC)
    around = f"{now - dt.timedelta(hours=1):%H:%M}-{now + dt.timedelta(hours=1):%H:%M}"
    later = f"{now + dt.timedelta(hours=2):%H:%M}-{now + dt.timedelta(hours=3):%H:%M}"
    async with working(database, socket_path, [steps.kind]) as library:
        told = await one(library, "PATCH", "", quiet={"hours": around})
        assert (told.allowed, told.reason, told.quiet) == (0, "quiet hours", QuietHours(hours=around))
        (job,) = await library.enqueue(WORK.new({}))
        told = await one(library, "PATCH", "", concurrency=3)
        assert (told.concurrency, told.allowed, told.quiet) == (3, 0, QuietHours(hours=around))
        assert (await library.ask("GET", f"/jobs/{job}"))["state"] == "available"
        assert (await one(library, "PATCH", "", quiet={"hours": later})).allowed == 3
        await state_of(database, job, "completed")
        zurich = {"hours": "22:00-06:30", "time_zone": "Europe/Zurich"}
        assert (await one(library, "PATCH", "", quiet=zurich)).quiet == msgspec.convert(zurich, QuietHours)
        assert (await one(library, "PATCH", "", quiet=None)).quiet is None
        every = await queues(library, "PATCH", "/*", quiet={"hours": around})
        assert every.quiet == QuietHours(hours=around)
        assert [(queue.reason, queue.quiet) for queue in every.items] == [("quiet hours", None)]
        assert (await queues(library, "PATCH", "/all", quiet=None)).quiet is None


@pytest.mark.parametrize(
    ("name", "change", "status", "code"),
    [
        ("work", {"concurrency": 0}, 400, "bad_concurrency"),
        ("work", {"concurrency": 257}, 400, "bad_concurrency"),
        ("work", {"concurrency": 10**30}, 400, "bad_concurrency"),
        ("work", {"concurrency": "4"}, 400, "bad_request"),
        ("work", {"concurency": 4}, 400, "bad_request"),
        ("*", {"concurrency": 4}, 400, "bad_concurrency"),
        ("work", {"quiet": {"hours": "22:00"}}, 400, "bad_quiet_hours"),
        ("work", {"quiet": {"hours": "24:00-06:00"}}, 400, "bad_quiet_hours"),
        ("work", {"quiet": {"hours": "06:00-06:00"}}, 400, "bad_quiet_hours"),
        ("work", {"quiet": {"hours": "22:00-06:00", "time_zone": "Mars/Olympus"}}, 400, "bad_time_zone"),
        ("work", {"quiet": {"hours": "22:00-06:00", "time_zone": "../../etc/passwd"}}, 400, "bad_time_zone"),
        ("work", {"quiet": {"time_zone": "UTC"}}, 400, "bad_request"),
        ("nothing", {"concurrency": 4}, 404, "queue_not_found"),
        ("a%00b", {"concurrency": 4}, 404, "queue_not_found"),
        ("x" * 3000, {}, 404, "queue_not_found"),
    ],
)
async def test_what_is_wrong_changes_nothing(
    database: Database, socket_path: str, name: str, change: dict[str, Any], status: int, code: str
) -> None:
    async with working(database, socket_path, [Steps().kind]) as library:
        before = await queues(library)
        assert await library.problem("PATCH", f"/queues/{name}", status, **change) == code
        if status == 404:
            assert await library.problem("POST", f"/queues/{name}/pause", 404) == code
            assert await library.problem("POST", f"/queues/{name}/resume", 404) == code
        assert await queues(library) == before


async def test_a_queue_that_nobody_serves_is_shown(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [Steps().kind]) as library:
        await library.enqueue(NewJob(JobId(uuid7()), "gone", "plugin"))
        found, _ = (await queues(library)).items
        assert (found.name, found.allowed, found.reason, found.counts) == ("plugin", 0, "not served", {"available": 1})
        (paused,) = (await queues(library, "POST", "/plugin/pause")).items
        assert paused.paused_at is not None


async def test_workers(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library:
        await library.enqueue(WORK.new({}))
        await until(lambda: steps.began)
        (worker,) = msgspec.convert(await library.ask("GET", "/workers"), WorkerList).items
        assert (worker.own, worker.held, worker.pid) == (True, 1, os.getpid())
