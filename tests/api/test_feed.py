"""The one stream of what happens: who reads it, who comes back, who is too slow."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest
import trio

from lumiliod.api import app as api
from lumiliod.contract.feed import EVENTS, AssetsEvent, HealthEvent, JobsEvent, SyncEvent
from lumiliod.db.pool import Database
from lumiliod.domain.ids import AssetId
from lumiliod.domain.jobs import NewJob
from lumiliod.library import feed, live
from tests.pipeline import shelf as shelves
from tests.watch import scanning

from .wire import Client, serving
from .working import HOME, WORK, Events, Steps, Working, working

ASSET = AssetId(UUID(int=9))


def job(number: int = 0) -> NewJob:
    return WORK.new({"number": number}, asset_id=ASSET, repository_id=HOME)


def is_sick(name: str, data: object, reason: str) -> bool:
    return name == "health" and any(one.reason == reason for one in msgspec.convert(data, HealthEvent).services)


async def test_what_happens_is_told(database: Database, socket_path: str) -> None:
    steps = Steps()
    async with working(database, socket_path, [steps.kind]) as library, library.events("/events") as reading:
        assert (reading.status, reading.headers["content-type"]) == (200, "text/event-stream")
        assert (await reading.block()).startswith("retry: ")
        assert await reading.next() == ("reset", {"reason": "new"})
        await library.enqueue(job())
        counts = await reading.until(lambda name, data: name == "jobs" and data["counts"] != [])
        assert msgspec.convert(counts, JobsEvent).queues[0].name == "work"
        library.health.set("disk", "degraded", "it hums")
        await reading.until(partial(is_sick, reason="it hums"))
        library.health.forget("disk")
        gone = await reading.until(lambda name, data: name == "health" and data["gone"] != [])
        assert (gone["services"], gone["gone"]) == ([], ["disk"])
        steps.go.set()
        ended = await reading.until(lambda name, data: name == "jobs" and data["completed"] != {})
        assert ended["completed"] == {"work": 1}
        assets = msgspec.convert(await reading.until(lambda name, _: name == "assets"), AssetsEvent)
        assert [(one.id, one.by, assets.is_whole) for one in assets.assets] == [(ASSET, "work", True)]


async def test_a_reader_chooses_topics(database: Database, socket_path: str) -> None:
    steps = Steps()
    steps.go.set()
    async with (
        working(database, socket_path, [steps.kind]) as library,
        library.events("/events?topics=assets,%20health") as some,
        library.events("/events") as everything,
    ):
        await library.enqueue(job())
        await everything.until(lambda name, _: name == "assets")
        library.health.set("disk", "degraded", "the end")
        names = set[str]()
        while "end" not in names:
            name, data = await some.next()
            names.add("end" if is_sick(name, data, "the end") else name)
        assert names - {"health"} == {"reset", "assets", "end"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/events?topics=albums", "bad_topic"),
        ("/events?topics=jobs,albums", "bad_topic"),
        ("/events?topic=jobs", "bad_request"),
        ("/events?topics=jobs&topics=sync", "bad_request"),
    ],
)
async def test_bad_wishes_are_refused(database: Database, socket_path: str, path: str, code: str) -> None:
    async with working(database, socket_path, []) as library:
        assert await library.problem("GET", path, 400) == code


@pytest.mark.parametrize("told_id", ["yes", "-1", "1.5", "9" * 30])
async def test_a_bad_event_id_is_refused(database: Database, socket_path: str, told_id: str) -> None:
    async with working(database, socket_path, []) as library:
        reply = await library.server.ask("GET", "/api/v1/events", [("Last-Event-ID", told_id)])
        assert (reply.status, reply.json["code"]) == (400, "bad_event_id")


async def test_who_comes_back_goes_on_where_it_was(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        async with library.events("/events?topics=health") as other:
            async with library.events("/events?topics=health") as reading:
                library.health.set("disk", "degraded", "before")
                await reading.until(partial(is_sick, reason="before"))
                seen = reading.number
            library.health.set("disk", "degraded", "meanwhile")
            await other.until(partial(is_sick, reason="meanwhile"))
            async with library.events("/events?topics=health", after=seen) as again:
                name, data = await again.next()
                assert is_sick(name, data, "meanwhile")
                assert again.number == other.number > seen
        async with library.events("/events?topics=health", after=again.number) as alone:
            library.health.set("disk", "ready", "after all had gone")
            name, data = await alone.next()
            assert is_sick(name, data, "after all had gone")
            assert alone.number > again.number


async def test_numbers_grow(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library, library.events("/events") as reading:
        numbers = []
        for number in range(4):
            library.health.set("disk", "degraded", str(number))
            await reading.until(partial(is_sick, reason=str(number)))
            numbers.append(reading.number)
        assert all(one < following for one, following in pairwise(numbers))


@pytest.mark.parametrize("after", [0, 5, (1 << 53) - 1])
async def test_what_is_not_known_is_a_gap(database: Database, socket_path: str, after: int) -> None:
    async with working(database, socket_path, []) as library, library.events("/events", after=after) as reading:
        assert await reading.next() == ("reset", {"reason": "gap"})


async def test_nothing_is_known_of_a_time_when_nobody_read(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(database, socket_path, []) as library:
        async with library.events("/events") as reading:
            library.health.set("disk", "degraded", "once")
            await reading.until(partial(is_sick, reason="once"))
        monkeypatch.setattr(feed, "LINGER_S", -1.0)
        with trio.fail_after(20):
            while True:  # until the server has seen the reader go
                async with library.events("/events", after=reading.number) as again:
                    if await again.next() == ("reset", {"reason": "gap"}):
                        return


async def test_who_is_too_slow_is_dropped(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RING_EVENTS", 4)
    monkeypatch.setattr(feed, "PERIOD_S", 0.0)
    async with (
        working(database, socket_path, []) as library,
        library.events("/events?topics=health") as slow,
        library.events("/events?topics=health") as quick,
    ):
        assert await slow.next() == ("reset", {"reason": "new"})
        # each is more than a socket holds
        for number in range(12):
            reason = f"{number} {'x' * 500_000}"
            library.health.set("disk", "degraded", reason)
            await quick.until(partial(is_sick, reason=reason))
        found = [await slow.next()]
        while found[-1][0] != "dropped":
            found.append(await slow.next())
        assert found[-1][1]["code"] == "reader_too_slow"
        assert len(found) < 12
        with pytest.raises(EOFError):
            await slow.next()
        async with library.events("/events?topics=health", after=slow.number) as again:
            assert await again.next() == ("reset", {"reason": "gap"})


async def test_there_are_not_too_many_readers(
    database: Database, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCHERS_MAX", 2)
    async with working(database, socket_path, []) as library:
        async with library.events("/events") as one, library.events("/events") as two:
            await one.next()
            await two.next()
            reply = await library.server.ask("GET", "/api/v1/events")
            assert (reply.status, reply.json["code"]) == (503, "too_many_watchers")
            assert int(reply.headers["retry-after"]) > 0
        with trio.fail_after(20):
            while (await library.server.ask("HEAD", "/api/v1/events")).status != 200:
                await trio.lowlevel.checkpoint()


async def waiting(conninfo: str) -> set[tuple[int, object]]:
    """Return who waits for a lock in the database, each with when it began to ask."""

    def ask() -> set[tuple[int, object]]:
        with psycopg.connect(conninfo, autocommit=True) as conn:
            return set(
                conn.execute("SELECT pid, query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall()
            )

    return await trio.to_thread.run_sync(ask)


async def test_a_database_that_hangs_holds_up_no_health(database: Database, socket_path: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as blocking:
        async with working(database, socket_path, []) as library, library.events("/events") as reading:
            await reading.next()
            lock = partial(blocking.execute, "LOCK sync_operations IN ACCESS EXCLUSIVE MODE")
            await trio.to_thread.run_sync(lock)
            with trio.fail_after(20):
                while not await waiting(conninfo):
                    await trio.sleep(0.01)
            for reason in ("it hums", "it smokes"):
                library.health.set("disk", "degraded", reason)
                await reading.until(partial(is_sick, reason=reason))
            await trio.to_thread.run_sync(blocking.rollback)


async def test_who_goes_in_the_middle_of_a_look_takes_nothing_along(
    database: Database, socket_path: str, conninfo: str
) -> None:
    """One reader looks for all: what it had seen by then is told to the others all the same."""
    steps = Steps()
    steps.go.set()
    with psycopg.connect(conninfo) as blocking:
        async with (
            working(database, socket_path, [steps.kind]) as library,
            library.events("/events") as looks,
        ):
            await looks.until(lambda name, _: name == "health" or name == "jobs")
            async with library.events("/events") as stays:
                await stays.next()
                lock = partial(blocking.execute, "LOCK sync_operations IN ACCESS EXCLUSIVE MODE")
                await trio.to_thread.run_sync(lock)
                with trio.fail_after(20):
                    while not (first := await waiting(conninfo)):
                        await trio.sleep(0.01)
                # what has ended is seen by the next look, which does not get to its end
                library.health.set("disk", "degraded", "it hums")
                await library.enqueue(job())
                await until_done(library)
                with trio.fail_after(20):
                    while not ((second := await waiting(conninfo)) and second.isdisjoint(first)):
                        await trio.sleep(0.01)
                await looks.client.stream.aclose()
                with trio.fail_after(20):
                    while not ((third := await waiting(conninfo)) and third.isdisjoint(second)):
                        await trio.sleep(0.01)
                await trio.to_thread.run_sync(blocking.rollback)
                seen = set[str]()
                while seen != {"health", "assets"}:
                    name, data = await stays.next()
                    if is_sick(name, data, "it hums") or name == "assets":
                        seen.add(name)


async def test_names_that_are_no_text_are_told(database: Database, socket_path: str) -> None:
    """A reason may name a file, whose name is any bytes; and none begins an event of its own."""
    async with working(database, socket_path, []) as library, library.events("/events") as reading:
        library.health.set("disk", "degraded", "a\udcff\n\nevent: reset\ndata: {}\n\n\u2028\r")
        told = await reading.until(lambda name, data: name == "health" and data["status"] == "degraded")
        [disk] = [one for one in told["services"] if one["name"] == "disk"]
        assert disk["reason"] == "a\\udcff\n\nevent: reset\ndata: {}\n\n\u2028\r"
        assert disk in (await library.ask("GET", "/health"))["services"]


async def test_readers_do_not_hold_up_the_end(database: Database, socket_path: str) -> None:
    async with (
        working(database, socket_path, [], grace_s=60) as library,
        library.events("/events") as one,
        library.events("/events?topics=sync") as other,
    ):
        await one.next()
        await other.next()
        library.server.stop.set()
        with trio.fail_after(20):
            for stream in (one, other):
                with pytest.raises(EOFError):
                    await stream.until(lambda _name, _data: False)
            await library.server.ended.wait()


async def test_nothing_is_asked_of_the_database_while_nobody_reads(database: Database, socket_path: str) -> None:
    """Nor are ends gathered."""
    steps = Steps()
    steps.go.set()
    async with working(database, socket_path, [steps.kind]) as library:
        assert not library.engine.endings.listens
        await library.enqueue(job())
        await until_done(library)
        assert not library.engine.endings.take()
        async with library.events("/events") as reading:
            await reading.until(lambda name, _: name == "jobs")
            assert library.engine.endings.listens


async def until_done(library: Working) -> None:
    with trio.fail_after(20):
        while not library.engine.totals["work"].completed:
            await trio.sleep(0.01)


async def test_it_is_described(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, []) as library:
        document = await library.ask("GET", "/openapi.json")
    operation = document["paths"]["/api/v1/events"]["get"]
    assert {one["name"] for one in operation["parameters"]} == {"topics", "Last-Event-ID"}
    answer = operation["responses"]["200"]["content"]["text/event-stream"]
    assert set(answer["x-events"]) == set(EVENTS)
    assert answer["x-events"]["sync"] == {"$ref": "#/components/schemas/SyncEvent"}


async def test_runs_of_scans_are_told(conninfo: str, tmp_path: Path) -> None:
    shelf = shelves.make(conninfo, tmp_path / "home")
    (shelf.path / "a.jpg").write_bytes(b"x")
    path = str(tmp_path / "s")
    async with scanning.scanning(shelf) as rt, serving(api.create(rt), path) as server:
        await scanning.scanned(rt, shelf)
        stream = await server.connect()
        async with stream:
            reading = Events(Client(stream))
            await reading.begin("/api/v1/events?topics=sync,health")
            # the first look is behind us when it has told how services are
            await reading.until(lambda name, _: name == "reset")
            rt.health.set("disk", "ready")
            await reading.until(lambda name, _: name == "health")
            with trio.fail_after(20):
                while not rt.jobs.endings.listens:
                    await trio.sleep(0.01)
            found: list[SyncEvent] = []
            while not found:
                await scanning.scanned(rt, shelf, "")
                with trio.move_on_after(5):
                    data = await reading.until(lambda name, data: name == "sync" and data["phase"] == "ended")
                    found.append(msgspec.convert(data, SyncEvent))
            assert (found[0].operation.repository, found[0].operation.status) == ("home", "completed")
            assert found[0].operation.found == 1
