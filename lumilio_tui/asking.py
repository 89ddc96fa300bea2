"""Asking the daemon without ever waiting for it on the thread that draws."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from lumiliod.client import Client, ClientError, Unreachable
from lumiliod.contract.problems import Problem

T = TypeVar("T")
V = TypeVar("V")

ANSWER_S = 10.0
"""How long an answer may take, whatever comes of it meanwhile."""

CHANGE_S = 60.0
"""How long the console waits for a change; the daemon goes on with it afterwards."""

CLOSE_S = 0.3
"""How long quitting waits for answers; a connection in use cannot be closed."""

THREADS = 16
"""So many questions are open at most; a daemon that answers none must not take more."""


class Asker:
    """A client whose calls are made in threads of their own; close it at the end.

    The threads end with the process: a question that is never answered keeps nobody from quitting.
    """

    def __init__(self, socket: str, *, answer_s: float = ANSWER_S) -> None:
        self.socket = socket
        self.answer_s = answer_s
        self._client = Client(socket, answer_s=answer_s)
        self._open = 0

    async def close(self) -> None:
        """Close the connections, having given open questions a moment."""
        give_up_at = time.monotonic() + CLOSE_S
        while self._open and time.monotonic() < give_up_at:
            await asyncio.sleep(0.01)
        self._client.close()

    async def ask(self, question: Callable[[Client], T], *, patience_s: float | None = None) -> T:
        """Return what ``question`` returns of the client, within ``patience_s`` seconds.

        Raises:
            ClientError: the daemon said no, nobody answered, or not in time.
        """
        if self._open >= THREADS:
            raise Unreachable(_late(self.socket, "Too many questions are open already."))
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        thread = threading.Thread(target=self._answer, args=(loop, told, question), name="lumilio-ask", daemon=True)
        self._open += 1
        thread.start()
        try:
            async with asyncio.timeout(self.answer_s if patience_s is None else patience_s):
                return await told
        except TimeoutError:
            raise Unreachable(_late(self.socket)) from None

    def _answer(
        self, loop: asyncio.AbstractEventLoop, told: "asyncio.Future[T]", question: Callable[[Client], T]
    ) -> None:
        try:
            answer = question(self._client)
        except (ClientError, OSError, RuntimeError, ValueError) as error:
            # the client is being closed, or what is to be sent is no text
            failed = error if isinstance(error, ClientError) else Unreachable(_late(self.socket, str(error)))
            _tell(loop, partial(self._ended, told, told.set_exception, failed))
        else:
            _tell(loop, partial(self._ended, told, told.set_result, answer))

    def _ended(self, told: "asyncio.Future[T]", tell: Callable[[V], None], what: V) -> None:
        self._open -= 1
        if not told.done():
            tell(what)


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the console has ended
        loop.call_soon_threadsafe(tell)


class OneAtATime:
    """Runs something again and again, never twice at once; asked for meanwhile it is run once more."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._ended: asyncio.Event | None = None
        self._again = False

    async def run(self) -> None:
        """Run the work, or wait until whoever runs it has run it once more."""
        if self._ended is not None:
            self._again = True
            await self._ended.wait()
            return
        ended = self._ended = asyncio.Event()
        try:
            self._again = True
            while self._again:
                self._again = False
                await self._work()
        finally:
            self._ended = None
            ended.set()


def _late(socket: str, why: str = "") -> Problem:
    detail = why or f"lumiliod does not answer on {socket} in time."
    return Problem(title="lumiliod cannot be reached", status=503, code="unreachable", detail=detail)
