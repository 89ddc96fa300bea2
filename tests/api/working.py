"""A served API over an engine that runs the test's own kinds of job, and a reader of its events."""

import datetime as dt
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import h11
import msgspec
import trio

from lumiliod.api import app as api
from lumiliod.contract.problems import Problem
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.ids import JobId, RepositoryId
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from lumiliod.runtime import HealthBoard, Repositories, Runtime
from tests.jobs.conftest import enqueue

from . import wire
from .wire import Client, serving

HOME = RepositoryId(UUID(int=7))
WORK = JobSpec("work", "work", max_attempts=3)


@dataclass
class Steps:
    """A kind of job that runs until the test says so, and tells what happened to it."""

    began: list[JobId] = field(default_factory=list[JobId])
    cancelled: list[JobId] = field(default_factory=list[JobId])
    go: trio.Event = field(default_factory=trio.Event)

    @property
    def kind(self) -> Kind:
        return Kind("work", "work", each(self.run))

    async def run(self, running: Running) -> None:
        self.began.append(running.job.id)
        await running.progress(3, 10, "files", "a.jpg")
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled.append(running.job.id)
            raise


@dataclass
class Working:
    """A running engine and the API over it."""

    engine: Engine
    server: wire.Running
    health: HealthBoard

    async def enqueue(self, *jobs: NewJob) -> list[JobId]:
        return await self.engine.call(enqueue, list(jobs))

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        """Send one request; return the JSON of its answer, which must have ``status``."""
        sent = msgspec.json.encode(body) if method != "GET" else b""
        reply = await self.server.ask(method, f"/api/v1{path}", body=sent)
        assert reply.status == status, reply.body
        return reply.json

    async def problem(self, method: str, path: str, status: int, **body: Any) -> str:
        """Send one request that must fail with ``status``; return the problem's code."""
        told = msgspec.convert(await self.ask(method, path, status, **body), Problem)
        assert told.status == status
        return told.code

    @asynccontextmanager
    async def events(self, path: str, *, after: int | None = None) -> AsyncIterator["Events"]:
        """Read events, those behind ``after`` if it is given."""
        stream = await self.server.connect()
        async with stream:
            events = Events(Client(stream))
            await events.begin(f"/api/v1{path}", after=after)
            yield events


@asynccontextmanager
async def working(
    database: Database,
    socket_path: str,
    kinds: Iterable[Kind],
    *,
    concurrency: int = 2,
    grace_s: float = 30.0,
    lease_s: float = 30.0,
    idle: bool = False,
) -> AsyncIterator[Working]:
    """Run an engine with ``kinds``, unless ``idle``, and serve the API over it, with one repository called home."""
    row = RepositoryRow(HOME, "home", "/home", "date", RepositoryStatus.OFFLINE, None, dt.datetime.now(dt.UTC))
    await database.call(db_repositories.insert, row)
    repositories = Repositories()
    repositories.put(row, None)
    engine = Engine(database, kinds, lease_s=lease_s)
    rt = cast(
        Runtime, SimpleNamespace(health=HealthBoard(), repositories=repositories, db=database, jobs=engine, watched={})
    )
    queues = {kind.queue: concurrency for kind in engine.kinds.values()} or {"work": concurrency}
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        if not idle:
            await nursery.start(partial(service.serve, engine, queues, stop=stop, grace_s=0.0))
        async with serving(api.create(rt), socket_path, grace_s=grace_s) as server:
            yield Working(engine, server, rt.health)
        stop.set()


class Events:
    """Server-sent events as they arrive."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.headers: dict[str, str] = {}
        self.status = 0
        self.number = 0
        self._received = b""

    async def begin(self, target: str, method: str = "GET", *, after: int | None = None) -> None:
        await self.client.send(method, target, [] if after is None else [("Last-Event-ID", str(after))])
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
                return

    async def block(self) -> str:
        """Return what stands before the next empty line.

        Raises:
            EOFError: the stream has ended, as it should: the answer is complete.
        """
        while b"\n\n" not in self._received:
            event = await self._event()
            if isinstance(event, h11.Data):
                self._received += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                raise EOFError
        block, _, self._received = self._received.partition(b"\n\n")
        return block.decode()

    async def next(self) -> tuple[str, Any]:
        """Return the name and the data of the next event; comments are passed over."""
        while True:
            lines = [line for line in (await self.block()).split("\n") if not line.startswith((":", "retry:"))]
            if lines:
                told = dict(line.split(": ", 1) for line in lines)
                self.number = int(told["id"])
                assert self.number > 0
                return told["event"], json.loads(told["data"])

    async def until(self, is_so: Callable[[str, Any], bool]) -> Any:
        """Return the data of the first event for which ``is_so(name, data)``."""
        with trio.fail_after(20):
            while True:
                name, data = await self.next()
                if is_so(name, data):
                    return data

    async def _event(self) -> Any:
        while (event := self.client.connection.next_event()) is h11.NEED_DATA:
            data = await self.client.stream.receive_some(1 << 20)
            assert data, "the connection was cut"
            self.client.connection.receive_data(data)
        return event
