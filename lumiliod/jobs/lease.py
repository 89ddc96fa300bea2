"""The lease of one worker: a row, a session lock, what is held under them, and a thread that renews them.

The thread beats only while jobs are held, so an idle machine sleeps. It never runs on the event
loop: CPU work there must not let a lease expire. A loop that does not answer for minutes is another
matter: somebody blocks it, and its jobs had better go to another worker.
"""

import logging
import os
import secrets
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from uuid import UUID

import trio

from lumiliod.db import workers
from lumiliod.db.jobs import translating
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.ids import uuid7

log = logging.getLogger(__name__)

BEATS = 2.5
"""Beats in the time of a lease: two may be missed, no third."""

FIRST_S = 0.1
"""How long a job has been held when the lease is renewed that was not needed before."""

AGAIN = 4
"""A beat that failed is tried again after so small a part of the time between two: others may see a free lock."""

BLOCKED_S = 30.0
"""A loop that does not answer so long is logged, with what it is doing."""

BLOCKED_MAX_S = 600.0
"""A loop that does not answer so long loses its lease."""

LEADER_KEY = 0x6C756D696C696F6A
"""Advisory lock of the one worker that fires schedules ("lumilioj")."""


class Lease:
    """A worker's row in the database.

    ``lost`` is called, from any thread, when the row is gone: somebody declared this worker dead, and
    every result it would write is refused. ``taken`` is called, from any thread, with the tokens of
    attempts that were taken away one by one, as cancelling does.
    """

    def __init__(
        self,
        database: Database,
        lease_s: float,
        lost: Callable[[], None],
        taken: Callable[[frozenset[int]], None] = lambda _tokens: None,
        loop: trio.lowlevel.TrioToken | None = None,
    ) -> None:
        self.worker_id: UUID = uuid7()
        self._database = database
        self._lease_s = lease_s
        self._lost = lost
        self._taken = taken
        self._pulse = None if loop is None else _Pulse(loop)
        self._conn: Connection | None = None
        self._leading: Connection | None = None
        self._using = threading.Lock()
        self._tokens: set[int] = set()
        self._missing: frozenset[int] = frozenset()
        self._held = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def tokens(self) -> list[int]:
        """Return the tokens of the attempts held."""
        return list(self._tokens)

    @property
    def idle(self) -> bool:
        """Tell whether nothing is held."""
        return not self._tokens

    @property
    def registered(self) -> bool:
        """Tell whether there is, or was, a row of this worker."""
        return self._conn is not None

    def start(self) -> None:
        """Take the lock, insert the row, then begin to beat. Blocks.

        Raises:
            Retryable: the database is away.
        """
        with self._using, translating():
            conn, key = self._locked()
            try:
                host = socket.gethostname()
                workers.register_worker(conn, self.worker_id, host, os.getpid(), key, self._lease_s)
            except BaseException:
                conn.close()
                raise
            self._conn = conn
        self._thread.start()

    def hold(self, tokens: Iterable[int]) -> None:
        """Count jobs as held: the lease is renewed while there are any."""
        self._tokens.update(tokens)
        if self._tokens:
            self._held.set()

    def drop(self, tokens: Iterable[int]) -> None:
        """Count jobs as held no longer."""
        self._tokens.difference_update(tokens)
        if not self._tokens:
            self._held.clear()

    @property
    def is_sound(self) -> bool:
        """Tell, without waiting, whether the session and with it the lock are there."""
        if not self._using.acquire(blocking=False):
            return False
        try:
            return self._conn is not None and not _is_broken(self._conn)
        finally:
            self._using.release()

    def ensure(self) -> None:
        """Take the session lock again when its connection broke while nothing was held. Blocks.

        Raises:
            Retryable: the database is away.
        """
        with self._using, translating():
            if self._conn is None or _is_broken(self._conn):
                self._relock()

    def lead(self) -> bool:
        """Tell whether this worker is the leader, and become it when there is none. Blocks.

        Leadership ends with the session. Raises what the database says.
        """
        with self._using, translating():
            conn = self._conn
            if conn is None or _is_broken(conn):
                conn = self._relock()
            if self._leading is not conn and workers.lock_worker(conn, LEADER_KEY):
                self._leading = conn
            return self._leading is conn

    def stop(self) -> None:
        """Delete the row and close the connection; the caller has released its jobs. Blocks."""
        self._stopping.set()
        self._held.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._using:
            if self._conn is not None and not self._conn.closed:
                try:
                    workers.retire_worker(self._conn, self.worker_id)
                except Exception as error:
                    log.warning("could not retire the worker's row", extra={"error_class": type(error).__name__})
                self._conn.close()

    def _locked(self) -> tuple[Connection, int]:
        """Return a connection that holds a lock, and the lock's key: a new one, for nobody can hold that."""
        conn, key = self._database.connect(autocommit=True), secrets.randbits(62)
        try:
            workers.lock_worker(conn, key)
        except BaseException:
            conn.close()
            raise
        return conn, key

    def _relock(self) -> Connection:
        if self._conn is not None:
            self._conn.close()
        conn, key = self._locked()
        self._conn = conn
        if not workers.relock_worker(conn, self.worker_id, key, self._lease_s):
            self._lost()
        return conn

    def _beat(self) -> None:
        period_s = self._lease_s / BEATS
        next_at = time.monotonic() + period_s
        troubled = False
        while not self._stopping.is_set():
            self._held.wait()
            # the first beat after idling comes soon: the lease may have run out meanwhile; but a job that is
            # done at once needs none, and must not wait for it
            if self._stopping.wait(max(next_at - time.monotonic(), min(FIRST_S, period_s / 10))):
                return
            if not self._held.is_set():
                continue
            next_at = time.monotonic() + period_s
            if self._pulse is not None and self._pulse.is_blocked():
                continue
            held_before = frozenset(self._tokens)
            with self._using:
                try:
                    conn = self._conn
                    if conn is None or _is_broken(conn):
                        conn = self._relock()
                    held = workers.beat(conn, self.worker_id, self._lease_s)
                except Exception as error:
                    if not troubled:
                        log.warning("could not renew the lease", extra={"error_class": type(error).__name__})
                    troubled = True
                    if self._conn is not None:
                        self._conn.close()
                    next_at = time.monotonic() + period_s / AGAIN
                    continue
            troubled = False
            if held is None:
                self._lost()
                return
            self._compare(held_before, held)

    def _compare(self, held_before: frozenset[int], held: frozenset[int]) -> None:
        """Report what is held here and not there at two beats in a row: once may be an end that is under way."""
        missing = held_before - held
        gone = missing & self._missing
        self._missing = missing
        if gone:
            self._taken(gone)


class _Pulse:
    """Watches, from another thread, whether the event loop still answers."""

    def __init__(self, loop: trio.lowlevel.TrioToken) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._answered = time.monotonic()
        self._asked = False
        self._told = False

    def is_blocked(self) -> bool:
        """Ask once more; tell whether the loop has been silent for so long that its lease must end."""
        silent_s = time.monotonic() - self._answered if self._asked else 0.0
        if not self._asked:
            self._answered = time.monotonic()
            self._asked = True
            try:
                self._loop.run_sync_soon(self._answer)
            except trio.RunFinishedError:
                return True
        if silent_s > BLOCKED_S and not self._told:
            self._told = True
            frame = sys._current_frames().get(self._thread_id)
            doing = "".join(traceback.format_stack(frame)[-6:]) if frame else ""
            log.error("the event loop is blocked", extra={"seconds": round(silent_s), "frames": doing})
        return silent_s > BLOCKED_MAX_S

    def _answer(self) -> None:
        self._asked = self._told = False


def _is_broken(conn: Connection) -> bool:
    """Tell whether the server closed the connection; an idle one has nothing else to say."""
    if conn.closed or conn.broken:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
