"""``lumilio schedule``."""

import re

import click
from msgspec import UNSET

from lumiliod.cli.output import moment, pairs, print_items, print_json, table
from lumiliod.cli.program import Group, Options, connected
from lumiliod.contract.schedules import Schedule, ScheduleChange

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d{1,9}[dhms])+|\d{1,9}", re.ASCII)


class Duration(click.ParamType[int]):
    """A length of time in seconds, written ``90``, ``5m`` or ``1h30m``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        text = str(value)
        if not _DURATION.fullmatch(text):
            self.fail(f"{text!r} is no duration such as 90s, 5m, 1h30m or 7d.", param, ctx)
        if text.isdigit():
            return int(text)
        return sum(int(part[:-1]) * _UNITS_S[part[-1]] for part in re.findall(r"\d+[dhms]", text))


def duration_text(seconds: int) -> str:
    """Return a length of time for people: ``1d12h``, ``5m``."""
    told = ""
    for unit, unit_s in _UNITS_S.items():
        count, seconds = divmod(seconds, unit_s)
        told += f"{count}{unit}" if count else ""
    return told or "0s"


@click.group(cls=Group)
def schedule() -> None:
    """Look after periodic jobs."""


@schedule.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List all periodic jobs."""
    with connected(options) as client:
        found = client.schedules()
    if options.json:
        print_items(found)
        return
    rows = [(s.name, s.kind, s.repository, _when(s), _next(s), moment(s.last_fire_at)) for s in found]
    table(("Name", "Kind", "Repository", "When", "Next", "Last"), rows)


@schedule.command()
@click.argument("name")
@click.pass_obj
def show(options: Options, name: str) -> None:
    """Show one periodic job."""
    with connected(options) as client:
        found = client.schedule(name)
    _print_one(options, found)


@schedule.command()
@click.argument("name")
@click.pass_obj
def run(options: Options, name: str) -> None:
    """Run one now, besides its times."""
    with connected(options) as client:
        ticket = client.run_schedule(name)
    if options.json:
        print_json(ticket)
    else:
        click.echo(f"Job {ticket.task_id} is queued.")


@schedule.command()
@click.argument("name")
@click.pass_obj
def pause(options: Options, name: str) -> None:
    """Let one rest until it is resumed."""
    _change(options, name, ScheduleChange(paused=True))


@schedule.command()
@click.argument("name")
@click.pass_obj
def resume(options: Options, name: str) -> None:
    """Let a paused one go on; what it missed is not made up for."""
    _change(options, name, ScheduleChange(paused=False))


@schedule.command("set")
@click.argument("name")
@click.option("--cron", metavar="EXPR", help="When: minute hour day month weekday, as one argument.")
@click.option("--every", metavar="DURATION", type=Duration(), help="How often instead: 90s, 5m, 24h, 7d.")
@click.option("--zone", metavar="ZONE", help="The time zone of EXPR, such as Europe/Zurich.")
@click.option("--jitter", metavar="DURATION", type=Duration(), help="Up to how much later, differently each time.")
@click.pass_obj
def set_timing(
    options: Options, name: str, cron: str | None, every: int | None, zone: str | None, jitter: int | None
) -> None:
    """Change when one runs."""
    if cron is not None and every is not None:
        raise click.UsageError("Give --cron or --every, not both.")
    if cron is None and every is None and zone is None and jitter is None:
        raise click.UsageError("Give --cron, --every, --zone or --jitter.")
    wanted = ScheduleChange(
        cron=UNSET if cron is None else cron,
        every_s=UNSET if every is None else every,
        time_zone=UNSET if zone is None else zone,
        jitter_s=UNSET if jitter is None else jitter,
    )
    _change(options, name, wanted)


def _change(options: Options, name: str, wanted: ScheduleChange) -> None:
    with connected(options) as client:
        changed = client.change_schedule(name, wanted)
    _print_one(options, changed)


def _when(found: Schedule) -> str:
    if found.every_s is not None:
        return f"every {duration_text(found.every_s)}"
    return f"{found.cron} {found.time_zone}"


def _next(found: Schedule) -> str | None:
    return "paused" if found.paused else moment(found.next_at)


def _print_one(options: Options, found: Schedule) -> None:
    if options.json:
        print_json(found)
        return
    pairs(
        [
            ("Name", found.name),
            ("Kind", found.kind),
            ("Queue", found.queue),
            ("Repository", found.repository),
            ("When", _when(found)),
            ("Jitter", duration_text(found.jitter_s)),
            ("Next", _next(found)),
            ("Last", moment(found.last_fire_at)),
            ("Last job", found.last_job_id),
        ]
    )
