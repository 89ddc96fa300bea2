"""Deletions that are held: what a person is asked about, and what they decide."""

from uuid import UUID

from lumiliod.contract.sync import HeldDeletions, HeldFilePage, HeldList
from lumiliod.db import held as db_held
from lumiliod.db.held import HeldRow
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import JobId, RepositoryId, path_bytes, shown
from lumiliod.domain.sync import HeldState, SyncType
from lumiliod.library import convert
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime

EXAMPLES = 5


async def list_all(rt: Runtime) -> HeldList:
    """Return what is held of every repository, the longest held first."""
    return HeldList(items=[wire(rt, row, paths) for row, paths in await rt.db.call(with_examples)])


async def files(rt: Runtime, ref: str, *, cursor: str | None, limit: int) -> HeldFilePage:
    """Return the paths of what is held of a repository, in the order of their bytes.

    Raises:
        NotFound: no such repository. Shape: a bad limit or cursor.
    """
    row = rt.repositories.row(ref)
    after = convert.from_cursor(cursor, tuple[bytes])[0] if cursor else b""
    paths = await rt.db.call(db_held.paths, row.id, after, convert.limited(limit) + 1)
    following = convert.cursor(path_bytes(paths[limit - 1])) if len(paths) > limit else None
    return HeldFilePage(items=[shown(path) for path in paths[:limit]], next_cursor=following)


async def approve(rt: Runtime, ref: str, plan_id: UUID | None = None) -> JobId:
    """Believe that what is held is missing: the scan that is asked for marks it, unless it has come back.

    Where clearly more is missing by then it is held anew.

    Raises:
        NotFound: no such repository. Unavailable: it is offline.
        Conflict: nothing is held of it (``nothing_held``), or something else than ``plan_id`` (``plan_changed``).
    """
    opened = rt.repositories.get(rt.repositories.row(ref).id)
    return await rt.jobs.call(_approve, opened.id, rt.repositories.name(opened.id), plan_id)


async def reject(rt: Runtime, ref: str, plan_id: UUID | None = None) -> HeldDeletions:
    """Keep the records of what is held as they are, and ask no more until more is missing.

    Raises:
        NotFound: no such repository.
        Conflict: nothing is held of it (``nothing_held``), or something else than ``plan_id`` (``plan_changed``).
    """
    row = rt.repositories.row(ref)
    await rt.db.call(_decide, row.id, row.name, plan_id, HeldState.REJECTED)
    [(decided, paths)] = await rt.db.call(with_examples, row.id)
    return wire(rt, decided, paths)


def with_examples(conn: Connection, only: RepositoryId | None = None) -> list[tuple[HeldRow, list[str]]]:
    """Return what is held, of every repository or one, with the first paths of each."""
    rows = db_held.held(conn, only)
    return [(row, [shown(path) for path in db_held.paths(conn, row.repository_id, b"", EXAMPLES)]) for row in rows]


def wire(rt: Runtime, row: HeldRow, paths: list[str]) -> HeldDeletions:
    """Return the wire form of what is held of one repository."""
    return HeldDeletions(
        plan_id=row.plan_id,
        repository=rt.repositories.name(row.repository_id),
        repository_id=row.repository_id,
        state=row.state,
        files=row.files,
        known=row.known,
        since=row.since,
        decided_at=row.decided_at,
        examples=paths,
    )


def _approve(conn: Connection, repository_id: RepositoryId, name: str, plan_id: UUID | None) -> JobId:
    _decide(conn, repository_id, name, plan_id, HeldState.APPROVED)
    return kinds.enqueue_one(conn, kinds.scan_again(repository_id, SyncType.MANUAL))


def _decide(conn: Connection, repository_id: RepositoryId, name: str, plan_id: UUID | None, state: HeldState) -> None:
    generation = db_held.lock(conn, repository_id)
    row = next(iter(db_held.held(conn, repository_id)), None)
    if row is None:
        raise Conflict(f"nothing is held of {name}", code="nothing_held")
    if plan_id not in (None, row.plan_id):
        raise Conflict(f"what is held of {name} is something else by now", code="plan_changed")
    db_held.decide(conn, repository_id, state, generation if state is HeldState.APPROVED else None)
