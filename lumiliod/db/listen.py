"""LISTEN, natively in trio: wakes lanes when another process enqueued work."""

import logging
from collections.abc import Callable, Sequence

import psycopg
import trio
from psycopg import sql

from lumiliod.db.errors import as_ours, cause
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Unavailable

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0


async def listen(
    database: Database,
    channels: Sequence[str],
    heard: Callable[[str, str], None],
    *,
    report: Callable[[str | None], None] = lambda _reason: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``heard(channel, payload)`` for every notification, until cancelled.

    Notifications are hints: while the connection is down some are lost, so ``heard(channel, "")``
    is called once for every channel after each connection. Once it has listened, a database that
    is away is waited for: ``report(reason)`` when it goes, ``report(None)`` when it is back.

    Raises:
        Unavailable: the database is away before it was first listened to.
    """
    ready = away = False
    delay_s = BACKOFF_FIRST_S
    while True:
        try:
            conn = await trio.to_thread.run_sync(_subscribed, database, tuple(channels))
            try:
                if not ready:
                    ready = True
                    task_status.started()
                if away:
                    away = False
                    log.info("listening again")
                    report(None)
                delay_s = BACKOFF_FIRST_S
                for channel in channels:
                    heard(channel, "")
                await _hear(conn, heard)
            finally:
                conn.close()
        except Unavailable as error:
            if not ready:
                raise
            if not away:
                away = True
                log.warning("the listening connection broke", extra={"reason": error.message})
                report(error.message)
        await trio.sleep(delay_s)
        delay_s = min(delay_s * 2, BACKOFF_MAX_S)


async def _hear(conn: Connection, heard: Callable[[str, str], None]) -> None:
    while True:
        await trio.lowlevel.wait_readable(conn.fileno())
        try:
            told = list(conn.notifies(timeout=0))
        except psycopg.Error as error:
            raise as_ours(error) from cause(error)
        for notification in told:
            heard(notification.channel, notification.payload)


def _subscribed(database: Database, channels: tuple[str, ...]) -> Connection:
    conn = database.connect(autocommit=True)
    try:
        for channel in channels:
            conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    except psycopg.Error as error:
        conn.close()
        raise as_ours(error) from cause(error)
    return conn
