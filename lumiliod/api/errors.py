"""Errors on their way out: every failure becomes one problem (RFC 9457), here and nowhere else."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lumiliod.contract.problems import Problem
from lumiliod.domain.errors import (
    Conflict,
    Forbidden,
    LumilioError,
    NotFound,
    Permanent,
    Refused,
    Retryable,
    Shape,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[LumilioError], int], ...] = (
    (Shape, 400),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 413),
    (Permanent, 422),
    (Retryable, 503),
)

_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    431: "headers_too_large",
}


class Failure(NamedTuple):
    """A problem and the headers that belong to it."""

    problem: Problem
    headers: Mapping[str, str]

    @property
    def body(self) -> bytes:
        """The problem as JSON; what JSON cannot say of its facts is left out."""
        try:
            return msgspec.json.encode(self.problem, enc_hook=str)
        except UnicodeEncodeError:
            return msgspec.json.encode(msgspec.structs.replace(self.problem, extra=None))


def problem(status: int, code: str, detail: str | None = None, extra: Mapping[str, object] | None = None) -> Problem:
    """Make a problem whose title is the status's own phrase, as RFC 9457 asks of ``about:blank``."""
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=_valid(detail) if detail else None,
        extra=dict(extra) if extra else None,
    )


def failure(error: BaseException) -> Failure:
    """Translate ``error``; one that nobody raised on purpose is logged with its traceback and shown as ``internal``."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return failure(error.exceptions[0])
    if isinstance(error, LumilioError):
        return Failure(problem(_status(error), error.code, error.message, error.detail), _headers(error))
    if isinstance(error, HTTPException) and error.code is not None and 400 <= error.code < 500:
        code = _CODES.get(error.code, HTTPStatus(error.code).phrase.lower().replace(" ", "_"))
        allow = error.valid_methods if isinstance(error, MethodNotAllowed) else None
        headers = {"Allow": ", ".join(sorted(allow))} if allow else {}
        return Failure(problem(error.code, code, error.description), headers)
    _log.error("a request failed", exc_info=error)
    return Failure(problem(500, "internal", "Something went wrong inside lumiliod; its log has the details."), {})


def _status(error: LumilioError) -> int:
    if isinstance(error, Unavailable) and error.code == "no_space":
        return 507
    if isinstance(error, NotFound) and error.code == "in_trash":
        return 410
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _headers(error: LumilioError) -> dict[str, str]:
    if isinstance(error, Retryable):
        return {"Retry-After": str(max(1, math.ceil(error.after_s or 1)))}
    return {}


def _valid(text: str) -> str:
    """Return ``text`` without the lone surrogates that file names carry and JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
