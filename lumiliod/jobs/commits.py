"""Group commit: the results that wait at the same moment share one transaction."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import outcome
import trio

from lumiliod.db import errors as db_errors
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError, Retryable, Unavailable
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.ends import Effect, Fenced, Result, Together
from lumiliod.jobs.failures import log_defect

Call = Callable[[Callable[[Connection, list["Request"]], None], list["Request"]], Awaitable[None]]

COMMIT_GROUP_MAX = 64
"""Results that somebody waits for, in one transaction: each has an effect of its own."""

PLAIN_GROUP_MAX = 500
"""Ends without an effect, in one statement."""

LINGER_S = 0.01
"""How long ends that nobody waits for gather before they are written."""

AWAY_PERIOD_S = 1.0
"""How often ends are tried again while the database is away."""


TRIES_MAX = 5
"""How often the end of a job is tried that the database refuses for a reason of its own."""


DURATIONS_MS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 1.8e6, inf)
"""Upper bounds by which durations of jobs are counted."""


@dataclass
class StageTotal:
    """Work finished by one kind in this process; ``durations`` counts it by ``DURATIONS_MS``."""

    completed: int = 0
    run_ms: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * len(DURATIONS_MS))

    def add(self, run_ms: float) -> None:
        """Count one."""
        self.completed += 1
        self.run_ms += run_ms
        self.durations[bisect_left(DURATIONS_MS, run_ms)] += 1


_UNWRITTEN = outcome.Error(Retryable("the result was not written"))
_WRITTEN: outcome.Value[Result | None] = outcome.Value(None)


@dataclass(eq=False, slots=True)
class Request:
    """One attempt's end, waiting to be committed; ``value`` says how that went once ``done`` is set."""

    job: ClaimedJob
    run_ms: float
    effect: Effect | None
    result: Result | None
    done: trio.Event | None = None
    tries: int = 0
    value: outcome.Value[Result | None] | outcome.Error = _UNWRITTEN


