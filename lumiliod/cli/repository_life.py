"""``lumilio repos set``, ``relocate``, ``attach``, ``detach`` and ``remove``."""

import os
import sys
from typing import Any

import click

from lumiliod.cli.output import note, pairs, print_json, size, visible
from lumiliod.cli.program import FAILURE, Command, Options, connected
from lumiliod.cli.quota import bytes_of
from lumiliod.cli.repositories import print_repository
from lumiliod.cli.schedule import Duration
from lumiliod.contract.repositories import Attached, Attachment, RemovalPlan, RepositoryChange

KB = 1024


@click.command("set", cls=Command)
@click.argument("repository")
@click.option("--name", metavar="N", help="What to call it.")
@click.option("--max-file-size", "size_text", metavar="SIZE|none", help="The largest file it takes, such as 2GB.")
@click.option(
    "--duplicates",
    "handle_duplicate_filenames",
    type=click.Choice(["rename", "uuid", "overwrite"]),
    help="What becomes of an upload whose name is taken.",
)
@click.option(
    "--preserve-names/--no-preserve-names",
    "preserve_original_filename",
    default=None,
    help="Whether uploads keep their names.",
)
@click.option(
    "--ignore", "patterns", metavar="PATTERN", multiple=True, help="Leave these out of scans; may be repeated."
)
@click.option("--ignore-nothing", is_flag=True, help="Leave out what is left out by default, and no more.")
@click.option("--scan-interval", "full_s", type=Duration(), metavar="DURATION", help="How often to scan; 0 for never.")
@click.option(
    "--quick-scan-interval", "quick_s", type=Duration(), metavar="DURATION", help="How often to look at what changed."
)
@click.pass_obj
def change(
    options: Options,
    /,
    repository: str,
    size_text: str | None,
    patterns: tuple[str, ...],
    ignore_nothing: bool,
    full_s: int | None,
    quick_s: int | None,
    **given: Any,
) -> None:
    """Change the settings of a repository.

    They hold at once, and stand in its marker.
    """
    if patterns and ignore_nothing:
        raise click.UsageError("--ignore and --ignore-nothing exclude each other.")
    wanted = RepositoryChange(
        **given,
        max_file_size_kb=None if size_text is None else 0 if size_text == "none" else _kilobytes(size_text),
        ignore_patterns=list(patterns) if patterns or ignore_nothing else None,
        full_scan_interval_s=full_s,
        quick_scan_interval_s=quick_s,
    )
    if wanted == RepositoryChange():
        raise click.UsageError("Say what to change.")
    with connected(options) as client:
        changed = client.repos.change(repository, wanted)
    print_repository(options, changed)


@click.command(cls=Command)
@click.argument("repository")
@click.argument("path")
@click.pass_obj
def relocate(options: Options, repository: str, path: str) -> None:
    """Say that the folder of REPOSITORY lies at PATH now.

    Its marker there must be the one that is known. Nothing is done again: one scan compares it.
    """
    with connected(options) as client:
        _print_attached(options, client.repos.relocate(repository, _absolute(path)))


@click.command(cls=Command)
@click.argument("path")
@click.option("--as-new", is_flag=True, help="Make a copy a repository of its own; its marker gets a new id.")
@click.option("--name", metavar="N", help="What to call the new one.")
@click.pass_obj
def attach(options: Options, path: str, as_new: bool, name: str | None) -> None:
    """Take the repository at PATH back, or a copy as new."""
    if name is not None and not as_new:
        raise click.UsageError("--name goes with --as-new.")
    with connected(options) as client:
        _print_attached(options, client.repos.attach(Attachment(path=_absolute(path), as_new=as_new, name=name)))


@click.command(cls=Command)
@click.argument("repository")
@click.pass_obj
def detach(options: Options, repository: str) -> None:
    """Put a repository away; its assets stay.

    Its files are not touched, and nothing looks for them.
    """
    with connected(options) as client:
        found = client.repos.detach(repository)
    print_repository(options, found)


@click.command(cls=Command)
@click.argument("repository")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--forget", is_flag=True, help="Forget what is known of its assets, too; you are asked for its name.")
@click.option("--confirm", metavar="NAME", help="Its name, where nobody can be asked.")
@click.pass_obj
def remove(options: Options, repository: str, only_plan: bool, forget: bool, confirm: str | None) -> int:
    """Remove a repository; nothing on its disk is touched."""
    if confirm is not None and not forget:
        raise click.UsageError("--confirm goes with --forget.")
    if forget and not only_plan and confirm is None and not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: add --confirm NAME.")
    with connected(options) as client:
        plan = client.repos.removal(repository)
        if only_plan:
            _print_plan(options, plan)
            return 0
        if forget and confirm is None:
            _print_plan(options, plan)
            confirm = click.prompt(visible(f"Type {plan.repository} to go on"), err=True)
            if confirm != plan.repository:
                note("That is not its name; nothing was done.")
                return FAILURE
        removed = client.repos.remove(repository, forget=confirm)
    if options.json:
        print_json(removed)
    else:
        told = f"{plan.repository} is removed from the library; its files are where they were, at {plan.path}."
        click.echo(visible(told))
    return 0


def _print_plan(options: Options, plan: RemovalPlan) -> None:
    if options.json:
        print_json(plan)
        return
    staged = "unknown, its disk is away" if plan.staged is None else plan.staged
    pairs(
        [
            ("Repository", plan.repository),
            ("Forgotten", f"{plan.forgotten} assets with ratings, titles and albums; {plan.trashed} are in the trash"),
            ("Kept", f"{plan.kept} assets that have files elsewhere, too"),
            ("Jobs cancelled", plan.jobs),
            ("Mirrors forgotten", f"{plan.mirrors}; their copies stay"),
            ("Uploads waiting", staged),
            ("Not touched", f"{plan.files} files ({size(plan.size_bytes)} of originals) at {plan.path}"),
            ("Left there", f"{plan.derivatives} pictures made from them ({size(plan.derivative_bytes)})"),
        ]
    )
    if plan.forgotten + plan.kept or plan.staged != 0:
        note("It has assets, or may have uploads that wait: removing it needs --forget.")


def _print_attached(options: Options, found: Attached) -> None:
    if options.json:
        print_json(found)
        return
    print_repository(options, found.repository)
    note(f"Scan {found.task_id} compares it with what is known.")
    if found.note is not None:
        note(f"{found.note[0].upper()}{found.note[1:]}.")


def _kilobytes(text: str) -> int:
    return max(1, bytes_of(text) // KB)


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path)  # noqa: PTH100  keeps symbolic links as the person wrote them
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("PATH is not valid UTF-8.") from error
    return absolute


COMMANDS = (change, relocate, attach, detach, remove)
