"""What every line of the log says besides its own: which request, which job it was written for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})

FIELDS: ContextVar[Mapping[str, str]] = ContextVar("fields", default=_NOTHING)
"""Fields of lines that this task writes, and what it starts: tasks and threads."""


@contextmanager
def logged(**fields: str) -> Iterator[None]:
    """Add fields to what is logged inside."""
    token = FIELDS.set({**FIELDS.get(), **fields})
    try:
        yield
    finally:
        FIELDS.reset(token)
