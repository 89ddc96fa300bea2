"""What a failure means for its job, and what of it is kept and logged: never contents."""

import datetime as dt
import hashlib
import logging
import traceback

import outcome

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, LumilioError, Retryable, Unavailable
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, Retries
from lumiliod.jobs.kind import Kind, OnDiscard

log = logging.getLogger(__name__)

MESSAGE_MAX = 500


def described(error: BaseException, job: ClaimedJob, worker: str) -> FailedAttempt:
    """Return what is kept of ``error``: never contents, and of a traceback only its digest."""
    code, message, digest = "internal", _message(error), None
    if isinstance(error, LumilioError):
        code = error.code
    else:
        frames = "".join(traceback.format_tb(error.__traceback__))
        digest = hashlib.sha256(frames.encode(errors="replace")).hexdigest()[:12]
    return FailedAttempt(
        code=code,
        message=message,
        error_class=type(error).__name__,
        attempt=job.attempt,
        at=dt.datetime.now(dt.UTC),
        worker=worker,
        traceback_digest=digest,
        put_off=True if isinstance(error, Unavailable) else None,
    )


def single(error: BaseException) -> BaseException:
    """Return what a group of errors means, as nurseries make them.

    The error of a group of one. Of several that were all raised on purpose, one that says to try
    again: what is away may well be why the others failed. With a defect among them, the group.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    errors = [single(one) for one in error.exceptions]
    if len(errors) == 1:
        return errors[0]
    if not all(isinstance(one, LumilioError) for one in errors):
        return error
    return min(errors, key=lambda one: 0 if isinstance(one, Unavailable) else 1 if isinstance(one, Retryable) else 2)


def retry_after_s(error: BaseException, job: ClaimedJob, retries: Retries) -> float | None:
    """Return in how many seconds to try again, or None to discard; the error's class decides (domain/errors.py)."""
    if isinstance(error, LumilioError) and not isinstance(error, Retryable | Conflict):
        return None
    if job.attempt >= job.max_attempts:
        return None
    asked_s = error.after_s if isinstance(error, Retryable) else None
    return max(asked_s or 0.0, retries.delay_s(job.attempt))


def write(
    conn: Connection, job: ClaimedJob, error: BaseException, failed: FailedAttempt, kind: Kind | None
) -> tuple[bool, bool]:
    """Write the end of a failed attempt; tell whether it was still ours and whether the job is to run again."""
    if isinstance(error, Unavailable):
        return db_jobs.put_off(conn, job.id, job.token, failed, error.after_s), True
    after_s = retry_after_s(error, job, kind.retries if kind else Retries())
    ours = db_jobs.fail(conn, job.id, job.token, failed, after_s)
    if ours and after_s is None:
        discard(conn, kind.on_discard if kind else None, job, failed)
    return ours, after_s is not None


def discard(conn: Connection, on_discard: OnDiscard | None, job: ClaimedJob, failed: FailedAttempt) -> None:
    """Run what a kind does when a job is discarded; a defect there does not keep the job from its end.

    Raises:
        Unavailable: the database is away; the discarding is to be tried again as a whole.
    """
    if on_discard is None:
        return
    # a plugin may raise anything; here, in a thread of the database, nothing of it is a cancellation
    done = outcome.capture(_discard_within, conn, on_discard, job, failed)
    if isinstance(done, outcome.Value):
        return
    if isinstance(done.error, Unavailable):
        raise done.error
    if conn.closed or conn.broken:
        raise Unavailable("the database went away", code="database_unavailable") from done.error
    log_defect("on_discard raised", done.error, kind=job.kind)


def _discard_within(conn: Connection, on_discard: OnDiscard, job: ClaimedJob, failed: FailedAttempt) -> None:
    with db_jobs.savepoint(conn):
        on_discard(conn, job, failed)


def log_defect(message: str, error: BaseException, **fields: object) -> None:
    """Log an error that nobody raised on purpose: its class, what may be told of it, and its frames.

    Not by ``exc_info``: that prints every message of the chain, and PostgreSQL's quote rows.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    told = {"error_class": type(error).__name__, "error": _message(error), "frames": frames}
    log.error(message, extra={**fields, **told})


def _message(error: BaseException) -> str:
    if isinstance(error, LumilioError):
        return error.message
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_message(one) for one in error.exceptions)[:MESSAGE_MAX]
    told = db_jobs.told(error)
    return (told if told is not None else str(error)[:MESSAGE_MAX]) or type(error).__name__
