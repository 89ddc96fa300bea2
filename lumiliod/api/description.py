"""The API's own description, for programs and for people."""

from functools import cache

import msgspec
import trio
from quart import Blueprint, Quart, current_app
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.openapi import document, page
from lumiliod.api.routes import Operation, describes
from lumiliod.runtime import Runtime


def blueprint(_rt: Runtime) -> Blueprint:
    """Return the routes of the description; it is built on the first request."""
    room = Blueprint("description", __name__)

    @cache
    def described(app: Quart) -> bytes:
        return msgspec.json.encode(document(app))

    @room.get("/openapi.json")
    @describes(Operation(answers={200: "application/json"}))
    async def openapi() -> TrioResponse:
        """Describe this API as OpenAPI 3.1."""
        await trio.lowlevel.checkpoint()
        return TrioResponse(described(_app()), content_type="application/json")

    @room.get("/docs")
    @describes(Operation(answers={200: "text/html"}))
    async def docs() -> TrioResponse:
        """Describe this API as a page."""
        await trio.lowlevel.checkpoint()
        html = page(msgspec.json.decode(described(_app())))
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return TrioResponse(html, headers=policy, content_type="text/html; charset=utf-8")

    return room


def _app() -> Quart:
    """Return the application itself, not the proxy to it."""
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]  # werkzeug's LocalProxy
