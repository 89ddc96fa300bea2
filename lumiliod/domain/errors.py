"""The error tree: the class says what the catcher should do, the code says what happened.

::

    LumilioError
    ├── Retryable    try again later            job: retryable   HTTP 503  CLI 75
    │   └── Unavailable  a disk, room or the database is away; the attempt does not count (no room: HTTP 507)
    ├── Permanent    never will                 job: discarded   HTTP 422
    │   └── Refused  a resource limit says no   job: discarded   HTTP 413
    ├── Shape        the input is malformed     job: discarded   HTTP 400  CLI 64
    ├── NotFound                                job: discarded   HTTP 404
    ├── Conflict                                job: retryable   HTTP 409
    ├── Forbidden                               job: discarded   HTTP 403
    └── ConfigError                                              CLI 78

Foreign exceptions are translated once, at the edge of the room that caught them, ``from`` the original.
"""

from typing import ClassVar


class LumilioError(Exception):
    """Base of every error Lumilio raises on purpose.

    Args:
        message: one sentence for a person, without secrets.
        code: stable machine-readable word in snake_case; defaults to the class's own.
        detail: further facts, JSON-encodable.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str | None = None, **detail: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.detail = detail


class Retryable(LumilioError):
    """The same call may succeed later; ``after_s`` is the soonest sensible moment, in seconds."""

    default_code = "unavailable"

    def __init__(
        self, message: str, *, code: str | None = None, after_s: float | None = None, **detail: object
    ) -> None:
        super().__init__(message, code=code, **detail)
        self.after_s = after_s


class Unavailable(Retryable):
    """What the work needs is not there: a disk, room on it, the database. It says nothing of the work itself.

    A job is put off without spending an attempt, however long that lasts.
    """

    default_code = "unavailable"


class Permanent(LumilioError):
    """The same call can never succeed: ``unsupported``, ``corrupt``, ``too_large``, ``empty`` …"""

    default_code = "unprocessable"


class Refused(Permanent):
    """A limit forbids it: ``too_large`` (HTTP 413)."""

    default_code = "too_large"


class Shape(LumilioError):
    """The input is malformed; the caller has to change it."""

    default_code = "bad_request"


class NotFound(LumilioError):
    """The named thing does not exist."""

    default_code = "not_found"


class Conflict(LumilioError):
    """The present state forbids it; it may change."""

    default_code = "conflict"


class Forbidden(LumilioError):
    """The caller may not do this."""

    default_code = "forbidden"


class ConfigError(LumilioError):
    """The configuration, a plugin it names or the machine it describes is wrong; the daemon exits 78 (EX_CONFIG)."""

    default_code = "config"


BAD_DATA = (ArithmeticError, AssertionError, LookupError, RecursionError, TypeError, ValueError)
"""What Python raises over data that nobody foresaw; caught where one file or repository must not keep the others."""
