"""The fix plan: what would be done about each open finding, and doing what a person approves."""

import hashlib
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from uuid import UUID

import trio

from lumiliod.contract.integrity import Applied, AppliedList, Approval, Plan, PlanApproval, PlanItem
from lumiliod.db import files, findings, integrity, mirrors, trash
from lumiliod.db.files import SeenFile
from lumiliod.db.findings import Finding
from lumiliod.db.integrity import Expected
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Shape
from lumiliod.domain.ids import JobId, path_bytes
from lumiliod.domain.trash import INBOX, TrashState
from lumiliod.jobs.kind import FIRST
from lumiliod.library import convert
from lumiliod.library.integrity import finding as wire
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import check, heal, repository
from lumiliod.storage.check import Verdict
from lumiliod.storage.throttle import Throttle

ACTIONS = ("restore", "reingest", "adopt", "quarantine", "accept_missing", "remake")
PAGE = 500

_Proposal = tuple[str, str, list[str]]


async def plan(rt: Runtime, *, cursor: str | None, limit: int) -> Plan:
    """Return what would be done about open findings, the oldest first.

    Raises:
        Shape: a bad limit or cursor.
    """
    after = convert.from_cursor(cursor, tuple[UUID])[0] if cursor else FIRST
    found = await rt.db.call(_proposed, None, after, convert.limited(limit) + 1)
    items = [
        PlanItem(finding=wire(rt, row), action=action, why=why, alternatives=others, version=_version(row))
        for row, (action, why, others) in found[:limit]
    ]
    return Plan(items=items, next_cursor=convert.cursor(found[limit - 1][0].id) if len(found) > limit else None)


async def apply(rt: Runtime, approval: PlanApproval) -> AppliedList:
    """Do what a person approves, finding by finding; what takes long is a job of its own.

    Raises:
        Shape: an unknown action.
    """
    for one in approval.items:
        if one.action is not None and one.action not in ACTIONS:
            raise Shape(f"action is one of {', '.join(ACTIONS)}", code="bad_action")
    approved = {one.finding_id: one for one in approval.items}
    applied: dict[UUID, Applied] = {}
    after = FIRST
    while page := await rt.db.call(_proposed, list(approved), after, PAGE):
        for row, proposal in page:
            applied[row.id] = await _applied(rt, row, proposal, approved[row.id])
        after = page[-1][0].id
    for finding_id, one in approved.items():
        if finding_id not in applied:
            gone = NotFound("this finding is not open, or does not hold any more", code="finding_not_open")
            applied[finding_id] = _failed(finding_id, one.action or one.planned, gone)
    await rt.db.call(findings.close_settled)
    return AppliedList(items=[applied[finding_id] for finding_id in approved])


def _proposed(conn: Connection, ids: list[UUID] | None, after: UUID, count: int) -> list[tuple[Finding, _Proposal]]:
    return [(row, _proposal(conn, row)) for row in findings.standing(conn, ids, after, count)]


def _proposal(conn: Connection, row: Finding) -> _Proposal:
    """Return the action for a finding, why, and which others there are."""
    if row.mirror_id is not None:
        return "remake", "the copy is made anew from the original", []
    if row.kind == "untracked":
        if row.code == "no_record":
            return "adopt", "it lies in the inbox: it becomes an asset, or a duplicate of one", ["quarantine"]
        return "quarantine", "nothing needs it: derivatives can be made again", []
    where = _sources(conn, row)
    restore = ["restore"] if where else []
    match row.kind:
        case "missing" if row.in_trash and not where:
            return "accept_missing", "there is no other copy: nothing of it can be restored or has to be purged", []
        case "changed" if row.in_trash and where:
            return "restore", where, []
        case "changed" if row.in_trash:
            return "none", "there is no other copy: it stays as it is", []
        case "changed" if row.path.startswith(INBOX) and where:
            return "restore", where, ["reingest"]
        case "changed":
            return "reingest", "somebody wrote it: what it is now is looked at", restore
        case "missing" if where:
            return "restore", where, ["accept_missing"]
        case "missing":
            return "accept_missing", "there is no other copy: its asset goes to the trash", []
        case "unreadable" if row.code == "not_permitted":
            return "none", "give the daemon the permission to read it", restore
        case _ if where:
            return "restore", where, []
        case _:
            return "none", "there is no other copy: it stays as it is", []


def _version(row: Finding) -> str:
    """Return a short digest of what was found, and of what should have been."""
    facts = (row.kind, row.code, path_bytes(row.path), row.digest, row.found and astuple(row.found))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _sources(conn: Connection, row: Finding) -> str:
    """Say where good bytes are; empty when nowhere."""
    if row.digest is None or row.asset_id is None:
        return ""
    twins = integrity.twins(conn, row.asset_id, row.digest, row.file_id)
    copies = mirrors.copies_of(conn, row.digest)
    told = [f"another file: {twins[0].path}" if twins else "", *(copy.location for copy in copies)]
    found = ", ".join(one for one in told if one)
    return f"good bytes are in {found}".encode("utf-8", "backslashreplace").decode() if found else ""


