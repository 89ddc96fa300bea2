"""One connection to the daemon: requests out, contract types in, and what can go wrong on the way.

::

    ClientError
    ├── ApiError      the daemon said no: ``problem`` is its answer
    └── Unreachable   nobody answered: ``problem`` says why

This is the only module that knows httpx.
"""

import errno
import socket
import ssl
import threading
import weakref
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from lumiliod.contract import events as server_sent
from lumiliod.contract.problems import Problem

_CONNECT_S = 5.0
ANSWER_S = 120.0
"""How long nothing of an answer may come."""
_SILENCE_S = 60.0
"""Events come, or a sign of life, every 15 seconds."""
_CLOSE_S = 1.0
"""How long closing waits for requests that it has ended to notice."""

UNLIMITED = httpx.Timeout(None, connect=_CONNECT_S)
"""For requests that take as long as they take."""

_SAFE = frozenset({"GET", "HEAD"})
"""What may be sent twice (RFC 9110, 9.2.1): it changes nothing."""

T = TypeVar("T")
Headers = Mapping[str, str]


class ClientError(Exception):
    """Base of what a call can raise; ``problem`` is always there to be shown."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class ApiError(ClientError):
    """The daemon answered with a problem."""


class Unreachable(ClientError):
    """No daemon answered on the socket: code ``unreachable``, or ``socket_forbidden`` without permission."""


class Connection:
    """Requests over the socket at ``path``. Safe to share between threads.

    Every method raises :class:`ApiError` or :class:`Unreachable`.
    """

    def __init__(self, path: str, *, answer_s: float = ANSWER_S) -> None:
        self.socket = path
        self._answer_s = answer_s
        self._sockets = weakref.WeakSet[socket.socket]()
        self._is_closed = False
        self._users: list[int] = []
        self._changed = threading.Condition()
        self._http = httpx.Client(
            # nothing is encrypted on a socket; httpx would load every authority for it, which takes 0.1 s
            transport=httpx.HTTPTransport(uds=path, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
            base_url="http://lumilio/api/v1",
            timeout=httpx.Timeout(answer_s, connect=_CONNECT_S),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections; who waits for an answer in another thread gets :class:`Unreachable` at once."""
        with self._changed:
            self._is_closed = True
            for one in list(self._sockets):
                with suppress(OSError):  # it is closed already
                    one.shutdown(socket.SHUT_RDWR)
            # whoever reads from a socket closes it; closed here, its number may be another's by the time it is read
            own = threading.get_ident()
            self._changed.wait_for(lambda: all(user == own for user in self._users), _CLOSE_S)
        self._http.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Note who is asking, so that closing can wait for it.

        Raises:
            Unreachable: the connection is closed.
        """
        user = threading.get_ident()
        with self._changed:
            if self._is_closed:
                raise Unreachable(_closed(self.socket))
            self._users.append(user)
        try:
            yield
        finally:
            with self._changed:
                self._users.remove(user)
                self._changed.notify_all()

    def _note(self, event: str, found: Mapping[str, Any]) -> None:
        """Remember a socket that httpx opens, to be able to end what waits on it."""
        if event != "connection.connect_unix_socket.complete":
            return
        opened: socket.socket = found["return_value"].get_extra_info("socket")
        with self._changed:
            self._sockets.add(opened)
            if self._is_closed:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)

    def _knock(self) -> None:
        """Connect once and close again: httpcore leaks its socket when nobody answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_S)
            probe.connect(self.socket)

    def events(self, path: str, kinds: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the server-sent events of ``path``: their names, and their data as ``kinds`` says; it never ends."""
        for name, _, data in self.numbered_events(path, kinds):
            yield name, data

    def numbered_events(
        self, path: str, kinds: Mapping[str, Any], *, after: int | None = None, **query: object
    ) -> Generator[tuple[str, int, Any], None, None]:
        """Yield events as :meth:`events` does, with their numbers; behind the event ``after`` if that is known."""
        options: dict[str, Any] = {
            "params": given(**query),
            "headers": {} if after is None else {"Last-Event-ID": str(after)},
            "timeout": httpx.Timeout(self._answer_s, connect=_CONNECT_S, read=_SILENCE_S),
            "extensions": {"trace": self._note},
        }
        try:
            with self._in_use():
                self._knock()
                with self._http.stream("GET", path, **options) as response:
                    if not response.is_success:
                        response.read()
                        raise ApiError(_problem(response))
                    for event in server_sent.read(response.iter_bytes()):
                        if event.name in kinds:
                            yield event.name, event.number, msgspec.json.decode(event.data, type=kinds[event.name])
        except (httpx.RequestError, OSError) as error:
            raise Unreachable(_why(error, self.socket)) from error
        except msgspec.MsgspecError as error:
            raise ApiError(_odd(200, f"lumiliod's answer is not understood: {error}")) from error
        detail = f"lumiliod has stopped on {self.socket}."
        raise Unreachable(Problem(title="lumiliod stopped", status=503, code="unreachable", detail=detail))

    def get(self, path: str, kind: type[T], **query: object) -> T:
        """Ask for ``path`` and decode the answer as ``kind``."""
        return self.call("GET", path, kind, params=given(**query))

    def content(self, path: str, **query: object) -> bytes:
        """Ask for ``path`` and return the answer as it is."""
        return self._request("GET", path, params=given(**query)).content

    def headers(self, method: str, path: str, **options: Any) -> Headers:
        """Send one request and return the head of its answer, names in any case."""
        return self._request(method, path, **options).headers

    def call(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """Send one request and decode its answer as ``kind``."""
        response = self._request(method, path, **options)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError as error:
            raise ApiError(_odd(response.status_code, f"lumiliod's answer is not understood: {error}")) from error

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            with self._in_use():
                self._knock()
                response = self._asked(method, path, extensions={"trace": self._note}, **options)
        except (httpx.RequestError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the file being uploaded
            raise Unreachable(_why(error, self.socket)) from error
        if not response.is_success:
            raise ApiError(_problem(response))
        return response

    def _asked(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; what only asks once more, where the daemon closed the connection as it was used again."""
        try:
            return self._http.request(method, path, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if method not in _SAFE or self._is_closed:
                raise
            return self._http.request(method, path, **options)


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return _odd(response.status_code, f"lumiliod answered {response.status_code} {response.reason_phrase}")


def _closed(path: str) -> Problem:
    detail = f"The connection to {path} is closed."
    return Problem(title="lumiliod cannot be reached", status=503, code="unreachable", detail=detail)


def _odd(status: int, detail: str) -> Problem:
    return Problem(title="Unexpected answer", status=status, code="unexpected_answer", detail=detail)


def _why(error: httpx.RequestError | OSError, path: str) -> Problem:
    """Say in a sentence why nobody answered."""
    number = _errno(error)
    code = "unreachable"
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        detail = f"lumiliod does not answer on {path}."
    elif number == errno.ENOENT:
        detail = f"lumiliod is not running: there is no socket {path}."
    elif number == errno.ECONNREFUSED:
        detail = f"lumiliod is not running: nobody listens on {path}."
    elif number in (errno.EACCES, errno.EPERM):
        code = "socket_forbidden"
        detail = f"You may not use {path}; members of its group may."
    elif isinstance(error, (httpx.ConnectError, OSError)):
        detail = f"Cannot connect to {path}: {error}."
    else:
        detail = f"lumiliod closed the connection on {path}: {error}."
    status = 403 if code == "socket_forbidden" else 503
    return Problem(title="lumiliod cannot be reached", status=status, code=code, detail=detail)


def _errno(error: BaseException) -> int | None:
    """Return the operating system's error behind ``error``."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno
        cause = cause.__cause__ or cause.__context__
    return None


def given(**values: object) -> dict[str, str]:
    """Return what is not None, as query parameters."""
    return {name: str(value) for name, value in values.items() if value is not None}


def segment(text: str) -> str:
    """Return ``text`` as one part of a path."""
    return quote(text, safe="")
