"""What every route shares: its description, reading its input, writing its answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar, cast

import msgspec
from quart import Blueprint, request
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.exchange import Exchange
from lumiliod.domain.errors import Shape

MAX_PAGE = 500
"""The most items one page may hold."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="Items per page.")]
Cursor = Annotated[str, msgspec.Meta(description="`next_cursor` of the page before.")]

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Awaitable[Any]])
StreamView = Callable[[Exchange], Awaitable[None]]

_DESCRIPTION = "__lumilio_operation__"


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No query parameters."""


class PageQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of a list."""

    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True)
class Operation:
    """One route as the OpenAPI document tells it.

    ``answers`` maps a status to the type of its JSON body, or to the media type of another body;
    ``accepts`` lists media types of a body that is not JSON, ``events`` the data of server-sent events by
    their names. See :func:`streams` for ``streams``.
    """

    answers: Mapping[int, Any]
    body: type[msgspec.Struct] | None = None
    accepts: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    query: type[msgspec.Struct] = NoQuery
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    events: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict[str, type[msgspec.Struct]])
    streams: bool = False


def describes(operation: Operation) -> Callable[[View], View]:
    """Attach ``operation`` to a view; its docstring is the summary."""

    def attach(view: View) -> View:
        setattr(view, _DESCRIPTION, operation)
        return view

    return attach


def streams(room: Blueprint, method: str, rule: str, operation: Operation) -> Callable[[StreamView], StreamView]:
    """Register a view that moves whole files, or does not end: it talks ASGI itself (:mod:`lumiliod.api.app`)."""

    def attach(view: StreamView) -> StreamView:
        room.add_url_rule(
            rule,
            view.__name__,
            cast(Any, describes(replace(operation, streams=True))(view)),
            methods=[method],
        )
        return view

    return attach


def operation_of(view: Callable[..., Any]) -> Operation:
    """Return what :func:`describes` attached to ``view``.

    Raises:
        TypeError: nothing was; every route is described.
    """
    operation = getattr(view, _DESCRIPTION, None)
    if not isinstance(operation, Operation):
        raise TypeError(f"the route of {view!r} has no description")
    return operation


def answer(content: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> TrioResponse:
    """Return ``content`` as a JSON response."""
    return TrioResponse(msgspec.json.encode(content), status, headers, content_type="application/json")


async def read_body(kind: type[T]) -> T:
    """Decode the request's body as ``kind``; an empty one counts as ``{}``.

    Raises:
        Shape: it is not; the message names the field.
    """
    raw = cast(bytes, await request.get_data())
    if rb"\u0000" in raw:
        raise Shape("The request body holds a NUL character.")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Shape(f"The request body is not right: {error}.") from error


def read_query(kind: type[T]) -> T:
    """Read the query parameters of the current request as ``kind``."""
    return parse_query(request.args.items(multi=True), kind)


def parse_query(pairs: Any, kind: type[T]) -> T:
    """Convert decoded ``(name, value)`` pairs to ``kind``.

    Raises:
        Shape: a parameter is unknown, given twice or of the wrong form.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Shape(f"The query parameter `{name}` is given twice.")
        if "\0" in value:
            raise Shape(f"The query parameter `{name}` holds a NUL character.")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Shape(f"The query is not right: {error}.") from error
