"""``lumilio schedule`` against a served API; what is wrong on the line itself needs none."""

import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from click.testing import CliRunner

from lumiliod.api import app as api
from lumiliod.cli.main import program
from lumiliod.cli.schedule import duration_text
from lumiliod.db.pool import Database
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.schedules import Schedule, Timing
from lumiliod.jobs import schedule
from lumiliod.jobs.engine import Engine
from lumiliod.runtime import HealthBoard, Repositories, Runtime
from tests.api.conftest import socket_path as socket_path
from tests.api.wire import serving

NAME = "scan: of ü"


@pytest.fixture
async def served(database: Database, socket_path: str) -> AsyncIterator[str]:
    """The socket of an API with one periodic job."""
    job = NewJob(JobId(uuid7()), "scan", "maintenance")
    await database.call(schedule.declare, [Schedule(NAME, Timing(every_s=86_400, jitter_s=4320), job)])
    jobs = Engine(database, [])
    rt = SimpleNamespace(health=HealthBoard(), repositories=Repositories(), db=database, jobs=jobs)
    async with serving(api.create(cast(Runtime, rt)), socket_path):
        yield socket_path


async def lumilio(socket: str, *args: str) -> "CompletedProcess[bytes]":
    command = [sys.executable, "-m", "lumiliod.cli", "--socket", socket, *args]
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


async def said(socket: str, *args: str) -> Any:
    done = await lumilio(socket, "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_persons_way(served: str) -> None:
    ask = partial(said, served, "schedule")
    (listed,) = (await ask("list"))["items"]
    assert listed["name"] == NAME
    table = (await lumilio(served, "schedule", "list")).stdout.decode()
    assert "every 1d" in table
    assert (await ask("pause", NAME))["paused"]
    assert "paused" in (await lumilio(served, "schedule", "list")).stdout.decode()
    assert not (await ask("resume", NAME))["paused"]
    changed = await ask("set", NAME, "--cron", "30 2 * * *", "--zone", "Europe/Zurich", "--jitter", "90s")
    assert (changed["cron"], changed["time_zone"], changed["jitter_s"]) == ("30 2 * * *", "Europe/Zurich", 90)
    assert (await ask("set", NAME, "--every", "1h30m"))["every_s"] == 5400
    task_id = (await ask("run", NAME))["task_id"]
    shown = (await lumilio(served, "schedule", "show", NAME)).stdout.decode()
    assert task_id in shown
    assert "every 1h30m" in shown
    assert "is queued" in (await lumilio(served, "schedule", "run", NAME)).stdout.decode()


async def test_the_daemons_no(served: str) -> None:
    done = await lumilio(served, "schedule", "set", NAME, "--cron", "0 0 31 2 *")
    assert done.returncode == 64
    assert b"never comes true" in done.stderr or b"is not right" in done.stderr
    assert (await lumilio(served, "schedule", "show", "nothing")).returncode == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["schedule"], 64),
        (["schedule", "show"], 64),
        (["schedule", "set", "x"], 64),
        (["schedule", "set", "x", "--every", "1 day"], 64),
        (["schedule", "set", "x", "--every", "-5"], 64),
        (["schedule", "set", "x", "--every", "5m", "--cron", "0 3 * * *"], 64),
        (["schedule", "list"], 69),
        (["schedule", "set", "x", "--every", "7d"], 69),
    ],
)
def test_exit_codes(line: list[str], code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (90, "1m30s"), (5400, "1h30m"), (691_200, "8d"), (59, "59s")])
def test_durations(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text
