"""Translation of psycopg's exceptions at this room's edge.

What PostgreSQL says of an error may quote rows (``DETAIL: Failing row contains (…)``, ``CONTEXT: COPY …``),
so nothing of it but :func:`described` is ever shown, logged or kept.
"""

import logging
import traceback

import psycopg
from psycopg import errors as pg

from lumiliod.domain.errors import LumilioError, Permanent, Retryable, Unavailable

log = logging.getLogger(__name__)

DISK_FULL_AFTER_S = 60.0

_AWAY = ("08", "28", "53", "57", "58")
"""SQLSTATE classes of a server that cannot serve anybody: connection, login, resources, operator, system error.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


def as_ours(error: psycopg.Error) -> LumilioError:
    """Return what a caller should do about ``error``; it carries no row's contents.

    Whoever raises it does so ``from None`` (or from :func:`cause`): a traceback would print the original.
    A defect of ours is logged here, with what is safe to know of it.
    """
    state = error.sqlstate or ""
    match error:
        case pg.QueryCanceled() | pg.IdleInTransactionSessionTimeout():
            return Retryable("the database took too long", code="database_timeout")
        case pg.DiskFull():
            return Unavailable("the database's disk is full", code="no_space", after_s=DISK_FULL_AFTER_S)
        case pg.OutOfMemory() | pg.ConfigurationLimitExceeded():
            # may be the doing of this one statement, so its attempts count
            return Retryable("the database ran out of memory or room for this", code="database_overloaded", after_s=5.0)
        case pg.LockNotAvailable() | pg.ObjectInUse():
            return _busy()
        case psycopg.OperationalError() if state.startswith("40"):
            return _busy()
        case psycopg.DataError():
            return Permanent("a value does not fit the database", code="bad_value")
        case psycopg.OperationalError() if state.startswith("54"):
            return Permanent("a value is too large for the database", code="bad_value")
        case psycopg.OperationalError() | psycopg.InterfaceError() if not state or state.startswith(_AWAY):
            return Unavailable("the database is not reachable", code="database_unavailable", after_s=1.0)
        case _:
            return _defect(error)


def held_up(error: BaseException) -> LumilioError | None:
    """Return what to do about an error that came of waiting for as long as one may; None of any other."""
    return as_ours(error) if isinstance(error, pg.LockNotAvailable | pg.QueryCanceled) else None


def cause(error: psycopg.Error) -> psycopg.Error | None:
    """Return ``error`` if it may be printed: one of the connection itself, which knows no rows."""
    own = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error if own and error.sqlstate is None else None


def described(error: psycopg.Error) -> str:
    """Return what may be told of ``error``: its first line and the constraint, never rows."""
    told = error.diag.message_primary or type(error).__name__
    constraint = error.diag.constraint_name
    return f"{told} ({constraint})" if constraint and constraint not in told else told


def _busy() -> Retryable:
    return Retryable("the database was busy with a conflicting change", code="database_busy", after_s=0.1)


def _defect(error: psycopg.Error) -> Retryable:
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "database defect",
        extra={
            "sqlstate": error.sqlstate,
            "constraint": error.diag.constraint_name,
            "table": error.diag.table_name,
            "reason": described(error),
            "where": [f"{frame.filename}:{frame.lineno}" for frame in frames if "lumiliod" in frame.filename],
        },
    )
    return Retryable(described(error), code="database_defect")
