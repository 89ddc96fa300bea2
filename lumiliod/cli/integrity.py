"""``lumilio verify`` and ``lumilio integrity``."""

from collections import Counter
from typing import IO
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, size, table
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import FAILURE, TEMPORARY, Command, Failed, Group, Options, connected, must_ask
from lumiliod.cli.repositories import job_problem
from lumiliod.cli.words import ACTIONS, FINDING_KINDS, FINDING_STATES, action_said, said
from lumiliod.contract.integrity import (
    MAX_IDS,
    Applied,
    Approval,
    Finding,
    Integrity,
    Plan,
    PlanApproval,
    PlanItem,
    VerifyRequest,
)
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem

AWAY = {"repository_offline", "repository_detached"}
"""Codes of what may be done once a repository is back."""

_STATES = [state for state in FINDING_STATES if state != "not_found"]


@click.command(cls=Command)
@click.option("--all", "everything", is_flag=True, help="Every original of every repository.")
@click.option("--repo", "repository", metavar="R", help="Every original of one repository, by name or id.")
@click.option("--asset", type=click.UUID, metavar="ID", help="The files of one asset.")
@click.option("--wait", is_flag=True, help="Wait until it is done; exits 1 when something is wrong.")
@click.pass_obj
def verify(options: Options, everything: bool, repository: str | None, asset: UUID | None, wait: bool) -> None:
    """Read originals from the disk and compare their digests."""
    if [everything, repository is not None, asset is not None].count(True) != 1:
        raise click.UsageError("Give --all, --repo or --asset.")
    with connected(options) as client:
        wanted = VerifyRequest(all=everything, repository=repository, asset=asset)
        ticket = client.integrity.verify(wanted)
        if not wait:
            if options.json:
                print_json(ticket)
            else:
                click.echo(f"Verification {ticket.task_id} is queued.")
            return
        with progress("Verifying", in_bytes=True, hidden=options.json) as advance:
            job = finished_job(client, ticket.task_id, advance, quiet=options.json)
    if options.json:
        print_json(job)
    elif job.state == "completed":
        told = job.result or {}
        pairs([("Files", told.get("files")), ("Read", size(told.get("bytes", 0))), ("Wrong", told.get("found"))])
    _judge(job)


def _judge(job: Job) -> None:
    """Raise what the end of a verification means."""
    if job.state != "completed":
        raise Failed(job_problem(job))
    told = job.result or {}
    if told.get("found"):
        detail = f"{told['found']} files are not as they should be: lumilio integrity findings"
        raise Failed(Problem(title="Something is wrong", status=422, code="findings", detail=detail), FAILURE)
    if told.get("away"):
        detail = f"Not verified, for they are offline: {', '.join(told['away'])}."
        raise Failed(Problem(title="Offline", status=503, code="repository_offline", detail=detail), TEMPORARY)


@click.group(cls=Group)
def integrity() -> None:
    """See whether originals are as they should be, and mend them."""


@integrity.command()
@click.pass_obj
def status(options: Options) -> None:
    """Show what was read again, what is wrong, and the copies."""
    with connected(options) as client:
        found = client.integrity.overview()
    if options.json:
        print_json(found)
        return
    _print_overview(found)


@integrity.command()
@click.option("--state", type=click.Choice([*_STATES, "any"]), default="open", show_default=True)
@click.option("--kind", type=click.Choice(list(FINDING_KINDS)))
@click.option("--repo", "repository", metavar="R", help="Those of a repository, by name or id.")
@click.pass_obj
def findings(options: Options, state: str, kind: str | None, repository: str | None) -> None:
    """List what is wrong, or was."""
    with connected(options) as client:
        wanted = None if state == "any" else state
        found = list(client.integrity.findings(state=wanted, kind=kind, repository=repository))
    if options.json:
        print_items(found)
        return
    table(("Id", "Kind", "State", "Repository", "Path", "Seen", "Detail"), [_row(one) for one in found])


@integrity.command()
@click.pass_obj
def plan(options: Options) -> None:
    """Show what would be done about each open finding."""
    with connected(options) as client:
        found = list(client.integrity.plan())
    if options.json:
        print_items(found)
        return
    table(("Id", "Kind", "Path", "Action", "Or", "Why"), [_plan_row(item) for item in found])
    if any(item.action != "none" for item in found):
        note("Approve with: lumilio integrity apply ID…, or --all")


