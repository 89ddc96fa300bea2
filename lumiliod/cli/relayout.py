"""``lumilio repos relayout``."""

from typing import TYPE_CHECKING

import click

from lumiliod.cli.output import note, pairs, print_json, size, table, visible
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import FAILURE, Command, Failed, Options, connected, must_ask
from lumiliod.cli.repositories import job_problem
from lumiliod.cli.words import COLLISIONS, RELAYOUT_STATES, STAYING, said, sentence
from lumiliod.contract.problems import Problem
from lumiliod.contract.relayout import PlannedMove, Relayout, RelayoutPlan, RelayoutTicket, UndoPlan

if TYPE_CHECKING:
    from lumiliod.client import Client


@click.command(cls=Command)
@click.argument("repository")
@click.option("--to", "layout", metavar="cas|date|flat", help="How its inbox is to be arranged.")
@click.option("--undo", is_flag=True, help="Bring every file back to where it was.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--verify", is_flag=True, help="Read every file before it is moved.")
@click.option("--status", "only_status", is_flag=True, help="Say how far the last one is.")
@click.option("--wait", is_flag=True, help="Wait until it is done; exits 1 when a file was not moved.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def relayout(
    options: Options,
    repository: str,
    layout: str | None,
    undo: bool,
    only_plan: bool,
    verify: bool,
    only_status: bool,
    wait: bool,
    yes: bool,
) -> int:
    """Bring an inbox into another layout, or back.

    Only files in the inbox are moved, by renaming them; nothing is replaced, and every move can be undone. New
    uploads go by the new layout at once.
    """
    if [layout is not None, undo, only_status].count(True) != 1:
        raise click.UsageError("Say --to LAYOUT, --undo or --status.")
    if verify and layout is None:
        raise click.UsageError("--verify goes with --to.")
    if only_plan and only_status:
        raise click.UsageError("--plan goes with --to or --undo.")
    asks = not only_plan and not only_status and must_ask(yes)
    with connected(options) as client:
        if only_status:
            _print_status(options, client.repos.last_relayout(repository))
            return 0
        if only_plan:
            if layout is not None:
                _print_plan(options, client.repos.plan_relayout(repository, layout))
            else:
                _print_undo_plan(options, client.repos.plan_undo(repository))
            return 0
        if asks and not _agreed(client, repository, layout):
            return FAILURE
        skipped = client.repos.last_relayout(repository).skipped if undo else 0
        if layout is not None:
            ticket = client.repos.relayout(repository, layout, verify=verify)
        else:
            ticket = client.repos.undo_relayout(repository)
        if not wait:
            _print_ticket(options, ticket)
            return 0
        with progress("Moving", hidden=options.json) as advance:
            job = finished_job(client, ticket.task_id, advance, quiet=options.json)
        if job.state != "completed":
            raise Failed(job_problem(job))
        found = client.repos.last_relayout(repository)
    _print_status(options, found)
    if found.skipped > skipped:
        detail = f"{_files(found.skipped - skipped)} could not be moved."
        raise Failed(Problem(title="Not everything was moved", status=422, code="not_moved", detail=detail))
    return 0


def _agreed(client: "Client", repository: str, layout: str | None) -> bool:
    """Ask the person whether they mean it, with how many files that is."""
    if layout is not None:
        plan = client.repos.plan_relayout(repository, layout)
        question = f"Move {_files(plan.moves)}, and arrange {plan.repository} by {layout}?"
    else:
        back = client.repos.plan_undo(repository)
        question = f"Move {_files(back.moves)} back, and arrange {back.repository} by {back.to_strategy}?"
    return click.confirm(visible(question), err=True)


def _print_ticket(options: Options, ticket: RelayoutTicket) -> None:
    if options.json:
        print_json(ticket)
    else:
        click.echo(f"{_files(ticket.moves)} to be moved by job {ticket.task_id}.")


def _print_plan(options: Options, plan: RelayoutPlan) -> None:
    if options.json:
        print_json(plan)
        return
    pairs(
        [
            ("Layout", f"{plan.from_strategy} to {plan.to_strategy}"),
            ("Moves", f"{_files(plan.moves)} ({size(plan.size_bytes)}), {plan.sidecars} of them sidecars"),
            ("Taken names", f"{plan.renamed} files get another name, {plan.merged} are there already and kept once"),
            ("Stay in the inbox", _staying(plan.staying)),
            ("Never moved", f"{plan.user_area} in your own folders, {plan.in_trash} in the trash"),
            ("Room needed", f"{size(plan.needed_bytes)} of {size(plan.free_bytes)} free"),
        ]
    )
    _print_examples(plan.examples)
    if plan.collisions:
        click.echo()
        rows = [(one.from_path, one.wanted, said(COLLISIONS, one.resolution), one.to_path) for one in plan.collisions]
        table(("From", "Taken name", "So it is", "To"), rows)
    note("Nothing was changed.")


def _print_undo_plan(options: Options, plan: UndoPlan) -> None:
    if options.json:
        print_json(plan)
        return
    pairs(
        [
            ("Layout", f"{plan.from_strategy} back to {plan.to_strategy}"),
            ("Moves back", f"{_files(plan.moves)} ({size(plan.size_bytes)})"),
            ("Made anew", f"{plan.merged} of them, which were kept once" if plan.merged else None),
            ("Stay", _staying(plan.staying)),
        ]
    )
    _print_examples(plan.examples)
    note("Nothing was changed.")


def _staying(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {said(STAYING, why)}" for why, count in sorted(counts.items())) or "none"


def _print_examples(examples: list[PlannedMove]) -> None:
    if examples:
        click.echo()
        table(("From", "To"), [(move.from_path, move.to_path) for move in examples])


def _print_status(options: Options, found: Relayout) -> None:
    if options.json:
        print_json(found)
        return
    state = said(RELAYOUT_STATES, found.state)
    pairs(
        [
            ("Layout", f"{found.from_strategy} to {found.to_strategy}"),
            ("State", f"{state} (cancelled)" if found.halted else state),
            ("Moved", found.done),
            ("Moved back", found.undone or None),
            ("Left", found.pending or None),
            ("Kept once", found.merged or None),
            ("Not moved", found.skipped or None),
        ]
    )
    for trouble in found.troubles:
        note(f"{trouble.from_path}: {sentence(trouble.reason)}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
