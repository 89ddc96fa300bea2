"""The end of a scan: what it did not meet is missing, or held until a person decides."""

from dataclasses import dataclass, replace
from uuid import UUID

from lumiliod.db import held, scans, sync
from lumiliod.db import jobs as db_jobs
from lumiliod.db import sidecars as db_sidecars
from lumiliod.db.held import HeldRow
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import RepositoryId, path_from_bytes, shown
from lumiliod.domain.sync import (
    HOLD_FILES,
    Absent,
    HeldState,
    Holding,
    SyncCounts,
    SyncStatus,
    SyncType,
    Verdict,
    judged,
)
from lumiliod.jobs.engine import Result
from lumiliod.pipeline import kinds, sidecars
from lumiliod.pipeline.renewal import UNSETTLED
from lumiliod.watch.walk import Walk
from lumiliod.watch.walks import Walks

AnyWalk = Walk | Walks

UNSURE_MAX = 200
"""More than so many files are asked for by a scan of everything."""


def conclude(
    repository_id: RepositoryId,
    name: str,
    generation: int,
    operation: UUID,
    counts: SyncCounts,
    walk: AnyWalk,
    conn: Connection,
) -> Result:
    """Say what a complete walk did not meet, and end the record of its run; returns what the job keeps.

    Args:
        repository_id: what was walked.
        name: what the library calls it.
        generation: the scan.
        operation: the record of its run.
        counts: what it found.
        walk: the walk, at its end.
        conn: the transaction that ends the job.
    """
    notes = notes_of(walk)
    status = SyncStatus.COMPLETED
    absent = scans.count_absent(conn, repository_id, generation)
    _ask_again(conn, repository_id, generation)
    rows = held.held(conn, repository_id)
    if (absent or rows) and not scans.is_latest(conn, repository_id, generation):
        if absent:
            notes.append("another scan has begun meanwhile, and says what is missing")
    elif absent or rows:
        counts, status, said = _missing(conn, repository_id, name, generation, counts, walk)
        notes += said
    if counts.returned:
        # a copy may have come back, and its original not
        scans.serve_from_others(conn, repository_id)
    scans.forget_absences(conn, repository_id, generation)
    db_jobs.hasten(conn, repository_id, code=UNSETTLED)
    note = "; ".join(notes) or None
    sync.end(conn, operation, counts, status, note=note)
    return {"found": counts.found, "added": counts.added, "changed": counts.changed, "moved": counts.moved,
            "missing": counts.missing, "ignored": counts.ignored, "status": status, "note": note}  # fmt: skip


def _ask_again(conn: Connection, repository_id: RepositoryId, generation: int) -> None:
    """Have those folders scanned again of which this scan cannot tell what is missing: somebody wrote their records."""
    paths = scans.unsure(conn, repository_id, generation, UNSURE_MAX)
    folders = sorted({path_from_bytes(path.rpartition(b"/")[0]) for path in paths})
    if len(paths) == UNSURE_MAX:
        db_jobs.enqueue(conn, [kinds.scan_again(repository_id, SyncType.REALTIME)])
    elif folders:
        parts = [(folder, False) for folder in folders]
        db_jobs.enqueue(conn, [kinds.scan_folders(repository_id, parts, SyncType.REALTIME)])


def judge(row: HeldRow | None, absent: int, new: int, known: int, *, is_full: bool, generation: int) -> Verdict:
    """Say what becomes of ``absent`` files, ``new`` of which are not held yet, after the scan called ``generation``."""
    if row is None:
        return judged(Absent(absent, new, known), None, is_full=is_full)
    since = row.approved_at_generation
    is_due = since is not None and generation > since
    holding = Holding(HeldState(row.state), row.files, row.basis, is_due)
    return judged(Absent(absent, new, known), holding, is_full=is_full)