@integrity.command()
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Every open finding; none is given up unless you name that.")
@click.option(
    "--from", "saved", type=click.File("rb"), metavar="FILE", help="By a plan saved with --json, - for stdin."
)
@click.option(
    "--action", type=click.Choice([code for code in ACTIONS if code != "none"]), help="Instead of the planned one."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def apply(
    options: Options,
    ids: tuple[UUID, ...],
    everything: bool,
    saved: IO[bytes] | None,
    action: str | None,
    yes: bool,
) -> int:
    """Do what the plan says about findings, once you have seen it.

    With --all originals that are gone for good are left out: give them up with --action accept_missing. So is what only
    you can do something about.
    With --from what was saved is approved, and nothing else: what was found or is planned otherwise by now is refused.
    """
    if everything == bool(ids):
        raise click.UsageError("Give ids, or --all.")
    asks = must_ask(yes)
    with connected(options) as client:
        plan = client.integrity.plan() if saved is None else _saved_plan(saved, ids)
        planned = {item.finding.id: item for item in plan}
        if everything:
            chosen = _chosen(list(planned.values()), action)
        else:
            chosen = [planned[id_] for id_ in ids if id_ in planned]
        if chosen and asks:
            rows = [(one.finding.id, one.finding.path, action_said(action or one.action), one.why) for one in chosen]
            table(("Id", "Path", "Action", "Why"), rows)
            if not click.confirm(f"Do this about {len(rows)} findings?", err=True):
                return FAILURE
        approvals = [
            Approval(finding_id=one.finding.id, planned=one.action, action=action, version=one.version)
            for one in chosen
        ]
        # what is not open is told by the daemon
        approvals += [Approval(finding_id=id_, planned="none", action=action) for id_ in ids if id_ not in planned]
        done = list[Applied]()
        for start in range(0, len(approvals), MAX_IDS):
            done += client.integrity.apply(PlanApproval(items=approvals[start : start + MAX_IDS])).items
    if options.json:
        print_items(done)
    else:
        table(("Id", "Action", "Outcome", "Task", "Message"), [_applied_row(one) for one in done])
    failed = [one.code for one in done if one.outcome == "failed"]
    if failed:
        detail = f"{len(failed)} of {len(done)} were not done."
        problem = Problem(title="Not everything was done", status=422, code="not_applied", detail=detail)
        raise Failed(problem, TEMPORARY if AWAY.issuperset(failed) else FAILURE)
    return 0


def _saved_plan(file: IO[bytes], ids: tuple[UUID, ...]) -> list[PlanItem]:
    """Return what ``lumilio integrity plan --json`` printed.

    Raises:
        click.UsageError: it did not print this, or not with ``ids``.
    """
    try:
        found = msgspec.json.decode(file.read(), type=Plan).items
    except (ValueError, RecursionError) as error:  # bad UTF-8 and deep nesting are no errors of msgspec's own
        raise click.UsageError(f"{file.name} is no plan of `lumilio integrity plan --json`: {error}.") from error
    for id_ in set(ids) - {item.finding.id for item in found}:
        raise click.UsageError(f"{file.name} says nothing about {id_}.")
    return found


def _chosen(planned: list[PlanItem], action: str | None) -> list[PlanItem]:
    """Return what ``--all`` means: what ``action`` is for; without one all that is planned but giving originals up."""
    if action is not None:
        return [one for one in planned if action in (one.action, *one.alternatives)]
    counts = Counter(one.action for one in planned)
    if counts["accept_missing"]:
        note(f"{counts['accept_missing']} are gone for good: give them up with --action accept_missing.")
    if counts["none"]:
        note(f"{counts['none']} need a person: lumilio integrity plan says why.")
    return [one for one in planned if one.action not in ("accept_missing", "none")]


@integrity.command()
@click.argument("ids", nargs=-1, required=True, type=click.UUID, metavar="ID...")
@click.option("--undo", is_flag=True, help="Have ignored ones trouble you again.")
@click.pass_obj
def ignore(options: Options, ids: tuple[UUID, ...], undo: bool) -> int:
    """Have findings trouble nobody while they stay what they are."""
    with connected(options) as client:
        done = client.integrity.ignore(list(ids), undo=undo)
    wanted = "open" if undo else "ignored"
    others = [one for one in done.items if one.state != wanted]
    if options.json:
        print_json(done)
    else:
        click.echo(f"{len(done.items) - len(others)} are {wanted}.")
        for one in others:
            note(f"{one.finding_id}: {said(FINDING_STATES, one.state)}")
    return FAILURE if others else 0


def _print_overview(found: Integrity) -> None:
    scrub = f"everything within {found.scrub_days} days" if found.scrub_days else "off"
    pairs(
        [
            ("Scrub", scrub),
            ("Verified", f"{found.share:.1%}"),
            ("Never verified", found.never),
            ("Oldest", moment(found.oldest_at)),
            ("Last read", moment(found.last_read_at)),
            ("Speed", f"{size(found.bytes_per_s)}/s" if found.bytes_per_s is not None else None),
            ("Through by", moment(found.through_at)),
            ("Fewer copies", f"{found.fewer_copies} of {found.originals} have fewer than {found.copies_wanted}"),
            ("Findings", _counted(found) or "none"),
        ]
    )
    if found.late:
        note("The limit, or the disk, is too slow to read everything within the period.")
    if found.repositories:
        rows = [
            (
                one.repository,
                one.status,
                one.files,
                size(one.size_bytes),
                f"{one.share:.1%}",
                one.never,
                moment(one.oldest_at),
            )
            for one in found.repositories
        ]
        headers = ("Repository", "Status", "Files", "Size", "Verified", "Never", "Oldest")
        click.echo()
        table(headers, rows, right=headers[2:6])


def _counted(found: Integrity) -> str:
    return ", ".join(f"{count} {said(FINDING_KINDS, kind)}" for kind, count in sorted(found.findings.items()))


def _row(one: Finding) -> tuple[object, ...]:
    kind, state = said(FINDING_KINDS, one.kind), said(FINDING_STATES, one.state)
    return one.id, kind, state, one.repository, one.path, moment(one.last_seen_at), one.detail


def _plan_row(item: PlanItem) -> tuple[object, ...]:
    one = item.finding
    others = ", ".join(action_said(code) for code in item.alternatives)
    return one.id, said(FINDING_KINDS, one.kind), one.path, action_said(item.action), others, item.why


def _applied_row(one: Applied) -> tuple[object, ...]:
    return one.finding_id, action_said(one.action), one.outcome, one.task_id, one.message
