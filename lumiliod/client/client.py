"""The API, a method for each thing it can do."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote
from uuid import UUID

import msgspec

from lumiliod.client.connection import ANSWER_S, UNLIMITED, ApiError, Connection, given, segment
from lumiliod.client.derivatives import Derivatives
from lumiliod.client.feed import Feed
from lumiliod.client.integrity import Integrity
from lumiliod.client.repositories import Repositories
from lumiliod.client.sync import Sync
from lumiliod.client.trash import Trash
from lumiliod.client.uploads import Uploads
from lumiliod.contract.assets import (
    Asset,
    AssetDetail,
    AssetPage,
    LikeChange,
    NearDuplicates,
    RatingChange,
    SearchPage,
    UploadTicket,
)
from lumiliod.contract.doctor import Checkup
from lumiliod.contract.jobs import (
    Backfilled,
    BackfillRequest,
    Cause,
    CauseList,
    Job,
    JobPage,
    JobsChanged,
    JobSelection,
    JobSort,
)
from lumiliod.contract.live import LiveJobs, Trouble
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

Verb = Literal["retry", "cancel", "discard"]
Progress = Callable[[int], None]
"""Called with the bytes sent since the last call."""


class Client:
    """A connection to the daemon; close it, or use it as a context manager. Safe to share between threads.

    Every method raises :class:`ApiError` or :class:`Unreachable`; the latter, too, when nothing of an answer came for
    ``answer_s`` seconds, except for what takes as long as it takes.
    """

    def __init__(self, path: str = DEFAULT_SOCKET, *, answer_s: float = ANSWER_S) -> None:
        self.socket = path
        self._connection = Connection(path, answer_s=answer_s)
        self.uploads = Uploads(self._connection)
        self.trash = Trash(self._connection)
        self.integrity = Integrity(self._connection)
        self.repos = Repositories(self._connection)
        self.derivatives = Derivatives(self._connection)
        self.sync = Sync(self._connection)
        self.feed = Feed(self._connection)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; who waits for an answer in another thread gets :class:`Unreachable` at once."""
        self._connection.close()

    def health(self) -> Health:
        """Return how every service is."""
        return self._connection.get("/health", Health)

    def ready(self) -> bool:
        """Tell whether the daemon serves requests yet."""
        try:
            self._connection.get("/health/ready", Live)
        except ApiError as error:
            if error.problem.status == 503:
                return False
            raise
        return True

    def status(self) -> Status:
        """Return what is in the library and what is still to do."""
        return self._connection.get("/status", Status)

    def doctor(self) -> Checkup:
        """Return what the daemon found when it looked at itself and its machine."""
        return self._connection.get("/doctor", Checkup)

    def repositories(self) -> list[Repository]:
        """Return all repositories, by name."""
        return self._connection.get("/repositories", RepositoryList).items

    def repository(self, ref: str) -> Repository:
        """Return one repository, by name or id."""
        return self._connection.get(f"/repositories/{segment(ref)}", Repository)

    def add_repository(self, wanted: NewRepository) -> Repository:
        """Create a repository, or open the one at its path."""
        return self._connection.call("POST", "/repositories", Repository, content=msgspec.json.encode(wanted))

    def scan(self, ref: str) -> ScanTicket:
        """Ask for a full scan."""
        return self._connection.call("POST", f"/repositories/{segment(ref)}/scan", ScanTicket)

    def files(self, ref: str, *, outcome: str | None = None) -> Iterator[File]:
        """Yield every file of a repository, by path, page by page."""
        path = f"/repositories/{segment(ref)}/files"
        cursor: str | None = None
        while True:
            page = self._connection.get(path, FilePage, outcome=outcome, cursor=cursor, limit=PAGE)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def assets(self, *, limit: int = 50, cursor: str | None = None, collapsed: bool = False) -> AssetPage:
        """Return one page of assets, newest first; ``collapsed``: of every stack the cover alone."""
        stacks = "collapsed" if collapsed else None
        return self._connection.get("/assets", AssetPage, limit=limit, cursor=cursor, stacks=stacks)

    def all_assets(self, *, collapsed: bool = False) -> Iterator[Asset]:
        """Yield every asset, newest first, page by page; ``collapsed`` as in :meth:`assets`."""
        cursor: str | None = None
        while True:
            page = self.assets(limit=PAGE, cursor=cursor, collapsed=collapsed)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def asset(self, asset_id: UUID) -> AssetDetail:
        """Return one asset with everything its file says of itself."""
        return self._connection.get(f"/assets/{asset_id}", AssetDetail)

    def thumbnail(self, asset_id: UUID, size: int) -> bytes:
        """Return the thumbnail of an asset, ``size`` pixels on its long side: a JPEG or WebP file."""
        return self._connection.content(f"/assets/{asset_id}/thumbnail", size=size)

    def rate(self, asset_id: UUID, rating: int | None) -> Asset:
        """Give an asset 0 to 5 stars, or none."""
        content = msgspec.json.encode(RatingChange(rating=rating))
        return self._connection.call("PUT", f"/assets/{asset_id}/rating", Asset, content=content)

    def like(self, asset_id: UUID, *, liked: bool) -> Asset:
        """Say whether an asset is liked."""
        content = msgspec.json.encode(LikeChange(liked=liked))
        return self._connection.call("PUT", f"/assets/{asset_id}/like", Asset, content=content)

    def near_duplicates(self, asset_id: UUID, *, distance: int | None = None, limit: int = 50) -> NearDuplicates:
        """Return assets that look like one, the nearest first; their hashes differ in ``distance`` bits at most."""
        path = f"/assets/{asset_id}/near-duplicates"
        return self._connection.get(path, NearDuplicates, distance=distance, limit=limit)

    def search(self, query: str, *, limit: int = 50, cursor: str | None = None) -> SearchPage:
        """Return one page of the assets ``query`` finds."""
        return self._connection.get("/search", SearchPage, q=query, limit=limit, cursor=cursor)

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
        sort: JobSort | None = None,
        last: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """Return one page of jobs, newest first unless ``sort`` says otherwise; ``repository`` is a name or an id."""
        order = given(sort=sort, last="true" if last else None)
        wanted = given(state=state, kind=kind, queue=queue, cause=cause, repository=repository, asset=asset, tag=tag)
        return self._connection.call("GET", "/jobs", JobPage, params=wanted | order | given(limit=limit, cursor=cursor))

    def job(self, job_id: UUID) -> Job:
        """Return one job."""
        return self._connection.get(f"/jobs/{job_id}", Job)

    def task(self, task_id: UUID) -> Job:
        """Return what became of an accepted upload or scan."""
        return self._connection.get(f"/tasks/{task_id}", Job)

    def change_jobs(self, verb: Verb, wanted: JobSelection) -> JobsChanged:
        """Retry, cancel or give up the jobs that are ``wanted``."""
        return self._connection.call(
            "POST", f"/jobs/{verb}", JobsChanged, content=msgspec.json.encode(wanted), timeout=UNLIMITED
        )

    def change_job(self, verb: Verb, job_id: UUID) -> JobsChanged:
        """Retry, cancel or give up one job."""
        return self._connection.call("POST", f"/jobs/{job_id}/{verb}", JobsChanged)

    def causes(self, *, kind: str | None = None) -> list[Cause]:
        """Return why jobs failed that have not ended, the most frequent reason first."""
        return self._connection.call("GET", "/jobs/causes", CauseList, params=given(kind=kind)).items

    def backfill(self, kind: str | None = None) -> Backfilled:
        """Enqueue the work of a kind, or of every kind, that is not done and that no job does."""
        content = msgspec.json.encode(BackfillRequest(kind=kind))
        return self._connection.call("POST", "/jobs/backfill", Backfilled, content=content, timeout=UNLIMITED)

    def watch_jobs(self) -> Iterator[LiveJobs | Trouble]:
        """Yield what runs and what waits whenever that changes, without an end."""
        for _, told in self._connection.events("/jobs/live", {"jobs": LiveJobs, "trouble": Trouble}):
            yield told

    def watch_job(self, job_id: UUID) -> Iterator[Job | Trouble]:
        """Yield one job whenever it changes, at last when it has ended."""
        for name, told in self._connection.events(f"/jobs/{job_id}/live", {"job": Job, "end": Job, "trouble": Trouble}):
            yield told
            if name == "end" or (isinstance(told, Trouble) and told.code == "job_not_found"):
                return

    def queues(self) -> QueueList:
        """Return all queues, by name."""
        return self._connection.get("/queues", QueueList)

    def pause_queue(self, name: str) -> QueueList:
        """Let nothing of a queue begin; ``*`` is every queue."""
        return self._connection.call("POST", f"/queues/{segment(name)}/pause", QueueList)

    def resume_queue(self, name: str) -> QueueList:
        """Let a paused queue go on; ``*`` is what was said of every queue at once."""
        return self._connection.call("POST", f"/queues/{segment(name)}/resume", QueueList)

    def change_queue(self, name: str, wanted: QueueChange) -> QueueList:
        """Change how many jobs of a queue run at once, and its quiet hours."""
        return self._connection.call(
            "PATCH", f"/queues/{segment(name)}", QueueList, content=msgspec.json.encode(wanted)
        )

    def workers(self) -> list[Worker]:
        """Return the processes that do jobs, the oldest first."""
        return self._connection.get("/workers", WorkerList).items

    def schedules(self) -> list[Schedule]:
        """Return all periodic jobs, by name."""
        return self._connection.get("/schedules", ScheduleList).items

    def schedule(self, name: str) -> Schedule:
        """Return one periodic job."""
        return self._connection.get(f"/schedules/{segment(name)}", Schedule)

    def change_schedule(self, name: str, wanted: ScheduleChange) -> Schedule:
        """Pause a periodic job, let it go on, or change when it runs."""
        path = f"/schedules/{segment(name)}"
        return self._connection.call("PATCH", path, Schedule, content=msgspec.json.encode(wanted))

    def run_schedule(self, name: str) -> RunTicket:
        """Run a periodic job now."""
        return self._connection.call("POST", f"/schedules/{segment(name)}/run", RunTicket)

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

            return self._connection.call(
                "POST",
                "/assets",
                UploadTicket,
                params=given(repository=repository),
                content=chunks(),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(size_bytes),
                    "X-Filename": quote(os.fsencode(Path(path).name), safe=""),
                },
                timeout=UNLIMITED,
            )
