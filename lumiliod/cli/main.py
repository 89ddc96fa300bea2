"""``lumilio``: every action of the daemon as a verb. It talks to the API and nothing else."""

import click

from lumiliod import __version__
from lumiliod.cli.assets import assets, search
from lumiliod.cli.derivatives import derivatives
from lumiliod.cli.doctor import doctor
from lumiliod.cli.events import events
from lumiliod.cli.held import COMMANDS as HELD
from lumiliod.cli.integrity import integrity, verify
from lumiliod.cli.jobs import jobs
from lumiliod.cli.mirrors import mirrors
from lumiliod.cli.output import print_json
from lumiliod.cli.program import Command, Options, Program
from lumiliod.cli.queues import queues
from lumiliod.cli.quota import quota
from lumiliod.cli.relayout import relayout
from lumiliod.cli.repositories import repos, scan
from lumiliod.cli.repository_life import COMMANDS as LIFE
from lumiliod.cli.schedule import schedule
from lumiliod.cli.status import status, wait
from lumiliod.cli.sync import sync
from lumiliod.cli.trash import remove, trash
from lumiliod.cli.upload import upload
from lumiliod.cli.uploads import uploads


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
def program() -> None:
    """Look after a Lumilio library."""


@click.command(cls=Command)
@click.pass_obj
def version(options: Options) -> None:
    """Show the version of this command."""
    if options.json:
        print_json({"version": __version__})
    else:
        click.echo(f"lumilio {__version__}")


for command in (
    status,
    wait,
    events,
    doctor,
    repos,
    scan,
    sync,
    upload,
    uploads,
    assets,
    search,
    jobs,
    queues,
    schedule,
    trash,
    version,
):
    program.add_command(command)
for command in (verify, integrity, mirrors, derivatives, quota):
    program.add_command(command)
assets.add_command(remove)
for command in (*LIFE, *HELD, relayout):
    repos.add_command(command)


def main() -> None:
    """Run the command line and exit."""
    program.main(prog_name="lumilio")


if __name__ == "__main__":
    main()
