"""One job in the hands of its handler."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Database
from lumiliod.domain.errors import LumilioError, Shape
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.ends import Effect, Fenced, Result

log = logging.getLogger(__name__)

A = TypeVar("A")

PROGRESS_PERIOD_S = 1.0


class Host(Protocol):
    """What a running job needs of its engine."""

    database: Database

    async def commit(self, running: "Running", effect: Effect | None, result: Result | None) -> Result | None:
        """Commit the effect and the end of an attempt."""
        ...

    async def fail(self, running: "Running", error: BaseException) -> bool:
        """Record a failed attempt; False when it is no longer ours."""
        ...


class Running:
    """One job in the hands of its handler."""

    __slots__ = ("_host", "_reported", "began_s", "deferred", "finished", "job")

    def __init__(self, host: Host, job: ClaimedJob) -> None:
        self.job = job
        self.finished = False
        self.deferred = False
        """Whether its end is written later: it is held until then."""
        self.began_s = time.monotonic()
        self._host = host
        self._reported = 0.0

    @property
    def args(self) -> Mapping[str, Any]:
        """Return the job's arguments."""
        return self.job.args

    def decoded(self, kind: type[A]) -> A:
        """Return the arguments as ``kind``.

        Raises:
            Shape: they are none (``bad_args``); the job is discarded with that.
        """
        try:
            return msgspec.convert(self.job.args, kind)
        except msgspec.ValidationError as error:
            raise Shape(f"the job's arguments are not right: {error}", code="bad_args") from error

    async def complete(self, effect: Effect | None = None, *, result: Result | None = None) -> Result | None:
        """Commit ``effect`` and the end of this job in one transaction; return the effect's result.

        What ``effect(connection)`` returns is kept as the job's result. When it raises, nothing is
        committed and the error is raised here. Several jobs at once: :meth:`Engine.finish_all`.

        Raises:
            Fenced: the job was taken away from this worker meanwhile.
        """
        value = await self._host.commit(self, effect, result)
        self.finished = True
        return value

    async def fail(self, error: LumilioError) -> None:
        """End this attempt with ``error``: retried or discarded as its class says. Does nothing when it has ended.

        Raises:
            Fenced: the job was taken away from this worker meanwhile.
        """
        if self.finished:
            return
        ours = await self._host.fail(self, error)
        self.finished = True
        if not ours:
            raise Fenced("this attempt was taken away")

    async def progress(self, done: int, total: int | None = None, unit: str = "", text: str = "") -> None:
        """Report how far this job is; written at most once a second."""
        now = time.monotonic()
        if now - self._reported >= PROGRESS_PERIOD_S:
            self._reported = now
            seen = {"done": done, "total": total, "unit": unit, "text": text}
            try:
                await self._host.database.once(db_jobs.set_progress, self.job.id, self.job.token, seen)
            except LumilioError as error:
                # it is told again; a report is no reason to lose an hour's work
                log.info("progress could not be written", extra={"job": str(self.job.id), "code": error.code})
