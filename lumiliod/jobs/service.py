"""The engine as one service: lease, committer, keeper and one lane per queue, nested in shutdown order."""

import logging
from collections.abc import Mapping

import trio

from lumiliod.jobs.engine import Engine
from lumiliod.jobs.worker import Drain, run_lane

LEAVE_TIMEOUT_S = 10.0
FLUSH_TIMEOUT_S = 5.0
STUBBORN_S = 10.0
"""How long after the grace period a lane may take to give back what it holds."""

log = logging.getLogger(__name__)


async def serve(
    engine: Engine,
    concurrency: Mapping[str, int],
    *,
    stop: trio.Event,
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run all lanes until ``stop`` is set, then drain them: at most ``grace_s`` seconds for running jobs.

    ``concurrency`` says which queues are served and how many jobs of each run at once, unless a
    person said otherwise. Jobs that still run after the grace period are cancelled and given back.

    Raises:
        Retryable: the lease was lost or the database went away; the supervisor starts this again.
    """
    engine.queues.configure(concurrency)
    try:
        await engine.register()
        async with trio.open_nursery() as keeping:
            await keeping.start(engine.commits.run)
            keeping.start_soon(engine.tell_endings)
            # its first round makes available what a killed predecessor held, before the first claim
            await keeping.start(engine.keeper.run, engine.lease)
            async with trio.open_nursery() as lanes:
                drains: list[Drain] = [await lanes.start(run_lane, engine, queue) for queue in concurrency]
                task_status.started()
                lanes.start_soon(_drain, engine, stop, drains, lanes.cancel_scope, grace_s)
            with trio.move_on_after(FLUSH_TIMEOUT_S):
                await engine.commits.flush()
            keeping.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_TIMEOUT_S):
            await engine.leave()


async def _drain(
    engine: Engine, stop: trio.Event, drains: list[Drain], scope: trio.CancelScope, grace_s: float
) -> None:
    await stop.wait()
    for drain in drains:
        drain.stop()
    scope.deadline = trio.current_time() + grace_s
    with trio.CancelScope(shield=True):
        with trio.move_on_after(grace_s + STUBBORN_S):
            for drain in drains:
                await drain.ended.wait()
            return
        # a handler that shields itself cannot be ended from here: the process will be; its job need not wait for that
        log.error("a handler outlasts the shutdown; its job is given back", extra={"lanes": len(engine.lanes)})
        await engine.leave()
