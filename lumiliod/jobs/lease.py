"""The lease of one worker: a row, a session lock, what is held under them, and a thread that renews them.

The thread beats only while jobs are held, so an idle machine sleeps. It never runs on the event
loop: CPU work there must not let a lease expire.
"""

import logging
import os
import secrets
import select
import socket
import threading
from collections.abc import Callable, Iterable
from uuid import UUID

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.ids import uuid7

log = logging.getLogger(__name__)


class Lease:
    """A worker's row in the database.

    ``lost`` is called, from any thread, when the row is gone: somebody declared this
    worker dead, and every result it would write is refused.
    """

    def __init__(self, database: Database, lease_s: float, lost: Callable[[], None]) -> None:
        self.worker_id: UUID = uuid7()
        self._database = database
        self._lease_s = lease_s
        self._lost = lost
        self._conn: Connection | None = None
        self._using = threading.Lock()
        self._tokens: set[int] = set()
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
        with self._using, db_jobs.translating():
            conn, key = self._locked()
            try:
                host = socket.gethostname()
                db_jobs.register_worker(conn, self.worker_id, host, os.getpid(), key, self._lease_s)
            except BaseException:
                conn.close()
                raise
            self._conn = conn
        self._thread.start()

    def hold(self, tokens: Iterable[int]) -> None:
        """Hold attempts; the first one is covered at once by an unexpired row (see :meth:`renew`)."""
        self._tokens.update(tokens)
        if self._tokens:
            self._held.set()

    def drop(self, tokens: Iterable[int]) -> None:
        """Hold attempts no longer."""
        self._tokens.difference_update(tokens)
        if not self._tokens:
            self._held.clear()

    def ensure(self) -> None:
        """Take the lock anew if its connection broke; without it others would declare this worker dead. Blocks.

        Asks the socket, not the server, so that nothing is sent while all is well.

        Raises:
            Retryable: the database is away.
        """
        with self._using, db_jobs.translating():
            if self._conn is None or _is_broken(self._conn):
                self._relock()

    def renew(self, conn: Connection) -> bool:
        """Renew before a claim after idling, on the claim's own connection and in its transaction."""
        return db_jobs.beat(conn, self.worker_id, self._lease_s)

    def stop(self) -> None:
        """Delete the row and close the connection; the caller has released its jobs. Blocks."""
        self._stopping.set()
        self._held.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._using:
            if self._conn is not None and not self._conn.closed:
                try:
                    db_jobs.retire_worker(self._conn, self.worker_id)
                except Exception as error:
                    log.warning("could not retire the worker's row", extra={"error_class": type(error).__name__})
                self._conn.close()

    def _locked(self) -> tuple[Connection, int]:
        """Return a connection that holds a lock, and the lock's key: a new one, for nobody can hold that."""
        conn, key = self._database.connect(autocommit=True), secrets.randbits(62)
        try:
            db_jobs.lock_worker(conn, key)
        except BaseException:
            conn.close()
            raise
        return conn, key

    def _relock(self) -> Connection:
        if self._conn is not None:
            self._conn.close()
        conn, key = self._locked()
        self._conn = conn
        if not db_jobs.relock_worker(conn, self.worker_id, key, self._lease_s):
            self._lost()
        return conn

    def _beat(self) -> None:
        while not self._stopping.is_set():
            self._held.wait()
            if self._stopping.wait(self._lease_s / 3):
                return
            if not self._held.is_set():
                continue
            with self._using:
                try:
                    conn = self._conn
                    if conn is None or conn.closed or conn.broken:
                        conn = self._relock()
                    alive = db_jobs.beat(conn, self.worker_id, self._lease_s)
                except Exception as error:
                    log.warning("could not renew the lease", extra={"error_class": type(error).__name__})
                    if self._conn is not None:
                        self._conn.close()
                    continue
            if not alive:
                self._lost()
                return


def _is_broken(conn: Connection) -> bool:
    """Tell whether the server closed the connection; an idle one has nothing else to say."""
    if conn.closed or conn.broken:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
