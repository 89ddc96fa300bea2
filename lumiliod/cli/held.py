"""``lumilio repos pending``, ``approve`` and ``reject``: deletions that wait for a person."""

from typing import TYPE_CHECKING

import click

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, table
from lumiliod.cli.program import Command, Options, connected
from lumiliod.cli.repositories import followed
from lumiliod.cli.words import HELD_STATES, said
from lumiliod.contract.sync import HeldDeletions

if TYPE_CHECKING:
    from lumiliod.client import Client


@click.command(cls=Command)
@click.pass_obj
def pending(options: Options) -> None:
    """Show what is missing in numbers that wait for you.

    More than a fifth of a repository, and more than fifty files, missing at once are left as they were: a disk that
    is not mounted looks like that.
    """
    with connected(options) as client:
        found = client.sync.held()
    if options.json:
        print_items(found)
        return
    if not found:
        click.echo("Nothing is held.")
        return
    rows = [(one.repository, said(HELD_STATES, one.state), one.files, one.known, moment(one.since)) for one in found]
    table(("Repository", "State", "Missing", "Of", "Since"), rows, right=("Missing", "Of"))
    for one in found:
        click.echo()
        _print_examples(one)
    if any(one.state == "held" for one in found):
        note("lumilio repos approve R believes it, lumilio repos reject R does not; nothing is done until then.")


@click.command(cls=Command)
@click.argument("repository")
@click.option("--wait", is_flag=True, help="Wait until the scan is done.")
@click.pass_obj
def approve(options: Options, repository: str, wait: bool) -> None:
    """Believe that what is held is missing.

    A scan marks what has not come back. When clearly more is missing by then, it is held anew.
    """
    with connected(options) as client:
        one = _shown(client, repository)
        ticket = client.sync.approve(repository, one.plan_id if one is not None else None)
        if one is not None and not options.json:
            note(f"Approved: {one.files} of {one.known} files of {one.repository} are missing.")
        followed(options, client, ticket, wait)


@click.command(cls=Command)
@click.argument("repository")
@click.pass_obj
def reject(options: Options, repository: str) -> None:
    """Keep what is held as it is.

    Nobody is asked again until more is missing.
    """
    with connected(options) as client:
        one = _shown(client, repository)
        decided = client.sync.reject(repository, one.plan_id if one is not None else None)
    if options.json:
        print_json(decided)
        return
    pairs(
        [
            ("Repository", decided.repository),
            ("State", said(HELD_STATES, decided.state)),
            ("Missing", f"{decided.files} of {decided.known}"),
        ]
    )


def _shown(client: "Client", repository: str) -> HeldDeletions | None:
    found = client.sync.held()
    return next((one for one in found if repository in (one.repository, str(one.repository_id))), None)


def _print_examples(one: HeldDeletions) -> None:
    pairs([(one.repository, one.examples[0]), *(("", path) for path in one.examples[1:])])
    if one.files > len(one.examples):
        click.echo(f"and {one.files - len(one.examples)} more")


approve_deletions = Command(
    "approve-deletions", callback=approve.callback, params=list(approve.params[:2]), help=approve.help
)

COMMANDS = (pending, approve, reject, approve_deletions)
