"""``lumilio derivatives``."""

from typing import cast, get_args
from uuid import UUID

import click

from lumiliod.cli.output import note, pairs, print_json, size, table
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import FAILURE, Failed, Group, Options, connected, must_ask
from lumiliod.cli.repositories import job_problem
from lumiliod.contract.derivatives import MAX_IDS, DerivativeJob, DerivativeStatus, RebuildRequest


@click.group(cls=Group)
def derivatives() -> None:
    """Look after what is made of originals."""


@derivatives.command()
@click.pass_obj
def status(options: Options) -> None:
    """Show how many there are, how large, and what is to be made."""
    with connected(options) as client:
        found = client.derivatives.status()
    if options.json:
        print_json(found)
    else:
        _print_status(found)


@derivatives.command()
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ASSET]...")
@click.option("--all", "everything", is_flag=True, help="Those of all assets.")
@click.option("--repo", "repository", metavar="R", help="Those of a repository, by name or id.")
@click.option("--job", "jobs", multiple=True, type=click.Choice(get_args(DerivativeJob)), help="Only what this makes.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def rebuild(
    options: Options, ids: tuple[UUID, ...], everything: bool, repository: str | None, jobs: tuple[str, ...], yes: bool
) -> int:
    """Make derivatives anew. The older ones are shown until then.

    After an update of Lumilio this is not needed: what it makes otherwise is made anew by itself.
    """
    if sum((bool(ids), everything, repository is not None)) != 1:
        raise click.UsageError("Say which: by the ids of assets, --repo, or --all.")
    if len(ids) > MAX_IDS:
        raise click.UsageError(f"At most {MAX_IDS} ids at once.")
    asks = not ids and must_ask(yes)
    if asks and not click.confirm("Make all of them anew? This can take many hours.", err=True):
        return FAILURE
    chosen = cast("list[DerivativeJob]", list(jobs)) or None
    wanted = RebuildRequest(assets=list(ids) or None, repository=repository, jobs=chosen)
    with connected(options) as client:
        done = client.derivatives.rebuild(wanted)
    if options.json:
        print_json(done)
    else:
        click.echo(", ".join(f"{count} {job} jobs" for job, count in done.added.items()) + " added.")
        note("`lumilio wait` waits for them.")
    return 0


@derivatives.command()
@click.pass_obj
def prune(options: Options) -> None:
    """Remove what belongs to nothing, or is beyond its budget."""
    with connected(options) as client:
        ticket = client.derivatives.prune()
        with progress("Looking", hidden=options.json) as advance:
            job = finished_job(client, ticket.task_id, advance, quiet=options.json)
    told = job.result or {}
    if options.json:
        print_json(job)
    elif job.state == "completed":
        pairs(
            [
                ("Removed", f"{told['removed']} files with {size(told['removed_bytes'])}"),
                ("Made room", f"{told['evicted']} files with {size(told['evicted_bytes'])}"),
                ("Away", ", ".join(told["away"]) or None),
            ]
        )
    if job.state != "completed":
        raise Failed(job_problem(job))


def _print_status(found: DerivativeStatus) -> None:
    rows = [(one.kind, one.files, size(one.size_bytes), one.outdated, one.evicted) for one in found.items]
    headers = ("Kind", "Files", "Size", "Outdated", "Made room")
    table(headers, rows, right=headers[1:])
    click.echo()
    table(
        ("Job", "Open", "Failed", "Without a job"),
        [(one.job, one.open, one.failed, one.without_job) for one in found.work],
        right=["Open", "Failed", "Without a job"],
    )
    if found.web_videos_budget_bytes:
        note(f"Films for the web may take {size(found.web_videos_budget_bytes)} in each repository.")
    pieces = found.film_pieces
    if pieces.files:
        note(f"Pieces of films for streaming: {pieces.files} with {size(pieces.size_bytes)}.")
    if found.web_photos_budget_bytes:
        note(f"Photos in full size may take {size(found.web_photos_budget_bytes)} in each repository.")
    if any(one.failed for one in found.work):
        note("What failed, and why: lumilio jobs causes")
