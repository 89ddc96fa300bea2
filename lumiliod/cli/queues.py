"""``lumilio queues``."""

import os
from pathlib import Path

import click
from msgspec import UNSET, UnsetType

from lumiliod.cli.output import moment, note, print_items, print_json, table
from lumiliod.cli.program import Group, Options, connected
from lumiliod.contract.queues import Queue, QueueChange, QueueList, QuietHours

_NAME = click.argument("name", metavar="NAME|all")


@click.group(cls=Group)
def queues() -> None:
    """Look after the lanes in which jobs run."""


@queues.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List all queues with their jobs."""
    with connected(options) as client:
        found = client.queues()
    _print(options, found)


@queues.command()
@_NAME
@click.pass_obj
def pause(options: Options, name: str) -> None:
    """Let nothing of a queue begin; what runs goes on."""
    with connected(options) as client:
        found = client.pause_queue(name)
    _print(options, found)


@queues.command()
@_NAME
@click.pass_obj
def resume(options: Options, name: str) -> None:
    """Let a paused queue go on.

    One that was paused by its own name goes on by that name alone.
    """
    with connected(options) as client:
        found = client.resume_queue(name)
    _print(options, found)
    for still in [queue.name for queue in found.items if queue.paused_at is not None]:
        if not options.json:
            note(f"{still} was paused by itself: lumilio queues resume {still}")


@queues.command("set")
@_NAME
@click.option("--concurrency", metavar="N|configured", help="How many of its jobs run at once.")
@click.option("--quiet", metavar="HH:MM-HH:MM|none", help="When nothing of it begins, such as 22:00-06:30.")
@click.option("--zone", metavar="ZONE", help="The time zone of these hours; this machine's unless given.")
@click.pass_obj
def change(options: Options, name: str, concurrency: str | None, quiet: str | None, zone: str | None) -> None:
    """Change how many of its jobs run at once, and its quiet hours."""
    if concurrency is None and quiet is None:
        raise click.UsageError("Give --concurrency or --quiet.")
    if zone is not None and quiet in (None, "none"):
        raise click.UsageError("Give the hours of --zone by --quiet.")
    wanted = QueueChange(concurrency=_concurrency(concurrency), quiet=_quiet(quiet, zone))
    with connected(options) as client:
        found = client.change_queue(name, wanted)
    _print(options, found)


@queues.command()
@click.pass_obj
def workers(options: Options) -> None:
    """List the processes that do jobs."""
    with connected(options) as client:
        found = client.workers()
    if options.json:
        print_items(found)
        return
    rows = [(w.id, w.host, w.pid, moment(w.started_at), w.held) for w in found]
    table(("Id", "Host", "Pid", "Started", "Jobs"), rows, right=("Pid", "Jobs"))


def local_zone() -> str:
    """Return the name of this machine's time zone, UTC when it has none."""
    if zone := os.environ.get("TZ", "").removeprefix(":"):
        return zone
    target = os.path.realpath("/etc/localtime")
    _, found, name = target.partition("zoneinfo/")
    return name if found and Path(target).exists() else "UTC"


def _concurrency(text: str | None) -> int | UnsetType | None:
    if text is None:
        return UNSET
    if text == "configured":
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise click.UsageError("--concurrency is a number, or `configured`.")
    return int(text)


def _quiet(hours: str | None, zone: str | None) -> QuietHours | UnsetType | None:
    if hours is None:
        return UNSET
    return None if hours == "none" else QuietHours(hours=hours, time_zone=zone or local_zone())


def _print(options: Options, found: QueueList) -> None:
    if options.json:
        print_json(found)
        return
    headers = ("Name", "Running", "Waiting", "Discarded", "Allowed", "At once", "Configured", "", "Quiet hours")
    table(headers, [_row(queue) for queue in found.items], right=headers[1:7])
    if found.paused_at is not None:
        note(f"Everything is paused since {moment(found.paused_at)}: lumilio queues resume all")
    if found.quiet is not None:
        note(f"Everything is quiet {found.quiet.hours} {found.quiet.time_zone}.")


def _row(queue: Queue) -> tuple[object, ...]:
    waiting = sum(queue.counts.get(state, 0) for state in ("available", "scheduled", "retryable"))
    quiet = f"{queue.quiet.hours} {queue.quiet.time_zone}" if queue.quiet else None
    running, discarded = queue.counts.get("running", 0), queue.counts.get("discarded", 0)
    limits = (queue.allowed, queue.concurrency, queue.configured)
    return queue.name, running, waiting, discarded, *limits, queue.reason or "", quiet
