"""Work for whoever waits: done once for all who wait for the same, given up when nobody does. No job, and no row."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

import trio

from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.jobs.failures import log_defect

WORKS_MAX = 32
"""Each holds some descriptors and a folder while it waits for its turn."""


@dataclass
class _Work:
    make: Callable[[], Awaitable[None]]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    waiting: int = 0
    error: LumilioError | None = None
    is_done: bool = False


class SharedWork:
    """Work that several may wait for at once is done once, and given up when nobody waits any more.

    :meth:`run` is the service that does it.
    """

    def __init__(self) -> None:
        self._works: dict[Hashable, _Work] = {}
        self._asked = trio.Event()
        self._new: list[tuple[Hashable, _Work]] = []

    async def done(self, key: Hashable, make: Callable[[], Awaitable[None]]) -> None:
        """Wait until what ``key`` names was made, by this or another's ``make``.

        Raises:
            LumilioError: as ``make`` did. Retryable: it was interrupted (``interrupted``), or too much is being made
                (``busy``).
        """
        work = self._works.get(key)
        if work is None:
            if len(self._works) >= WORKS_MAX:
                raise Retryable("too much is being made at once", code="busy", after_s=1.0)
            work = self._works[key] = _Work(make)
            self._new.append((key, work))
            self._asked.set()
        work.waiting += 1
        try:
            await work.ended.wait()
        finally:
            work.waiting -= 1
            if not work.waiting and not work.ended.is_set():
                work.scope.cancel()
                # whoever comes now begins anew
                if self._works.get(key) is work:
                    del self._works[key]
        if work.error is not None:
            raise work.error
        if not work.is_done:
            raise Retryable("this was interrupted", code="interrupted", after_s=1.0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what is asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self._asked.wait()
                self._asked = trio.Event()
                asked, self._new = self._new, []
                for key, work in asked:
                    nursery.start_soon(self._do, key, work)

    async def _do(self, key: Hashable, work: _Work) -> None:
        try:
            with work.scope:
                await work.make()
                work.is_done = True
        except LumilioError as error:
            work.error = error
        except Exception as error:  # what one asked for must not end what the others wait for
            log_defect("shared work failed", error, work=str(key))
            work.error = Retryable("this failed for a reason nobody foresaw", code="interrupted", after_s=5.0)
        finally:
            if self._works.get(key) is work:
                del self._works[key]
            work.ended.set()
