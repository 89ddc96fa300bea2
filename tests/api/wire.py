"""Speak to a real server over a real socket, down to the bytes."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
import trio
from hypercorn.typing import ASGIFramework

from lumiliod.api.server import serve


@dataclass
class Running:
    path: str
    stop: trio.Event
    ended: trio.Event

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)

    async def ask(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> "Reply":
        stream = await self.connect()
        async with stream:
            return await Client(stream).ask(method, target, headers, body)


class Begun:
    """A task status that wakes who waits for it."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def started(self, value: None = None) -> None:
        self.event.set()


@asynccontextmanager
async def serving(
    app: ASGIFramework,
    path: str,
    grace_s: float = 1.0,
    mode: int = 0o660,
    max_connections: int | None = None,
) -> AsyncIterator[Running]:
    running = Running(path, trio.Event(), trio.Event())

    async def run(begun: "Begun") -> None:
        await serve(
            app,
            path,
            mode=mode,
            stop=running.stop,
            grace_s=grace_s,
            max_connections=max_connections,
            task_status=begun,
        )
        running.ended.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            begun = Begun()
            nursery.start_soon(run, begun)
            await begun.event.wait()
            yield running
            running.stop.set()


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.CLIENT)

    async def send(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        named = [("Host", "lumilio"), *headers]
        if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in named):
            named.append(("Content-Length", str(len(body))))
        data = self.connection.send(h11.Request(method=method, target=target, headers=named)) or b""
        if body:
            data += self.connection.send(h11.Data(data=body)) or b""
        data += self.connection.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def receive(self) -> Reply:
        status, headers, body = 0, dict[str, str](), b""
        while True:
            await trio.lowlevel.checkpoint()
            event = self.connection.next_event()
            if event is h11.NEED_DATA:
                self.connection.receive_data(await self.stream.receive_some(1 << 20))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return Reply(status, headers, body)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError

    async def ask(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Reply:
        await self.send(method, target, headers, body)
        reply = await self.receive()
        if self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE:
            self.connection.start_next_cycle()
        return reply
