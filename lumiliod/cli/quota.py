"""``lumilio quota``."""

import re

import click

from lumiliod.cli.output import note, pairs, print_json, size
from lumiliod.cli.program import Group, Options, connected
from lumiliod.contract.uploads import Quota

_NO_LIMIT = "none: as much as there is room for"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B)?", re.ASCII | re.IGNORECASE)


@click.group(cls=Group)
def quota() -> None:
    """Look at and limit how much a person may keep."""


@quota.command()
@click.argument("user", default="admin")
@click.pass_obj
def show(options: Options, user: str) -> None:
    """Show how much USER may keep, and keeps."""
    with connected(options) as client:
        found = client.uploads.quota(user)
    _print(options, found)


@quota.command("set")
@click.argument("user")
@click.argument("limit", metavar="SIZE|none")
@click.pass_obj
def change(options: Options, user: str, limit: str) -> None:
    """Let USER keep SIZE, such as 500GB or 1.5TiB; what is there stays."""
    limit_bytes = None if limit == "none" else bytes_of(limit)
    with connected(options) as client:
        found = client.uploads.set_quota(user, limit_bytes)
    _print(options, found)


def bytes_of(text: str) -> int:
    """Read a size: a number, and a unit of 1000 (``MB``) or 1024 (``MiB``).

    Raises:
        click.UsageError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"{text!r} is no size such as 500GB or 1.5TiB.")
    power = "KMGT".index(found[2].upper()) + 1 if found[2] else 0
    unit: int = (1024 if found[3] else 1000) ** power
    return round(float(found[1]) * unit)


def _print(options: Options, found: Quota) -> None:
    if options.json:
        print_json(found)
        return
    rows = [("User", found.user), ("Limit", _NO_LIMIT), ("Used", size(found.used_bytes))]
    if found.limit_bytes is not None:
        left_bytes = found.limit_bytes - found.used_bytes
        rows[1] = ("Limit", size(found.limit_bytes))
        rows.append(("Left", size(left_bytes)) if left_bytes > 0 else ("Over by", size(-left_bytes)))
    pairs(rows)
    if found.limit_bytes is not None and found.used_bytes >= found.limit_bytes:
        note("Nothing more is taken. The trash counts, too: lumilio trash empty, or lumilio quota set USER SIZE|none.")
