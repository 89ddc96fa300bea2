"""What many watch is looked at once, and only while somebody does; the clock is the test's own."""

from dataclasses import dataclass, field

import msgspec
import pytest
import trio
import trio.testing

from lumiliod.contract.live import Trouble
from lumiliod.domain.errors import NotFound, Retryable, Unavailable
from lumiliod.library import live
from lumiliod.library.live import Live, Moment, Told


class Number(msgspec.Struct):
    value: int


@dataclass
class World:
    """Something to look at."""

    value: int = 1
    error: Exception | None = None
    ends: bool = False
    looks: list[float] = field(default_factory=list[float])

    async def look(self) -> Told:
        self.looks.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return Told("number", Number(self.value), self.ends)


class Watcher:
    """One who takes what is told, when it is asked to."""

    def __init__(self, watched: Live) -> None:
        self.live = watched
        self.number = 0
        self.scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.live.watched(), self.scope:
            task_status.started()
            await self.live.keep()

    async def next(self) -> Moment:
        moment = await self.live.after(self.number)
        self.number = moment.event.number
        return moment


def value(moment: Moment) -> int:
    assert moment.event.name == "number"
    return msgspec.json.decode(moment.event.data, type=Number).value


async def test_one_looks_for_all_and_another_takes_over(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    shared = Live(world.look)
    one, two = Watcher(shared), Watcher(shared)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        assert value(await one.next()) == value(await two.next()) == 1
        await trio.sleep(10.5)
        assert len(world.looks) == 11
        one.scope.cancel()
        world.value = 2
        assert value(await two.next()) == 2
        two.scope.cancel()
    assert shared.watchers == 0
    looks = len(world.looks)
    await trio.sleep(1000)
    assert len(world.looks) == looks


async def test_who_comes_later_is_told_at_once_and_nothing_old(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    shared = Live(world.look)
    async with trio.open_nursery() as nursery:
        one = Watcher(shared)
        await nursery.start(one.run)
        await one.next()
        one.scope.cancel()
    world.value = 2
    async with trio.open_nursery() as nursery:
        two = Watcher(shared)
        await nursery.start(two.run)
        began = trio.current_time()
        assert value(await two.next()) == 2
        three = Watcher(shared)
        await nursery.start(three.run)
        assert value(await three.next()) == 2
        assert trio.current_time() == began
        nursery.cancel_scope.cancel()


async def test_the_slow_get_the_newest_only(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    shared = Live(world.look)
    async with trio.open_nursery() as nursery:
        slow, quick = Watcher(shared), Watcher(shared)
        await nursery.start(slow.run)
        await nursery.start(quick.run)
        await slow.next()
        await quick.next()
        for number in range(2, 6):
            world.value = number
            assert value(await quick.next()) == number
        assert value(await slow.next()) == 5
        with trio.move_on_after(30) as waiting:
            await slow.next()  # nothing changes
        assert waiting.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_trouble_is_told_once_and_passes(autojump_clock: trio.testing.MockClock) -> None:
    world = World(error=Unavailable("the database is not reachable", code="database_unavailable"))
    shared = Live(world.look)
    async with trio.open_nursery() as nursery:
        one = Watcher(shared)
        await nursery.start(one.run)
        told = await one.next()
        assert (told.event.name, told.last) == ("trouble", False)
        assert msgspec.json.decode(told.event.data, type=Trouble).code == "database_unavailable"
        await trio.sleep(10)
        assert shared.watchers == 1
        world.error = None
        assert value(await one.next()) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("gone", [False, True])
async def test_the_last_look_is_the_last(autojump_clock: trio.testing.MockClock, gone: bool) -> None:
    world = World(ends=True, error=NotFound("there is no job", code="job_not_found") if gone else None)
    shared = Live(world.look)
    async with trio.open_nursery() as nursery:
        one = Watcher(shared)
        await nursery.start(one.run)
        told = await one.next()
        assert told.last
        assert told.event.name == ("trouble" if gone else "number")
    assert len(world.looks) == 1


async def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WATCHERS_MAX", 1)
    watchers = live.Watchers()
    shared, another = (Live(World().look, watchers=watchers) for _ in range(2))
    with shared.watched():
        for one in (shared, another):
            with pytest.raises(Retryable, match="watch already"), one.watched():
                pass
        assert watchers.count == 1
    with another.watched():
        assert watchers.count == 1
