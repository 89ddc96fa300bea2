"""``lumilio jobs``."""

from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import moment, note, pairs, print_json, table
from lumiliod.cli.program import Group, Options, connected

STATES = ("available", "scheduled", "running", "retryable", "completed", "cancelled", "discarded")
PAGE = 500


@click.group(cls=Group)
def jobs() -> None:
    """List and show jobs."""


@jobs.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--kind")
@click.option("--queue")
@click.option("--all", "everything", is_flag=True, help="All of them instead of the first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def list_some(
    options: Options, state: str | None, kind: str | None, queue: str | None, everything: bool, limit: int
) -> None:
    """List jobs, newest first."""
    with connected(options) as client:
        first = PAGE if everything else min(limit, PAGE)
        page = client.jobs(state=state, kind=kind, queue=queue, limit=first)
        found = page.items
        while page.next_cursor is not None and (everything or len(found) < limit):
            left = PAGE if everything else min(limit - len(found), PAGE)
            page = client.jobs(state=state, kind=kind, queue=queue, limit=left, cursor=page.next_cursor)
            found.extend(page.items)
    if options.json:
        print_json(found)
        return
    rows = [(j.id, j.kind, j.queue, j.state, f"{j.attempt}/{j.max_attempts}", moment(j.created_at)) for j in found]
    table(("Id", "Kind", "Queue", "State", "Attempt", "Created"), rows, right=["Attempt"])
    if page.next_cursor is not None:
        note(f"The first {len(found)}; --all shows the rest.")


@jobs.command()
@click.argument("job_id", metavar="ID", type=click.UUID)
@click.pass_obj
def show(options: Options, job_id: UUID) -> None:
    """Show one job, with its errors."""
    with connected(options) as client:
        job = client.job(job_id)
    if options.json:
        print_json(job)
        return
    pairs(
        [
            ("Id", job.id),
            ("Kind", job.kind),
            ("Queue", job.queue),
            ("State", job.state),
            ("Priority", job.priority),
            ("Attempt", f"{job.attempt}/{job.max_attempts}"),
            ("Asset", job.asset_id),
            ("Repository", job.repository_id),
            ("Arguments", msgspec.json.encode(job.args).decode()),
            ("Result", msgspec.json.encode(job.result).decode() if job.result is not None else None),
            ("Created", moment(job.created_at)),
            ("Scheduled", moment(job.scheduled_at)),
            ("Attempted", moment(job.attempted_at)),
            ("Finished", moment(job.finished_at)),
        ]
    )
    for error in job.errors:
        note(f"attempt {error.attempt}, {moment(error.at)}: {error.code}: {error.message}")
