"""Translation of psycopg's exceptions at this room's edge."""

import psycopg
from psycopg import errors as pg

from lumiliod.domain.errors import LumilioError, Permanent, Refused, Retryable


def translated(error: psycopg.Error) -> LumilioError | None:
    """Return what a caller should do about ``error``, or None when it is a defect of ours."""
    match error:
        case pg.QueryCanceled():
            return Retryable("the database took too long", code="database_timeout")
        case pg.DiskFull():
            return Refused("the database's disk is full", code="no_space")
        case pg.SerializationFailure() | pg.DeadlockDetected() | pg.LockNotAvailable():
            return Retryable("the database was busy with a conflicting change", code="database_busy", after_s=0.1)
        case pg.DataError():
            return Permanent("a value does not fit the database", code="bad_value")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Retryable("the database is not reachable", code="database_unavailable", after_s=1.0)
        case _:
            return None
