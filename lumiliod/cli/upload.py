"""``lumilio upload``."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lumiliod.cli import verdicts
from lumiliod.cli.output import note, print_items, visible
from lumiliod.cli.polling import progress
from lumiliod.cli.program import Command, Options, connected
from lumiliod.cli.resumption import Resumption
from lumiliod.cli.upload_files import REASONS, choose
from lumiliod.cli.verdicts import Uploaded
from lumiliod.contract.problems import Problem
from lumiliod.domain.ids import shown

if TYPE_CHECKING:
    from lumiliod.client import Client


RESUMABLE_BYTES = 64 << 20
"""From this size on an upload goes on where it was cut."""

SILENCE_S = 600.0


@click.command(cls=Command)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--recursive", "-r", is_flag=True, help="Upload the media files below folders, too.")
@click.option("--repo", "repository", metavar="R", help="Where to; needed when there is more than one repository.")
@click.option("--wait/--no-wait", default=True, help="Wait until each file is an asset, or is refused (default).")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="S",
    default=SILENCE_S,
    show_default=True,
    help="Wait no longer when nothing was decided for S seconds (75).",
)
@click.pass_context
def upload(
    context: click.Context,
    paths: tuple[str, ...],
    recursive: bool,
    repository: str | None,
    wait: bool,
    timeout_s: float,
) -> int:
    """Upload FILEs; one that fails does not stop the others.

    Below a folder, in the order of their names, those are sent that are media by their names. Hidden ones are left out,
    and links are not followed.

    Exits with 65 when the library refused one, with 75 when one may be taken later.
    """
    options = context.find_object(Options)
    assert options is not None
    chosen = choose(paths, recursive=recursive)
    results = [_unread(folder, error) for folder, error in chosen.unread]
    if not options.json:
        for result in results:
            verdicts.show(result)
    try:
        with connected(options) as client:
            for file in chosen.files:
                results.append(_upload(client, file, repository, options))
                if not options.json and (not wait or results[-1].error is not None):
                    verdicts.show(results[-1])
            if wait:
                verdicts.wait(client, results, timeout_s, quiet=options.json)
    finally:  # a daemon that goes away, or a person who waits no longer, leaves some results behind
        if options.json and (results or chosen.skipped):
            left_out = [Uploaded(file=shown(path), status="skipped", outcome=why) for path, why in chosen.skipped]
            print_items(results + left_out)
        elif wait:
            verdicts.show_all(results)
        if chosen.skipped and not options.json:
            counts = Counter(REASONS[why] for _, why in chosen.skipped)
            note("lumilio: left out: " + ", ".join(f"{count} {why}" for why, count in sorted(counts.items())))
    return verdicts.exit_status(results)


def _upload(client: "Client", file: str, repository: str | None, options: Options) -> Uploaded:
    """Send one file; its failure is a result. Only a daemon that cannot be reached ends everything."""
    from lumiliod.client import ApiError

    sent = 0
    try:
        status = Path(file).stat()
        total = status.st_size
        with progress(visible(shown(file)), in_bytes=True, hidden=options.json) as advance:

            def count(sent_bytes: int) -> None:
                nonlocal sent
                sent += sent_bytes
                advance(sent, total)

            if total >= RESUMABLE_BYTES:
                # what takes long may be cut; in one request all of it would be sent again
                memory = Resumption(options.socket, file, repository, status)
                try:
                    task = client.uploads.send(file, repository=repository, progress=count, memory=memory)
                except KeyboardInterrupt:
                    if memory.recall() is not None:
                        note(f"lumilio: {shown(file)} is not complete; the same command goes on with it.")
                    raise
                return Uploaded(file=shown(file), status="queued", task_id=task, size_bytes=total)
            ticket = client.upload(file, repository=repository, progress=count)
    except ApiError as error:
        return Uploaded(file=shown(file), status="failed", error=error.problem)
    except OSError as error:
        return _unread(file, error)
    return Uploaded(
        file=shown(file),
        status=ticket.status,
        task_id=ticket.task_id,
        digest=ticket.digest,
        size_bytes=ticket.size_bytes,
    )


def _unread(path: str, error: OSError) -> Uploaded:
    problem = Problem(title="Unreadable", status=400, code="unreadable", detail=f"{error.strerror or error}.")
    return Uploaded(file=shown(path), status="failed", error=problem)
