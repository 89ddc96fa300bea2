"""Jobs over the API: found, cancelled, given up, retried and watched, with a real engine and a real database."""

import contextlib
import select
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lumiliod.api import events
from lumiliod.contract.jobs import CauseList, Job, JobPage
from lumiliod.db import embedded, job_admin
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Permanent, Retryable
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, NewJob, Retries
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.library import task_control
from tests.jobs.conftest import state_of, until

from .working import HOME, WORK, Steps, Working, working

ASSET = UUID(int=9)


def new(number: int = 0, **options: Any) -> NewJob:
    return WORK.new({"number": number}, **options)


async def fail_as_told(running: Running) -> None:
    match running.args["number"]:
        case 1:
            raise Permanent("this is broken", code="corrupt")
        case 2:
            raise Retryable("not now", code="busy_disk", after_s=3600)
        case 3:
            raise ZeroDivisionError("a defect")


# finding


async def test_every_filter(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [], concurrency=1) as library:
        plain, tagged, here, broken = await library.enqueue(
            new(), new(tags=["a", "b"]), new(repository_id=HOME), new(unique_key="k")
        )
        await database.call(job_admin.discard, [broken], "corrupt", "this is broken")

        async def found(query: str) -> list[JobId]:
            page = msgspec.convert(await library.ask("GET", f"/jobs?{query}"), JobPage)
            return [JobId(job.id) for job in page.items]

        assert await found("") == [broken, here, tagged, plain]
        assert await found("tag=b") == [tagged]
        assert await found("repository=home") == [here]
        assert await found(f"repository={HOME}&kind=work") == [here]
        assert await found("state=discarded") == [broken]
        assert await found(f"asset={ASSET}") == []
        assert await found("queue=work&state=available") == [here, tagged, plain]
        assert await found("cause=corrupt") == [broken]
        assert await found("cause=other") == []
        assert await library.problem("GET", "/jobs?repository=nowhere", 404) == "repository_not_found"
        assert await library.problem("GET", "/jobs?state=dead", 400) == "bad_state"
        assert await library.problem("GET", "/jobs?asset=7", 400) == "bad_request"
        shown = msgspec.convert(await library.ask("GET", f"/jobs/{tagged}"), Job)
        assert (shown.tags, shown.progress, shown.waits_on, shown.unique_key) == (["a", "b"], None, [], None)


async def test_what_a_job_waits_for_is_shown(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [Steps().kind]) as library:
        first = new()
        waiting = new(after=[first.id], parent_id=first.id, group_id=uuid7(), unique_key="key")
        await library.enqueue(first, waiting)
        shown = msgspec.convert(await library.ask("GET", f"/jobs/{waiting.id}"), Job)
        assert shown.waits_on == [first.id]
        assert (shown.parent_id, shown.group_id, shown.unique_key) == (first.id, waiting.group_id, "key")
        assert (await library.ask("POST", f"/jobs/{first.id}/cancel"))["count"] == 2
        assert (await library.ask("GET", f"/jobs/{waiting.id}"))["errors"][0]["code"] == "predecessor_cancelled"


# cancelling


async def test_a_running_job_is_cancelled_at_once(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library:
        job, other = await library.enqueue(new(), new())
        await until(lambda: len(steps.began) == 2)
        began = trio.current_time()
        assert await library.ask("POST", f"/jobs/{job}/cancel") == {"count": 1, "passed_over": 0}
        await until(lambda: steps.cancelled)
        assert trio.current_time() - began < 10
        assert steps.cancelled == [job]
        assert (await library.ask("GET", f"/jobs/{job}"))["state"] == "cancelled"
        assert (await library.ask("GET", f"/jobs/{other}"))["state"] == "running"
        assert await library.problem("POST", f"/jobs/{job}/cancel", 409) == "job_state"
        steps.go.set()
        await state_of(database, other, "completed")
        assert await library.problem("POST", f"/jobs/{other}/cancel", 409) == "job_state"


async def test_what_another_process_cancelled_is_noticed(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind], lease_s=1.0) as library:
        (job,) = await library.enqueue(new())
        await until(lambda: steps.began)
        await database.call(job_admin.cancel, [job])  # by a process that can tell nobody
        await until(lambda: steps.cancelled)


