"""What is measured, as Prometheus' own parser reads it."""

import math
import os
import signal

import psycopg
import pytest
import trio
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from lumiliod.api import tally
from lumiliod.api.tally import Tally
from lumiliod.db import embedded
from lumiliod.db.pool import Database
from lumiliod.domain.errors import Permanent
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.library import metrics

from .working import WORK, Working, working


async def do(running: Running) -> None:
    if running.args.get("fails"):
        raise Permanent("it does not work", code="no_use")


KIND = Kind("work", "work", each(do))


async def scraped(library: Working) -> dict[str, Metric]:
    reply = await library.server.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(reply.body.decode())}


def value(found: dict[str, Metric], family: str, sample: str = "", **labels: str) -> float:
    """Return one sample's value; nan where there is none."""
    wanted = sample or family
    return next((one.value for one in found[family].samples if one.name == wanted and one.labels == labels), math.nan)


async def test_jobs_are_measured(database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "COUNTS_LEAST_S", 0.0)
    monkeypatch.setattr(metrics, "COUNTS_SHARE", 1e9)
    jobs: list[NewJob] = [WORK.new({}) for _ in range(3)]
    jobs.append(WORK.new({"fails": True}))
    async with working(database, socket_path, [KIND]) as library:
        await library.enqueue(*jobs)
        with trio.fail_after(20):
            while library.engine.totals["work"].completed < 3 or not library.engine.failures:
                await trio.sleep(0.01)
        found = await scraped(library)
        durations = "lumilio_job_duration_seconds"
        assert value(found, durations, f"{durations}_count", kind="work") == 3
        assert value(found, durations, f"{durations}_bucket", kind="work", le="+Inf") == 3
        assert value(found, durations, f"{durations}_sum", kind="work") > 0
        buckets = [one.value for one in found[durations].samples if one.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        failures = "lumilio_job_failures"
        assert value(found, failures, f"{failures}_total", kind="work", code="no_use") == 1
        assert value(found, "lumilio_jobs", kind="work", queue="work", state="discarded") == 1
        assert value(found, "lumilio_queue_allowed_jobs", queue="work") == 2


async def test_the_daemon_is_measured(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [KIND]) as library:
        library.health.set("disk", "degraded", "it hums")
        async with library.events("/events") as reading:
            await reading.next()
            await library.problem("GET", "/jobs?limit=0", 400)
            await library.problem("GET", "/nothing", 404)
            found = await scraped(library)
        requests, problems = "lumilio_api_requests", "lumilio_api_problems"
        assert value(found, requests, f"{requests}_total", method="GET", status="400") == 1
        assert value(found, requests, f"{requests}_total", method="GET", status="404") == 1
        assert value(found, problems, f"{problems}_total", code="bad_request") == 1
        assert value(found, problems, f"{problems}_total", code="not_found") == 1
        assert value(found, "lumilio_api_event_readers") == 1
        assert value(found, "lumilio_api_open_connections") >= 2
        assert value(found, "lumilio_api_open_requests") == 2
        assert value(found, "lumilio_service_state", service="disk", state="degraded") == 1
        assert value(found, "lumilio_service_state", service="disk", state="ready") == 0
        assert value(found, "lumilio_up") == 0.5
        assert value(found, "lumilio_repository_state", repository="home", state="offline") == 1
        assert value(found, "lumilio_memory_bytes", process="daemon") > 1 << 20
        assert value(found, "lumilio_database_pool_size") == 6
        assert value(found, "process_open_fds") > 0
        assert found["lumilio_build_info"].samples[0].labels.keys() == {"version", "python", "machine"}
        with trio.fail_after(20):
            while value(await scraped(library), "lumilio_api_event_readers"):
                await trio.lowlevel.checkpoint()


async def test_names_keep_to_the_conventions(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [KIND]) as library:
        found = await scraped(library)
    for name, family in found.items():
        assert name.startswith(("lumilio_", "process_")), name
        assert family.documentation, name
        assert not name.endswith(("_ms", "_mb", "_total", "_count")), name
        assert family.type in {"gauge", "counter", "histogram", "info"}, (name, family.type)


async def test_no_database_is_no_reason_to_say_nothing(
    database: Database, socket_path: str, postgres: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "COUNTS_LEAST_S", 0.0)
    monkeypatch.setattr(metrics, "COUNTS_SHARE", 1e9)
    name = str(database.parameters["dbname"])
    async with working(database, socket_path, [KIND], idle=True) as library:
        assert "lumilio_assets" in await scraped(library)
        with psycopg.connect(postgres.admin_conninfo, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        found = await scraped(library)
        assert "lumilio_assets" not in found
        assert "lumilio_jobs" not in found
        assert value(found, "lumilio_up") == 1


async def test_a_database_that_hangs_does_not_hold_up_a_scrape(
    database: Database, socket_path: str, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where its process does not hear of it that nobody waits any longer; what was told last is told again."""
    monkeypatch.setattr(metrics, "COUNTS_LEAST_S", 0.0)
    monkeypatch.setattr(metrics, "COUNTS_SHARE", 1e9)
    async with working(database, socket_path, [KIND], idle=True) as library:
        assert "lumilio_assets" in await scraped(library)
        with psycopg.connect(conninfo) as blocking, psycopg.connect(conninfo, autocommit=True) as looking:
            blocking.execute("LOCK assets IN ACCESS EXCLUSIVE MODE")
            answers = dict[str, Metric]()

            async def scrape() -> None:
                answers.update(await scraped(library))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(scrape)
                stopped = 0
                with trio.fail_after(20):
                    while not stopped:
                        waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                        stopped = next((pid for (pid,) in looking.execute(waits)), 0)
                        await trio.sleep(0.01)
                os.kill(stopped, signal.SIGSTOP)
                try:
                    with trio.fail_after(60):
                        while not answers:
                            await trio.sleep(0.01)
                        # and the next does not wait for it either
                        monkeypatch.setattr(metrics, "DATABASE_S", 0.05)
                        assert "lumilio_assets" in await scraped(library)
                finally:
                    os.kill(stopped, signal.SIGCONT)
        assert "lumilio_assets" in answers
        with trio.fail_after(60):
            while database.glances:
                await trio.sleep(0.01)


async def test_a_name_is_one_label(database: Database, socket_path: str) -> None:
    name = 'a"} 1\nlumilio_up{x="\\ \u2028 \x1b[2J'
    async with working(database, socket_path, [KIND]) as library:
        library.health.set(name, "degraded", "it hums")
        found = await scraped(library)
    assert value(found, "lumilio_service_state", service=name, state="degraded") == 1
    assert len(found["lumilio_up"].samples) == 1


async def test_a_head_and_what_is_wrong(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        reply = await library.server.ask("HEAD", "/metrics")
        assert (reply.status, reply.body) == (200, b"")
        assert (await library.server.ask("GET", "/metrics?x=1")).status == 400
        assert (await library.server.ask("POST", "/metrics")).status == 405


def test_labels_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "CODES_MAX", 2)
    counted = Tally()
    for code in ("a", "b", "c", "a", "d"):
        counted.failed(code)
    assert counted.problems == {"a": 2, "b": 1, "other": 2}
    counted.answered("BREW", 418)
    assert counted.answers == {("other", 418): 1}
