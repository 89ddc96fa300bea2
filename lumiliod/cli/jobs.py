"""``lumilio jobs``."""

from typing import Any
from uuid import UUID

import click
import msgspec

from lumiliod.cli import job_control
from lumiliod.cli.live import progress_text, watch
from lumiliod.cli.output import moment, note, pairs, print_items, print_json, table
from lumiliod.cli.program import Group, Options, connected
from lumiliod.cli.selection import by_filter

PAGE = 500


@click.group(cls=Group)
def jobs() -> None:
    """Look after jobs: list, show, watch, retry, cancel."""


@jobs.command("list")
@by_filter
@click.option("--all", "everything", is_flag=True, help="All of them instead of the first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def list_some(options: Options, /, everything: bool, limit: int, **wanted: Any) -> None:
    """List jobs, newest first."""
    with connected(options) as client:
        page = client.jobs(**wanted, limit=PAGE if everything else min(limit, PAGE))
        found = page.items
        while page.next_cursor is not None and (everything or len(found) < limit):
            left = PAGE if everything else min(limit - len(found), PAGE)
            page = client.jobs(**wanted, limit=left, cursor=page.next_cursor)
            found.extend(page.items)
    if options.json:
        print_items(found)
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
            ("Progress", progress_text(job.progress)),
            ("Cause", job.cause),
            ("Tags", ", ".join(job.tags) or None),
            ("Key", job.unique_key),
            ("Waits on", ", ".join(map(str, job.waits_on)) or None),
            ("Parent", job.parent_id),
            ("Group", job.group_id),
            ("Worker", job.worker_id),
            ("Arguments", msgspec.json.encode(job.args).decode()),
            ("Result", msgspec.json.encode(job.result).decode() if job.result is not None else None),
            ("Created", moment(job.created_at)),
            ("Scheduled", moment(job.scheduled_at)),
            ("Attempted", moment(job.attempted_at)),
            ("Finished", moment(job.finished_at)),
        ]
    )
    for error in job.errors:
        what = "put off" if error.put_off else f"attempt {error.attempt}"
        note(f"{what}, {moment(error.at)}: {error.code}: {error.message}")


@jobs.command()
@click.option("--kind")
@click.pass_obj
def causes(options: Options, kind: str | None) -> None:
    """Show why jobs failed that wait to be tried again."""
    with connected(options) as client:
        found = client.causes(kind=kind)
    if options.json:
        print_items(found)
        return
    rows = [(c.kind, c.cause, c.count, c.discarded, moment(c.last_at), c.message) for c in found]
    table(("Kind", "Cause", "Jobs", "Discarded", "Last", "Message"), rows, right=("Jobs", "Discarded"))


@jobs.command()
@click.option("--kind", help="Only this kind of job.")
@click.pass_obj
def backfill(options: Options, kind: str | None) -> None:
    """Make jobs for the work that is not done and that no job does."""
    with connected(options) as client:
        added = client.backfill(kind).added
    if options.json:
        print_json({"added": added})
    else:
        table(("Kind", "Added"), sorted(added.items()), right=["Added"])


for command in (watch, job_control.retry, job_control.cancel, job_control.discard):
    jobs.add_command(command)
