"""Transactions as plain functions: ``await db.call(fn, *args)`` runs one in a thread and commits it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import outcome
import psycopg
import trio
from psycopg.rows import TupleRow

from lumiliod.db.errors import translated

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Connection = psycopg.Connection[TupleRow]

CANCEL_TIMEOUT_S = 5.0
"""How long a cancelled caller waits for the server to hear of it."""


class Database:
    """A bounded set of connections, each used by one thread at a time.

    Args:
        conninfo: libpq connection string.
        pool_size: connections, and so transactions, at the same time.
        statement_timeout_s: longest time one statement may take in the server.

    Connections are opened when first needed. A connection that breaks is closed and never
    reused; a transaction that failed before its commit on a connection that had idled (the
    server was restarted meanwhile) runs again once on a fresh one.
    """

    def __init__(self, conninfo: str, *, pool_size: int = 8, statement_timeout_s: float = 30.0) -> None:
        self.conninfo = conninfo
        self._options = f"-c statement_timeout={int(statement_timeout_s * 1000)} -c timezone=UTC"
        self._limiter = trio.CapacityLimiter(pool_size)
        self._idle: list[Connection] = []
        self._closed = False

    def connect(self, *, autocommit: bool = False) -> Connection:
        """Open a connection of its own; the caller closes it. Blocks."""
        return psycopg.connect(
            self.conninfo, autocommit=autocommit, options=self._options, application_name="lumiliod", connect_timeout=10
        )

    async def call(self, fn: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run ``fn(connection, *args)`` as one transaction and return its result.

        Commits when ``fn`` returns and rolls back when it raises. A cancelled caller cancels
        the running statement in the server before the cancellation goes on.

        Raises:
            Retryable: the database is unreachable, busy or too slow.
            LumilioError: whatever ``fn`` raises.
        """
        async with self._limiter:
            return await self._run(fn, args)

    async def _run(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        current: list[Connection] = []
        finished = trio.Event()

        async def cancel_in_server() -> None:
            try:
                await finished.wait()
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    for conn in current:
                        await trio.to_thread.run_sync(_cancel, conn)
                raise

        result: outcome.Value[T] | outcome.Error = outcome.Error(RuntimeError("never ran"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_in_server)
            with trio.CancelScope(shield=True):
                result = await trio.to_thread.run_sync(self._captured, current, fn, args, limiter=_UNLIMITED)
            finished.set()
        try:
            return result.unwrap()
        except psycopg.Error as error:
            better = translated(error)
            if better is None:
                raise
            raise better from error

    def _captured(
        self, current: list[Connection], fn: Callable[..., T], args: tuple[Any, ...]
    ) -> outcome.Value[T] | outcome.Error:
        return outcome.capture(self._transaction, current, fn, args)

    def _transaction(self, current: list[Connection], fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        conn = self._idle.pop() if self._idle else None
        reused = conn is not None
        if conn is None:
            conn = self.connect()
        current[:] = [conn]
        try:
            value = fn(conn, *args)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            broken = conn.broken or conn.closed
            self._give_back(conn)
            if not (reused and broken):
                raise
            for stale in self._drain():
                stale.close()
            conn = self.connect()
            current[:] = [conn]
            try:
                value = fn(conn, *args)
                conn.commit()
            finally:
                self._give_back(conn)
            return value
        except BaseException:
            self._give_back(conn)
            raise
        try:
            conn.commit()
        finally:
            self._give_back(conn)
        return value

    def _drain(self) -> list[Connection]:
        stale, self._idle = self._idle, []
        return stale

    def _give_back(self, conn: Connection) -> None:
        if not conn.closed and not conn.broken:
            try:
                if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    conn.rollback()
            except psycopg.Error:
                conn.close()
        if conn.closed or conn.broken or self._closed:
            conn.close()
        else:
            self._idle.append(conn)

    async def close(self) -> None:
        """Close all idle connections; connections in use are closed when their transaction ends."""
        self._closed = True
        for conn in self._drain():
            await trio.to_thread.run_sync(conn.close)


_UNLIMITED = trio.CapacityLimiter(1_000)
"""Threads are bounded by each pool's own limiter; trio's default one is for everybody else."""


def _cancel(conn: Connection) -> None:
    try:
        conn.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error:
        conn.close()


@asynccontextmanager
async def opened(conninfo: str, *, pool_size: int, statement_timeout_s: float) -> AsyncIterator[Database]:
    """Hold a :class:`Database` open; closes its connections at the end."""
    database = Database(conninfo, pool_size=pool_size, statement_timeout_s=statement_timeout_s)
    try:
        yield database
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT_S):
            await database.close()
