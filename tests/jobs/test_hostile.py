"""Handlers that misbehave, arguments and results that are none, clocks that jump: the rest goes on, nothing is lost."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from lumiliod.db import job_admin, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import LumilioError, Permanent
from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, NewJob, Retries
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from lumiliod.jobs.lease import Lease
from lumiliod.media.processes import end_process
from tests.jobs.conftest import Serving, enqueue, state_of, until
from tests.jobs.test_engine import note, noted
from tests.jobs.test_lease import keep_serving

WORK = JobSpec("work", "work", max_attempts=2)
ONCE = JobSpec("work", "work", max_attempts=1)
QUICK = Retries(base_s=0.05, max_s=0.05)


def new(number: int = 0, spec: JobSpec = WORK, **args: Any) -> NewJob:
    return spec.new({"number": number, **args})


async def do_note(running: Running) -> None:
    await running.complete(partial(note, running.args["number"]))


async def nothing(_: Running) -> None:
    pass


def watcher(
    conninfo: str, kinds: Iterable[Kind], lease_s: float, begin: threading.Event, ended: threading.Event
) -> None:
    """Run another engine on the same table, on a loop of its own, from ``begin`` until ``ended``."""

    async def main() -> None:
        stop = trio.Event()
        database = Database(conninfo, pool_size=4)
        engine = Engine(database, kinds, lease_s=lease_s, keeper_period_s=lease_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_serving, engine, stop, [])
            await trio.to_thread.run_sync(ended.wait)
            stop.set()
        await database.close()

    begin.wait()
    if not ended.is_set():
        trio.run(main)


@contextmanager
def elsewhere(conninfo: str, kinds: Iterable[Kind] = (), *, lease_s: float) -> Iterator[threading.Event]:
    """Have another worker in a thread; it begins when the event that this gives is set."""
    begin, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=watcher, args=(conninfo, kinds, lease_s, begin, ended))
    thread.start()
    try:
        yield begin
    finally:
        ended.set()
        begin.set()
        thread.join(30)


# a loop that does not turn


async def test_a_handler_that_blocks_the_loop_keeps_its_lease(
    database: Database, conninfo: str, serving: Serving
) -> None:
    """For three leases, while another worker watches: nothing is taken away, and all results are right."""
    lease_s = 1.5

    async def run(running: Running) -> None:
        if running.args.get("blocks"):
            time.sleep(3 * lease_s)
        await do_note(running)

    with elsewhere(conninfo, lease_s=lease_s) as begin:
        begin.set()
        async with serving([Kind("work", "work", each(run))], lease_s=lease_s) as engine:
            ids = await engine.call(enqueue, [new(0, blocks=True), *[new(number) for number in range(1, 20)]])
            rows = [await state_of(database, job_id, "completed") for job_id in ids]
    assert [(row.attempt, row.errors) for row in rows] == [(1, [])] * 20
    assert await database.call(noted) == list(range(20))


async def test_a_loop_that_is_blocked_for_too_long_loses_its_jobs(
    database: Database, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker does them, what the blocked one writes is refused, and it comes back."""
    monkeypatch.setattr("lumiliod.jobs.lease.BLOCKED_MAX_S", 1.0)
    here = threading.get_ident()
    blocked: list[JobId] = []
    done_elsewhere = threading.Event()
    with contextlib.ExitStack() as stack:

        async def run(running: Running) -> None:
            if threading.get_ident() == here and not blocked:
                blocked.append(running.job.id)
                begin.set()
                assert done_elsewhere.wait(20)
            await do_note(running)
            if running.args["number"] == 1:
                done_elsewhere.set()

        kinds = [Kind("work", "work", each(run))]
        begin = stack.enter_context(elsewhere(conninfo, kinds, lease_s=0.5))
        engine = Engine(database, kinds, lease_s=0.5)
        stop, restarts = trio.Event(), list[str]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_serving, engine, stop, restarts)
            await until(lambda: engine.lease.registered)
            [job_id] = await engine.call(enqueue, [new(1)])
            row = await state_of(database, job_id, "completed")
            # it learns of it when it wants to work again
            [second] = await engine.call(enqueue, [new(2)])
            await state_of(database, second, "completed")
            await until(lambda: restarts)
            stop.set()
    assert blocked == [job_id]
    assert [error["code"] for error in row.errors] == ["worker_lost"]
    assert await database.call(noted) == [1, 2]


