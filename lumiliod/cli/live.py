"""``lumilio jobs watch``: what runs, as it goes on."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import click

from lumiliod.cli.output import note, print_json, print_line, visible
from lumiliod.cli.polling import FINISHED, progress
from lumiliod.cli.program import FAILURE, Command, Options, connected
from lumiliod.cli.schedule import duration_text
from lumiliod.contract.jobs import Job, Progress
from lumiliod.contract.live import LiveJobs, LiveQueue, RunningJob, Trouble

if TYPE_CHECKING:
    from rich.console import RenderableType

WAITING = ("available", "scheduled", "retryable")


@click.command(cls=Command)
@click.argument("job_id", metavar="[ID]", type=click.UUID, required=False)
@click.pass_obj
def watch(options: Options, job_id: UUID | None) -> int:
    """Watch what runs, or one job until it has ended.

    The exit status is 0 when that is completed, 1 otherwise. With --json, without ID: one document a line,
    whenever something changes.
    """
    with connected(options) as client:
        if job_id is not None:
            return _watch_one(options, client.watch_job(job_id))
        with _shown(options) as screen:
            for told in client.watch_jobs():
                screen.show(told)
    return 0


def _watch_one(options: Options, events: Iterable[Job | Trouble]) -> int:
    is_plain = not options.json and not sys.stdout.isatty()
    line = ""
    with progress("Waiting", hidden=options.json) as advance:
        for told in events:
            if isinstance(told, Trouble):
                note(told.message)
                continue
            if told.progress is not None:
                advance(told.progress.done, told.progress.total)
            last, line = line, f"{told.state}  {progress_text(told.progress) or ''}".rstrip()
            if is_plain and told.state not in FINISHED and line != last:
                click.echo(_stamped(line))
            if told.state in FINISHED:
                break
        else:
            return FAILURE
    if options.json:
        print_json(told)
    else:
        reason = f": {told.errors[-1].code}: {told.errors[-1].message}" if told.state == "discarded" else ""
        click.echo(visible(f"Job {told.id} is {told.state}{reason}."))
    return 0 if told.state == "completed" else FAILURE


class _Screen(Protocol):
    def show(self, told: LiveJobs | Trouble) -> None: ...


@contextmanager
def _shown(options: Options) -> Iterator[_Screen]:
    """Return where to show what is told: a redrawn table on a terminal, lines elsewhere."""
    if options.json or not sys.stdout.isatty():
        yield _Lines(options.json)
        return
    from rich.console import Console
    from rich.live import Live

    drawn = _Drawn()
    with Live(get_renderable=drawn.render, console=Console(file=sys.stdout), refresh_per_second=2):
        yield drawn


class _Lines:
    """What changed, a line each."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lines: dict[UUID, str] = {}
        self._sum: str | None = None

    def show(self, told: LiveJobs | Trouble) -> None:
        if self._as_json:
            print_line(told)
            return
        if isinstance(told, Trouble):
            click.echo(_stamped(told.message))
            return
        lines = {job.id: f"{job.kind}  {job.id}  {progress_text(job.progress) or ''}".rstrip() for job in told.running}
        for job_id, line in lines.items():
            if self._lines.get(job_id) != line:
                click.echo(_stamped(line))
        for job_id in self._lines.keys() - lines.keys():
            click.echo(_stamped(f"{self._lines[job_id].split('  ')[0]}  {job_id}  ended"))
        self._lines = lines
        summed = "; ".join(queue_line(queue) for queue in told.queues if any(queue.counts.values()) or queue.reason)
        if summed != self._sum:
            self._sum = summed
            click.echo(_stamped(summed or "nothing to do"))


class _Drawn:
    """A table of queues and one of running jobs with their progress."""

    def __init__(self) -> None:
        self._told: LiveJobs | None = None
        self._trouble: str | None = None

    def show(self, told: LiveJobs | Trouble) -> None:
        if isinstance(told, Trouble):
            self._trouble = told.message
        else:
            self._told, self._trouble = told, None

    def render(self) -> "RenderableType":
        """Return what the terminal shows now."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        if self._told is not None:
            parts += [_queue_table(self._told.queues), _job_table(self._told.running)]
        if self._trouble is not None:
            parts.append(Text(visible(self._trouble), style="red"))
        return Group(*parts)


def _queue_table(queues: Iterable[LiveQueue]) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("Queue")
    for header in ("Running", "Allowed", "Waiting", "Discarded"):
        drawn.add_column(header, justify="right")
    drawn.add_column("")
    for queue in queues:
        counts = (queue.counts.get("running", 0), queue.allowed, _waiting(queue), queue.counts.get("discarded", 0))
        drawn.add_row(Text(visible(queue.name)), *(str(count) for count in counts), Text(visible(queue.reason or "")))
    return drawn


def _job_table(running: Iterable[RunningJob]) -> "RenderableType":
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("Running", "Job", "Progress", "", "For"):
        drawn.add_column(header, no_wrap=header == "Job")
    for job in running:
        far = job.progress
        bar = "" if far is None or not far.total else ProgressBar(total=far.total, completed=far.done, width=20)
        drawn.add_row(
            Text(visible(job.kind)), str(job.id), bar, Text(visible(progress_text(far) or "")), _since(job.attempted_at)
        )
    return drawn


def queue_line(queue: LiveQueue) -> str:
    """Say how a queue is: ``media (paused): 2 running, 10 waiting``."""
    reason = f" ({queue.reason})" if queue.reason else ""
    return f"{queue.name}{reason}: {queue.counts.get('running', 0)} running, {_waiting(queue)} waiting"


def _waiting(queue: LiveQueue) -> int:
    return sum(queue.counts.get(state, 0) for state in WAITING)


def progress_text(done: Progress | None) -> str | None:
    """Say how far a job is: ``3/10 files a.jpg``."""
    if done is None:
        return None
    count = f"{done.done}/{done.total}" if done.total is not None else str(done.done)
    return " ".join(part for part in (count, done.unit, done.text) if part)


def _since(at: datetime) -> str:
    return duration_text(max(0, int((datetime.now(UTC) - at).total_seconds())))


def _stamped(line: str) -> str:
    return visible(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {line}")
