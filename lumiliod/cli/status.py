"""``lumilio status`` and ``lumilio wait``."""

import time

import click

from lumiliod.cli.output import pairs, print_json, table, visible
from lumiliod.cli.polling import pauses, progress, sleep, unless_away
from lumiliod.cli.program import Command, Options, connected
from lumiliod.contract.status import Status


@click.command(cls=Command)
@click.pass_obj
def status(options: Options) -> None:
    """Show what is in the library and what is still to do."""
    with connected(options) as client:
        now = client.status()
    if options.json:
        print_json(now)
    else:
        _print(now)


@click.command(cls=Command)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Give up after S seconds (75).")
@click.pass_obj
def wait(options: Options, timeout_s: float | None) -> None:
    """Wait until every job and scan is done."""
    started = time.monotonic()
    most = 0
    with connected(options) as client, progress("Waiting", hidden=options.json) as advance:
        rests = pauses()
        while (now := unless_away(client.status)) is None or now.open_jobs or now.scans:
            if now is not None:
                most = max(most, now.open_jobs)
                advance(most - now.open_jobs, most)
            sleep(next(rests), started, timeout_s)
    if options.json:
        print_json(now)
    else:
        _print_left(now)


def _print_left(now: Status) -> None:
    """Say what waits for a person."""
    if now.refused_uploads:
        click.echo(f"Done; refused: {_refused(now)}")
    if others := now.discarded_jobs - now.refused_uploads:
        jobs = "1 job" if others == 1 else f"{others} jobs"
        click.echo(f"Done; {jobs} could not be: lumilio jobs list --state discarded")


def _refused(now: Status) -> str:
    more = now.refused_uploads - len(now.refused_files)
    named = ", ".join(visible(name) for name in now.refused_files) + (f" and {more} more" if more > 0 else "")
    return f"{now.refused_uploads} ({named}): lumilio uploads list --refused"


def _held(now: Status) -> str:
    return f"{', '.join(visible(name) for name in now.held_repositories)}: lumilio repos pending"


def _print(now: Status) -> None:
    pairs(
        [
            ("Version", now.version),
            ("Health", now.health),
            ("Repositories", now.repositories),
            ("Assets", _counts(now.assets)),
            ("", _counts(now.asset_states) if now.asset_states else None),
            ("Held deletions", _held(now) if now.held_repositories else None),
            ("Open jobs", now.open_jobs),
            ("Discarded jobs", now.discarded_jobs),
            ("Refused uploads", _refused(now) if now.refused_uploads else None),
            ("Findings", f"{now.open_findings}: lumilio integrity plan" if now.open_findings else 0),
            ("Mirrors away", f"{now.away_mirrors}: lumilio mirrors list" if now.away_mirrors else None),
        ]
    )
    if now.jobs:
        click.echo()
        rows = [(job.kind, job.queue, job.state, job.count) for job in now.jobs]
        table(("Kind", "Queue", "State", "Count"), rows, right=["Count"])
    if now.scans:
        click.echo()
        scans = [(scan.repository, scan.state, scan.done, scan.total) for scan in now.scans]
        table(("Scan of", "State", "Done", "Total"), scans, right=["Done", "Total"])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
