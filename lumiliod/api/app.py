"""The API as one ASGI application.

Routes that move whole files talk ASGI themselves: a framework that buffers bodies costs several
times the CPU and all of the memory. Quart-Trio answers everything else. Both share one table of
routes, Quart's, and one translation of errors.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)
from quart import Blueprint
from quart.wrappers import Request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.response import TrioResponse
from werkzeug.exceptions import HTTPException

from lumiliod.api import (
    assets,
    derivatives,
    description,
    feed,
    health,
    integrity,
    jobs,
    metrics,
    queues,
    quota,
    repositories,
    schedules,
    streaming,
    sync,
    trash,
    tus,
    uploads,
)
from lumiliod.api.errors import MEDIA_TYPE, failure
from lumiliod.api.exchange import DRAIN_S, Exchange
from lumiliod.api.routes import StreamView, operation_of
from lumiliod.api.tally import Tally
from lumiliod.domain.logged import logged
from lumiliod.runtime import Runtime

BASE_PATH = "/api/v1"

BLUEPRINTS: tuple[Callable[[Runtime], Blueprint], ...] = (
    health.blueprint,
    repositories.blueprint,
    sync.blueprint,
    uploads.blueprint,
    tus.blueprint,
    quota.blueprint,
    assets.blueprint,
    streaming.blueprint,
    jobs.blueprint,
    queues.blueprint,
    schedules.blueprint,
    trash.blueprint,
    integrity.blueprint,
    derivatives.blueprint,
    feed.blueprint,
    description.blueprint,
)

MAX_JSON_BYTES = 1 << 20
"""The largest body of a route that takes JSON."""


def create(rt: Runtime) -> ASGIFramework:
    """Return the API over ``rt`` as an ASGI application."""
    tally = Tally()
    return Front(quart_app(rt, tally), tally)


def quart_app(rt: Runtime, tally: Tally | None = None) -> QuartTrio:
    """Return the Quart application with every route, those that stream included; problems are counted in ``tally``."""
    app = QuartTrio("lumiliod.api", static_folder=None)
    app.asgi_http_class = _HttpConnection
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_BYTES
    app.config["RESPONSE_TIMEOUT"] = None
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.register_error_handler(Exception, partial(_problem, tally or Tally()))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint(rt), url_prefix=BASE_PATH)
    app.register_blueprint(metrics.blueprint(rt))
    return app


async def _problem(tally: Tally, error: Exception) -> TrioResponse:
    """Answer with the problem that ``error`` is."""
    await trio.lowlevel.checkpoint()
    failed = failure(error)
    tally.failed(failed.problem.code)
    return TrioResponse(failed.body, failed.problem.status, dict(failed.headers), content_type=MEDIA_TYPE)


class _HttpConnection(TrioASGIHTTPConnection):
    """Quart-Trio's connection, which does not cancel itself inside its own last send.

    Hypercorn reports the end of an answer as a disconnect while the last send is still at work on
    closing or reusing the connection; upstream takes that for the client going away. The last send
    also waits a little for a body the handler did not want, so that its sender sees the answer.
    """

    _is_ending = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._is_received = trio.Event()

        async def noticing_send(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                with trio.move_on_after(DRAIN_S):
                    await self._is_received.wait()
                self._is_ending = True
            await send(message)

        await super().__call__(receive, noticing_send)

    async def handle_messages(  # type: ignore[override]  # as upstream does
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        while (message := await receive())["type"] == "http.request":
            request.body.append(message.get("body", b""))
            if not message.get("more_body", False):
                request.body.set_complete()
                self._is_received.set()
        if not self._is_ending:
            nursery.cancel_scope.cancel()


class Front:
    """Send each request where it belongs, and turn whatever escapes into a problem."""

    def __init__(self, app: QuartTrio, tally: Tally) -> None:
        self._app = app
        self._tally = tally
        self._routes = app.url_map.bind("lumiliod")
        self._streaming = {
            endpoint: cast(StreamView, view)
            for endpoint, view in app.view_functions.items()
            if operation_of(view).streams
        }

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            endpoint, arguments = self._routes.match(scope["path"].replace("\0", "\ufffd"), scope["method"])
        except HTTPException:
            endpoint, arguments = "", {}  # Quart says what is wrong with it
        view = self._streaming.get(endpoint)
        exchange = Exchange(scope, receive, send, arguments, self._tally)
        with logged(request=exchange.id), self._tally.answering():
            try:
                if view is None or scope["method"] == "OPTIONS":
                    await self._app(scope, receive, exchange.send)
                else:
                    await view(exchange)
            except Exception as error:
                if exchange.has_begun:
                    raise
                failed = failure(error)
                self._tally.failed(failed.problem.code)
                headers = {"Content-Type": MEDIA_TYPE, **failed.headers}
                await exchange.reply(failed.problem.status, headers, failed.body)
