"""Jobs that look at a repository, one at a time for each: one that began later would keep an earlier from its end."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

import trio

from lumiliod.jobs.engine import Running
from lumiliod.runtime import Opened, Runtime, reaching


class Asked(Protocol):
    """Arguments of a job that name a repository."""

    @property
    def repository(self) -> UUID:
        """Return its id."""
        ...


A = TypeVar("A", bound=Asked)


def by_turns(
    rt: Runtime, args: type[A], act: Callable[[Runtime, Opened, Running, A], Awaitable[None]]
) -> Callable[[Running], Awaitable[None]]:
    """Return what a job runs to ``act`` upon the repository that its ``args`` name."""
    turns: dict[UUID, trio.Lock] = {}

    async def run(running: Running) -> None:
        wanted = running.decoded(args)
        opened = rt.repositories.get(wanted.repository)
        async with turns.setdefault(wanted.repository, trio.Lock()):
            with reaching(rt.repositories, opened):
                await act(rt, opened, running, wanted)

    return run
