"""``lumilio repos`` and ``lumilio scan``."""

import os
from typing import TYPE_CHECKING

import click

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, size, table
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import Command, Failed, Group, Options, connected
from lumiliod.cli.schedule import duration_text
from lumiliod.cli.words import FILE_OUTCOMES, SCAN_RESULT, said, sentence
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem
from lumiliod.contract.repositories import NewRepository, Repository, RepositorySettings, ScanTicket, Watch
from lumiliod.domain.sync import NIGHTLY_S

if TYPE_CHECKING:
    from lumiliod.client import Client


@click.group(cls=Group)
def repos() -> None:
    """Add and inspect repositories."""


@repos.command()
@click.argument("path")
@click.option("--name", metavar="N", help="What to call it; the folder's name unless given.")
@click.option("--layout", metavar="date|flat|cas", help="How its inbox is arranged.")
@click.pass_obj
def add(options: Options, path: str, name: str | None, layout: str | None) -> None:
    """Create or open a repository at PATH, and scan it."""
    absolute = os.path.abspath(path)  # noqa: PTH100  keeps symbolic links as the person wrote them
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("PATH is not valid UTF-8.") from error
    with connected(options) as client:
        added = client.add_repository(NewRepository(path=absolute, name=name, storage_strategy=layout))
        ticket = client.scan(str(added.id))
    print_repository(options, added)
    if not options.json:
        note(f"Scan {ticket.task_id} takes in what is there: watch it with `lumilio wait` and `lumilio status`.")


@repos.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List all repositories."""
    with connected(options) as client:
        found = client.repositories()
    if options.json:
        print_items(found)
        return
    rows = [
        (r.name, r.status, r.watch and r.watch.state, r.storage_strategy, r.assets, r.files, size(r.size_bytes), r.path)
        for r in found
    ]
    table(
        ("Name", "Status", "Changes", "Layout", "Assets", "Files", "Size", "Path"),
        rows,
        right=("Assets", "Files", "Size"),
    )


@repos.command()
@click.argument("repository")
@click.pass_obj
def show(options: Options, repository: str) -> None:
    """Show one repository, by name or id."""
    with connected(options) as client:
        found = client.repository(repository)
    print_repository(options, found)


@repos.command()
@click.argument("repository")
@click.option("--outcome", type=click.Choice(list(FILE_OUTCOMES)), help="Only files of which this became.")
@click.pass_obj
def files(options: Options, repository: str, outcome: str | None) -> None:
    """List every file of a repository and what became of it."""
    with connected(options) as client:
        found = list(client.files(repository, outcome=outcome))
    if options.json:
        print_items(found)
        return
    rows = [
        (one.path, said(FILE_OUTCOMES, one.outcome), one.reason and sentence(one.reason), size(one.size_bytes))
        for one in found
    ]
    table(("Path", "Outcome", "Reason", "Size"), rows, right=["Size"])


@click.command(cls=Command)
@click.argument("repository")
@click.option("--wait", is_flag=True, help="Wait until the scan is done.")
@click.pass_obj
def scan(options: Options, repository: str, wait: bool) -> None:
    """Compare a repository's folders with what the library knows."""
    with connected(options) as client:
        followed(options, client, client.scan(repository), wait)


def followed(options: Options, client: "Client", ticket: ScanTicket, wait: bool) -> None:
    """Tell of a scan that it is queued, or wait for it and tell how it ended.

    Raises:
        Failed: it did not complete.
    """
    if not wait:
        if options.json:
            print_json(ticket)
        else:
            click.echo(f"Scan {ticket.task_id} is queued.")
        return
    with progress("Scanning", hidden=options.json) as advance:
        advance(0, None)
        job = finished_job(client, ticket.task_id, quiet=options.json)
    if options.json:
        print_json(job)
    elif job.state == "completed":
        print_scan(job)
    if job.state != "completed":
        raise Failed(job_problem(job))


def print_scan(job: Job) -> None:
    """Print what a scan that completed tells of itself."""
    told = job.result or {}
    pairs([(name, told.get(code)) for code, name in SCAN_RESULT.items() if code in told] or [("Scan", "completed")])


def job_problem(job: Job) -> Problem:
    """Say why a job did not complete."""
    last = job.errors[-1] if job.errors else None
    detail = last.message if last else f"The {job.kind} job was {job.state}."
    return Problem(title=f"Job {job.state}", status=422, code=last.code if last else job.state, detail=detail)


def print_repository(options: Options, found: Repository) -> None:
    """Print one repository, with its settings where they are known."""
    if options.json:
        print_json(found)
        return
    pairs(
        [
            ("Name", found.name),
            ("Id", found.id),
            ("Path", found.path),
            ("Layout", found.storage_strategy),
            ("Status", found.status),
            ("Reason", found.status_reason),
            ("Changes", found.watch and watch_text(found.watch)),
            ("Assets", found.assets),
            ("Files", found.files),
            ("Size", size(found.size_bytes)),
            ("Created", moment(found.created_at)),
            *_settings(found.settings),
        ]
    )
    if found.scanning:
        note("A scan is under way.")


def watch_text(watch: Watch) -> str:
    """Return how a repository is watched, and why so."""
    return f"{watch.state}: {watch.reason}" if watch.reason else watch.state


def _settings(found: RepositorySettings | None) -> list[tuple[str, object]]:
    if found is None:
        return []
    names = "kept" if found.preserve_original_filename else "digests"
    return [
        ("Names", f"{names}; one that is taken: {found.handle_duplicate_filenames}"),
        ("Largest file", size(found.max_file_size_kb * 1024) if found.max_file_size_kb else None),
        ("Left out", ", ".join(found.ignore_patterns) or None),
        ("Scanned", _how_often(int(found.full_scan_interval_s))),
    ]


def _how_often(interval_s: int) -> str:
    if interval_s == NIGHTLY_S:
        return "every night"
    return f"every {duration_text(interval_s)}" if interval_s else "never by itself"