async def _applied(rt: Runtime, row: Finding, proposal: _Proposal, approval: Approval) -> Applied:
    planned, why, others = proposal
    action = approval.action or approval.planned
    try:
        if approval.planned != planned:
            raise Conflict(f"{planned} is planned by now: {why}", code="plan_changed")
        if approval.version not in (None, _version(row)):
            raise Conflict(f"something else was found by now: {row.detail}", code="plan_changed")
        if action == "none":
            raise Conflict(why, code="nothing_to_do")
        if action not in {planned, *others}:
            raise Conflict(f"{action} is no action for this finding", code="bad_action")
        task_id = await _do(rt, row, action)
    except LumilioError as error:
        return _failed(row.id, action, error)
    return Applied(finding_id=row.id, action=action, outcome="queued" if task_id else "done", task_id=task_id)


def _failed(finding_id: UUID, action: str, error: LumilioError) -> Applied:
    message = error.message.encode("utf-8", "backslashreplace").decode()
    return Applied(finding_id=finding_id, action=action, outcome="failed", code=error.code, message=message)


async def _do(rt: Runtime, row: Finding, action: str) -> JobId | None:
    """Do one action; return the job that does it, None when it is done."""
    match action:
        case "restore":
            return await rt.jobs.call(kinds.enqueue_one, kinds.heal(row.id, row.repository_id))
        case "remake":
            assert row.mirror_id is not None
            return await rt.jobs.call(kinds.enqueue_one, kinds.mirror(row.mirror_id, row.repository_id))
        case "reingest":
            return await rt.jobs.call(_reingest, row)
        case "adopt":
            return await rt.jobs.call(_adopt, row)
        case "quarantine":
            await _in_thread(rt, row, partial(_set_aside, row))
            await rt.db.call(findings.close, row.id, "resolved")
        case _:
            await _accept_missing(rt, row)
    return None


def _reingest(conn: Connection, row: Finding) -> JobId:
    expected = _expected(conn, row)
    if row.found is not None and row.path.startswith(INBOX):
        trash.hold(conn, expected.asset_id)
        if files.release(conn, expected.id, expected.asset_id, row.found):
            trash.file_left(conn, expected.asset_id)
    elif row.found is not None:
        integrity.reopen(conn, expected)
    return kinds.enqueue_one(conn, kinds.ingest_file(expected.id, expected.repository_id))


def _adopt(conn: Connection, row: Finding) -> JobId:
    assert row.found is not None
    generation = integrity.generation(conn, row.repository_id)
    (record,) = files.seen(conn, row.repository_id, generation, [SeenFile(row.path, row.found)])
    findings.close(conn, row.id, "resolved")
    return kinds.enqueue_one(conn, kinds.ingest_file(record.id, row.repository_id))


def _set_aside(row: Finding, opened: Opened) -> None:
    assert row.found is not None
    reason = heal.why(row.id, row.kind, row.detail, row.path, asset_id=None, digest=None)
    heal.set_aside(opened.repository, row.path, row.found, reason)


async def _accept_missing(rt: Runtime, row: Finding) -> None:
    """Take a person's word that a file is gone for good: its record goes, and its asset to the trash.

    Raises:
        Conflict: it is there again (``file_is_back``). Unavailable: the repository is away.
    """
    expected = await rt.db.call(_expected, row)
    await _in_thread(rt, row, partial(_check_missing, expected))
    await rt.jobs.call(_forget, expected, row)


def _check_missing(expected: Expected, opened: Opened) -> None:
    repository.check_identity(opened.repository)
    found = check.check(opened.repository, expected.path, expected.digest, expected.stat, Throttle(0))
    if found.verdict is not Verdict.MISSING:
        raise _back()


def _forget(conn: Connection, expected: Expected, row: Finding) -> None:
    in_trash = trash.held(conn, expected.asset_id)
    if not expected.in_trash:
        if not files.drop_missing(conn, expected.id, expected.asset_id, expected.path, expected.stat):
            raise _back()
        trash.file_left(conn, expected.asset_id)
    elif in_trash is None or in_trash.state not in (TrashState.TRASHED, TrashState.PURGING):
        raise _back()
    else:
        trash.drop_files(conn, [expected.id])
    findings.close(conn, row.id, "resolved")


def _back() -> Conflict:
    return Conflict("a file is there again, or is being moved", code="file_is_back")


def _expected(conn: Connection, row: Finding) -> Expected:
    expected = integrity.file(conn, row.file_id) if row.file_id is not None else None
    if expected is None or expected.digest != row.digest:
        raise Conflict("the record expects other bytes by now", code="finding_not_open")
    return expected


async def _in_thread(rt: Runtime, row: Finding, fn: Callable[[Opened], None]) -> None:
    opened = rt.repositories.get(row.repository_id)
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(fn, opened, limiter=rt.disk)