async def test_many_are_cancelled_by_what_they_are(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library:
        await library.ask("POST", "/queues/work/pause")
        await library.enqueue(*(new(number, tags=["old"] if number % 2 else []) for number in range(1300)))
        assert (await library.ask("POST", "/jobs/cancel", tag="old", dry_run=True))["count"] == 650
        assert (await library.ask("POST", "/jobs/cancel", tag="old"))["count"] == 650
        assert (await library.ask("POST", "/jobs/cancel", tag="old"))["count"] == 0
        assert (await library.ask("POST", "/jobs/cancel", kind="work", state="running"))["count"] == 0
        assert (await library.ask("POST", "/jobs/cancel", older_s=3600))["count"] == 0
        assert (await library.ask("POST", "/jobs/cancel", all=True))["count"] == 650


async def test_a_filter_that_names_nothing_is_refused(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        (job,) = await library.enqueue(new())
        for verb in ("retry", "cancel", "discard"):
            assert await library.problem("POST", f"/jobs/{verb}", 400) == "bad_filter"
            assert await library.problem("POST", f"/jobs/{verb}", 400, dry_run=True) == "bad_filter"
            assert (await library.ask("POST", f"/jobs/{verb}", ids=[]))["count"] == 0
            assert await library.problem("POST", f"/jobs/{verb}", 400, ids=["x"]) == "bad_request"
            assert await library.problem("POST", f"/jobs/{verb}", 400, knd="work") == "bad_request"
            assert await library.problem("POST", f"/jobs/{verb}", 400, older_s=-1) == "bad_request"
            assert await library.problem("POST", f"/jobs/{verb}", 400, state="dead") == "bad_state"
            assert await library.problem("POST", f"/jobs/{verb}", 404, repository="x") == "repository_not_found"
            assert await library.problem("POST", f"/jobs/{verb}", 404, ids=[str(ASSET)]) == "job_not_found"
            assert await library.problem("POST", f"/jobs/{ASSET}/{verb}", 404) == "job_not_found"
            assert (await library.ask("POST", f"/jobs/{verb}", ids=[str(ASSET), str(HOME)]))["count"] == 0
        assert (await library.ask("GET", f"/jobs/{job}"))["state"] == "available"


async def test_what_is_held_for_a_moment_is_not_missed(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that somebody has locked is passed over by a pass and found by the next."""
    monkeypatch.setattr(task_control, "PASSES", 50)
    async with working(database, socket_path, []) as library:
        jobs = await library.enqueue(new(1), new(2), new(3))
        holder = await trio.to_thread.run_sync(database.connect)
        try:
            await trio.to_thread.run_sync(
                partial(holder.execute, b"SELECT id FROM jobs WHERE id = %s FOR UPDATE", (jobs[1],))
            )
            answered = trio.Event()
            async with trio.open_nursery() as nursery:

                async def cancel() -> None:
                    assert (await library.ask("POST", "/jobs/cancel", kind="work"))["count"] == 3
                    answered.set()

                nursery.start_soon(cancel)
                await state_of(database, jobs[2], "cancelled")
                assert not answered.is_set()
                await trio.to_thread.run_sync(holder.rollback)
        finally:
            holder.close()


async def test_one_that_stays_held_is_told(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        (job,) = await library.enqueue(new())
        holder = await trio.to_thread.run_sync(database.connect)
        try:
            await trio.to_thread.run_sync(partial(holder.execute, b"SELECT id FROM jobs FOR UPDATE"))
            assert await library.problem("POST", f"/jobs/{job}/cancel", 503) == "job_busy"
        finally:
            holder.close()
        assert (await library.ask("POST", f"/jobs/{job}/cancel"))["count"] == 1


# giving up, and beginning anew


async def test_giving_up_does_what_the_kind_says(database: Database, socket_path: str) -> None:
    given_up: list[tuple[JobId, str, bool]] = []

    def on_discard(conn: Connection, job: ClaimedJob, failed: FailedAttempt) -> None:
        row = job_admin.show(conn, job.id)
        given_up.append((job.id, failed.code, row is not None and row.state == "discarded"))

    steps = Steps()
    kind = Kind("work", "work", each(steps.run), on_discard=on_discard)
    async with working(database, socket_path, [kind], concurrency=1) as library:
        running, waiting, other = await library.enqueue(new(), new(), new(tags=["t"]))
        await until(lambda: steps.began)
        await library.ask("POST", "/queues/work/pause")
        await until(lambda: waiting_is_free(library, waiting))
        assert (await library.ask("POST", f"/jobs/{waiting}/discard"))["count"] == 1
        assert given_up == [(waiting, "discarded", True)]
        assert await library.problem("POST", f"/jobs/{running}/discard", 409) == "job_state"
        assert await library.problem("POST", f"/jobs/{waiting}/discard", 409) == "job_state"
        assert (await library.ask("POST", "/jobs/discard", kind="work"))["count"] == 1
        assert [job for job, _, _ in given_up] == [waiting, other]
        shown = msgspec.convert(await library.ask("GET", f"/jobs/{waiting}"), Job)
        assert (shown.state, shown.cause, shown.errors[-1].code) == ("discarded", "discarded", "discarded")
        assert steps.cancelled == []
        steps.go.set()


def waiting_is_free(library: Working, job: JobId) -> bool:
    """Tell whether no lane holds a job in advance."""
    return len(library.engine.lease.tokens) == 1


async def test_causes_and_retrying_by_cause(database: Database, socket_path: str) -> None:
    kind = Kind("work", "work", each(fail_as_told), retries=Retries(base_s=3600))
    async with working(database, socket_path, [kind]) as library:
        corrupt = await library.enqueue(new(1), new(1))
        (busy,) = await library.enqueue(new(2))
        (defect,) = await library.enqueue(new(3))
        for job in corrupt:
            await state_of(database, job, "discarded")
        await state_of(database, busy, "retryable")
        await state_of(database, defect, "retryable")
        causes = msgspec.convert(await library.ask("GET", "/jobs/causes"), CauseList).items
        assert [(one.cause.partition(":")[0], one.count, one.discarded) for one in causes] == [
            ("corrupt", 2, 2),
            ("busy_disk", 1, 0),
            ("internal", 1, 0),
        ]
        assert (causes[0].message, causes[0].error_class, causes[0].example) == (
            "this is broken",
            "Permanent",
            corrupt[1],
        )
        assert causes[2].cause.partition(":")[2]  # where the defect was raised
        assert await library.ask("GET", "/jobs/causes?kind=other") == {"items": []}
        found = await library.ask("GET", "/jobs?cause=corrupt")
        assert {job["id"] for job in found["items"]} == {str(job) for job in corrupt}

        await library.ask("POST", "/queues/work/pause")
        assert (await library.ask("POST", "/jobs/retry", cause="corrupt"))["count"] == 2
        for job in corrupt:
            shown = await library.ask("GET", f"/jobs/{job}")
            assert (shown["state"], shown["attempt"]) == ("available", 0)
            assert shown["cause"] == "corrupt"
        assert (await library.ask("GET", "/jobs/causes"))["items"][0]["cause"] == "busy_disk"
        assert (await library.ask("GET", f"/jobs/{busy}"))["state"] == "retryable"


async def test_what_fails_again_is_not_retried_again(database: Database, socket_path: str) -> None:
    runs: list[int] = []

    async def fail(running: Running) -> None:
        runs.append(running.args["number"])
        raise Permanent("still broken", code="corrupt")

    async with working(database, socket_path, [Kind("work", "work", each(fail))]) as library:
        jobs = await library.enqueue(*(new(number) for number in range(40)))
        for job in jobs:
            await state_of(database, job, "discarded")
        assert (await library.ask("POST", "/jobs/retry", state="discarded"))["count"] == 40
        for job in jobs:
            await state_of(database, job, "discarded")
        assert len(runs) == 80


async def test_cancelled_jobs_come_back_when_they_are_named(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        one, two, three = await library.enqueue(new(), new(unique_key="key"), new(tags=["t"]))
        assert (await library.ask("POST", "/jobs/cancel", all=True))["count"] == 3
        assert (await library.ask("POST", "/jobs/retry", kind="work"))["count"] == 0
        assert (await library.ask("POST", f"/jobs/{one}/retry"))["count"] == 1
        assert await library.problem("POST", f"/jobs/{one}/retry", 409) == "job_state"
        assert (await library.ask("POST", "/jobs/retry", ids=[str(three)], cause="x", dry_run=True))["count"] == 0
        (twin,) = await library.enqueue(new(unique_key="key"))
        assert (await library.ask("POST", "/jobs/retry", state="cancelled", dry_run=True))["count"] == 2
        assert await library.ask("POST", "/jobs/retry", state="cancelled") == {"count": 1, "passed_over": 1}
        assert (await library.ask("GET", f"/jobs/{three}"))["state"] == "available"
        assert (await library.ask("GET", f"/jobs/{two}"))["state"] == "cancelled"
        assert await library.problem("POST", f"/jobs/{two}/retry", 409) == "job_state"
        assert (await library.ask("GET", f"/jobs/{twin}"))["state"] == "available"


async def test_a_job_that_waits_for_another_is_not_hurried(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        first = new()
        waiting = new(after=[first.id])
        await library.enqueue(first, waiting)
        assert await library.problem("POST", f"/jobs/{waiting.id}/retry", 409) == "job_state"
        assert (await library.ask("GET", f"/jobs/{waiting.id}"))["state"] == "scheduled"


# watching


async def enqueue_wide(library: Working) -> None:
    """Make one event larger than the buffers of a socket."""
    await library.enqueue(*(NewJob(JobId(uuid7()), "work", f"{number}-{'q' * 1000}") for number in range(400)))


async def test_progress_is_told_as_it_is_made(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library, library.events("/jobs/live") as watching:
        assert watching.status == 200
        assert watching.headers["content-type"] == "text/event-stream"
        assert watching.headers["cache-control"] == "no-store"
        assert (await watching.block()).startswith("retry: ")
        (job,) = await library.enqueue(new(repository_id=HOME))
        told = await watching.until(lambda _, data: bool(data["running"] and data["running"][0]["progress"]))
        assert told["queues"] == [{"name": "work", "allowed": 2, "reason": None, "counts": {"running": 1}}]
        (running,) = told["running"]
        assert running["id"] == str(job)
        assert running["progress"] == {"done": 3, "total": 10, "unit": "files", "text": "a.jpg"}
        assert running["repository_id"] == str(HOME)
        await library.ask("POST", "/queues/*/pause")
        await watching.until(lambda _, data: data["queues"][0]["reason"] == "paused")
        steps.go.set()
        await watching.until(lambda _, data: data["running"] == [])


async def test_one_job_is_watched_to_its_end(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library:
        (job,) = await library.enqueue(new())
        async with library.events(f"/jobs/{job}/live") as watching:
            await watching.until(lambda name, data: name == "job" and data["progress"] is not None)
            steps.go.set()
            told = await watching.until(lambda name, _: name == "end")
            assert (told["id"], told["state"]) == (str(job), "completed")
            with pytest.raises(EOFError):
                await watching.next()
        async with library.events(f"/jobs/{job}/live") as watching:
            assert (await watching.next())[0] == "end"
        assert await library.problem("GET", f"/jobs/{ASSET}/live", 404) == "job_not_found"
        assert await library.problem("GET", "/jobs/live?x=1", 400) == "bad_request"


async def test_a_quiet_stream_shows_that_it_lives(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.01)
    async with working(database, socket_path, []) as library, library.events("/jobs/live") as watching:
        await watching.next()
        while (await watching.block()) != ":":
            pass


async def test_who_stops_reading_is_let_go(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STALLED_S", 0.05)
    async with working(database, socket_path, []) as library:
        await enqueue_wide(library)
        async with library.events("/jobs/live") as stalled:
            hung_up = select.poll()
            hung_up.register(stalled.client.stream.socket.fileno(), 0)
            assert await trio.to_thread.run_sync(hung_up.poll, 10_000)


async def test_events_are_described(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        told = await library.ask("GET", "/openapi.json")
    answer = told["paths"]["/api/v1/jobs/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    assert answer["x-events"]["jobs"] == {"$ref": "#/components/schemas/LiveJobs"}
    assert {"LiveJobs", "RunningJob", "Progress", "Trouble", "JobSelection", "QueueChange"} <= set(
        told["components"]["schemas"]
    )


async def test_a_head_of_events_ends(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        reply = await library.server.ask("HEAD", "/api/v1/jobs/live")
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")


async def test_watchers_do_not_hold_up_the_end(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind], grace_s=30) as library:
        (job,) = await library.enqueue(new())
        async with library.events("/jobs/live") as watching, library.events(f"/jobs/{job}/live") as one:
            await watching.next()
            await one.next()
            began = trio.current_time()
            library.server.stop.set()
            for stream in (watching, one):
                with pytest.raises(EOFError):
                    await stream.until(lambda _name, _data: False)
            await library.server.ended.wait()
            assert trio.current_time() - began < 10


async def test_who_does_not_read_holds_nobody_up(database: Database, socket_path: str) -> None:
    """Neither the others, for whom it may be the one that looks, nor the server's end."""
    async with working(database, socket_path, [], grace_s=30) as library:
        await enqueue_wide(library)
        async with library.events("/jobs/live"), library.events("/jobs/live") as reading:
            await reading.next()
            await library.enqueue(NewJob(JobId(uuid7()), "work", "another"))
            await reading.until(lambda _, data: any(queue["name"] == "another" for queue in data["queues"]))
            began = trio.current_time()
            library.server.stop.set()
            await library.server.ended.wait()
            assert trio.current_time() - began < 10


async def test_who_goes_is_forgotten(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        async with library.events("/jobs/live") as watching, library.events("/jobs/live") as other:
            await watching.next()
            await watching.client.stream.aclose()
            await other.next()
            await library.enqueue(new())
            await other.until(lambda _, data: data["queues"][0]["counts"] == {"available": 1})
        # their connections end at once, not when they next would be written to
        library.server.stop.set()
        await library.server.ended.wait()


async def test_a_database_that_is_away_is_told(
    database: Database, socket_path: str, postgres: embedded.Server, conninfo: str
) -> None:
    name = conninfo_to_dict(conninfo)["dbname"]
    admin = await trio.to_thread.run_sync(partial(psycopg.connect, postgres.admin_conninfo, autocommit=True))

    def allow(allowed: bool) -> None:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(str(name)), allowed))
        if not allowed:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    with contextlib.closing(admin):
        async with working(database, socket_path, [], idle=True) as library, library.events("/jobs/live") as watching:
            assert (await watching.next())[0] == "jobs"
            await trio.to_thread.run_sync(allow, False)
            told = await watching.until(lambda name, _: name == "trouble")
            assert told["code"] == "database_unavailable"
            await trio.to_thread.run_sync(allow, True)
            await watching.until(lambda name, _: name == "jobs")
