"""``lumilio events``: what happens, a line each, without an end."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from lumiliod.cli.live import progress_text, queue_line
from lumiliod.cli.output import print_line, visible
from lumiliod.cli.program import Command, Options, connected
from lumiliod.cli.words import SYNC_STATUSES, SYNC_TYPES, said
from lumiliod.contract.feed import TOPICS, AssetsEvent, HealthEvent, JobsEvent, ResetEvent, SyncEvent

if TYPE_CHECKING:
    from lumiliod.client import Happening


class _Topics(click.ParamType[list[str]]):
    """Names of topics with commas between them."""

    name = "topics"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        for name in names:
            if name not in TOPICS:
                self.fail(f"{name} is no topic; there are {', '.join(TOPICS)}.", param, ctx)
        return names


@click.command(cls=Command)
@click.option("--topics", type=_Topics(), default="", metavar="NAME,…", help=f"Of {', '.join(TOPICS)}; all by default.")
@click.option("--after", type=click.IntRange(0), help="Go on behind the event of this number.")
@click.pass_obj
def events(options: Options, topics: list[Any], after: int | None) -> None:
    """Tell what happens, a line each, until interrupted.

    A daemon that is away is waited for. With --json one document a line.
    """
    with connected(options) as client:
        for told in client.feed.follow(topics, after=after):
            if options.json:
                print_line({"event": told.name, "id": told.number, "data": told.data})
                continue
            for line in lines(told):
                click.echo(visible(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {told.name:<7}  {line}"))


def lines(told: "Happening") -> Iterator[str]:
    """Say an event in lines for people; the first ``reset`` says nothing."""
    data = told.data
    match data:
        case JobsEvent():
            yield _jobs(data)
        case AssetsEvent():
            by = Counter(one.by for one in data.assets)
            counts = ", ".join(f"{kind} of {count}" for kind, count in sorted(by.items()))
            yield counts if data.is_whole else f"{counts}, and of others" if counts else "of many"
        case SyncEvent():
            yield _sync(data)
        case HealthEvent():
            for one in data.services:
                yield f"{one.name} is {one.state}" + (f": {one.reason}" if one.reason else "")
            for name in data.gone:
                yield f"{name} is told of no longer"
        case ResetEvent():
            if data.reason == "gap":
                yield "some of what happened meanwhile is not told"
        case _:
            yield data.message


def _jobs(told: JobsEvent) -> str:
    queues = [queue_line(queue) for queue in told.queues if any(queue.counts.values()) or queue.reason]
    ended = [f"{count} {kind} done" for kind, count in sorted(told.completed.items())]
    ended += [f"{count} {kind} given up" for kind, count in sorted(told.discarded.items())]
    return "; ".join([*queues, *ended]) or "nothing to do"


def _sync(told: SyncEvent) -> str:
    run = told.operation
    what = f"{run.repository}: scan of {run.folder or 'everything'} ({said(SYNC_TYPES, run.type)})"
    match told.phase:
        case "begun":
            return f"{what} begins"
        case "progress":
            return f"{what} {progress_text(told.progress) or ''}".rstrip()
        case _:
            counts = (
                f"{run.found} found, {run.added} new, {run.changed} changed, {run.moved} moved, {run.missing} missing"
            )
            return f"{what} {said(SYNC_STATUSES, run.status)}: {counts}"
