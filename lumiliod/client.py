"""The API's client: contract types in and out, over the daemon's Unix socket.

::

    ClientError
    ├── ApiError      the daemon said no: ``problem`` is its answer
    └── Unreachable   nobody answered: ``problem`` says why

This is the only module that knows httpx.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec

from lumiliod.contract import events
from lumiliod.contract.assets import Asset, AssetDetail, AssetPage, SearchPage, UploadTicket
from lumiliod.contract.jobs import (
    Backfilled,
    BackfillRequest,
    Cause,
    CauseList,
    Job,
    JobPage,
    JobsChanged,
    JobSelection,
)
from lumiliod.contract.live import LiveJobs, Trouble
from lumiliod.contract.problems import Problem
from lumiliod.contract.queues import QueueChange, QueueList, Worker, WorkerList
from lumiliod.contract.repositories import (
    File,
    FilePage,
    NewRepository,
    Repository,
    RepositoryList,
    ScanTicket,
)
from lumiliod.contract.schedules import RunTicket, Schedule, ScheduleChange, ScheduleList
from lumiliod.contract.status import Health, Live, Status

DEFAULT_SOCKET = "/run/lumilio/lumiliod.sock"
PAGE = 500
"""Items per page when everything is wanted; the most the API gives."""

CHUNK_BYTES = 1 << 20

_CONNECT_S = 5.0
_ANSWER_S = 120.0
_SILENCE_S = 60.0
"""Events come, or a sign of life, every 15 seconds."""

_UNLIMITED = httpx.Timeout(None, connect=_CONNECT_S)

T = TypeVar("T")
Verb = Literal["retry", "cancel", "discard"]
Progress = Callable[[int], None]
"""Called with the bytes sent since the last call."""


class ClientError(Exception):
    """Base of what a call can raise; ``problem`` is always there to be shown."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class ApiError(ClientError):
    """The daemon answered with a problem."""


class Unreachable(ClientError):
    """No daemon answered on the socket: code ``unreachable``, or ``socket_forbidden`` without permission."""


