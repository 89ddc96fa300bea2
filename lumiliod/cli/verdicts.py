"""What the library made of uploads: waited for, told to a person, and as an exit status."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import note, visible
from lumiliod.cli.polling import finished_job, progress
from lumiliod.cli.program import DATA, FAILURE, TEMPORARY, Failed, exit_code
from lumiliod.cli.repositories import job_problem
from lumiliod.contract.jobs import Job
from lumiliod.contract.problems import Problem
from lumiliod.contract.uploads import was_refused

if TYPE_CHECKING:
    from lumiliod.client import Client

PATIENCE_S = 2.0
"""A person who waits longer is told what for."""

BAD_DATA = frozenset({"empty_file", "too_large"})
"""Codes of files that are refused before all of them are sent."""


class Uploaded(msgspec.Struct, kw_only=True):
    """What became of one file.

    ``status`` is ``queued``, ``failed``, ``skipped`` (``outcome`` says why) or, after waiting, ``done`` or ``refused``:
    then its bytes are kept as the upload ``upload_id``. ``duplicate`` says which one it is: an asset was ``restored``
    from the trash, a copy was ``kept`` here, too, at ``path``; ``twice``: another file of the command, ``same_as``, has
    the same bytes; or else the library has ``known`` them.
    """

    file: str
    status: str
    outcome: str | None = None
    asset_id: UUID | None = None
    task_id: UUID | None = None
    upload_id: UUID | None = None
    duplicate: str | None = None
    same_as: str | None = None
    path: str | None = None
    digest: str | None = None
    size_bytes: int | None = None
    error: Problem | None = None


def wait(client: "Client", results: Sequence[Uploaded], timeout_s: float, *, quiet: bool) -> None:
    """Wait until the tasks of ``results`` have ended, and note how.

    Raises:
        Failed: none has for ``timeout_s`` seconds.
    """
    waiting = [(result, result.task_id) for result in results if result.task_id is not None]
    is_told = quiet
    with progress("Ingesting", hidden=quiet) as advance:
        for done, (result, task_id) in enumerate(waiting):
            advance(done, len(waiting))
            if not is_told:
                try:
                    _note_end(result, finished_job(client, task_id, timeout_s=min(PATIENCE_S, timeout_s)))
                    continue
                except Failed:
                    left = _files(len(waiting) - done)
                    note(f"lumilio: waiting for what becomes of {left}; what was sent is safe (--no-wait: at once).")
                    is_told = True
            try:
                _note_end(result, finished_job(client, task_id, quiet=quiet, timeout_s=timeout_s))
            except Failed as error:
                detail = (
                    f"Not decided after {timeout_s:g} seconds: {_files(len(waiting) - done)}. What was sent is safe; "
                    "`lumilio wait` waits on, `lumilio queues list` says what runs."
                )
                raise Failed(msgspec.structs.replace(error.problem, detail=detail), TEMPORARY) from error
    _note_twins(results)


def _note_twins(results: Sequence[Uploaded]) -> None:
    """Tell what the library had from what is twice among ``results``."""
    new = [one for one in results if one.outcome == "asset" or one.duplicate == "restored"]
    added = {one.asset_id: one.file for one in new}
    for result in results:
        if result.duplicate == "known" and result.asset_id in added:
            result.duplicate, result.same_as = "twice", added[result.asset_id]


def _note_end(result: Uploaded, job: Job) -> None:
    told = job.result or {}
    asset_id = told.get("asset_id") or job.asset_id
    result.asset_id = UUID(str(asset_id)) if asset_id else result.asset_id
    outcome = told.get("outcome")
    if job.state == "completed":
        result.status = "done"
        result.outcome = str(outcome) if outcome else "asset"
        result.path = told.get("path")
        if result.outcome == "duplicate":
            result.duplicate = "restored" if told.get("restored") else "kept" if result.path else "known"
        return
    result.error = job_problem(job)
    result.outcome = result.error.code
    if was_refused(job):
        result.status = "refused"
        result.upload_id = UUID(str(job.args["upload"]))
    else:
        result.status = "failed"


def show_all(results: Sequence[Uploaded]) -> None:
    """Print what became of each file whose bytes were sent, and what can be done about those that were refused."""
    for result in results:
        if result.task_id is not None:
            show(result)
    refused = sum(result.status == "refused" for result in results)
    if refused:
        kept = (
            "1 file was refused; its bytes are kept" if refused == 1 else f"{refused} files were refused and are kept"
        )
        note(
            f"lumilio: {kept}. See: lumilio uploads list --refused. Try again: lumilio jobs retry JOB. "
            "Remove: lumilio uploads remove ID."
        )


def show(result: Uploaded) -> None:
    """Print one line about one file; errors on standard error."""
    if result.error is not None:
        refused = "refused: " if result.status == "refused" else ""
        why = visible(result.error.detail or result.error.title)
        click.echo(f"lumilio: {visible(result.file)}: {refused}{why}", err=True)
    else:
        known = result.asset_id or result.task_id or ""
        line = f"{visible(result.file)}  {result.outcome or result.status}  {known}".rstrip()
        click.echo(f"{line}  {_which(result)}" if result.duplicate else line)


def _which(result: Uploaded) -> str:
    match result.duplicate:
        case "restored":
            return "restored from the trash"
        case "kept":
            return f"the library has these bytes already; kept here, too: {visible(result.path)}"
        case "twice":
            return f"the same bytes as {visible(result.same_as)}"
        case _:
            return "the library has these bytes already"


def exit_status(results: Iterable[Uploaded]) -> int:
    """Return what the command ends with: what was refused counts more than what may be taken later."""
    codes = {_code(result, result.error) for result in results if result.error is not None}
    if DATA in codes:
        return DATA
    lasting = codes - {TEMPORARY}
    if not lasting:
        return TEMPORARY if codes else 0
    return lasting.pop() if len(lasting) == 1 else FAILURE


def _code(result: Uploaded, problem: Problem) -> int:
    if result.status == "refused" or problem.code in BAD_DATA:
        return DATA
    return FAILURE if problem.code == "unreadable" else exit_code(problem)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
