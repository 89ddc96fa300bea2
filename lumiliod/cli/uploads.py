"""``lumilio uploads``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from lumiliod.cli.output import moment, note, print_json, size, table
from lumiliod.cli.program import FAILURE, Group, Options, connected, exit_code, must_ask
from lumiliod.contract.problems import Problem
from lumiliod.contract.uploads import RefusedUpload, UploadList, UploadUnderWay

if TYPE_CHECKING:
    from lumiliod.client import Client

REFUSED_HELP = (
    "Try one again: lumilio jobs retry JOB, which --refused names. Forget it and its bytes: lumilio uploads remove ID."
)


@click.group(cls=Group, short_help="Look at uploads that are not complete.")
def uploads() -> None:
    """Look at uploads that are not complete, and at those that were refused; both keep room."""


@uploads.command("list")
@click.option("--refused", "only_refused", is_flag=True, help="Only those that were refused, with their jobs.")
@click.pass_obj
def list_all(options: Options, only_refused: bool) -> None:
    """List them, oldest first."""
    with connected(options) as client:
        found = client.uploads.under_way()
    if options.json:
        print_json({"items": found.refused, "offline": found.offline} if only_refused else found)
        return
    if only_refused:
        rows = [(one.id, one.task_id, *_refused_row(one)) for one in found.refused]
        table(("ID", "Job", "File", "Repository", "State", "Size", "When", "By", "Why"), rows, right=("Size",))
    else:
        mixed = [*map(_under_way_row, found.items), *((one.id, *_refused_row(one)) for one in found.refused)]
        table(("ID", "File", "Repository", "State", "Size", "When", "By", "Why"), mixed, right=("Size",))
    if found.refused:
        note(REFUSED_HELP)
    _note_offline(found)


def _under_way_row(one: UploadUnderWay) -> tuple[object, ...]:
    whole = "" if one.size_bytes is None else f" of {size(one.size_bytes)}"
    expires = f"expires {moment(one.expires_at)}"
    return one.id, one.filename, one.repository, "arriving", f"{size(one.offset)}{whole}", expires, None, None


def _refused_row(one: RefusedUpload) -> tuple[object, ...]:
    why = f"{one.code}: {one.reason}"
    return one.filename, one.repository, one.state, size(one.size_bytes), moment(one.refused_at), one.owner, why


@uploads.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
@click.option("--refused", "all_refused", is_flag=True, help="All that were refused.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(options: Options, ids: tuple[UUID, ...], all_refused: bool, yes: bool) -> int:
    """Give uploads up, and remove refused ones.

    Their bytes are forgotten, and so are the failed jobs of those that were refused.
    """
    if bool(ids) == all_refused:
        raise click.UsageError("Say which uploads to remove: by their ids, or --refused.")
    with connected(options) as client:
        wanted = list(ids)
        if all_refused or not yes:
            found = client.uploads.under_way()
            refused = _refused_of(found, None if all_refused else ids)
            if all_refused:
                _note_offline(found)
            if refused and must_ask(yes) and not _agreed(refused):
                return FAILURE
            wanted = [one.id for one in refused] if all_refused else wanted
        problems = {upload_id: _removed(client, upload_id) for upload_id in wanted}
    removed = [upload_id for upload_id, problem in problems.items() if problem is None]
    if options.json:
        print_json({"removed": removed})
    else:
        click.echo("1 upload removed." if len(removed) == 1 else f"{len(removed)} uploads removed.")
    failed = [problem for problem in problems.values() if problem is not None]
    return exit_code(failed[0]) if failed else 0


def _removed(client: "Client", upload_id: UUID) -> Problem | None:
    """Remove an upload; return, and say, why one stays: it keeps no other from going."""
    from lumiliod.client import ApiError

    try:
        client.uploads.remove(str(upload_id))
    except ApiError as error:
        note(f"lumilio: {upload_id} stays: {error.problem.detail or error.problem.title}")
        return error.problem
    return None


def _refused_of(found: UploadList, ids: Sequence[UUID] | None) -> list[RefusedUpload]:
    """Return those of these ids, or all that nobody tries again."""
    return [one for one in found.refused if (one.state == "refused" if ids is None else one.id in ids)]


def _note_offline(found: UploadList) -> None:
    if found.offline:
        note(f"Not looked into, for they are offline: {', '.join(found.offline)}.")


def _agreed(refused: list[RefusedUpload]) -> bool:
    """Ask the person whether they mean it: the sender of what was refused may have nothing of it any more."""
    count = "1 refused upload" if len(refused) == 1 else f"{len(refused)} refused uploads"
    held = size(sum(one.size_bytes for one in refused))
    return click.confirm(f"Remove {count} ({held}) for good?", err=True)