# what a handler can raise


class Odd(BaseException):
    """Neither an error nor an exit."""


RAISED = [
    SystemExit(3),
    KeyboardInterrupt(),
    Odd("odd"),
    asyncio.CancelledError(),
    GeneratorExit(),
    MemoryError(),
    RecursionError(),
    StopAsyncIteration(),
    BaseExceptionGroup("several", [SystemExit(3), ValueError("x")]),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["handler", "nursery", "effect", "on_discard"])
async def test_whatever_is_raised_is_a_failure_of_its_job_alone(
    database: Database, serving: Serving, error: BaseException, where: str
) -> None:
    def raising(_: Connection) -> None:
        raise error

    async def raise_it() -> None:
        raise error

    async def run(running: Running) -> None:
        if running.args["number"] != 1:
            await do_note(running)
        elif where == "handler":
            await raise_it()
        elif where == "nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(raise_it)
        elif where == "effect":
            await running.complete(raising)
        else:
            raise Permanent("not this one", code="odd")

    def on_discard(conn: Connection, _job: ClaimedJob, _failed: FailedAttempt) -> None:
        if where == "on_discard":
            raising(conn)

    kind = Kind("work", "work", each(run), retries=QUICK, on_discard=on_discard)
    async with serving([kind], concurrency=1, keeper_period_s=0.5) as engine:
        ids = await engine.call(enqueue, [new(number) for number in range(3)])
        bad = await state_of(database, ids[1], "discarded")
        await state_of(database, ids[2], "completed")
        # and it still works
        [last] = await engine.call(enqueue, [new(9)])
        await state_of(database, last, "completed")
    assert bad.attempt == (1 if where == "on_discard" else 2)
    assert len(bad.errors) == bad.attempt
    assert await database.call(noted) == [0, 2, 9]


# a handler that never ends


async def test_what_never_ends_is_failed_and_the_rest_goes_on(
    database: Database, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shields itself from cancellation; when it ends at last, its result is refused."""
    monkeypatch.setattr("lumiliod.jobs.worker.OVERDUE_S", 0.2)
    go_on, ended = trio.Event(), trio.Event()

    async def run(running: Running) -> None:
        try:
            if running.args.get("stubborn"):
                with trio.CancelScope(shield=True):
                    await go_on.wait()
                    await do_note(running)
            else:
                await do_note(running)
        finally:
            if running.args.get("stubborn"):
                ended.set()

    kind = Kind("work", "work", each(run), limit_s=0.5, retries=QUICK)
    async with serving([kind], concurrency=2, keeper_period_s=0.2) as engine:
        [stubborn] = await engine.call(enqueue, [new(0, ONCE, stubborn=True)])
        row = await state_of(database, stubborn, "discarded")
        ids = await engine.call(enqueue, [new(number) for number in range(1, 10)])
        for job_id in ids:
            await state_of(database, job_id, "completed")
        go_on.set()
        await ended.wait()
    assert [error["code"] for error in row.errors] == ["job_stuck"]
    assert (await state_of(database, stubborn, "discarded")).attempt == 1
    assert await database.call(noted) == list(range(1, 10))


async def test_what_never_ends_does_not_hold_its_job(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not listen to being cancelled: a little after the grace period its job and the lease are given back."""
    monkeypatch.setattr(service, "STUBBORN_S", 0.3)
    entered, go_on = trio.Event(), trio.Event()

    async def stubborn(running: Running) -> None:
        entered.set()
        with trio.CancelScope(shield=True):
            await go_on.wait()
            await do_note(running)

    engine, stop = Engine(database, [Kind("work", "work", each(stubborn))]), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(service.serve, engine, {"work": 1}, stop=stop, grace_s=0.2))
        await until(lambda: engine.lease.registered)
        [job_id] = await engine.call(enqueue, [new()])
        await entered.wait()
        stop.set()
        row = await state_of(database, job_id, "available")
        with trio.fail_after(5):
            while await database.call(workers.list_workers):
                await trio.sleep(0.02)
        # what it writes at last is refused
        go_on.set()
    assert (row.attempt, row.errors) == (0, [])
    assert (await state_of(database, job_id, "available")).attempt == 0
    assert await database.call(noted) == []


