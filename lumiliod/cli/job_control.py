"""``lumilio jobs retry``, ``cancel`` and ``discard``."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import print_json
from lumiliod.cli.program import FAILURE, Command, Options, connected, must_ask
from lumiliod.cli.schedule import Duration
from lumiliod.cli.selection import by_filter
from lumiliod.contract.jobs import JobsChanged, JobSelection

if TYPE_CHECKING:
    from lumiliod.client import Verb


def _command(verb: "Verb", done: str, summary: str) -> click.Command:
    @click.command(verb, cls=Command, help=summary)
    @click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
    @by_filter
    @click.option("--older", "older_s", type=Duration(), metavar="DURATION", help="Made longer ago than that: 90m, 2d.")
    @click.option("--all", "everything", is_flag=True, help="All of them.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @click.pass_obj
    def act(options: Options, /, ids: tuple[UUID, ...], everything: bool, yes: bool, **given: Any) -> int:
        named = {name: value for name, value in given.items() if value is not None}
        if not ids and not named and not everything:
            raise click.UsageError(f"Say which jobs to {verb}: by their ids, by options, or --all.")
        wanted = JobSelection(ids=list(ids) or None, all=everything, **named)
        asks = (not ids or bool(named)) and must_ask(yes)
        with connected(options) as client:
            if asks:
                meant = client.change_jobs(verb, msgspec.structs.replace(wanted, dry_run=True)).count
                if meant and not click.confirm(f"{verb.capitalize()} {_jobs(meant)}?", err=True):
                    return FAILURE
            if len(ids) == 1 and not named:
                changed = client.change_job(verb, ids[0])
            else:
                changed = client.change_jobs(verb, wanted)
        _print(options, changed, done)
        return 0

    return act


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _print(options: Options, changed: JobsChanged, done: str) -> None:
    if options.json:
        print_json(changed)
        return
    click.echo(f"{_jobs(changed.count)} {done}.")
    if changed.passed_over:
        click.echo(f"{_jobs(changed.passed_over)} left: others do the work, or come first.")


retry = _command("retry", "retried", "Let jobs begin anew that failed, wait, or were ended.")
cancel = _command("cancel", "cancelled", "End jobs whatever their state, those that run at once.")
discard = _command("discard", "given up", "Give up jobs that wait; they are kept among the failures.")
