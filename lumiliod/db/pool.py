"""Transactions as plain functions: ``await db.call(fn, *args)`` runs one in a thread and commits it."""

import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import outcome
import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from lumiliod.db.errors import as_ours, cause
from lumiliod.domain.errors import ConfigError, Retryable, Unavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Connection = psycopg.Connection[TupleRow]

CANCEL_TIMEOUT_S = 5.0
"""How long a cancelled caller waits for the server to hear of it."""

CONNECT_TIMEOUT_S = 10

LOCK_TIMEOUT_MS = 5000
"""How long a statement waits for another's lock: many results share a commit, and one must not hold up all for long."""

IDLE_TIMEOUT_S = 600
"""How long a transaction may wait for what its function does besides SQL: a re-layout renames with its rows locked.
One whose disk never answers holds them no longer."""

REMOTE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A remote server that vanished is noticed within a minute, not after the system's two hours; in seconds and ms."""


class Database:
    """A bounded set of connections, each used by one thread at a time.

    Args:
        conninfo: libpq connection string; what it says itself is kept.
        pool_size: connections, and so transactions, at the same time.
        statement_timeout_s: longest time one statement may take in the server.

    Raises:
        ConfigError: ``conninfo`` is malformed.

    Connections are opened when first needed. A connection that breaks is closed and never
    reused; a transaction that failed before its commit on a connection that had idled (the
    server was restarted meanwhile) runs again once on a fresh one.
    """

    def __init__(self, conninfo: str, *, pool_size: int = 8, statement_timeout_s: float = 30.0) -> None:
        self.conninfo = conninfo
        self.parameters = _parameters(conninfo, statement_timeout_s)
        self._limiter = trio.CapacityLimiter(pool_size)
        self._glances = trio.CapacityLimiter(1)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def connect(self, *, autocommit: bool = False) -> Connection:
        """Open a connection of its own; the caller closes it. Blocks.

        Raises:
            Unavailable: the server cannot be reached.
        """
        return self._connect(self.parameters, autocommit=autocommit)

    def _connect(self, parameters: dict[str, Any], *, autocommit: bool) -> Connection:
        try:
            return psycopg.connect("", autocommit=autocommit, **parameters)
        except psycopg.OperationalError as error:
            # nothing but where and why: there are no rows yet, and libpq never repeats a password
            reason = " ".join(str(error).split())[:200]
            message = f"the database is not reachable: {reason}"
            raise Unavailable(message, code="database_unavailable", after_s=1.0) from error
        except psycopg.Error as error:
            raise as_ours(error) from cause(error)

    @property
    def connections(self) -> dict[str, int]:
        """Return how many connections are in use, how many wait for their next, and how many callers wait for one."""
        with self._lock:
            idle = len(self._idle)
        told = self._limiter.statistics()
        return {"in_use": told.borrowed_tokens, "idle": idle, "waiting": told.tasks_waiting}

    @property
    def size(self) -> int:
        """Return how many connections may be in use at once."""
        return int(self._limiter.total_tokens)

    @property
    def glances(self) -> int:
        """Return how many glances are under way, those included that nobody waits for any longer."""
        return int(self._glances.borrowed_tokens)

    async def call(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run ``fn(connection, *args)`` as one transaction and return its result.

        Commits when ``fn`` returns and rolls back when it raises. A caller that is cancelled
        before the commit cancels the running statement in the server, and the transaction is
        rolled back before the cancellation goes on; once the commit is under way its result
        is returned.

        Raises:
            Unavailable: the database is away, or went before it answered the commit: nobody
                knows then whether it took effect.
            Retryable: the database is busy or too slow, or a defect of ours (``database_defect``).
            Permanent: a value does not fit the database.
            LumilioError: whatever ``fn`` raises.
        """
        async with self._limiter:
            return await self._run(_Transaction(), fn, args)

    async def once(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run ``fn(connection, *args)`` whose every statement is a transaction of its own.

        For single statements: one round trip instead of three. Cancelling may come after a statement
        took effect. Raises as :meth:`call`.
        """
        async with self._limiter:
            return await self._run(_Transaction(autocommit=True), fn, args)

    async def glance(self, within_s: float, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run ``fn(connection, *args)``, which only reads, on a connection of its own; who is cancelled leaves at once.

        Not so :meth:`call`, which waits for the server to hear of it: one that hangs holds up nobody here. There is
        one glance at a time, and who comes meanwhile waits for it, even where nobody else does any more.

        Args:
            within_s: longest time one statement may take.
            fn: reads.
            args: what it is given.

        Raises:
            Unavailable: the database is away. Retryable: it is busy or too slow.
        """
        look = partial(self._glance, within_s, fn, args)
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._glances)

    def _glance(self, within_s: float, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        limit = f"-c statement_timeout={int(within_s * 1000)}"
        conn = self._connect({**self.parameters, "options": f"{self.parameters['options']} {limit}"}, autocommit=False)
        try:
            return fn(conn, *args)
        except psycopg.Error as error:
            raise as_ours(error) from cause(error)
        finally:
            conn.close()

    async def _run(self, transaction: "_Transaction", fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        result = await _in_thread(partial(self._captured, transaction, fn, args), transaction.cancel)
        if isinstance(result, outcome.Error):
            if transaction.cancelled:
                await trio.lowlevel.checkpoint_if_cancelled()
            if isinstance(result.error, psycopg.Error):
                raise as_ours(result.error) from cause(result.error)
        return result.unwrap()

    def _captured(
        self, transaction: "_Transaction", fn: Callable[..., T], args: tuple[Any, ...]
    ) -> outcome.Value[T] | outcome.Error:
        return outcome.capture(self._transact, transaction, fn, args)

    def _transact(self, transaction: "_Transaction", fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        conn = self._taken()
        if conn is not None:
            try:
                return self._once(transaction, conn, fn, args)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not conn.closed:
                    raise
                for stale in self._drained():
                    stale.close()
                # after a commit was sent nobody knows whether it took effect: it is never run again
                if transaction.committing:
                    raise
        return self._once(transaction, self.connect(), fn, args)

    def _once(self, transaction: "_Transaction", conn: Connection, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            transaction.begin(conn)
            value = fn(conn, *args)
            transaction.commit(conn)
            return value
        finally:
            self._give_back(conn, reusable=transaction.end())

    def _taken(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _drained(self) -> list[Connection]:
        with self._lock:
            stale, self._idle = self._idle, []
            return stale

    def _give_back(self, conn: Connection, *, reusable: bool) -> None:
        if reusable and not conn.closed:
            try:
                if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    conn.rollback()
            except psycopg.Error:
                reusable = False
        if reusable and not conn.closed:
            with self._lock:
                if not self._closed:
                    self._idle.append(conn)
                    return
        conn.close()

    async def close(self) -> None:
        """Close all idle connections; connections in use are closed when their transaction ends."""
        with self._lock:
            self._closed = True
        for conn in self._drained():
            await trio.to_thread.run_sync(conn.close)


class _Transaction:
    """What the thread that runs a transaction and its caller's cancellation know of each other.

    A connection is cancelled under the lock, so it is still this transaction's; it is not
    reused afterwards, because the server may act on a cancel after it has answered.
    """

    def __init__(self, *, autocommit: bool = False) -> None:
        self.cancelled = False
        self.committing = False
        self.autocommit = autocommit
        self._lock = threading.Lock()
        self._conn: Connection | None = None
        self._interrupted = False

    def begin(self, conn: Connection) -> None:
        with self._lock:
            self._go_on()
            self._conn = conn
            # a statement by itself that broke off may have taken effect: it is never run again
            self.committing = self.autocommit
        conn.autocommit = self.autocommit

    def commit(self, conn: Connection) -> None:
        if conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            # the server would answer COMMIT with a silent ROLLBACK
            raise Retryable("an error inside the transaction was passed over", code="database_defect")
        if self.autocommit:
            return
        with self._lock:
            self._go_on()
            self._conn = None
            self.committing = True
        conn.commit()

    def end(self) -> bool:
        """Let go of the connection and tell whether it may be reused."""
        with self._lock:
            self._conn = None
            return not self._interrupted

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._conn is not None:
                self._interrupted = True
                _cancel(self._conn)

    def _go_on(self) -> None:
        if self.cancelled:
            raise Retryable("the caller has gone", code="cancelled")


async def _in_thread(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """Run ``work`` in a thread and return its result, whatever happens; when the caller is cancelled ``cancel`` is run.

    What trio's own way of doing so costs with a nursery and a second task around it is half of a short statement.
    """
    task, loop = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def deliver(result: outcome.Outcome[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            loop.run_sync_soon(trio.lowlevel.reschedule, task, result)

    def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
        # what was committed is returned all the same: trio raises the cancellation at the next checkpoint
        trio.lowlevel.start_thread_soon(cancel, lambda _result: None)
        return trio.lowlevel.Abort.FAILED

    trio.lowlevel.start_thread_soon(work, deliver)
    result: T = await trio.lowlevel.wait_task_rescheduled(abort)
    return result


def _parameters(conninfo: str, statement_timeout_s: float) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # psycopg's message may quote the password
        raise ConfigError("database.url is no PostgreSQL connection string", code="bad_database_url") from None
    ours = (
        f"-c statement_timeout={int(statement_timeout_s * 1000)} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC"
        f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S * 1000}"
    )
    return {
        "application_name": "lumiliod",
        "connect_timeout": CONNECT_TIMEOUT_S,
        **REMOTE,
        **given,
        "options": f"{given.get('options') or ''} {ours}".strip(),
    }


def _cancel(conn: Connection) -> None:
    try:
        conn.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error:
        _cut(conn)


def _cut(conn: Connection) -> None:
    """End a connection that another thread waits on: the thread notices; closing would pull the descriptor from it."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def opened(conninfo: str, *, pool_size: int, statement_timeout_s: float) -> AsyncIterator[Database]:
    """Hold a :class:`Database` open; closes its connections at the end."""
    database = Database(conninfo, pool_size=pool_size, statement_timeout_s=statement_timeout_s)
    try:
        yield database
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT_S):
            await database.close()
