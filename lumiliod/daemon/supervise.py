"""Services that are kept running, and how they are."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.runtime import HealthBoard

log = logging.getLogger(__name__)

RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 15.0

LAG_PERIOD_S = 1.0
LAG_WINDOW = 10


async def keep_running(
    health: HealthBoard,
    name: str,
    service: Callable[..., Awaitable[None]],
    *,
    essential: bool = True,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run ``service(task_status=…)`` and start it again when it fails, until it returns or is cancelled.

    A failure before it was first ready fails the boot. Later ones are answered by a restart with
    backoff and a visible reason; more than five a minute are raised when the service is
    ``essential``, and else leave it ``failed`` while everything else goes on. What is only
    :class:`Unavailable` is waited for with the same backoff, however long, and never given up.
    """
    status = _OnceStarted(task_status, health, name)
    restarts: deque[float] = deque()
    failures: deque[float] = deque()
    if essential:
        health.require(name)
    health.set(name, "starting")
    while True:
        try:
            async with trio.open_nursery() as nursery:
                value = await nursery.start(service)
                status.started(value, restarts=len(restarts))
        except Exception as caught:
            error = _single(caught)
            reason = error.message if isinstance(error, LumilioError) else f"{type(error).__name__}: {error}"
            if not status.was_started:
                health.set(name, "failed", reason)
                raise error from None
            _note(restarts)
            if not isinstance(error, Unavailable):
                _note(failures)
            if not isinstance(error, LumilioError):
                log.error("service failed", exc_info=error, extra={"service": name})
            if not isinstance(error, Unavailable) and len(failures) > RESTARTS_MAX:
                health.set(name, "failed", reason, restarts=len(restarts))
                if essential:
                    raise error from None
                log.error("service given up", extra={"service": name, "reason": reason})
                return
            log.warning("service restarts", extra={"service": name, "reason": reason})
            health.set(name, "degraded", reason, restarts=len(restarts))
            await trio.sleep(min(BACKOFF_FIRST_S * 2 ** (len(restarts) - 1), BACKOFF_MAX_S))
        else:
            health.set(name, "stopped")
            return


class _OnceStarted:
    """Tell the starter once, and the health board every time."""

    def __init__(self, task_status: trio.TaskStatus[Any], health: HealthBoard, name: str) -> None:
        self._task_status = task_status
        self._health = health
        self._name = name
        self.was_started = False

    def started(self, value: object, *, restarts: int) -> None:
        self._health.set(self._name, "ready", restarts=restarts)
        if not self.was_started:
            self.was_started = True
            self._task_status.started(value)


async def measure_lag(health: HealthBoard, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep the worst delay of the event loop in the last ten seconds on the health board."""
    recent: deque[float] = deque([0.0], maxlen=LAG_WINDOW)
    task_status.started()
    while True:
        due = trio.current_time() + LAG_PERIOD_S
        await trio.sleep_until(due)
        recent.append((trio.current_time() - due) * 1000)
        health.loop_lag_ms = max(recent)


def _note(times: deque[float]) -> None:
    """Add now and forget what is older than the window."""
    now = trio.current_time()
    times.append(now)
    while times[0] < now - RESTARTS_WINDOW_S:
        times.popleft()


def _single(error: Exception) -> Exception:
    """Return the first real error of a group, as nurseries make them; what is only away hides no other."""
    found = list(_leaves(error))
    return next((leaf for leaf in found if not isinstance(leaf, Unavailable)), found[0])


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
