"""Examining: check one file, or one copy in a mirror, and write down what came of it."""

import logging
from functools import partial
from uuid import UUID

import trio

from lumiliod.db import findings, integrity, integrity_runs, mirrors
from lumiliod.db import jobs as db_jobs
from lumiliod.db.findings import Finding, NewFinding
from lumiliod.db.integrity import Expected
from lumiliod.db.integrity_runs import Run, Spent
from lumiliod.db.mirrors import Copy, Mirror
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import shown
from lumiliod.pipeline import kinds
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import check
from lumiliod.storage import mirrors as storage
from lumiliod.storage.backend import Backend
from lumiliod.storage.check import Checked, Verdict
from lumiliod.storage.throttle import Throttle

log = logging.getLogger(__name__)

HEALED_UNASKED = frozenset({"bit_rot", "io_error"})
"""What the disk did. What a person may have done (missing, changed, permissions) waits for a person.

In the trash nobody has anything to change: other bytes there are damage, whatever their time says.
"""


async def examine(rt: Runtime, opened: Opened, expected: Expected, run: Run | None, throttle: Throttle) -> Checked:
    """Check one file and record the verdict: verified, or a finding and what follows from it.

    Raises:
        Unavailable: the repository is away; nothing is concluded.
    """
    with reaching(rt.repositories, opened):
        checked = await trio.to_thread.run_sync(
            check.check,
            opened.repository,
            expected.path,
            expected.digest,
            expected.stat,
            throttle,
            limiter=rt.disk,
        )
    if checked.code == "read_twice":
        # nothing is wrong with the file: the disk, its cable or the memory may be
        log.warning("a file was read wrongly and then rightly", extra={"path": shown(expected.path)})
    run_id = run.id if run is not None else None
    await rt.jobs.call(record, run_id, expected, checked, rt.config.integrity.heal)
    return checked


def record(conn: Connection, run_id: UUID | None, expected: Expected, checked: Checked, heals: bool) -> None:
    """Write down the verdict on a file, and have a bad one healed or looked at anew, as may be done unasked."""
    is_bad = checked.verdict not in {Verdict.GOOD, Verdict.UNSTABLE}
    if run_id is not None:
        unstable = int(checked.verdict is Verdict.UNSTABLE)
        integrity_runs.count(conn, run_id, Spent(checked.read_bytes, checked.read_s, int(is_bad), unstable))
    if checked.verdict is Verdict.UNSTABLE:
        return
    if not integrity.stamp(conn, expected, good=not is_bad, found=checked.found):
        return
    if not is_bad:
        integrity.relax(conn)
        findings.close_of_file(conn, expected.id, "resolved")
        return
    left = _left(conn, expected, checked)
    finding = NewFinding(
        kind=left.kind if left else checked.verdict,
        code=left.code if left else checked.code,
        detail=left.detail if left else checked.detail,
        repository_id=expected.repository_id,
        path=expected.path,
        digest=expected.digest,
        found=checked.found,
        file_id=expected.id,
        asset_id=expected.asset_id,
    )
    finding_id, is_open = findings.report(conn, finding)
    if left is not None:
        return
    is_changed = checked.verdict is Verdict.CHANGED
    if is_changed and checked.found is not None and not expected.in_trash:
        if is_open and integrity.reopen(conn, expected):
            db_jobs.enqueue(conn, [kinds.ingest_file(expected.id, expected.repository_id)])
    elif is_open and heals and (is_changed or checked.code in HEALED_UNASKED):
        db_jobs.enqueue(conn, [kinds.heal(finding_id, expected.repository_id)])


def _left(conn: Connection, expected: Expected, checked: Checked) -> Finding | None:
    """Return what was found of a file that somebody wrote when a person has not said yet what becomes of it.

    Its record tells of it as it is since it was looked at; so it looks as if nobody had written it.
    """
    known = findings.finding_of_file(conn, expected.id) if checked.verdict is Verdict.BIT_ROT else None
    return known if known and known.kind == Verdict.CHANGED and known.found == expected.stat else None


async def examine_copy(
    rt: Runtime, mirror: Mirror, backend: Backend, copy: Copy, run: Run | None, throttle: Throttle
) -> Checked:
    """Check one copy and record the verdict; one that is not good is a finding, and lacking from then on.

    Raises:
        Unavailable: the mirror is away; nothing is concluded.
    """
    path = storage.original_path(copy.digest)
    reading = partial(check.check_copy, backend, path, copy.digest, copy.size_bytes, throttle)
    checked = await trio.to_thread.run_sync(reading, limiter=rt.disk)
    if checked.verdict is not Verdict.GOOD:
        await trio.to_thread.run_sync(storage.check_there, backend, mirror.id, limiter=rt.disk)
    await rt.jobs.call(record_copy, run.id if run is not None else None, mirror, copy, checked)
    return checked


def record_copy(conn: Connection, run_id: UUID | None, mirror: Mirror, copy: Copy, checked: Checked) -> None:
    """Write down the verdict on a copy, and have a bad one made anew."""
    is_bad = checked.verdict is not Verdict.GOOD
    if run_id is not None:
        integrity_runs.count(conn, run_id, Spent(checked.read_bytes, checked.read_s, int(is_bad)))
    path = storage.original_path(copy.digest)
    if not is_bad:
        integrity.relax(conn)
        mirrors.stamp_copy(conn, mirror.id, copy.digest)
        findings.close_of_copy(conn, mirror.id, path, "resolved")
        return
    finding = NewFinding(
        kind=checked.verdict,
        code=checked.code,
        detail=checked.detail,
        repository_id=mirror.repository_id,
        path=path,
        digest=copy.digest,
        mirror_id=mirror.id,
        asset_id=copy.asset_id,
    )
    findings.report(conn, finding)
    mirrors.drop_copy(conn, mirror.id, copy.digest)
    db_jobs.enqueue(conn, [kinds.mirror(mirror.id, mirror.repository_id)])


def says_away(error: Unavailable) -> bool:
    """Tell whether an error says that a whole repository or mirror is away."""
    return error.code in {"repository_offline", "repository_detached", "mirror_offline"}