STUBBORN = """
import sys, trio
from functools import partial
from lumiliod.daemon import main
from lumiliod.db.pool import Database
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.kind import Kind, each

async def stubborn(_):
    print("begun", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def run(conninfo):
    service.STUBBORN_S = 0.2
    engine, stop = Engine(Database(conninfo), [Kind("work", "work", each(stubborn))]), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(main._wait_for_signals, main.ENDING, stop, nursery.cancel_scope, 2.0)
        await service.serve(engine, {"work": 1}, stop=stop, grace_s=0.2)

trio.run(run, sys.argv[1])
"""


async def test_what_never_ends_does_not_hold_the_process(database: Database, conninfo: str) -> None:
    """After SIGTERM it ends, with a status that says that something was wrong; a second SIGTERM changes nothing."""
    [job_id] = await database.call(enqueue, [new()])
    command = [sys.executable, "-c", STUBBORN, conninfo]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        assert await trio.to_thread.run_sync(process.stdout.readline) == b"begun\n"
        process.terminate()
        row = await state_of(database, job_id, "available")
        process.terminate()
        status = await trio.to_thread.run_sync(process.wait, 20)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert status == 70
    assert (row.attempt, row.errors) == (0, [])


# what is no result, and what are no arguments


class Unspeakable:
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError("no")


def deep() -> object:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    return value


RESULTS: Mapping[str, tuple[Callable[[], object], str]] = {
    "number": (lambda: 42, "completed"),
    "text": (lambda: "text", "completed"),
    "object": (lambda: {"value": object()}, "completed"),
    "set": (lambda: {"value": {1, 2}}, "completed"),
    "bytes": (lambda: {"value": b"\0\xff"}, "completed"),
    "surrogate": (lambda: {"\ud800": "\0"}, "completed"),
    "infinity": (lambda: {"value": float("inf")}, "completed"),
    "huge number": (lambda: {"value": 10**400}, "completed"),
    "odd keys": (lambda: {(1, 2): 3}, "completed"),
    "unspeakable": (lambda: {"value": Unspeakable()}, "discarded"),
    "deep": (deep, "discarded"),
}


