"""Queues and workers as people see them, and what people say of queues."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from msgspec import UNSET

from lumiliod.contract.queues import Queue, QueueChange, QueueList, QuietHours, Worker, WorkerList
from lumiliod.db import job_admin, queues, workers
from lumiliod.db.pool import Connection
from lumiliod.db.queues import ALL, QueueRow
from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.queues import quiet_hours, quiet_text
from lumiliod.jobs.queues import Queues
from lumiliod.runtime import Runtime

CONCURRENCY_MAX = 256
NOT_SERVED = "not served"

Counts = Mapping[str, Mapping[str, int]]
"""By queue and state."""


async def list_all(rt: Runtime) -> QueueList:
    """Return every queue: those this process serves, and others that have jobs or were spoken of."""
    return _wire(rt.jobs.queues.configured, *await rt.db.call(_read))


async def pause(rt: Runtime, name: str) -> QueueList:
    """Let nothing of a queue begin from now on, what runs goes on; ``*`` or ``all`` is every queue.

    Returns the queue as it is then, or all of them.

    Raises:
        NotFound: there is no such queue.
    """
    return await _change(rt, name, queues.pause)


async def resume(rt: Runtime, name: str) -> QueueList:
    """Let a queue go on; see :func:`pause`. One that was paused itself stays so when everything is resumed."""
    return await _change(rt, name, queues.resume)


async def change(rt: Runtime, name: str, wanted: QueueChange) -> QueueList:
    """Say how many jobs of a queue run at once, and when nothing of it begins; see :func:`pause`.

    Raises:
        NotFound: there is no such queue.
        Shape: a bad number, time or time zone; all queues together have no concurrency.
    """
    concurrency, quiet = wanted.concurrency, wanted.quiet
    steps: list[Callable[[Connection, str], object]] = []
    if concurrency is not UNSET:
        if concurrency is not None and not 1 <= concurrency <= CONCURRENCY_MAX:
            raise Shape(f"concurrency is between 1 and {CONCURRENCY_MAX}", code="bad_concurrency")
        if _named(name) == ALL:
            raise Shape("every queue has a concurrency of its own", code="bad_concurrency")
        steps.append(partial(_set_concurrency, concurrency))
    if quiet is not UNSET:
        hours = None if quiet is None else quiet_hours(quiet.hours, quiet.time_zone)
        steps.append(partial(_set_quiet, hours))
    return await _change(rt, name, *steps)


async def list_workers(rt: Runtime) -> WorkerList:
    """Return every worker, the oldest first."""
    own = rt.jobs.lease.worker_id
    rows = await rt.db.call(workers.list_workers)
    return WorkerList(
        items=[
            Worker(id=row.id, host=row.host, pid=row.pid, started_at=row.started_at, held=row.held, own=row.id == own)
            for row in rows
        ]
    )


def by_queue(rows: Sequence[tuple[str, str, str, int]]) -> dict[str, dict[str, int]]:
    """Sum up the counts of :func:`lumiliod.db.job_admin.counts` by queue and state."""
    found: dict[str, dict[str, int]] = {}
    for _, queue, state, count in rows:
        states = found.setdefault(queue, {})
        states[state] = states.get(state, 0) + count
    return found


def _named(name: str) -> str:
    return ALL if name == "all" else name


async def _change(rt: Runtime, name: str, *steps: Callable[[Connection, str], object]) -> QueueList:
    name, configured = _named(name), rt.jobs.queues.configured
    rows = await rt.jobs.call(_do, name, frozenset(configured), steps)
    rt.jobs.queues.load(rows)  # here it holds at once, whatever the keeper is doing
    await rt.jobs.told(settings=True)
    # last: counting may take its time
    counts = by_queue(await rt.db.call(job_admin.counts))
    return _wire(configured, rows, counts, only=None if name == ALL else name)


def _do(
    conn: Connection, name: str, served: Collection[str], steps: Sequence[Callable[[Connection, str], object]]
) -> list[QueueRow]:
    known = {ALL, *served, *(row.name for row in queues.list_queues(conn))}
    if name not in known and name not in by_queue(job_admin.counts(conn)):
        raise NotFound(f"there is no queue {name!r}", code="queue_not_found")
    for step in steps:
        step(conn, name)
    return queues.list_queues(conn)


def _set_concurrency(concurrency: int | None, conn: Connection, name: str) -> None:
    queues.set_concurrency(conn, name, concurrency)


def _set_quiet(hours: tuple[dt.time, dt.time, str] | None, conn: Connection, name: str) -> None:
    queues.set_quiet(conn, name, hours)


def _read(conn: Connection) -> tuple[list[QueueRow], Counts]:
    return queues.list_queues(conn), by_queue(job_admin.counts(conn))


def _wire(
    configured: Mapping[str, int], rows: Sequence[QueueRow], counts: Counts, only: str | None = None
) -> QueueList:
    now = Queues()
    now.configure(configured)
    now.load(rows)
    states = {state.name: state for state in now.states()}
    said = {row.name: row for row in rows}
    items = []
    for name in sorted({*configured, *counts, *said} - {ALL}):
        row, state = said.get(name, QueueRow(name)), states.get(name)
        items.append(
            Queue(
                name=name,
                concurrency=row.concurrency or configured.get(name, 0),
                configured=configured.get(name, 0),
                allowed=state.allowed if state else 0,
                reason=state.reason if state else NOT_SERVED,
                paused_at=row.paused_at,
                quiet=_quiet(row),
                counts=dict(counts.get(name, {})),
            )
        )
    every = said.get(ALL, QueueRow(ALL))
    return QueueList(
        items=[item for item in items if only in (None, item.name)], paused_at=every.paused_at, quiet=_quiet(every)
    )


def _quiet(row: QueueRow) -> QuietHours | None:
    if row.quiet_from is None or row.quiet_until is None or row.quiet_zone is None:
        return None
    return QuietHours(hours=quiet_text(row.quiet_from, row.quiet_until), time_zone=row.quiet_zone)
