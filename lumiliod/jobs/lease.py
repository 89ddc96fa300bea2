"""The lease of one worker: a row, a session lock and a thread of its own that renews them.

The thread beats only while jobs are held, so an idle machine sleeps. It never runs on the event
loop: CPU work there must not let a lease expire.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from uuid import UUID

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.ids import uuid7

log = logging.getLogger(__name__)


class Lease:
    """A worker's row in the database.

    ``lost`` is called once, from the beat's thread, when the row is gone: somebody declared this
    worker dead, and every result it would write is refused.
    """

    def __init__(self, database: Database, lease_s: float, lost: Callable[[], None]) -> None:
        self.worker_id: UUID = uuid7()
        self._database = database
        self._lease_s = lease_s
        self._lost = lost
        self._lock_key = secrets.randbits(62)
        self._conn: Connection | None = None
        self._held = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def start(self) -> None:
        """Take the lock, insert the row, then begin to beat. Blocks."""
        conn = self._connect()
        host = socket.gethostname()
        db_jobs.register_worker(conn, self.worker_id, host, os.getpid(), self._lock_key, self._lease_s)
        self._thread.start()

    def holding(self, count: int) -> None:
        """Say how many jobs are held; the first one is covered at once by an unexpired row (see :meth:`renew`)."""
        if count:
            self._held.set()
        else:
            self._held.clear()

    def renew(self, conn: Connection) -> bool:
        """Renew before a claim after idling, on the claim's own connection and in its transaction."""
        return db_jobs.beat(conn, self.worker_id, self._lease_s)

    def stop(self) -> None:
        """Delete the row and close the connection; the caller has released its jobs. Blocks."""
        self._stopping.set()
        self._held.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._conn is not None and not self._conn.closed:
            try:
                db_jobs.retire_worker(self._conn, self.worker_id)
            except Exception:
                log.warning("could not retire the worker's row", exc_info=True)
            self._conn.close()

    def _connect(self) -> Connection:
        conn = self._database.connect(autocommit=True)
        db_jobs.lock_worker(conn, self._lock_key)
        self._conn = conn
        return conn

    def _beat(self) -> None:
        while not self._stopping.is_set():
            self._held.wait()
            if self._stopping.wait(self._lease_s / 3):
                return
            if not self._held.is_set():
                continue
            try:
                conn = self._conn
                if conn is None or conn.closed or conn.broken:
                    conn = self._connect()
                alive = db_jobs.beat(conn, self.worker_id, self._lease_s)
            except Exception:
                log.warning("could not renew the lease", exc_info=True)
                if self._conn is not None:
                    self._conn.close()
                continue
            if not alive:
                self._lost()
                return
