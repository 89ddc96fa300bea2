"""Waiting for the daemon: gentle polling and progress on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from lumiliod.cli.output import note
from lumiliod.cli.program import TEMPORARY, Failed
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem

if TYPE_CHECKING:
    from lumiliod.client import Client

_Answer = TypeVar("_Answer")

DATABASE_AWAY = "database_unavailable"
"""The code of a problem that is over as soon as the database runs again, which the daemon sees to."""

FINISHED = frozenset({"completed", "cancelled", "discarded"})
"""States a job never leaves by itself."""

Advance = Callable[[float, float | None], None]
"""Called with what is done and the total, None while it is unknown."""


def pauses() -> Iterator[float]:
    """Yield seconds to wait between polls, from 0.1 up to 1."""
    pause_s = 0.1
    while True:
        yield pause_s
        pause_s = min(1.0, pause_s * 1.3)


def finished_job(
    client: "Client",
    task_id: UUID,
    advance: Advance | None = None,
    *,
    quiet: bool = False,
    timeout_s: float | None = None,
) -> Job:
    """Return a job once it has ended; until then tell how far it is, and say why it is put off unless ``quiet``.

    Raises:
        Failed: it has not after ``timeout_s`` seconds.
    """
    started = time.monotonic()
    said: str | None = None
    for pause_s in pauses():
        job = unless_away(lambda: client.task(task_id))
        if job is not None:
            if job.progress is not None and advance is not None:
                advance(job.progress.done, job.progress.total)
            if job.state in FINISHED:
                return job
            reason = job.errors[-1].message if job.errors and job.errors[-1].put_off else said
            if reason is not None and reason != said and not quiet:
                note(f"lumilio: waiting: {reason}")
            said = reason
        sleep(pause_s, started, timeout_s)
    raise AssertionError


def unless_away(ask: Callable[[], _Answer]) -> _Answer | None:
    """Return an answer; None while the daemon's database is away, which is no reason to stop waiting.

    Raises:
        ApiError, Unreachable: any other failure.
    """
    from lumiliod.client import ApiError

    try:
        return ask()
    except ApiError as error:
        if error.problem.code != DATABASE_AWAY:
            raise
        return None


def sleep(pause_s: float, started: float, timeout_s: float | None) -> None:
    """Sleep before the next poll.

    Raises:
        Failed: ``timeout_s`` seconds have passed since ``started`` (``time.monotonic``).
    """
    if timeout_s is None:
        time.sleep(pause_s)
        return
    left_s = timeout_s - (time.monotonic() - started)
    if left_s <= 0:
        detail = f"Not finished after {timeout_s:g} seconds."
        raise Failed(Problem(title="Timed out", status=503, code="timeout", detail=detail), TEMPORARY)
    time.sleep(min(pause_s, left_s))


@contextmanager
def progress(label: str, *, in_bytes: bool = False, hidden: bool = False) -> Iterator[Advance]:
    """Show a progress bar on standard error when a person is watching."""
    if hidden or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns += [DownloadColumn() if in_bytes else MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
