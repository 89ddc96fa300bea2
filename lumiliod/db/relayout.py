"""Re-layouts: what lies in an inbox, which way each re-layout goes, and whose job does it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import RepositoryId

Q = Queries(__file__)


TURNED_AFTER_S = 1.0


State = Literal["running", "done", "undoing", "undone"]


OPEN: tuple[State, ...] = ("running", "undoing")


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file of an inbox as its record tells it, and what a layout may know of its asset."""

    id: UUID
    path: bytes
    outcome: str
    size_bytes: int
    is_missing: bool
    asset_id: UUID | None
    digest: str | None
    original_filename: str | None
    mime_type: str | None
    taken_at_local: datetime | None


@dataclass(frozen=True, slots=True)
class Relayout:
    """A re-layout; ``halted``: a person cancelled its job, and it goes on when a person wants it."""

    id: UUID
    repository_id: RepositoryId
    from_strategy: str
    to_strategy: str
    state: State
    verify: bool
    job_id: UUID
    halted: bool
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewRelayout:
    """A re-layout to be written; its job is made in the same transaction."""

    id: UUID
    repository_id: RepositoryId
    from_strategy: str
    to_strategy: str
    job_id: UUID
    verify: bool = False


def inbox(conn: Connection, repository_id: RepositoryId) -> list[InboxFile]:
    """Return every file of an inbox, the originals first, each group by path."""
    with conn.cursor(row_factory=class_row(InboxFile)) as cursor:
        return cursor.execute(Q["inbox"], {"repository_id": repository_id}).fetchall()


def staying(conn: Connection, repository_id: RepositoryId) -> tuple[int, int, int]:
    """Return what no layout touches: files of the user area, their bytes, and files in the trash."""
    row = conn.execute(Q["staying"], {"repository_id": repository_id}).fetchone()
    return (row[0], row[1], row[2]) if row else (0, 0, 0)


def get(conn: Connection, relayout_id: UUID) -> Relayout | None:
    """Return one re-layout."""
    with conn.cursor(row_factory=class_row(Relayout)) as cursor:
        return cursor.execute(Q["get"], {"id": relayout_id}).fetchone()


def latest(conn: Connection, repository_id: RepositoryId) -> Relayout | None:
    """Return a repository's last re-layout that was not undone; else its last."""
    with conn.cursor(row_factory=class_row(Relayout)) as cursor:
        return cursor.execute(Q["latest"], {"repository_id": repository_id}).fetchone()


def go_on(conn: Connection, relayout_id: UUID, state: State, job_id: UUID, *, verify: bool) -> None:
    """Have a re-layout done, or undone, by a new job, which reads every file first if ``verify`` was said ever."""
    conn.execute(Q["go_on"], {"id": relayout_id, "state": state, "job_id": job_id, "verify": verify})


def halt(conn: Connection) -> None:
    """Note which re-layouts were cancelled."""
    conn.execute(Q["halt"])


def without_job(conn: Connection, after: UUID, count: int) -> list[tuple[UUID, RepositoryId]]:
    """Return re-layouts beyond ``after`` that are to go on and that no job does, by id."""
    rows = conn.execute(Q["without_job"], {"after": after, "count": count})
    return [(row[0], RepositoryId(row[1])) for row in rows]


def set_job(conn: Connection, relayout_id: UUID, job_id: UUID) -> None:
    """Note which job does a re-layout."""
    conn.execute(Q["set_job"], {"id": relayout_id, "job_id": job_id})


def set_strategy(conn: Connection, repository_id: RepositoryId, strategy: str) -> None:
    """Note by which layout a repository goes; its marker decides."""
    conn.execute(Q["set_strategy"], {"id": repository_id, "strategy": strategy})


def finish(conn: Connection, work: Relayout) -> None:
    """Write that a re-layout, or its undoing, is at its end. Raises as :func:`check_course`."""
    check_course(conn, work)
    conn.execute(Q["finish"], {"id": work.id, "state": "undone" if work.state == "undoing" else "done"})


def check_course(conn: Connection, work: Relayout) -> None:
    """Lock a re-layout against being turned about.

    Raises:
        Unavailable: it is undone now, or done, which its job finds when it comes again (``turned``).
    """
    row = conn.execute(Q["lock_relayout"], {"id": work.id}).fetchone()
    if row is None or row[0] != work.state:
        raise Unavailable("this re-layout has been turned about", code="turned", after_s=TURNED_AFTER_S)
