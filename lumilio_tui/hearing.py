"""Hearing what happens as it happens; asking now and then goes on beside it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context

from lumiliod.client import Client, ClientError

AGAIN_S = 5.0
"""After so long a daemon that did not answer, or had no ear for one more, is tried again."""


class _Enough(Exception):
    """The console ends."""


class Ear:
    """Follows the daemon's events in a thread of its own; ``hear`` is called in the event loop with their names."""

    def __init__(self, client: Client, hear: Callable[[str], None]) -> None:
        self._client = client
        self._hear = hear
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to listen; call it within the event loop."""
        around = (asyncio.get_running_loop(), copy_context())
        threading.Thread(target=self._run, args=around, name="lumilio-ear", daemon=True).start()

    def stop(self) -> None:
        """Listen no more; the thread ends when the client is closed."""
        self._stop.set()

    def _run(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        # what loop.call_soon_threadsafe raises when the console has ended ends this, too
        with suppress(_Enough, RuntimeError):
            while True:
                with suppress(ClientError, OSError):
                    for happening in self._client.feed.follow(sleep=self._wait):
                        self._wait(0)
                        loop.call_soon_threadsafe(self._hear, happening.name, context=context)
                self._wait(AGAIN_S)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Enough
