"""How safe the originals are: coverage, findings, mirrors; and verifying on demand."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import trio

from lumiliod import config
from lumiliod.contract.integrity import (
    Coverage,
    Finding,
    FindingPage,
    Ignored,
    IgnoreResult,
    Integrity,
    Mirror,
    MirrorList,
    MirrorTicket,
    NewMirror,
    VerifyRequest,
    VerifyTicket,
)
from lumiliod.db import findings as db_findings
from lumiliod.db import integrity as db_integrity
from lumiliod.db import integrity_runs
from lumiliod.db import mirrors as db_mirrors
from lumiliod.db.findings import Finding as FindingRow
from lumiliod.db.integrity import Coverage as CoverageRow
from lumiliod.db.mirrors import Mirror as MirrorRow
from lumiliod.db.mirrors import MirrorSize
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, NotFound, Shape
from lumiliod.domain.ids import AssetId, RepositoryId, shown
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.library import convert, mirror_look
from lumiliod.pipeline import kinds, schedules
from lumiliod.runtime import Runtime
from lumiliod.storage import mirrors as storage

STATES = ("open", "ignored", "healed", "resolved")
KINDS = ("missing", "changed", "bit_rot", "untracked", "unreadable")

DAY_S = 86_400
DEFAULT_DAYS = 30
"""The period that coverage is told of while nothing is scrubbed."""


async def overview(rt: Runtime) -> Integrity:
    """Return how safe the originals are, at one look."""
    settings = rt.config.integrity
    days = settings.scrub_days or DEFAULT_DAYS
    rows, counts, (speed, last_at), (fewer, originals), now = await rt.db.call(_overview, days, settings.copies)
    looked_after = [row for row in rows if _status(rt, row.repository_id) != RepositoryStatus.DETACHED]
    total = sum(row.size_bytes for row in looked_after)
    left = total - sum(row.verified_bytes for row in looked_after)
    pace = total / (days * DAY_S)
    limit = settings.scrub_mb_per_s * (1 << 20) or speed or pace
    oldest = [row.oldest_at for row in looked_after if row.oldest_at is not None]
    return Integrity(
        scrub_days=settings.scrub_days,
        share=_share(total - left, total),
        never=sum(row.never for row in looked_after),
        oldest_at=min(oldest, default=None),
        repositories=[_coverage(rt, row) for row in rows],
        last_read_at=last_at,
        bytes_per_s=None if speed is None else round(speed, 1),
        through_at=_through(left, min(pace, limit), now) if settings.scrub_days else None,
        late=bool(settings.scrub_days) and limit < pace,
        findings=counts,
        copies_wanted=settings.copies,
        originals=originals,
        fewer_copies=fewer,
    )


async def verify(rt: Runtime, wanted: VerifyRequest) -> VerifyTicket:
    """Ask for a check now; one that waits already is the answer, and one that runs is followed by it.

    Raises:
        Shape: nothing, or more than one thing, is said.
        NotFound: there is no such repository or asset.
        Unavailable: the repository is offline, or every one with a file of the asset.
    """
    if [wanted.all, wanted.repository is not None, wanted.asset is not None].count(True) != 1:
        raise Shape("say what to verify: all, a repository or an asset", code="bad_scope")
    repository_id = None
    if wanted.repository is not None:
        repository_id = rt.repositories.get(rt.repositories.row(wanted.repository).id).id
    asset_id = None if wanted.asset is None else AssetId(wanted.asset)
    if asset_id is not None:
        having = await rt.db.call(_repositories_of, asset_id)
        if not having:
            raise NotFound(f"there is no asset {asset_id} with a file", code="asset_not_found")
        repository_id = rt.repositories.get(next(filter(rt.repositories.is_open, having), having[0])).id
    return VerifyTicket(task_id=await rt.jobs.call(kinds.enqueue_one, kinds.verify(repository_id, asset_id)))


async def findings(
    rt: Runtime, *, state: str | None, kind: str | None, repository: str | None, cursor: str | None, limit: int
) -> FindingPage:
    """Return what is wrong, or was, the newest first.

    Raises:
        Shape: an unknown state or kind, a bad limit or cursor. NotFound: no such repository.
    """
    if state is not None and state not in STATES:
        raise Shape(f"state is one of {', '.join(STATES)}", code="bad_state")
    if kind is not None and kind not in KINDS:
        raise Shape(f"kind is one of {', '.join(KINDS)}", code="bad_kind")
    repository_id = rt.repositories.row(repository).id if repository is not None else None
    before = convert.from_cursor(cursor, tuple[UUID])[0] if cursor else None
    rows = await rt.db.call(_findings, state, kind, repository_id, before, convert.limited(limit) + 1)
    next_cursor = convert.cursor(rows[limit - 1].id) if len(rows) > limit else None
    return FindingPage(items=[finding(rt, row) for row in rows[:limit]], next_cursor=next_cursor)


async def ignore(rt: Runtime, ids: Sequence[UUID], *, undo: bool = False) -> Ignored:
    """Have open findings trouble nobody any more, for as long as they stay what they are."""
    changed, states = await rt.db.call(_ignored, ids, undo)
    items = [IgnoreResult(finding_id=id_, state=states.get(id_, "not_found")) for id_ in dict.fromkeys(ids)]
    return Ignored(count=changed, items=items)


def _ignored(conn: Connection, ids: Sequence[UUID], undo: bool) -> tuple[int, dict[UUID, str]]:
    changed = db_findings.notice(conn, ids) if undo else db_findings.ignore(conn, ids)
    return len(changed), db_findings.states(conn, ids)


async def mirrors(rt: Runtime) -> MirrorList:
    """Return every mirror, by repository, and whether each is there now."""
    await mirror_look.look(rt, await rt.db.call(db_mirrors.all_rows))
    return MirrorList(items=await _shown(rt, None))


async def add_mirror(rt: Runtime, new: NewMirror) -> Mirror:
    """Add a mirror and begin to fill it.

    Raises:
        NotFound: no such repository or folder. Conflict: it has this mirror already.
        Shape: nothing can be stored there, or it lies in a repository.
    """
    repository_id = rt.repositories.row(new.repository).id
    roots = [row.root for row in rt.repositories.rows()]
    location = await trio.to_thread.run_sync(
        storage.checked_location,
        new.location,
        new.options,
        roots,
        config.secrets_dir(rt.config),
        limiter=rt.disk,
    )
    row = await rt.jobs.call(_add, repository_id, location, new.options)
    return next(iter(await _shown(rt, row.id)), _mirror(rt, row, None, 0))


async def remove_mirror(rt: Runtime, mirror_id: UUID) -> None:
    """Forget a mirror; what lies there stays.

    Raises:
        NotFound: there is none. Conflict: its repository's marker names it (``mirror_declared``).
    """
    row = await rt.db.call(db_mirrors.get, mirror_id)
    if row is not None and schedules.declares(rt.repositories, row):
        name = rt.repositories.name(row.repository_id)
        message = f"the marker of {name} wants this mirror, which would come back: say create_backups: false in its"
        raise Conflict(f"{message} .lumiliorepo, and start lumiliod again", code="mirror_declared")
    if not await rt.db.call(db_mirrors.remove, mirror_id):
        raise _no_mirror(mirror_id)


async def fill_mirror(rt: Runtime, mirror_id: UUID) -> MirrorTicket:
    """Bring a mirror up to date now.

    Raises:
        NotFound: there is none.
    """
    row = await rt.db.call(db_mirrors.get, mirror_id)
    if row is None:
        raise _no_mirror(mirror_id)
    return MirrorTicket(task_id=await rt.jobs.call(kinds.enqueue_one, kinds.mirror(row.id, row.repository_id)))


def finding(rt: Runtime, row: FindingRow) -> Finding:
    """Return the wire form of a finding."""
    return Finding(
        id=row.id,
        kind=row.kind,
        code=row.code,
        state=row.state,
        repository=rt.repositories.name(row.repository_id),
        repository_id=row.repository_id,
        mirror_id=row.mirror_id,
        asset_id=row.asset_id,
        path=shown(row.path),
        detail=row.detail,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        closed_at=row.closed_at,
    )


async def _shown(rt: Runtime, only: UUID | None) -> list[Mirror]:
    rows, sizes, lacking = await rt.db.call(_mirrors, only)
    return [_mirror(rt, row, sizes.get(row.id), lacking.get(row.id, 0)) for row in rows]


def _overview(
    conn: Connection, days: int, copies: int
) -> tuple[list[CoverageRow], dict[str, int], tuple[float | None, dt.datetime | None], tuple[int, int], dt.datetime]:
    return (
        list(db_integrity.coverage(conn, days).values()),
        db_findings.counts(conn),
        integrity_runs.speed(conn),
        db_mirrors.fewer_copies(conn, copies),
        db_integrity.now(conn),
    )


def _findings(
    conn: Connection,
    state: str | None,
    kind: str | None,
    repository_id: RepositoryId | None,
    before: UUID | None,
    count: int,
) -> list[FindingRow]:
    return db_findings.page(conn, state=state, kind=kind, repository_id=repository_id, before=before, count=count)


def _repositories_of(conn: Connection, asset_id: AssetId) -> list[RepositoryId]:
    return [file.repository_id for file in db_integrity.files_of_asset(conn, asset_id, db_integrity.now(conn))]


def _mirrors(conn: Connection, only: UUID | None) -> tuple[list[MirrorRow], dict[UUID, MirrorSize], dict[UUID, int]]:
    rows = [row for row in db_mirrors.all_rows(conn) if only in (None, row.id)]
    return rows, db_mirrors.sizes(conn, only), db_mirrors.lacking_counts(conn, only)


def _add(conn: Connection, repository_id: RepositoryId, location: str, options: dict[str, str]) -> MirrorRow:
    row = db_mirrors.insert(conn, repository_id, location, options)
    kinds.enqueue_one(conn, kinds.mirror(row.id, repository_id))
    return row


def _coverage(rt: Runtime, row: CoverageRow) -> Coverage:
    return Coverage(
        repository=rt.repositories.name(row.repository_id),
        repository_id=row.repository_id,
        status=_status(rt, row.repository_id),
        files=row.files,
        size_bytes=row.size_bytes,
        verified=row.verified,
        verified_bytes=row.verified_bytes,
        share=_share(row.verified_bytes, row.size_bytes),
        never=row.never,
        oldest_at=row.oldest_at,
    )


def _mirror(rt: Runtime, row: MirrorRow, size: MirrorSize | None, lacking: int) -> Mirror:
    return Mirror(
        id=row.id,
        repository=rt.repositories.name(row.repository_id),
        repository_id=row.repository_id,
        location=row.location,
        declared=row.declared,
        status=row.status,
        status_reason=row.status_reason,
        copies=size.copies if size else 0,
        size_bytes=size.size_bytes if size else 0,
        lacking=lacking,
        oldest_at=size.oldest_at if size else None,
        created_at=row.created_at,
    )


def _status(rt: Runtime, repository_id: RepositoryId) -> str:
    row = rt.repositories.known(repository_id)
    return row.status if row is not None else RepositoryStatus.OFFLINE


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 1.0


def _through(left_bytes: int, bytes_per_s: float, now: dt.datetime) -> dt.datetime | None:
    """Return when what is left will have been read; None when nothing is left."""
    return now + dt.timedelta(seconds=left_bytes / bytes_per_s) if left_bytes and bytes_per_s else None


def _no_mirror(mirror_id: UUID) -> NotFound:
    return NotFound(f"there is no mirror {mirror_id}", code="mirror_not_found")
