"""Errors on the wire."""

from typing import Any

from msgspec import Struct


class Problem(Struct, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457), media type ``application/problem+json``.

    ``code`` is stable and meant for programs; ``title`` and ``detail`` are for people.
    """

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str | None = None
    instance: str | None = None
    extra: dict[str, Any] | None = None