def notes_of(walk: AnyWalk) -> list[str]:
    """Return what a person should know of a walk."""
    notes = list[str]()
    if walk.unread:
        folder, why = next(iter(walk.unread.items()))
        first = f"{shown(folder)[:200] or '.'} ({why})"
        notes.append(
            f"{len(walk.unread)} folders could not be read, the first {first}; nothing below is marked missing"
        )
    if walk.too_long:
        notes.append(f"{walk.too_long} paths are too long")
    return notes


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a scan did not meet, in files: ``kept`` of them and no others are held still; and what becomes of it."""

    verdict: Verdict
    row: HeldRow | None
    absent: int
    kept: int
    still: int
    known: int


def _judged(conn: Connection, repository_id: RepositoryId, generation: int, walk: AnyWalk) -> _Judged:
    """Say what becomes of what is missing; the repository's row is held already."""
    # what was shown to who approved it counts, not what is left of it
    row = next(iter(held.held(conn, repository_id)), None)
    still = _still_held(conn, repository_id, generation, walk) if row else 0
    if row and not still:
        row = None
    absent = scans.count_absent(conn, repository_id, generation)
    kept = held.count_absent(conn, repository_id, generation) if row else 0
    new = absent - kept
    known = scans.count_present(conn, repository_id) if new > HOLD_FILES or (row and walk.is_full) else 0
    # what is held below a folder that could not be read has not come back
    verdict = judge(row, still + new, new, known, is_full=walk.is_full, generation=generation)
    return _Judged(verdict, row, absent, kept, still, known)


def mark_ahead(repository_id: RepositoryId, generation: int, walk: AnyWalk, conn: Connection) -> int:
    """Mark some of what is missing, where that is more than one transaction should; return how many.

    Each time it is judged anew: a person may have decided meanwhile. What is left is for :func:`conclude`.
    """
    if not scans.is_latest(conn, repository_id, generation):
        return 0
    judged = _judged(conn, repository_id, generation, walk)
    if judged.verdict is Verdict.BELIEVE_NEW:
        held.spare(conn, repository_id, generation)
        return _mark(conn, repository_id, generation) if judged.absent - judged.kept > scans.STEP else 0
    believes = judged.verdict is Verdict.BELIEVE and judged.absent > scans.STEP
    return _mark(conn, repository_id, generation) if believes else 0


def _mark(conn: Connection, repository_id: RepositoryId, generation: int) -> int:
    ids = scans.absent(conn, repository_id, generation, scans.STEP)
    bereft = db_sidecars.unmet(conn, ids)
    marked = scans.mark_missing(conn, repository_id, generation, ids)
    sidecars.reread(conn, bereft)
    return marked


def _missing(
    conn: Connection, repository_id: RepositoryId, name: str, generation: int, counts: SyncCounts, walk: AnyWalk
) -> tuple[SyncCounts, SyncStatus, list[str]]:
    """Mark what is missing, or hold it; the repository's row is held already."""
    judged = _judged(conn, repository_id, generation, walk)
    verdict, row, new = judged.verdict, judged.row, judged.absent - judged.kept
    if verdict is Verdict.HOLD:
        if row is None or new or row.state != HeldState.HELD:
            held.hold(conn, repository_id, generation, judged.absent, judged.known)
        note = (
            f"{judged.still + new} of {judged.known} files are missing at once; that is held until a person decides: "
            f"lumilio repos pending, then approve {name} or reject {name}"
        )
        return counts, SyncStatus.HELD, [note]
    notes = [f"{judged.kept} {_SPARED[HeldState(row.state)]}"] if row is not None and judged.kept else []
    if verdict is Verdict.KEEP:
        waits = row is not None and row.state == HeldState.APPROVED
        return counts, SyncStatus.HELD if waits else SyncStatus.COMPLETED, notes
    if verdict is Verdict.BELIEVE:
        notes = []
    else:
        held.spare(conn, repository_id, generation)
    marked = _mark(conn, repository_id, generation) if judged.absent else 0
    if row is not None and verdict is Verdict.BELIEVE:
        _still_held(conn, repository_id, generation, walk)
    return replace(counts, missing=counts.missing + marked), SyncStatus.COMPLETED, notes


def _still_held(conn: Connection, repository_id: RepositoryId, generation: int, walk: AnyWalk) -> int:
    """Let go what is held and has come back to where a walk was; return how much is held still."""
    return [held.let_returned_go(conn, repository_id, generation, one) for one in walk.stretches][-1]


_SPARED = {
    HeldState.HELD: "files that are missing are held until a person decides",
    HeldState.APPROVED: "files that are missing wait for the scan that was approved",
    HeldState.REJECTED: "files that are missing stay as they are, as a person has decided",
}
