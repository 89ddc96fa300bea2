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

ANSWER_S = 10.0
"""How long an answer may take, whatever comes of it meanwhile."""

CHANGE_S = 60.0
"""How long the console waits for a change; the daemon goes on with it afterwards."""

CLOSE_S = 0.3
"""How long quitting waits for threads to note that their questions have ended."""

THREADS = 16
"""So many questions are open at most; a daemon that answers none must not take more."""


class Asker:
    """A client whose calls are made in threads of their own; close it at the end.

    The threads end with the process: a question that is never answered keeps nobody from quitting.
    """

    def __init__(self, socket: str, *, answer_s: float = ANSWER_S) -> None:
        self.socket = socket
        self.answer_s = answer_s
        self.client = Client(socket, answer_s=answer_s)
        self._open = 0

    async def close(self) -> None:
        """Close the connections; what is still asked ends without an answer."""
        self.client.close()
        give_up_at = time.monotonic() + CLOSE_S
        while self._open and time.monotonic() < give_up_at:
            await asyncio.sleep(0.001)

    async def ask(self, question: Callable[[Client], T], *, patience_s: float | None = None) -> T:
        """Return what ``question`` returns of the client, within ``patience_s`` seconds.

        Raises:
            ClientError: the daemon said no, nobody answered or not in time, or what was asked cannot be sent.
        """
        if self._open >= THREADS:
            raise Unreachable(_late(self.socket, "Too many questions are open already."))
        self._open += 1
        told = aside(partial(question, self.client), self._ended)
        try:
            async with asyncio.timeout(self.answer_s if patience_s is None else patience_s):
                return await told
        except TimeoutError:
            raise Unreachable(_late(self.socket)) from None
        except OSError as error:
            raise Unreachable(_late(self.socket, str(error))) from error
        except ValueError as error:  # a name that is no text, for one
            problem = Problem(title="Not sent", status=400, code="bad_text", detail=f"That cannot be sent: {error}")
            raise ClientError(problem) from error

    def _ended(self) -> None:
        self._open -= 1


def aside(work: Callable[[], T], ended: Callable[[], None] | None = None) -> "asyncio.Future[T]":
    """Have ``work`` done in a thread that keeps nobody from quitting; ``ended`` is called in the event loop then."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[T] = loop.create_future()

    def tell(tell_it: Callable[[], None]) -> None:
        if ended is not None:
            ended()
        if not told.done():
            tell_it()

    def run() -> None:
        try:
            done = partial(told.set_result, work())
        except Exception as error:
            done = partial(told.set_exception, error)
        with suppress(RuntimeError):  # the console has ended
            loop.call_soon_threadsafe(tell, done)

    threading.Thread(target=run, name="lumilio-aside", daemon=True).start()
    return told


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
