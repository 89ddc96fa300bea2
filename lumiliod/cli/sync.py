"""``lumilio sync``: in step with the disk."""

import os
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes
from uuid import UUID

import click
from msgspec import Struct

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, size, table, visible
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import TEMPORARY, Failed, Group, Options, connected
from lumiliod.cli.repositories import job_problem, print_scan, watch_text
from lumiliod.cli.words import HELD_STATES, PLAN_ACTIONS, SYNC_STATUSES, SYNC_TYPES, said
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem
from lumiliod.contract.sync import OpenSync, RepositorySync, SyncOperation, SyncPlanPage, SyncTicket

if TYPE_CHECKING:
    from lumiliod.client import Client

PAGE = 500


@click.group(cls=Group)
def sync() -> None:
    """Keep the library in step with the disk."""


@sync.command()
@click.argument("repository", required=False)
@click.pass_obj
def status(options: Options, repository: str | None) -> None:
    """Show how repositories are watched, and what ran or is to run."""
    with connected(options) as client:
        found = client.sync.overview() if repository is None else [client.sync.show(repository)]
    if options.json:
        if repository is None:
            print_items(found)
        else:
            print_json(found[0])
        return
    for number, one in enumerate(found):
        if number:
            click.echo()
        _print_status(one)


@sync.command()
@click.argument("repository", required=False)
@click.option("--type", "type_", type=click.Choice(list(SYNC_TYPES)), help="Only those that ran for this reason.")
@click.option("--status", type=click.Choice(list(SYNC_STATUSES)), help="Only those that are or ended so.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.pass_obj
def history(options: Options, repository: str | None, type_: str | None, status: str | None, limit: int) -> None:
    """List what ran, the newest first."""
    found: list[SyncOperation] = []
    cursor: str | None = None
    with connected(options) as client:
        while len(found) < limit:
            count = min(PAGE, limit - len(found))
            page = client.sync.operations(repository=repository, type_=type_, status=status, limit=count, cursor=cursor)
            found += page.items
            if (cursor := page.next_cursor) is None:
                break
    if options.json:
        print_items(found)
        return
    headers = (
        "Began",
        "Repository",
        "Why",
        "What",
        "Took",
        "Ended",
        "Found",
        "New",
        "Changed",
        "Moved",
        "Missing",
        "Note",
    )
    table(headers, [_row(one) for one in found], right=headers[6:11])


@sync.command()
@click.argument("repository", required=False)
@click.option("--folder", metavar="PATH", help="Only what lies below: a path in the repository, or a whole one.")
@click.option("--plan", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is done.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Files of a plan to list.")
@click.pass_obj
def run(options: Options, /, repository: str | None, folder: str | None, plan: bool, wait: bool, limit: int) -> None:
    """Compare a repository, or all, with the disk now."""
    with connected(options) as client:
        refs = [repository] if repository is not None else _online(options, client)
        if folder is not None and len(refs) != 1:
            raise click.UsageError("Say of which repository the folder is.")
        quoted = _quoted(client, refs[0], folder) if folder is not None else ""
        tickets = [client.sync.run(ref, folder=quoted, plan=plan) for ref in refs]
        if plan:
            told: list[Struct] = [_planned(options, client, ticket, limit) for ticket in tickets]
        elif wait:
            told = [_ended(options, client, ticket) for ticket in tickets]
        else:
            told = [*tickets]
            if not options.json:
                for ticket in tickets:
                    click.echo(f"Scan {ticket.task_id} of {visible(ticket.repository)} is queued.")
    if options.json:
        if repository is None:
            print_items(told)
        else:
            print_json(told[0])
    for job in told:
        if isinstance(job, Job) and job.state != "completed":
            raise Failed(job_problem(job))


def _online(options: Options, client: "Client") -> list[str]:
    """Return the repositories that can be looked at now; say which cannot.

    Raises:
        Failed: none can.
    """
    found = client.repositories()
    for one in found:
        if one.status == "offline" and not options.json:
            note(f"lumilio: {one.name} is offline and left out: {one.status_reason}")
    online = [one.name for one in found if one.status == "online"]
    if found and not online:
        detail = "No repository can be reached now."
        raise Failed(Problem(title="Offline", status=503, code="repository_offline", detail=detail), TEMPORARY)
    return online


def _quoted(client: "Client", ref: str, folder: str) -> str:
    """Return a folder as the API takes it: below the root, its bytes as in a URL."""
    root = client.repository(ref).path
    path = os.path.normpath(folder)  # also leaves out slashes that say nothing
    if path.startswith("/"):
        inside = next((one for one in (path, os.path.realpath(path)) if _lies_in(root, one)), None)
        path = os.path.relpath(inside, root) if inside is not None else ".."
    if path.split("/", 1)[0] == "..":
        raise click.UsageError(f"{visible(folder)} lies outside of {visible(root)}.")
    return "" if path == "." else quote_from_bytes(os.fsencode(path))


def _lies_in(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _ended(options: Options, client: "Client", ticket: SyncTicket) -> Job:
    with progress(f"Scanning {ticket.repository}", hidden=options.json) as advance:
        job = finished_job(client, ticket.task_id, advance, quiet=options.json)
    if not options.json and job.state == "completed":
        print_scan(job)
    return job


def _planned(options: Options, client: "Client", ticket: SyncTicket, limit: int) -> SyncPlanPage | Job:
    with progress(f"Looking through {ticket.repository}", hidden=options.json) as advance:
        job = finished_job(client, ticket.task_id, advance, quiet=options.json)
    if job.state != "completed":
        return job
    found = _page(client, ticket.task_id, limit)
    if not options.json:
        _print_plan(found)
    return found


def _page(client: "Client", plan_id: UUID, limit: int) -> SyncPlanPage:
    """Return a plan with as many entries as are wanted."""
    found = client.sync.plan(plan_id, limit=min(max(1, limit), PAGE))
    if not limit:
        found.items.clear()
    while found.next_cursor is not None and len(found.items) < limit:
        more = client.sync.plan(plan_id, limit=min(PAGE, limit - len(found.items)), cursor=found.next_cursor)
        found.items += more.items
        found.next_cursor = more.next_cursor
    return found


def _print_plan(found: SyncPlanPage) -> None:
    plan = found.plan
    counts = [("New", plan.added), ("Changed", plan.updated), ("Moved", plan.moved), ("Back", plan.returned),
              ("Missing", plan.retired)]  # fmt: skip
    pairs([("Repository", plan.repository), ("Folder", plan.folder or None), ("Found", plan.found), *counts,
           ("Left out", plan.ignored), ("Note", plan.note)])  # fmt: skip
    if found.items:
        click.echo()
    for one in found.items:
        what = f"{visible(one.from_path)} -> {visible(one.path)}" if one.from_path is not None else visible(one.path)
        click.echo(f"{said(PLAN_ACTIONS, one.action):<8}  {size(one.size_bytes):>9}  {what}")
    if (more := sum(count for _, count in counts) - len(found.items)) > 0:
        click.echo(f"and {more} more: --limit N lists more")
    if plan.would_hold:
        note("So much is missing that a person would be asked first: lumilio repos pending")
    note("Nothing was changed.")


def _print_status(one: RepositorySync) -> None:
    held = one.held
    pairs(
        [
            ("Repository", one.repository),
            ("Status", f"{one.status}: {one.status_reason}" if one.status_reason else one.status),
            ("Changes", "are not watched" if one.watch is None else watch_text(one.watch)),
            ("Last scan", _told(one.last) if one.last is not None else "none yet"),
            ("", one.last and (one.last.error or one.last.note)),
            *(("Now" if job.state == "running" else "Waits", _told_open(job)) for job in one.open),
            ("Held", held and f"{held.files} of {held.known} files are missing, {said(HELD_STATES, held.state)}"),
        ]
    )


def _told(one: SyncOperation) -> str:
    why, how = said(SYNC_TYPES, one.type), said(SYNC_STATUSES, one.status)
    counts = f"{one.found} found, {one.added} new, {one.changed} changed, {one.moved} moved, {one.missing} missing"
    return f"{moment(one.started_at)}, {why}, {how} in {one.duration_s:g} s: {counts}"


def _told_open(one: OpenSync) -> str:
    done = f", {one.progress.done} files so far" if one.progress is not None else ""
    kind = "plan" if one.is_plan else "scan"
    return f"{kind} of {_covered(one.scope, one.folder)}, {said(SYNC_TYPES, one.type)}{done}"


def _covered(scope: str, folder: str) -> str:
    if scope == "full":
        return "everything"
    return f"{folder}/" if scope == "folder" else f"files in {folder or '.'}"


def _row(one: SyncOperation) -> tuple[object, ...]:
    took = None if one.duration_s is None else f"{one.duration_s:.1f} s"
    return (
        moment(one.started_at), one.repository, said(SYNC_TYPES, one.type), _covered(one.scope, one.folder), took,
        said(SYNC_STATUSES, one.status), one.found, one.added, one.changed, one.moved, one.missing,
        one.error or one.note or "",
    )  # fmt: skip
