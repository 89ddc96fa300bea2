"""Deletions that are held: which files of a repository are missing in numbers that a person is asked about."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from lumiliod.db.pool import Connection
from lumiliod.db.scans import Stretch
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import RepoPath, RepositoryId, path_from_bytes, uuid7
from lumiliod.domain.sync import HeldState

Q = Queries(__file__)


@dataclass(frozen=True, slots=True)
class HeldRow:
    """What is held of a repository: so many files of so many that were known then.

    ``plan_id`` is another whenever there is more to decide; ``basis`` is the fewest files known since it is held.
    """

    repository_id: RepositoryId
    plan_id: UUID
    state: str
    files: int
    known: int
    basis: int
    since: dt.datetime
    decided_at: dt.datetime | None
    approved_at_generation: int | None


def held(conn: Connection, repository_id: RepositoryId | None = None) -> list[HeldRow]:
    """Return what is held of every repository, or of one, the longest held first."""
    with conn.cursor(row_factory=class_row(HeldRow)) as cursor:
        return cursor.execute(Q["held"], {"repository_id": repository_id}).fetchall()


def undecided(conn: Connection) -> list[RepositoryId]:
    """Return the repositories of which something is held that nobody has decided about."""
    return [RepositoryId(row[0]) for row in conn.execute(Q["undecided"])]


def paths(conn: Connection, repository_id: RepositoryId, after: bytes, count: int) -> list[RepoPath]:
    """Return the files that are held, in the order of their paths' bytes, beyond ``after``."""
    params = {"repository_id": repository_id, "after": after, "count": count}
    return [path_from_bytes(row[0]) for row in conn.execute(Q["paths"], params)]


def lock(conn: Connection, repository_id: RepositoryId) -> int | None:
    """Let no scan conclude and nobody decide until this transaction ends; return the number of the last scan."""
    row = conn.execute(Q["lock"], {"repository_id": repository_id}).fetchone()
    return int(row[0]) if row else None


def decide(conn: Connection, repository_id: RepositoryId, state: HeldState, generation: int | None) -> None:
    """Say what a person has decided; an approval is for scans beyond ``generation``."""
    conn.execute(Q["decide"], {"repository_id": repository_id, "state": state, "generation": generation})


def let_returned_go(conn: Connection, repository_id: RepositoryId, generation: int, stretch: Stretch) -> int:
    """Hold no longer what a scan of ``stretch`` has met again; return how many files are held still.

    Where none is, nothing is held of the repository any more.
    """
    where: dict[str, object] = {"repository_id": repository_id, "generation": generation}
    where |= {"after": stretch.after, "until": stretch.until, "name_at": stretch.name_at}
    conn.execute(Q["returned"], where)
    if stretch == Stretch():
        conn.execute(Q["forgotten"], where)
    row = conn.execute(Q["recount"], where).fetchone()
    if row is None:
        let_go(conn, repository_id)
    return int(row[0]) if row else 0


def count_absent(conn: Connection, repository_id: RepositoryId, generation: int) -> int:
    """Return how much of what a scan did not meet, outside folders it could not read, is held already."""
    row = conn.execute(Q["count_held_absent"], {"repository_id": repository_id, "generation": generation}).fetchone()
    return int(row[0]) if row else 0


def hold(conn: Connection, repository_id: RepositoryId, generation: int, files: int, known: int) -> None:
    """Hold what a scan did not meet, ``files`` of ``known``, besides what is held; a person is asked, or asked anew."""
    params = {"repository_id": repository_id, "plan_id": uuid7(), "files": files, "known": known}
    conn.execute(Q["sweep"])
    conn.execute(Q["hold"], params)
    conn.execute(Q["hold_files"], {"repository_id": repository_id, "generation": generation})
    conn.execute(Q["recount"], params)


def spare(conn: Connection, repository_id: RepositoryId, generation: int) -> None:
    """Take what is held out of what a scan did not meet."""
    conn.execute(Q["spare"], {"repository_id": repository_id, "generation": generation})


def let_go(conn: Connection, repository_id: RepositoryId) -> None:
    """Hold nothing of a repository any longer."""
    conn.execute(Q["let_go"], {"repository_id": repository_id})
