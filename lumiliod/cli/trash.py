"""``lumilio trash`` and ``lumilio assets remove``."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, size, table
from lumiliod.cli.program import FAILURE, TEMPORARY, Command, Group, Options, connected, must_ask
from lumiliod.cli.schedule import Duration
from lumiliod.cli.words import TRASH_OUTCOMES, TRASH_STATES, said, sentence
from lumiliod.contract.trash import (
    PurgeRequest,
    Removal,
    RemoveRequest,
    RestoreRequest,
    TrashChanged,
    TrashItem,
    TrashPage,
)

PAGE = 500

PASSING = {"away", "in_motion"}
"""What keeps from an outcome only for now."""

R = TypeVar("R", bound="RemoveRequest | RestoreRequest | PurgeRequest")

_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_ids = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)


@click.command("remove", cls=Command)
@_ids
@click.option("--query", metavar="QUERY", help="All that this query finds instead.")
@click.option("--delete-file", is_flag=True, help="Move files in the user area to the trash, too.")
@_yes
@click.pass_obj
def remove(options: Options, ids: tuple[UUID, ...], query: str | None, delete_file: bool, yes: bool) -> int:
    """Put assets into the trash.

    Uploads go to the trash with their files. A file in a folder of yours stays where it is and is hidden,
    unless you say --delete-file.
    """
    if bool(ids) == (query is not None):
        raise click.UsageError("Say which assets to remove: by their ids, or by --query.")
    if query is not None and delete_file:
        raise click.UsageError("--delete-file is for assets named by their ids.")
    if query is None:
        wanted = RemoveRequest(items=[Removal(id=id_, delete_file=delete_file) for id_ in ids])
    else:
        wanted = RemoveRequest(query=query)
    with connected(options) as client:
        what = " with the files in your own folders" if delete_file else ""
        asks = query is not None or delete_file
        if asks and not _agreed(client.trash.remove, wanted, "Remove", yes, what):
            return FAILURE
        changed = client.trash.remove(wanted)
    return _done(options, changed, f"{_assets(changed.count)} removed.", fine=("removed", "in_trash"))


@click.group(cls=Group)
def trash() -> None:
    """Look into the trash, restore and purge."""


@trash.command("list")
@click.option("--all", "everything", is_flag=True, help="All of it instead of the first.")
@click.option("--limit", type=click.IntRange(min=1, max=PAGE), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def list_some(options: Options, everything: bool, limit: int) -> None:
    """List what is in the trash, the latest first."""
    with connected(options) as client:
        page = client.trash.page(limit=PAGE if everything else limit)
        while everything and page.next_cursor is not None:
            more = client.trash.page(limit=PAGE, cursor=page.next_cursor)
            page = msgspec.structs.replace(page, items=page.items + more.items, next_cursor=more.next_cursor)
    if options.json:
        print_json(page)
    else:
        _print(page)


@trash.command()
@_ids
@click.option("--all", "everything", is_flag=True, help="Everything.")
@_yes
@click.pass_obj
def restore(options: Options, ids: tuple[UUID, ...], everything: bool, yes: bool) -> int:
    """Take assets out of the trash with all they had."""
    if bool(ids) == everything:
        raise click.UsageError("Say which assets to restore: by their ids, or --all.")
    wanted = RestoreRequest(ids=list(ids) or None, all=everything)
    with connected(options) as client:
        if everything and not _agreed(client.trash.restore, wanted, "Restore", yes):
            return FAILURE
        changed = client.trash.restore(wanted)
    back = changed.count - changed.restoring
    told = [f"{_assets(back)} restored."] if back or not changed.restoring else []
    if changed.restoring:
        told.append(f"{_assets(changed.restoring)} being moved back.")
    return _done(options, changed, " ".join(told), fine=("restored", "restoring"))


@trash.command()
@_ids
@click.option("--older-than", "older_s", type=Duration(), metavar="DURATION", help="Removed longer ago than that: 7d.")
@_yes
@click.pass_obj
def purge(options: Options, ids: tuple[UUID, ...], older_s: int | None, yes: bool) -> int:
    """Remove assets of the trash for good, before their time. Copies in mirrors stay: they are a backup."""
    if not ids and older_s is None:
        raise click.UsageError("Say what to purge: by ids, or --older-than. `lumilio trash empty` is for everything.")
    return _purge(options, PurgeRequest(ids=list(ids) or None, older_s=older_s), yes)


@trash.command()
@_yes
@click.pass_obj
def empty(options: Options, yes: bool) -> int:
    """Remove everything in the trash for good. Copies in mirrors stay: they are a backup."""
    return _purge(options, PurgeRequest(all=True), yes)


@trash.command()
@click.option("--restore", "restored", type=click.UUID, metavar="ID", help="Put this file back.")
@click.option("--repo", "repository", metavar="R", help="Its repository, by name or id.")
@click.pass_obj
def untracked(options: Options, restored: UUID | None, repository: str | None) -> None:
    """List unknown files in the trash, or put one back."""
    if (restored is None) != (repository is None):
        raise click.UsageError("--restore and --repo go together.")
    with connected(options) as client:
        if restored is not None and repository is not None:
            back = client.trash.restore_untracked(repository, restored)
            if options.json:
                print_json(back)
            else:
                pairs([("Restored", back.path)])
            return
        found = client.trash.untracked()
    if options.json:
        print_items(found)
        return
    rows = [(s.repository, s.name, size(s.size_bytes) if s.size_bytes is not None else None, s.path) for s in found]
    table(("Repository", "Name", "Size", "Was"), rows, right=["Size"])


def _purge(options: Options, wanted: PurgeRequest, yes: bool) -> int:
    with connected(options) as client:
        if not _agreed(client.trash.purge, wanted, "Remove for good", yes):
            return FAILURE
        changed = client.trash.purge(wanted)
    code = _done(options, changed, f"{_assets(changed.count)} to be removed for good.", fine=("purging",))
    if changed.task_id is not None and not options.json:
        note(f"Job {changed.task_id} does it, and tells what it refused.")
    return code


def _agreed(ask: Callable[[R], TrashChanged], wanted: R, verb: str, yes: bool, what: str = "") -> bool:
    """Ask the person whether they mean it, with how many assets that is."""
    if not must_ask(yes):
        return True
    meant = ask(msgspec.structs.replace(wanted, dry_run=True)).count
    return not meant or click.confirm(f"{verb} {_assets(meant)}{what}?", err=True)


def _done(options: Options, changed: TrashChanged, told: str, *, fine: tuple[str, ...]) -> int:
    if options.json:
        print_json(changed)
    else:
        click.echo(told)
        for result in changed.results:
            if result.outcome not in fine:
                note(f"{result.asset_id}: {said(TRASH_OUTCOMES, result.outcome)}")
    failed = {result.outcome for result in changed.results if result.outcome not in fine}
    return TEMPORARY if failed and failed <= PASSING else FAILURE if failed else 0


def _assets(count: int) -> str:
    return "1 asset" if count == 1 else f"{count} assets"


def _print(page: TrashPage) -> None:
    rows = [
        (
            i.asset_id,
            said(TRASH_STATES, i.state),
            moment(i.deleted_at),
            _purged(i),
            size(i.size_bytes),
            i.original_filename,
        )
        for i in page.items
    ]
    table(("Id", "State", "Removed", "Purged", "Size", "Name"), rows, right=["Size"])
    held = page.summary
    click.echo(f"{_assets(held.count)}, {held.files} files with {size(held.size_bytes)}.")
    if held.next_purge_at is not None:
        click.echo(f"The next is purged after {moment(held.next_purge_at)}.")
    if held.untracked:
        note(f"{held.untracked} files there are not known to the library: lumilio trash untracked")
    for item in page.items:
        if item.refused:
            note(f"{item.asset_id}: {sentence(item.refused)}")


def _purged(item: TrashItem) -> str | None:
    return moment(item.purge_at) if item.purge_at is not None else ("hidden" if item.hidden else None)
