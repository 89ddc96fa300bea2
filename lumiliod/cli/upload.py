"""``lumilio upload``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import note, print_json, visible
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import FAILURE, Command, Options, connected
from lumiliod.cli.repositories import job_problem
from lumiliod.cli.resumption import Resumption
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem
from lumiliod.domain.ids import shown

if TYPE_CHECKING:
    from lumiliod.client import Client


RESUMABLE_BYTES = 64 << 20
"""From this size on an upload goes on where it was cut."""


class Uploaded(msgspec.Struct, kw_only=True):
    """What became of one file: ``status`` is ``queued``, ``failed`` or, after waiting, ``done``."""

    file: str
    status: str
    outcome: str | None = None
    asset_id: UUID | None = None
    task_id: UUID | None = None
    digest: str | None = None
    size_bytes: int | None = None
    error: Problem | None = None


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--repo", "repository", metavar="R", help="Where to; needed when there is more than one repository.")
@click.option("--wait", is_flag=True, help="Wait until each file is an asset, or is refused.")
@click.pass_context
def upload(context: click.Context, files: tuple[str, ...], repository: str | None, wait: bool) -> int:
    """Upload FILES; one that fails does not stop the others."""
    options = context.find_object(Options)
    assert options is not None
    results: list[Uploaded] = []
    try:
        with connected(options) as client:
            for file in files:
                results.append(_upload(client, file, repository, options))
                if not options.json:
                    _print(results[-1], is_final=not wait)
            if wait:
                _await(client, results, hidden=options.json)
    finally:  # a daemon that goes away leaves some results behind
        if options.json and results:
            print_json(results)
    if wait and not options.json:
        for result in results:
            if result.error is None or result.task_id is not None:
                _print(result, is_final=True)
    return FAILURE if any(result.error for result in results) else 0


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
                        note(f"lumilio: {visible(shown(file))} is not complete; the same command goes on with it.")
                    raise
                return Uploaded(file=shown(file), status="queued", task_id=task, size_bytes=total)
            ticket = client.upload(file, repository=repository, progress=count)
    except ApiError as error:
        return Uploaded(file=shown(file), status="failed", error=error.problem)
    except OSError as error:
        problem = Problem(title="Unreadable", status=400, code="unreadable", detail=f"{error.strerror or error}.")
        return Uploaded(file=shown(file), status="failed", error=problem)
    return Uploaded(
        file=shown(file),
        status=ticket.status,
        task_id=ticket.task_id,
        digest=ticket.digest,
        size_bytes=ticket.size_bytes,
    )


def _await(client: "Client", results: list[Uploaded], *, hidden: bool) -> None:
    """Wait until the tasks of ``results`` have ended, and note how."""
    waiting = [(result, result.task_id) for result in results if result.task_id is not None]
    with progress("Ingesting", hidden=hidden) as advance:
        for done, (result, task_id) in enumerate(waiting, 1):
            _note_end(result, finished_job(client, task_id, quiet=hidden))
            advance(done, len(waiting))


def _note_end(result: Uploaded, job: Job) -> None:
    told = job.result or {}
    asset_id = told.get("asset_id") or job.asset_id
    result.asset_id = UUID(str(asset_id)) if asset_id else result.asset_id
    outcome = told.get("outcome")
    if job.state == "completed":
        result.status = "done"
        result.outcome = str(outcome) if outcome else "asset"
        if result.asset_id is None and result.outcome not in ("asset", "duplicate", "sidecar"):
            reason = str(told.get("reason") or result.outcome)
            result.status = "failed"
            result.error = Problem(title="Refused", status=422, code=result.outcome, detail=reason)
    else:
        result.status = "failed"
        result.error = job_problem(job)
        result.outcome = result.error.code


def _print(result: Uploaded, *, is_final: bool) -> None:
    """Print one line per file once it is known; errors at once, on standard error."""
    if result.error is not None:
        click.echo(f"lumilio: {visible(result.file)}: {visible(result.error.detail or result.error.title)}", err=True)
    elif is_final:
        known = result.asset_id or result.task_id or ""
        click.echo(f"{visible(result.file)}  {result.outcome or result.status}  {known}".rstrip())
    sys.stdout.flush()
