"""Work that several wait for: done once, given up with the last who waits, and its failures are its own."""

import pytest
import trio
import trio.testing

from lumiliod.domain.errors import Permanent, Retryable
from lumiliod.jobs import shared_work
from lumiliod.jobs.shared_work import SharedWork


async def test_work_is_shared_and_ends_with_the_last_who_waits() -> None:
    work, begun, may_end = SharedWork(), [0, 0], trio.Event()
    scopes = [trio.CancelScope() for _ in range(3)]
    done: list[int] = []

    async def make() -> None:
        begun[0] += 1
        try:
            await may_end.wait()
        except trio.Cancelled:
            begun[1] += 1
            raise

    async def wait(number: int) -> None:
        with scopes[number]:
            await work.done("key", make)
            done.append(number)

    async with trio.open_nursery() as nursery:
        await nursery.start(work.run)
        for number in range(3):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert begun == [1, 0]
        scopes[1].cancel()
        scopes[2].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert begun == [1, 1]
        scopes[:] = [trio.CancelScope() for _ in range(3)]
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (begun, sorted(done)) == ([2, 1], [1, 2])

        async def fail() -> None:
            await trio.lowlevel.checkpoint()
            raise Permanent("no", code="corrupt")

        with pytest.raises(Permanent):
            await work.done("other", fail)
        nursery.cancel_scope.cancel()


async def test_what_nobody_foresaw_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    work, may_end, done = SharedWork(), trio.Event(), list[str]()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise FileNotFoundError("the disk was unplugged")

    async def wait() -> None:
        await work.done("other", may_end.wait)
        done.append("other")

    async with trio.open_nursery() as nursery:
        await nursery.start(work.run)
        nursery.start_soon(wait)
        for _ in range(7):  # more often than a service may fail in a minute
            with pytest.raises(Retryable) as caught:
                await work.done("key", fail)
            assert caught.value.code == "interrupted"
        may_end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert done == ["other"]
        nursery.cancel_scope.cancel()
    assert "shared work failed" in caplog.text


async def test_so_much_is_made_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_work, "WORKS_MAX", 2)
    work, may_end = SharedWork(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(work.run)
        for key in ("a", "b", "b"):
            nursery.start_soon(work.done, key, may_end.wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Retryable) as caught:
            await work.done("c", may_end.wait)
        assert caught.value.code == "busy"
        may_end.set()
        await trio.testing.wait_all_tasks_blocked()
        await work.done("c", may_end.wait)
        nursery.cancel_scope.cancel()
