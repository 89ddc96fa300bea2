"""What keeps services running: which failures are counted, and which are only waited for."""

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
import trio.testing

from lumiliod.daemon.supervise import RESTARTS_MAX, keep_running
from lumiliod.domain.errors import Retryable, Unavailable
from lumiliod.runtime import HealthBoard

Service = Callable[..., Awaitable[None]]


def failing(errors: list[Exception]) -> Service:
    """Return a service that is ready and then fails, once for each of ``errors``; afterwards it runs."""
    left = list(errors)

    async def serve(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if left:
            raise left.pop(0)
        await trio.sleep_forever()

    return serve


def state(health: HealthBoard, name: str) -> tuple[str, str | None, int]:
    service = next(service for service in health.snapshot().services if service.name == name)
    return service.state, service.reason, service.restarts


async def test_what_is_away_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    health = HealthBoard()
    away = [Unavailable("the database is not reachable") for _ in range(4 * RESTARTS_MAX)]
    seen = set()
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_running, health, "listen", failing([*away]))
        for _ in range(600):
            await trio.sleep(0.5)
            seen.add(state(health, "listen")[:2])
        assert state(health, "listen")[0] == "ready"
        nursery.cancel_scope.cancel()
    assert ("degraded", "the database is not reachable") in seen


async def test_waiting_grows_and_stays_short(autojump_clock: trio.testing.MockClock) -> None:
    health = HealthBoard()
    starts: list[float] = []

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        starts.append(trio.current_time())
        task_status.started()
        raise Unavailable("away")

    with trio.move_on_after(300):
        await keep_running(health, "listen", serve)
    pauses = [later - sooner for sooner, later in pairwise(starts)]
    assert min(pauses) >= 0.5
    assert 4 <= max(pauses) <= 15


@pytest.mark.parametrize(
    "error",
    [Retryable("slow"), LookupError("defect"), ExceptionGroup("", [Unavailable("away"), LookupError("defect")])],
)
async def test_other_failures_are_counted(error: Exception, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_running, HealthBoard(), "jobs", failing([error] * (RESTARTS_MAX + 1)))
    assert caught.group_contains((Retryable, LookupError))
    assert not caught.group_contains(Unavailable)


async def test_what_is_away_does_not_hide_what_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    errors = [error for _ in range(RESTARTS_MAX) for error in (Unavailable("away"), LookupError("defect"))]
    health = HealthBoard()
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_running, health, "jobs", failing(list(errors)))
        await trio.sleep(300)
        assert state(health, "jobs")[0] == "ready"
        nursery.cancel_scope.cancel()


async def test_a_failure_before_the_first_ready_fails_the_boot(autojump_clock: trio.testing.MockClock) -> None:
    health = HealthBoard()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        raise Unavailable("the database is not reachable")

    with pytest.raises(Unavailable):
        await keep_running(health, "listen", serve)
    assert state(health, "listen")[0] == "failed"