@pytest.mark.parametrize("what", RESULTS)
@pytest.mark.parametrize("by", ["effect", "result"])
async def test_a_result_that_is_no_json_is_kept_as_text_or_fails_alone(
    database: Database, serving: Serving, what: str, by: str
) -> None:
    make, end = RESULTS[what]

    async def run(jobs: Sequence[Running]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(finish, job)

    async def finish(job: Running) -> None:
        result: Any = make() if job.args["number"] == 1 else {"number": job.args["number"]}
        try:
            if by == "result":
                await job.complete(result=result)
            else:
                await job.complete(lambda conn: (note(job.args["number"], conn), result)[1])
        except Exception as error:
            await job.fail(error if isinstance(error, LumilioError) else Permanent("no result", code="no_result"))

    async with serving([Kind("work", "work", run, batch=3)], concurrency=1) as engine:
        ids = await engine.call(enqueue, [new(number) for number in range(3)])
        rows = [await state_of(database, job_id, "completed", "discarded", "retryable") for job_id in ids]
    assert [row.state for row in rows] == ["completed", end, "completed"]
    assert [row.attempt for row in rows] == [1, 1, 1]
    assert rows[0].result == {"number": 0}
    if by == "effect":
        assert await database.call(noted) == ([0, 1, 2] if end == "completed" else [0, 2])


@pytest.mark.parametrize("returned", [42, None, "text", object()], ids=lambda value: type(value).__name__)
async def test_what_a_handler_returns_does_not_matter(database: Database, serving: Serving, returned: object) -> None:
    async def run(_: Sequence[Running]) -> Any:
        return returned

    async with serving([Kind("work", "work", run)]) as engine:
        [job_id] = await engine.call(enqueue, [new()])
        row = await state_of(database, job_id, "completed")
    assert row.result is None


async def test_a_handler_that_is_no_coroutine_function_fails(database: Database, serving: Serving) -> None:
    broken: Any = lambda _jobs: 42  # noqa: E731
    kinds = [Kind("work", "work", broken, retries=QUICK), Kind("good", "work", each(do_note))]
    async with serving(kinds) as engine:
        [job_id] = await engine.call(enqueue, [new()])
        [other] = await engine.call(enqueue, [JobSpec("good", "work").new({"number": 1})])
        row = await state_of(database, job_id, "discarded")
        await state_of(database, other, "completed")
    assert row.errors[0]["error_class"] == "TypeError"


class Args(msgspec.Struct):
    number: int
    names: list[str] = []


@pytest.mark.parametrize("args", ["{}", '{"number": "x"}', '{"number": 1, "names": [1]}', "[1]", "1", "null", '"text"'])
async def test_arguments_that_do_not_decode_are_discarded_at_once(
    database: Database, serving: Serving, args: str
) -> None:
    discarded: list[str] = []

    async def run(running: Running) -> None:
        note_it = running.decoded(Args)
        await running.complete(partial(note, note_it.number))

    def on_discard(_conn: Connection, _job: ClaimedJob, failed: FailedAttempt) -> None:
        discarded.append(failed.code)

    def spoil(conn: Connection) -> list[JobId]:
        [bad, good] = enqueue(conn, [new(0), new(7)])
        conn.execute("UPDATE jobs SET args = %s::jsonb WHERE id = %s", (args, bad))
        return [bad, good]

    async with serving([Kind("work", "work", each(run), on_discard=on_discard)]) as engine:
        [bad, good] = await engine.call(spoil)
        row = await state_of(database, bad, "discarded")
        await state_of(database, good, "completed")
    assert (row.attempt, [error["code"] for error in row.errors]) == (1, ["bad_args"])
    assert discarded == ["bad_args"]
    assert await database.call(noted) == [7]


async def test_jobs_of_unknown_kinds_are_left_and_in_nobodys_way(database: Database, serving: Serving) -> None:
    unknown = [JobSpec("unknown", "work").new({}, priority=1) for _ in range(50)]
    unknown += [JobSpec("unheard", "nowhere").new({})]
    async with serving([Kind("work", "work", each(do_note))], keeper_period_s=0.2) as engine:
        await engine.call(enqueue, unknown)
        ids = await engine.call(enqueue, [new(number) for number in range(20)])
        for job_id in ids:
            await state_of(database, job_id, "completed")
        await until(lambda: engine.unknown_kinds == {"unknown", "unheard"})
    rows = [await state_of(database, job.id, "available") for job in unknown]
    assert {(row.attempt, len(row.errors)) for row in rows} == {(0, 0)}


# clocks


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_worker_that_beats_is_not_reaped_whatever_its_lease_says(
    database: Database, conninfo: str, serving: Serving, hours: int
) -> None:
    """Every lease ends an hour sooner, or later, than was said."""
    lease_s = 1.5

    def shift(conn: Connection) -> None:
        body = f"BEGIN NEW.expires_at := NEW.expires_at + interval '{hours} h'; RETURN NEW; END"
        conn.execute(f"CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$".encode())
        conn.execute("CREATE TRIGGER shift BEFORE INSERT OR UPDATE ON workers FOR EACH ROW EXECUTE FUNCTION shift()")

    async def run(running: Running) -> None:
        await trio.sleep(3 * lease_s)
        await do_note(running)

    await database.call(shift)
    with elsewhere(conninfo, lease_s=lease_s) as begin:
        begin.set()
        async with serving([Kind("work", "work", each(run))], lease_s=lease_s) as engine:
            [job_id] = await engine.call(enqueue, [new(1)])
            row = await state_of(database, job_id, "completed")
    assert (row.attempt, row.errors) == (1, [])


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_a_stuck_worker_is_reaped_whatever_its_lease_says(
    database: Database, serving: Serving, hours: int
) -> None:
    lease = Lease(database, 0.5, lambda: None)
    await trio.to_thread.run_sync(lease.start)

    def hold(conn: Connection) -> list[ClaimedJob] | None:
        enqueue(conn, [new(1)])
        held = db_jobs.claim(conn, lease.worker_id, "work", {"work": 1})
        conn.execute("UPDATE workers SET expires_at = expires_at + make_interval(hours => %s)", (hours,))
        return held

    try:
        [job] = await database.call(hold) or []
        began_s = trio.current_time()
        async with serving([Kind("work", "work", each(do_note))], lease_s=0.5) as engine:
            row = await state_of(database, job.id, "completed")
            took_s = trio.current_time() - began_s
            assert await engine.database.call(workers.list_workers) != []
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await trio.to_thread.run_sync(lease.stop)
    assert [error["code"] for error in row.errors] == ["worker_lost"]
    assert await database.call(noted) == [1]
    assert took_s < 10


async def test_the_time_of_jobs_jumps(database: Database, serving: Serving) -> None:
    """An hour forth: what was scheduled is due. An hour back: what was available is not taken for scheduled."""

    def jump(conn: Connection, hours: int) -> None:
        conn.execute(
            "UPDATE jobs SET scheduled_at = scheduled_at + make_interval(hours => %(hours)s),"
            " attempted_at = attempted_at + make_interval(hours => %(hours)s)",
            {"hours": hours},
        )

    entered, go_on = trio.Event(), trio.Event()

    async def run(running: Running) -> None:
        if running.args.get("waits"):
            entered.set()
            await go_on.wait()
        await do_note(running)

    def later(conn: Connection) -> list[JobId]:
        [job_id] = enqueue(conn, [new(3)])
        conn.execute(
            "UPDATE jobs SET state = 'scheduled', scheduled_at = now() + interval '59 min' WHERE id = %s", (job_id,)
        )
        return [job_id]

    async with serving([Kind("work", "work", each(run))], concurrency=1, keeper_period_s=0.2) as engine:
        [first] = await engine.call(enqueue, [new(1, waits=True)])
        await entered.wait()
        [second] = await engine.call(enqueue, [new(2)])
        [third] = await engine.call(later)
        await database.call(jump, 1)
        await trio.sleep(0.5)
        assert (await state_of(database, first, "running")).attempt == 1
        assert (await state_of(database, third, "scheduled")).attempt == 0
        for _ in range(2):
            await database.call(jump, -1)
        await state_of(database, third, "available", "running")
        go_on.set()
        rows = [await state_of(database, job_id, "completed") for job_id in (first, second, third)]
    assert [(row.attempt, row.errors) for row in rows] == [(1, [])] * 3
    assert await database.call(noted) == [1, 2, 3]


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_what_is_held_by_mistake_comes_back_whatever_the_clock_says(
    database: Database, serving: Serving, hours: int
) -> None:
    """The answer to a claim was lost: the worker beats and knows nothing of the job."""
    async with serving([Kind("work", "work", each(do_note))], keeper_period_s=0.2) as engine:
        await until(lambda: engine.lease.registered)

        def lose(conn: Connection) -> JobId:
            [job_id] = enqueue(conn, [new(1)])
            assert db_jobs.claim(conn, engine.lease.worker_id, "work", {"work": 1})
            conn.execute("UPDATE jobs SET attempted_at = attempted_at + make_interval(hours => %s)", (hours,))
            return job_id

        job_id = await database.call(lose)
        given_back = None
        with trio.move_on_after(20):
            given_back = await state_of(database, job_id, "completed")
        await database.call(job_admin.cancel, [job_id])
    assert given_back is not None
    assert (given_back.attempt, given_back.errors) == (1, [])


# the sandbox


SPAWNING = """
import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, as media workers do
own, path = sys.argv[1:]
if own == "orphan":
    script = (
        "import subprocess; "
        "print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, start_new_session=True).pid)"
    )
    child = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
else:
    child = subprocess.Popen(["sleep", "60"], start_new_session=own == "own").pid
with open(path, "w") as out:
    out.write(str(child) + "\\n")
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("session", ["same", "own", "orphan"])
async def test_a_process_that_a_decoder_started_goes_with_it(tmp_path: Path, session: str) -> None:
    """Where the kernel does not keep it from that: in a session of its own or not."""
    told = tmp_path / "pid"
    child = 0
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", SPAWNING, session, str(told)], start_new_session=True
        )
        await until(lambda: told.exists() and told.read_text().endswith("\n"))
        child = int(told.read_text())
        assert is_alive(child)
        await end_process(process)
        with trio.move_on_after(20):
            while is_alive(child):
                await trio.sleep(0.05)
        assert not is_alive(child)
    finally:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
