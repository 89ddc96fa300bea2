"""``lumilio mirrors``."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import click

from lumiliod.cli.output import pairs, print_items, print_json, size, table
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import Failed, Group, Options, connected
from lumiliod.cli.repositories import job_problem
from lumiliod.contract.integrity import Mirror, NewMirror
from lumiliod.contract.problems import Problem

if TYPE_CHECKING:
    from lumiliod.client import Client

_mirror = click.argument("mirror")


@click.group(cls=Group)
def mirrors() -> None:
    """Look after second copies of originals."""


@mirrors.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List all mirrors, and whether each is there now."""
    with connected(options) as client:
        found = client.integrity.mirrors()
    _print_mirrors(options, found)


@mirrors.command()
@click.argument("repository")
@click.argument("location")
@click.option("--option", "given", multiple=True, metavar="NAME=VALUE", help="A setting of the store; may be repeated.")
@click.pass_obj
def add(options: Options, repository: str, location: str, given: tuple[str, ...]) -> None:
    """Keep a second copy of REPOSITORY's originals at LOCATION.

    LOCATION is a folder, or a URL such as s3://bucket/prefix.

    Secrets are better given as files that the daemon reads: --option secret_access_key_file=PATH, a file in its
    storage.secrets_dir, or the name of a systemd credential.
    """
    named = [one.partition("=") for one in given]
    if any(not name or not equals for name, equals, _ in named):
        raise click.UsageError("--option is NAME=VALUE.")
    place = _place(location)
    try:
        place.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("LOCATION is not valid UTF-8.") from error
    wanted = NewMirror(repository=repository, location=place, options={name: value for name, _, value in named})
    with connected(options) as client:
        added = client.integrity.add_mirror(wanted)
    if options.json:
        print_json(added)
    else:
        click.echo(f"Mirror {added.id} is being filled.")


@mirrors.command()
@_mirror
@click.pass_obj
def remove(options: Options, mirror: str) -> None:
    """Forget a mirror; what lies there stays.

    MIRROR is its id, its location, or its repository by name or id.
    """
    with connected(options) as client:
        left = client.integrity.remove_mirror(_named(client, mirror))
    _print_mirrors(options, left)


@mirrors.command()
@_mirror
@click.option("--wait", is_flag=True, help="Wait until it is up to date.")
@click.pass_obj
def fill(options: Options, mirror: str, wait: bool) -> None:
    """Bring a mirror up to date now.

    MIRROR is its id, its location, or its repository by name or id.
    """
    with connected(options) as client:
        ticket = client.integrity.fill_mirror(_named(client, mirror))
        if not wait:
            if options.json:
                print_json(ticket)
            else:
                click.echo(f"Task {ticket.task_id} is queued.")
            return
        with progress("Copying", hidden=options.json) as advance:
            job = finished_job(client, ticket.task_id, advance, quiet=options.json)
    told = job.result or {}
    if options.json:
        print_json(job)
    elif job.state == "completed":
        pairs([("Copied", told.get("copied")), ("Not copied", told.get("skipped") or None)])
    if job.state != "completed":
        raise Failed(job_problem(job))
    if told.get("skipped"):
        detail = f"{told['skipped']} originals were not copied: lumilio integrity findings, lumilio mirrors list"
        raise Failed(Problem(title="Not everything was copied", status=422, code="not_copied", detail=detail))


def _place(location: str) -> str:
    """Return a URL as it is, and a folder from the root, its links as the person wrote them."""
    return location if "://" in location else os.path.abspath(location)  # noqa: PTH100  resolve() would follow links


def _id(text: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(text)
    return None


def _named(client: "Client", mirror: str) -> UUID:
    """Return the mirror a person names: by its id, its location, or its repository where that has one mirror.

    Raises:
        Failed: there is none, or more than one.
    """
    id_ = _id(mirror)
    # only looking for mirrors asks their places, which may take long
    if id_ is not None and id_ not in {one.id for one in client.repositories()}:
        return id_
    place = _place(mirror)
    known = client.integrity.mirrors()
    found = [one.id for one in known if one.location == place]
    found = found or [one.id for one in known if one.repository == mirror or one.repository_id == id_]
    if len(found) == 1:
        return found[0]
    detail, code = f"There is no mirror {mirror}: lumilio mirrors list", "mirror_not_found"
    if found:
        detail, code = f"{mirror} has {len(found)} mirrors: say which by its path or id.", "ambiguous"
    raise Failed(Problem(title="Not this mirror", status=404, code=code, detail=detail))


def _print_mirrors(options: Options, found: list[Mirror]) -> None:
    if options.json:
        print_items(found)
        return
    rows = [
        (m.id, m.repository, m.location, m.status, m.copies, size(m.size_bytes), m.lacking, m.status_reason or "")
        for m in found
    ]
    headers = ("Id", "Repository", "Location", "Status", "Copies", "Size", "Lacking", "")
    table(headers, rows, right=headers[4:7])