class Client:
    """A connection to the daemon; close it, or use it as a context manager. Safe to share between threads.

    Every method raises :class:`ApiError` or :class:`Unreachable`.
    """

    def __init__(self, path: str = DEFAULT_SOCKET) -> None:
        self.socket = path
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=path),
            base_url="http://lumilio/api/v1",
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            trust_env=False,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Health:
        """Return how every service is."""
        return self._get("/health", Health)

    def ready(self) -> bool:
        """Tell whether the daemon serves requests yet."""
        try:
            self._get("/health/ready", Live)
        except ApiError as error:
            if error.problem.status == 503:
                return False
            raise
        return True

    def status(self) -> Status:
        """Return what is in the library and what is still to do."""
        return self._get("/status", Status)

    def repositories(self) -> list[Repository]:
        """Return all repositories, by name."""
        return self._get("/repositories", RepositoryList).items

    def repository(self, ref: str) -> Repository:
        """Return one repository, by name or id."""
        return self._get(f"/repositories/{_segment(ref)}", Repository)

    def add_repository(self, wanted: NewRepository) -> Repository:
        """Create a repository, or open the one at its path."""
        return self._call("POST", "/repositories", Repository, content=msgspec.json.encode(wanted))

    def scan(self, ref: str) -> ScanTicket:
        """Ask for a full scan."""
        return self._call("POST", f"/repositories/{_segment(ref)}/scan", ScanTicket)

    def files(self, ref: str, *, outcome: str | None = None) -> Iterator[File]:
        """Yield every file of a repository, by path, page by page."""
        path = f"/repositories/{_segment(ref)}/files"
        cursor: str | None = None
        while True:
            page = self._get(path, FilePage, outcome=outcome, cursor=cursor, limit=PAGE)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def assets(self, *, limit: int = 50, cursor: str | None = None) -> AssetPage:
        """Return one page of assets, newest first."""
        return self._get("/assets", AssetPage, limit=limit, cursor=cursor)

    def all_assets(self) -> Iterator[Asset]:
        """Yield every asset, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.assets(limit=PAGE, cursor=cursor)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def asset(self, asset_id: UUID) -> AssetDetail:
        """Return one asset with everything its file says of itself."""
        return self._get(f"/assets/{asset_id}", AssetDetail)

    def search(self, query: str, *, limit: int = 50, cursor: str | None = None) -> SearchPage:
        """Return one page of the assets ``query`` finds."""
        return self._get("/search", SearchPage, q=query, limit=limit, cursor=cursor)

    def jobs(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        queue: str | None = None,
        cause: str | None = None,
        repository: str | None = None,
        asset: UUID | None = None,
        tag: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """Return one page of jobs, newest first; ``repository`` is a name or an id."""
        wanted = _given(state=state, kind=kind, queue=queue, cause=cause, repository=repository, asset=asset, tag=tag)
        return self._call("GET", "/jobs", JobPage, params=wanted | _given(limit=limit, cursor=cursor))

    def job(self, job_id: UUID) -> Job:
        """Return one job."""
        return self._get(f"/jobs/{job_id}", Job)

    def task(self, task_id: UUID) -> Job:
        """Return what became of an accepted upload or scan."""
        return self._get(f"/tasks/{task_id}", Job)

    def change_jobs(self, verb: Verb, wanted: JobSelection) -> JobsChanged:
        """Retry, cancel or give up the jobs that are ``wanted``."""
        return self._call("POST", f"/jobs/{verb}", JobsChanged, content=msgspec.json.encode(wanted), timeout=_UNLIMITED)

    def change_job(self, verb: Verb, job_id: UUID) -> JobsChanged:
        """Retry, cancel or give up one job."""
        return self._call("POST", f"/jobs/{job_id}/{verb}", JobsChanged)

    def causes(self, *, kind: str | None = None) -> list[Cause]:
        """Return why jobs failed that have not ended, the most frequent reason first."""
        return self._call("GET", "/jobs/causes", CauseList, params=_given(kind=kind)).items

    def backfill(self, kind: str | None = None) -> Backfilled:
        """Enqueue the work of a kind, or of every kind, that is not done and that no job does."""
        content = msgspec.json.encode(BackfillRequest(kind=kind))
        return self._call("POST", "/jobs/backfill", Backfilled, content=content, timeout=_UNLIMITED)

    def watch_jobs(self) -> Iterator[LiveJobs | Trouble]:
        """Yield what runs and what waits whenever that changes, without an end."""
        for _, told in self._events("/jobs/live", {"jobs": LiveJobs, "trouble": Trouble}):
            yield told

    def watch_job(self, job_id: UUID) -> Iterator[Job | Trouble]:
        """Yield one job whenever it changes, at last when it has ended."""
        for name, told in self._events(f"/jobs/{job_id}/live", {"job": Job, "end": Job, "trouble": Trouble}):
            yield told
            if name == "end" or (isinstance(told, Trouble) and told.code == "job_not_found"):
                return

    def queues(self) -> QueueList:
        """Return all queues, by name."""
        return self._get("/queues", QueueList)

    def pause_queue(self, name: str) -> QueueList:
        """Let nothing of a queue begin; ``*`` is every queue."""
        return self._call("POST", f"/queues/{_segment(name)}/pause", QueueList)

    def resume_queue(self, name: str) -> QueueList:
        """Let a paused queue go on; ``*`` is what was said of every queue at once."""
        return self._call("POST", f"/queues/{_segment(name)}/resume", QueueList)

    def change_queue(self, name: str, wanted: QueueChange) -> QueueList:
        """Change how many jobs of a queue run at once, and its quiet hours."""
        return self._call("PATCH", f"/queues/{_segment(name)}", QueueList, content=msgspec.json.encode(wanted))

    def workers(self) -> list[Worker]:
        """Return the processes that do jobs, the oldest first."""
        return self._get("/workers", WorkerList).items

    def schedules(self) -> list[Schedule]:
        """Return all periodic jobs, by name."""
        return self._get("/schedules", ScheduleList).items

    def schedule(self, name: str) -> Schedule:
        """Return one periodic job."""
        return self._get(f"/schedules/{_segment(name)}", Schedule)

    def change_schedule(self, name: str, wanted: ScheduleChange) -> Schedule:
        """Pause a periodic job, let it go on, or change when it runs."""
        path = f"/schedules/{_segment(name)}"
        return self._call("PATCH", path, Schedule, content=msgspec.json.encode(wanted))

    def run_schedule(self, name: str) -> RunTicket:
        """Run a periodic job now."""
        return self._call("POST", f"/schedules/{_segment(name)}/run", RunTicket)

    def upload(self, path: str, *, repository: str | None = None, progress: Progress | None = None) -> UploadTicket:
        """Stream the file at ``path`` to the library, in constant memory and without a time limit.

        The bytes are the body itself: a form would cost the server four times the CPU, and could
        not carry every file name.

        Raises:
            OSError: the file cannot be read.
        """
        with Path(path).open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size

            def chunks() -> Iterator[bytes]:
                left = size_bytes
                while left:
                    try:
                        chunk = file.read(min(CHUNK_BYTES, left))
                    except OSError as error:
                        raise OSError(error.errno, error.strerror, path) from error
                    if not chunk:
                        raise OSError(errno.EIO, "The file became shorter while it was read", path)
                    left -= len(chunk)
                    yield chunk
                    if progress is not None:
                        progress(len(chunk))

            return self._call(
                "POST",
                "/assets",
                UploadTicket,
                params=_given(repository=repository),
                content=chunks(),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(size_bytes),
                    "X-Filename": quote(os.fsencode(Path(path).name), safe=""),
                },
                timeout=_UNLIMITED,
            )

    def _knock(self) -> None:
        """Connect once and close again: httpcore leaks its socket when nobody answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_S)
            probe.connect(self.socket)

    def _events(self, path: str, kinds: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the server-sent events of ``path``: their names, and their data as ``kinds`` says; it never ends."""
        timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, read=_SILENCE_S)
        try:
            self._knock()
            with self._http.stream("GET", path, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise ApiError(_problem(response))
                for event in events.read(response.iter_bytes()):
                    if event.name in kinds:
                        yield event.name, msgspec.json.decode(event.data, type=kinds[event.name])
        except (httpx.TransportError, OSError) as error:
            raise Unreachable(_why(error, self.socket)) from error
        except msgspec.MsgspecError as error:
            raise ApiError(_odd(200, f"lumiliod's answer is not understood: {error}")) from error
        detail = f"lumiliod has stopped on {self.socket}."
        raise Unreachable(Problem(title="lumiliod stopped", status=503, code="unreachable", detail=detail))

    def _get(self, path: str, kind: type[T], **query: object) -> T:
        return self._call("GET", path, kind, params=_given(**query))

    def _call(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """Send one request and decode its answer as ``kind``."""
        try:
            self._knock()
            response = self._http.request(method, path, **options)
        except (httpx.TransportError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the file being uploaded
            raise Unreachable(_why(error, self.socket)) from error
        if response.is_success:
            try:
                return msgspec.json.decode(response.content, type=kind)
            except msgspec.MsgspecError as error:
                raise ApiError(_odd(response.status_code, f"lumiliod's answer is not understood: {error}")) from error
        raise ApiError(_problem(response))


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return _odd(response.status_code, f"lumiliod answered {response.status_code} {response.reason_phrase}")


def _odd(status: int, detail: str) -> Problem:
    return Problem(title="Unexpected answer", status=status, code="unexpected_answer", detail=detail)


def _why(error: httpx.TransportError | OSError, path: str) -> Problem:
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


def _given(**values: object) -> dict[str, str]:
    """Return what is not None, as query parameters."""
    return {name: str(value) for name, value in values.items() if value is not None}


def _segment(text: str) -> str:
    return quote(text, safe="")
