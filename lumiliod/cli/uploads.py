"""``lumilio uploads``."""

import click

from lumiliod.cli.output import moment, print_json, size, table
from lumiliod.cli.program import Group, Options, connected


@click.group(cls=Group)
def uploads() -> None:
    """Look at uploads that have begun and are not complete; they keep room until they expire."""


@uploads.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List them, oldest first."""
    with connected(options) as client:
        found = client.uploads.under_way()
    if options.json:
        print_json(found)
        return
    rows = [
        (
            one.id,
            one.filename,
            one.repository,
            size(one.offset),
            None if one.size_bytes is None else size(one.size_bytes),
            moment(one.expires_at),
        )
        for one in found.items
    ]
    table(("ID", "File", "Repository", "Here", "Size", "Expires"), rows, right=("Here", "Size"))


@uploads.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def remove(options: Options, ids: tuple[str, ...]) -> None:
    """Give uploads up and forget their bytes."""
    with connected(options) as client:
        for upload_id in ids:
            client.uploads.remove(upload_id)
    if options.json:
        print_json({"removed": list(ids)})
