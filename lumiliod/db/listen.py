"""LISTEN, natively in trio: wakes lanes when another process enqueued work."""

import logging
from collections.abc import Callable, Sequence

import psycopg
import trio
from psycopg import sql

from lumiliod.db.pool import Database
from lumiliod.domain.errors import Retryable

log = logging.getLogger(__name__)


async def listen(
    database: Database,
    channels: Sequence[str],
    heard: Callable[[str, str], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``heard(channel, payload)`` for every notification, until cancelled.

    Notifications are hints: while the connection is down some are lost, so ``heard(channel, "")``
    is called once for every channel after each connection.

    Raises:
        Retryable: the connection broke; the supervisor starts this service again.
    """
    try:
        conn = await trio.to_thread.run_sync(_subscribed, database, tuple(channels))
    except psycopg.OperationalError as error:
        raise Retryable("cannot listen to the database", code="database_unavailable", after_s=1.0) from error
    try:
        task_status.started()
        for channel in channels:
            heard(channel, "")
        while True:
            await trio.lowlevel.wait_readable(conn.fileno())
            for notification in conn.notifies(timeout=0):
                heard(notification.channel, notification.payload)
    except psycopg.OperationalError as error:
        raise Retryable("the listening connection broke", code="database_unavailable", after_s=1.0) from error
    finally:
        conn.close()


def _subscribed(database: Database, channels: tuple[str, ...]) -> psycopg.Connection[tuple[object, ...]]:
    conn = database.connect(autocommit=True)
    for channel in channels:
        conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    return conn
