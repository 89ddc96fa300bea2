import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import trio

from lumiliod.storage import throttle
from lumiliod.storage.throttle import Throttle, idle_io, io_priority

BLOCK = 1 << 20


@dataclass
class Clock:
    """Time that passes only while somebody waits."""

    now_s: float = 1000.0
    waits: list[float] = field(default_factory=list[float])

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.waits.append(seconds)
        self.now_s += seconds


def made(clock: Clock, rate: float, burst: int = BLOCK) -> Throttle:
    return Throttle(rate, burst_bytes=burst, clock=clock, wait=clock.wait)


@pytest.mark.parametrize("sizes", [[BLOCK] * 50, [1] * 200, [3 * BLOCK, 17, BLOCK // 3] * 20, [40 * BLOCK]])
@pytest.mark.parametrize("rate", [64.0 * BLOCK, 0.5 * BLOCK])
def test_the_rate_is_held(sizes: list[int], rate: float) -> None:
    clock = Clock()
    began_s = clock.now_s
    bucket = made(clock, rate)
    taken = 0
    for size in sizes:
        bucket.take(size)
        taken += size
        # never ahead of the rate by more than the burst, and never held up for nothing
        assert taken <= (clock.now_s - began_s) * rate + BLOCK + 1e-3 * rate
        assert clock.now_s - began_s <= taken / rate


def test_a_rest_gives_one_burst_and_no_more() -> None:
    clock = Clock()
    bucket = made(clock, 10.0 * BLOCK, burst=2 * BLOCK)
    for _ in range(5):
        bucket.take(BLOCK)
    clock.now_s += 3600
    clock.waits.clear()
    bucket.take(BLOCK)
    bucket.take(BLOCK)
    assert clock.waits == []
    bucket.take(BLOCK)
    assert clock.waits == [pytest.approx(0.1)]


def test_no_limit_never_waits() -> None:
    clock = Clock()
    bucket = made(clock, 0)
    bucket.take(1 << 50)
    assert clock.waits == []


def test_threads_share_one_rate() -> None:
    """Each waits for its own turn, whoever came first."""
    turns: list[float] = []
    bucket = Throttle(BLOCK, burst_bytes=BLOCK, clock=lambda: 0.0, wait=turns.append)
    threads = [threading.Thread(target=bucket.take, args=(BLOCK,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == [pytest.approx(n) for n in range(1, 8)]


async def test_a_waiting_thread_ends_with_its_caller() -> None:
    """An hour's wait is over as soon as nobody wants it."""
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        throttle.pause(3600)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, wait)
            await trio.to_thread.run_sync(waiting.wait)
            nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


def in_a_thread(fn: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            fn()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_the_idle_priority_is_the_threads_own_and_goes() -> None:
    before = io_priority()
    if before is None:
        pytest.skip("this kernel has no I/O priorities")

    def idle() -> None:
        mine = io_priority()
        with idle_io():
            inside = io_priority()
            assert inside is not None
            assert inside >> 13 == 3
            with pytest.raises(OSError, match="read"), idle_io():
                raise OSError("read")
            assert io_priority() == inside
        assert io_priority() == mine

    in_a_thread(idle)
    assert io_priority() == before


def test_without_the_idle_class_the_last_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses class 5, as it refused the idle one of old."""
    if io_priority() is None:
        pytest.skip("this kernel has no I/O priorities")
    monkeypatch.setattr(throttle, "_LOWEST", (5 << 13, *throttle._LOWEST[1:]))

    def lowered() -> None:
        with idle_io():
            assert io_priority() == 2 << 13 | 7

    in_a_thread(lowered)


def test_a_machine_without_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_NUMBERS", {})
    with idle_io():
        assert io_priority() is None