class Commits:
    """The queue of results to commit, and the service that commits them.

    Args:
        call: runs a transaction and wakes the lanes it enqueued for: ``Engine.call``.
        ended: told the plain ends that were written, or refused: they are no longer held.
        completed: told each job that is completed, with its result.
    """

    def __init__(
        self,
        call: Call,
        ended: Callable[[Sequence[ClaimedJob]], None],
        completed: Callable[[ClaimedJob, Result | None], None],
    ) -> None:
        self.totals: dict[str, StageTotal] = defaultdict(StageTotal)
        self._call = call
        self._ended = ended
        self._completed = completed
        self._requests: list[Request] = []
        self._plain: list[Request] = []
        self._requested = trio.Event()
        self._hurry = trio.Event()
        self._settled = trio.Event()

    @property
    def backlog(self) -> int:
        """Return how many plain ends are not written yet."""
        return len(self._plain)

    def ask(self, request: Request) -> None:
        """Have ``request`` written by the next group commit."""
        self._requests.append(request)
        self._requested.set()
        self._hurry.set()

    def end(self, job: ClaimedJob, run_ms: float) -> None:
        """Have the end of an attempt without effect or result written soon; nobody waits for that."""
        self._plain.append(Request(job, run_ms, None, None))
        self._requested.set()
        if len(self._plain) >= PLAIN_GROUP_MAX:
            self._hurry.set()

    async def flush(self) -> None:
        """Wait until no plain end is left to write."""
        self._hurry.set()
        while self._plain:
            await self._settled.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit results, everything that is waiting in one transaction; a service."""
        task_status.started()
        while True:
            await self._requested.wait()
            with trio.move_on_after(LINGER_S):
                await self._hurry.wait()
            group, self._requests = self._requests[:COMMIT_GROUP_MAX], self._requests[COMMIT_GROUP_MAX:]
            plain = self._plain[:PLAIN_GROUP_MAX]
            with trio.CancelScope(shield=True):
                try:
                    await self._write([*group, *plain])
                finally:
                    for request in group:
                        if request.done is not None:
                            request.done.set()
                await self._settle(plain)
            for request in (*group, *plain):
                if isinstance(request.value, outcome.Value):
                    self.totals[request.job.kind].add(request.run_ms)
                    self._completed(request.job, request.value.value)
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _settle(self, plain: list[Request]) -> None:
        """Let go of plain ends that were written or refused; the others are tried again, behind those that came since.

        While the database is away all stay. One that cannot be written for another reason, again and
        again, is given up: nobody holds it any more, so the keeper gives its job back.
        """
        ended: list[Request] = []
        again: list[Request] = []
        away = False
        for request in plain:
            error = request.value.error if isinstance(request.value, outcome.Error) else None
            away = away or isinstance(error, Unavailable)
            if error is None or isinstance(error, Fenced):
                ended.append(request)
            elif isinstance(error, Unavailable) or request.tries < TRIES_MAX:
                request.tries += not isinstance(error, Unavailable)
                again.append(request)
            else:
                log_defect("the end of a job cannot be written", error, job=str(request.job.id), kind=request.job.kind)
                ended.append(request)
        self._plain = [*self._plain[len(plain) :], *again]
        self._ended([request.job for request in ended])
        if again:
            await trio.sleep(AWAY_PERIOD_S if away else LINGER_S)
        if not self._requests and not self._plain:
            self._requested = trio.Event()
        if not self._requests and len(self._plain) < PLAIN_GROUP_MAX:
            self._hurry = trio.Event()
        settled, self._settled = self._settled, trio.Event()
        settled.set()

    async def _write(self, group: list[Request]) -> None:
        while group:
            try:
                await self._call(_write_group, group)
            except _HeldUp as held_up:
                # it has waited long enough for somebody's lock, and the others with it
                held_up.request.value = outcome.Error(held_up.error)
                group = [request for request in group if request is not held_up.request]
                continue
            except _EffectFailed:
                await self._write_part(_write_ends, [request for request in group if request.effect is None])
                await self._write_part(_write_apart, [request for request in group if request.effect is not None])
            except Unavailable as error:
                _refuse(group, error)
            except Exception as error:
                # one of them does not fit, or was in somebody's way; written apart, it fails alone
                log_defect("a group of results was refused", error, jobs=len(group))
                await self._write_part(_write_apart, group)
            return

    async def _write_part(self, write: Callable[[Connection, list[Request]], None], group: list[Request]) -> None:
        if not group:
            return
        try:
            await self._call(write, group)
        except Exception as error:
            _refuse(group, error)


def _refuse(group: Sequence[Request], error: Exception) -> None:
    for request in group:
        request.value = outcome.Error(error)


class _EffectFailed(Exception):
    """An effect in the middle of a group raised, and undoes what the others wrote."""


class _HeldUp(Exception):
    """An effect in the middle of a group waited for as long as it may; which one, and what is said of it."""

    def __init__(self, request: Request, error: LumilioError) -> None:
        super().__init__()
        self.request, self.error = request, error


def _write_group(conn: Connection, group: list[Request]) -> None:
    """Write a group as if nothing went wrong: without savepoints, and the ends of all jobs in one statement.

    All effects come before all ends: to an effect every job of the group still runs.

    Raises:
        _EffectFailed: something did; the group is to be written apart. _HeldUp: so without that one.
    """
    held = db_jobs.hold(conn, [request.job for request in group if request.effect is not None])
    ended: list[tuple[Request, Result | None]] = []
    shared: dict[object, list[tuple[Request, Together[Any]]]] = {}
    for request in group:
        if request.effect is None:
            ended.append((request, request.result))
        elif request.job.id not in held:
            request.value = _fenced()
        elif isinstance(request.effect, Together):
            shared.setdefault(request.effect.write, []).append((request, request.effect))
        else:
            ended.append((request, _result(conn, request, request.effect)))
    for sharing in shared.values():
        ended += _shared(conn, sharing)
    _end(conn, ended)


def _write_ends(conn: Connection, group: list[Request]) -> None:
    _end(conn, [(request, request.result) for request in group])


def _end(conn: Connection, ended: Sequence[tuple[Request, Result | None]]) -> None:
    if not ended:
        return
    ours = db_jobs.complete(conn, [_completion(request, result) for request, result in ended])
    for request, result in ended:
        if request.job.id in ours:
            request.value = _WRITTEN if request.done is None and result is None else outcome.Value(result)
        elif request.effect is None:
            request.value = _fenced()
        else:
            raise _EffectFailed


def _shared(conn: Connection, sharing: list[tuple[Request, Together[Any]]]) -> list[tuple[Request, Result | None]]:
    """Write effects of one kind in the statements they share."""
    if len(sharing) == 1:
        [(request, effect)] = sharing
        return [(request, _result(conn, request, effect))]
    captured = outcome.capture(sharing[0][1].write, conn, [effect.item for _, effect in sharing])
    if isinstance(captured, outcome.Error):
        if conn.closed or conn.broken:
            captured.unwrap()
        raise _EffectFailed from captured.error
    return [
        (request, request.result if result is None else result)
        for (request, _), result in zip(sharing, captured.value, strict=True)
    ]


def _result(conn: Connection, request: Request, effect: Effect) -> Result | None:
    captured = outcome.capture(effect, conn)
    if isinstance(captured, outcome.Error):
        if conn.closed or conn.broken:
            captured.unwrap()
        if (held_up := db_errors.held_up(captured.error)) is not None:
            raise _HeldUp(request, held_up) from None
        raise _EffectFailed from captured.error
    return request.result if captured.value is None else captured.value


def _write_apart(conn: Connection, group: list[Request]) -> None:
    """Write a group so that whoever raises undoes its own alone."""
    # held first: the effect of an attempt that was taken away is not even begun, and none is taken away meanwhile
    ours = db_jobs.hold(conn, [request.job for request in group])
    for request in group:
        if request.job.id not in ours:
            request.value = _fenced()
            continue
        request.value = outcome.capture(_write_one, conn, request)
        if conn.closed or conn.broken:
            raise Unavailable("the database went away while results were written", code="database_unavailable")


def _write_one(conn: Connection, request: Request) -> Result | None:
    result = None
    with db_jobs.savepoint(conn):
        if request.effect is not None:
            result = request.effect(conn)
        if result is None:
            result = request.result
        if request.job.id not in db_jobs.complete(conn, [_completion(request, result)]):
            raise _fenced().error
    return result


def _fenced() -> outcome.Error:
    return outcome.Error(Fenced("this attempt was taken away"))


def _completion(request: Request, result: Result | None) -> db_jobs.Completion:
    return db_jobs.Completion(request.job.id, request.job.token, result, request.run_ms)


def elapsed_ms(began_s: float) -> float:
    """Return the milliseconds since ``began_s``, a time of the monotonic clock."""
    return (time.monotonic() - began_s) * 1000
