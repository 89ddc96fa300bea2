"""What object stores answer, as our errors. Says nothing that a URL or an answer's body could reveal."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused, Shape, Unavailable
from lumiliod.domain.ids import shown

AWAY_AFTER_S = 30.0
"""When to try a store again that does not answer."""

BUSY_AFTER_S = 120.0
"""When to try a store again that asks for fewer requests."""

UNSTABLE_AFTER_S = 2.0
"""When to try again what somebody else changed meanwhile."""

# How the client words what a server answered: "status code: 503 Service Unavailable", "<Code>SlowDown</Code>".
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")

# Error codes of the Amazon S3 API Reference ("Error responses") and of MinIO (cmd/api-errors.go).
_KEYS_REFUSED = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}
)
_FULL = frozenset({"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"})
_UNSTORABLE = frozenset({"KeyTooLongError", "InvalidURI", "XMinioInvalidObjectName"})


@contextmanager
def translated(action: str, name: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what a store answers into our errors, once; ``action`` is a verb phrase for people."""
    try:
        yield
    except (exceptions.BaseError, FileNotFoundError) as error:
        raise as_ours(error, action, name, writing=writing) from error


def as_ours(error: Exception, action: str, name: str, *, writing: bool = False) -> LumilioError:
    """Return our error for a failed request.

    What is not there is ``NotFound(file_missing)``, what may not be read ``Permanent(unreadable)``. A store
    that does not answer, fails, is full, asks for patience or refuses our keys is ``Unavailable``
    (``store_unavailable``, ``no_space``, ``store_busy``, ``store_denied``, ``not_writable``): it says
    nothing about the file.
    """
    text = str(error)
    status, code = status_of(error), _first(_CODE, text)
    message = f"cannot {action} {shown(name)}: {code or _worded(error, text, status)}"
    match error:
        case FileNotFoundError():
            return NotFound(message, code="file_missing")
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError() if code in _KEYS_REFUSED:
            return Unavailable(message, code="store_denied", after_s=BUSY_AFTER_S)
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
            if writing:
                return Unavailable(message, code="not_writable", after_s=BUSY_AFTER_S)
            return Permanent(message, code="unreadable")
        case exceptions.PreconditionError() | exceptions.AlreadyExistsError() | exceptions.NotModifiedError():
            return Unavailable(message, code="unstable", after_s=UNSTABLE_AFTER_S)
        case exceptions.InvalidPathError():
            return Shape(message, code="name_unstorable")
    if status == 507 or code in _FULL:
        return Unavailable(message, code="no_space", after_s=BUSY_AFTER_S)
    if status == 413 or code == "EntityTooLarge":
        return Refused(message, code="too_large")
    if code in _UNSTORABLE:
        return Shape(message, code="name_unstorable")
    if status in {429, 503} or code == "SlowDown":
        return Unavailable(message, code="store_busy", after_s=BUSY_AFTER_S)
    return Unavailable(message, code="store_unavailable", after_s=AWAY_AFTER_S)


def senseless(message: str) -> Unavailable:
    """Return the error for a store that says one thing and does another."""
    return Unavailable(message, code="store_unavailable", after_s=AWAY_AFTER_S)


def status_of(error: Exception) -> int:
    """Return the HTTP status a failed request was answered with; 0 without an answer."""
    return int(_first(_STATUS, str(error)) or 0)


def _worded(error: Exception, text: str, status: int) -> str:
    if status:
        return f"the store answers {status}"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    if re.search("timed ?out", text, re.IGNORECASE):
        return "the store does not answer in time"
    if re.search("connect", text, re.IGNORECASE):
        return "the store cannot be reached"
    return "the answer of the store makes no sense"


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
