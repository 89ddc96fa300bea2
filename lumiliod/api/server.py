"""The API's server: accepts on the socket, and stops without waiting for idle or stalled clients."""

import logging
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from lumiliod.api.connection import Connection
from lumiliod.api.sockets import listening

_log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75.0
"""How long a connection may stay without a request, or take to send the head of one."""


async def serve(
    app: ASGIFramework,
    socket_path: str,
    *,
    mode: int,
    stop: trio.Event,
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on the sockets systemd passed on, else on a new Unix socket at ``socket_path``.

    Starts when connections are accepted. After ``stop`` no more are, idle ones close at once,
    and running requests have ``grace_s`` seconds to end. The socket file is removed at the end.

    Args:
        app: any ASGI application; it needs no lifespan.
        socket_path: at most 107 bytes; its folder is created when missing.
        mode: permissions of the socket file.
        stop: set it to stop.
        grace_s: seconds running requests get to finish.
        task_status: started when connections are accepted.

    Raises:
        ConfigError: the socket cannot be listened on.
    """
    config = _config()
    context = WorkerContext(None)

    async def handle(stream: trio.SocketStream) -> None:
        await Connection(app, config, context, stream).run()

    with listening(socket_path, mode) as sockets:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(partial(trio.serve_listeners, handle, listeners, handler_nursery=connections))
                _log.info("the API accepts connections", extra={"socket": socket_path})
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + grace_s


def _config() -> Config:
    """Return Hypercorn's settings: no time limit on a transfer, at most two queued pieces of a body."""
    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 1_000_000
    config.max_app_queue_size = 2
    config.h11_max_incomplete_size = 64 * 1024
    return config
