"""The API's server: accepts on the socket, and stops without waiting for idle or stalled clients."""

import errno
import logging
import math
import resource
from collections.abc import Callable
from typing import NoReturn

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from lumiliod.api.connection import Connection
from lumiliod.api.sockets import listening

_log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75.0
"""How long a connection may stay without a request."""

MAX_CONNECTIONS = 512
MIN_CONNECTIONS = 8
_OTHER_DESCRIPTORS = 128
"""Descriptors for all that is not the API: database, workers, repositories, disks."""

_SURELY_IDLE_S = 1.0
"""A connection that is idle for less may have sent a request that was not read yet."""

_FULL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_FULL_PAUSE_S = 0.1
_FULL_LOG_S = 60.0


async def serve(
    app: ASGIFramework,
    socket_path: str,
    *,
    mode: int,
    group: str = "",
    stop: trio.Event,
    grace_s: Callable[[], float] | float,
    max_connections: int | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on the sockets systemd passed on, else on a new Unix socket at ``socket_path``.

    Starts when connections are accepted. After ``stop`` no more are, idle ones close at once,
    and running requests have ``grace_s`` seconds to end. The socket file is removed at the end.

    Args:
        app: any ASGI application; it needs no lifespan.
        socket_path: at most 107 bytes; its folder is created when missing.
        mode: permissions of the socket file.
        group: whom the socket file is to belong to; empty: the process's own group.
        stop: set it to stop.
        grace_s: seconds running requests get to finish, or what says so when they are to.
        max_connections: how many are served at a time, :func:`most_connections` by default. One more
            takes the place of the one that is idle longest; where none is, it waits in the backlog.
        task_status: started when connections are accepted.

    Raises:
        ConfigError: the socket cannot be listened on.
    """
    config = _config()
    context = WorkerContext(None)
    door = _Door(max_connections or most_connections())

    with listening(socket_path, mode, group) as sockets:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
        async with trio.open_nursery() as connections:

            def admit(stream: trio.SocketStream) -> None:
                connection = Connection(app, config, context, stream, door.changed, door.count)
                door.admit(connection)
                connections.start_soon(door.serve, connection)

            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(_accept, listener, door, admit)
                _log.info("the API accepts connections", extra={"socket": socket_path})
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + (grace_s() if callable(grace_s) else grace_s)


def most_connections() -> int:
    """Return how many connections may be served: each may need a second descriptor, for a file."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, (soft - _OTHER_DESCRIPTORS) // 2))


class _Door:
    """Counts the connections being served, and says which has to give way when there are too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()
        self._change = trio.Event()
        self._told_at = -math.inf

    def changed(self) -> None:
        """Wake who waits for room: a connection ended, or became idle."""
        self._change.set()
        self._change = trio.Event()

    def count(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def admit(self, connection: Connection) -> None:
        """Count a connection until :meth:`serve` is done with it."""
        self._open.add(connection)

    async def serve(self, connection: Connection) -> None:
        """Serve an admitted connection to its end."""
        try:
            await connection.run()
        finally:
            connection.end()
            self._open.discard(connection)
            self.changed()

    async def room(self, listener: trio.SocketListener) -> None:
        """Wait until one more connection may be served, making room for one that knocks."""
        await trio.lowlevel.checkpoint()
        while len(self._open) >= self._limit:
            await trio.lowlevel.wait_readable(listener.socket)
            with trio.move_on_at(self._end_idle()):
                await self._change.wait()

    def is_full(self, error: OSError) -> None:
        """Note that the machine has no room: say so now and then, and give back an idle connection."""
        if trio.current_time() - self._told_at >= _FULL_LOG_S:
            self._told_at = trio.current_time()
            _log.warning("a connection cannot be accepted", extra={"reason": error.strerror})
        self._end_idle()

    def _end_idle(self) -> float:
        """End the connection that is idle longest; return when to look again."""
        idle = [(connection.idle_since, connection) for connection in self._open if not connection.has_ended]
        since, oldest = min(
            ((since, connection) for since, connection in idle if since is not None),
            key=lambda pair: pair[0],
            default=(math.inf, None),
        )
        if oldest is None or since + _SURELY_IDLE_S > trio.current_time():
            return since + _SURELY_IDLE_S
        oldest.end()
        return math.inf


async def _accept(listener: trio.SocketListener, door: _Door, admit: Callable[[trio.SocketStream], None]) -> NoReturn:
    """Accept connections until cancelled; the listener is closed then."""
    async with listener:
        while True:
            await door.room(listener)
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _FULL_ERRNOS:
                    raise
                door.is_full(error)
                await trio.sleep(_FULL_PAUSE_S)
                continue
            admit(stream)


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
