"""Scans: stretches of a repository's paths as a walk met them, compared with the file records and merged into them.

A stretch is what lies between two paths in the order of their bytes. Both sides make one digest of it; where they agree
nothing is read and nothing is written.
"""

import hashlib
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from lumiliod.db import job_admin, trash
from lumiliod.db.encoding import array_literal, bytes_array, plain_array
from lumiliod.db.file_stat import fitting, signed
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.db.waking import wake_again, wakes
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId, path_bytes, uuid7_texts
from lumiliod.domain.jobs import NewJob

Q = Queries(__file__)

PATH_MAX_BYTES = 2000
"""Longest path kept: an index row of PostgreSQL holds 2704 bytes (a third of a page)."""

BEYOND = b"\xff" * (PATH_MAX_BYTES + 1)
"""Comes after every path there can be; behind a folder's own, after all below it."""

STEP = 20_000
"""Records that one statement looks through for what was not met, and that one transaction marks as missing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which paths of a repository: beyond ``after`` up to ``until``, in the order of bytes."""

    after: bytes = b""
    until: bytes = BEYOND
    name_at: int = 0
    """Where, counted from one, the names of the files that lie in one folder itself begin; 0: all below are meant."""


@dataclass(frozen=True, slots=True)
class Met:
    """The files that a walk met in a stretch, in the order of their paths' bytes; made by :func:`met`."""

    stretch: Stretch
    paths: Sequence[bytes]
    columns: Sequence[Sequence[int]]
    """Sizes, mtimes, inodes and ctimes, as they fit into bigints."""
    left_out: Mapping[bytes, str]
    """Why, of the paths whose names decide that they are ``ignored``."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What the records hold of a stretch: one row more than was met is the most that is counted."""

    digest: bytes
    files: int
    to_retry: int
    """Those that are examined anew at every scan, for settings and permissions may have changed."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a stretch that differed, in files."""

    added: int
    changed: int
    known: int
    """Those that had a record and were not missing."""
    returned: int = 0
    """Those that were missing."""
    left: Sequence[bytes] = ()
    """Paths that are yet to be merged: others are at work on their records, or have let them go meanwhile."""

    def and_then(self, rest: "Merged") -> "Merged":
        """Return what came of it together with what came of merging those that were left."""
        added, changed, returned = self.added + rest.added, self.changed + rest.changed, self.returned + rest.returned
        return Merged(added, changed, self.known, returned, rest.left)


def as_columns(states: Iterable[Sequence[int]]) -> "list[array[int]]":
    """Return sizes in bytes, mtimes in ns, inodes and ctimes in ns, as they fit into bigints."""
    fits = (fitting, fitting, signed, fitting)
    return [_column(values, fit) for values, fit in zip(states, fits, strict=True)]


def _column(values: Sequence[int], fit: Callable[[int], int]) -> "array[int]":
    try:
        return array("q", values)
    except OverflowError:
        return array("q", map(fit, values))


def met(
    stretch: Stretch, paths: Sequence[bytes], columns: "Sequence[array[int]]", left_out: Mapping[bytes, str]
) -> Met:
    """Return what a walk met, as the database holds and digests it; see ``stretch`` of ``scans.sql``.

    Args:
        stretch: where.
        paths: all of it, in the order of bytes.
        columns: the state of each, of :func:`as_columns`.
        left_out: why, of paths whose names decide.
    """
    digest = hashlib.sha256(len(paths).to_bytes(8))
    digest.update(b"\0".join(paths))
    for column in columns:
        column.byteswap()
        digest.update(column)
        column.byteswap()
    digest.update(b"\0".join([path for path in paths if path in left_out]) if left_out else b"")
    return Met(stretch, paths, columns, left_out, digest.digest())


def next_generation(conn: Connection, repository_id: RepositoryId) -> int:
    """Begin a scan; what is recorded from now on carries the number returned."""
    row = conn.execute(Q["next_generation"], {"id": repository_id}).fetchone()
    if row is None:
        raise LookupError(f"no repository {repository_id}")
    return int(row[0])


def mounts(conn: Connection, repository_id: RepositoryId) -> set[bytes]:
    """Return where in a repository file systems were mounted when it was scanned last."""
    row = conn.execute(Q["mounts"], {"id": repository_id}).fetchone()
    return set(row[0]) if row else set()


def set_mounts(conn: Connection, repository_id: RepositoryId, places: Collection[bytes]) -> None:
    """Say where in a repository file systems are mounted, or are away from."""
    conn.execute(Q["set_mounts"], {"id": repository_id, "mounts": sorted(places)})


def held(conn: Connection, repository_id: RepositoryId, page: Met) -> Held:
    """Return what the records hold where a walk met ``page``."""
    row = conn.execute(Q["stretch"], _where(repository_id, page.stretch) | {"count": len(page.paths) + 1}).fetchone()
    assert row is not None
    return Held(*row)


def merge(
    conn: Connection,
    repository_id: RepositoryId,
    generation: int,
    page: Met,
    like: NewJob,
    keeps_inodes: bool = True,
) -> Merged:
    """Record what is new or changed in a page of a walk, each file with its job, in one statement.

    It waits for nobody who is at work on a record: of those that remain, see :func:`part`.

    Args:
        conn: a transaction.
        repository_id: where the files are.
        generation: the scan.
        page: what the walk met.
        like: what the jobs of files are like; one that is open already does the work.
        keeps_inodes: whether another inode is another file; some file systems make them up whenever they are mounted.
    """
    count = len(page.paths)
    ids = uuid7_texts(2 * count)
    sizes, mtimes, inodes, ctimes = (plain_array(map(str, column)) for column in page.columns)
    params = _where(repository_id, page.stretch) | {
        "generation": generation,
        "keeps_inodes": keeps_inodes,
        "ids": plain_array(ids[:count]),
        "job_ids": plain_array(ids[count:]),
        "paths": bytes_array(page.paths),
        "sizes": sizes,
        "mtimes": mtimes,
        "inodes": inodes,
        "ctimes": ctimes,
        "left_out": bytes_array(page.left_out),
        "reasons": array_literal(list(page.left_out.values())),
        "kind": like.kind,
        "queue": like.queue,
        "priority": like.priority,
        "max_attempts": like.max_attempts,
    }
    row = conn.execute(Q["merge"], params).fetchone()
    assert row is not None
    added, changed, enqueued, known, returned, left = row
    if enqueued:
        wakes(conn).queues.add(like.queue)
    if enqueued < added + changed:
        # a claim passes over the open jobs that this holds, and what waited for its time need not any longer
        wake_again(conn, [like.queue])
        wakes(conn).later = True
    return Merged(added, changed, known, returned, left or ())


def part(page: Met, paths: Collection[bytes]) -> Met:
    """Return what was met of these paths alone; its digest is the page's still."""
    at = [number for number, path in enumerate(page.paths) if path in paths]
    columns = [[column[number] for number in at] for column in page.columns]
    return replace(page, paths=[page.paths[number] for number in at], columns=columns)


def release_left_out(conn: Connection, repository_id: RepositoryId, paths: Sequence[bytes]) -> None:
    """Have assets leave those of ``paths`` that became what a walk leaves out."""
    params = {"repository_id": repository_id, "paths": list(paths)}
    left = [AssetId(row[0]) for row in conn.execute(Q["held_left_out"], params)]
    if left:
        trash.hold(conn, *left)
        conn.execute(Q["release_left_out"], {**params, "assets": left})
        retired = trash.files_left(conn, left)
        job_admin.cancel(conn, trash.waiting_jobs(conn, retired))


def note_absent(
    conn: Connection, repository_id: RepositoryId, generation: int, page: Met, after: bytes | None = None
) -> tuple[int, bytes | None]:
    """Note what the records hold of a stretch and the walk has not met.

    Returns:
        How much that is, and where to go on; None at the stretch's end.
    """
    where = _where(repository_id, page.stretch)
    if after is not None:
        where["after"] = after
    row = conn.execute(Q["step"], where | {"count": STEP}).fetchone()
    if row is not None:
        where["until"] = row[0]
    params = where | {"generation": generation, "paths": bytes_array(page.paths)}
    noted = conn.execute(Q["note_absent"], params).rowcount
    return noted, row[0] if row is not None else None


def note_unread(conn: Connection, repository_id: RepositoryId, generation: int, unread: Iterable[RepoPath]) -> None:
    """Say of what a scan did not meet below folders it could not read that this tells nothing."""
    conn.execute(Q["note_unread"], {"repository_id": repository_id, "generation": generation} | below(unread))


def is_latest(conn: Connection, repository_id: RepositoryId, generation: int) -> bool:
    """Tell whether no other scan has begun since; none can until this transaction has ended."""
    row = conn.execute(Q["latest"], {"repository_id": repository_id, "generation": generation}).fetchone()
    return bool(row and row[0])


def count_absent(conn: Connection, repository_id: RepositoryId, generation: int) -> int:
    """Return how many files a scan did not meet, outside folders it could not read."""
    row = conn.execute(Q["count_absent"], {"repository_id": repository_id, "generation": generation}).fetchone()
    return int(row[0]) if row else 0


def absent(conn: Connection, repository_id: RepositoryId, generation: int, count: int) -> list[UUID]:
    """Return the records of some of these, of what is held already last."""
    params = {"repository_id": repository_id, "generation": generation, "count": count}
    return [row[0] for row in conn.execute(Q["absent"], params)]


def unsure(conn: Connection, repository_id: RepositoryId, generation: int, count: int) -> list[bytes]:
    """Return some of the files that a scan did not meet and whose records others have written since."""
    params = {"repository_id": repository_id, "generation": generation, "count": count}
    return [row[0] for row in conn.execute(Q["unsure"], params)]


def count_present(conn: Connection, repository_id: RepositoryId) -> int:
    """Return how many files of a repository are not missing."""
    row = conn.execute(Q["count_present"], {"repository_id": repository_id}).fetchone()
    return int(row[0]) if row else 0


def mark_missing(conn: Connection, repository_id: RepositoryId, generation: int, ids: Sequence[UUID]) -> int:
    """Mark some of what a scan did not meet; return how many.

    An asset whose original is missing is served from another file with the same bytes, where there is one; without one
    it goes to the trash when its file was a person's to remove, which that of the inbox is not. It comes back with
    its bytes.
    """
    params = {"repository_id": repository_id, "generation": generation, "ids": list(ids)}
    conn.execute(Q["hold_absent"], params)
    marked = conn.execute(Q["mark_missing"], params).rowcount
    serve_from_others(conn, repository_id)
    where = {"repository_id": repository_id}
    left = [AssetId(row[0]) for row in conn.execute(Q["taken_away"], where)]
    trash.hold(conn, *left)
    conn.execute(Q["forget_taken_away"], where)
    retired = trash.files_left(conn, left)
    job_admin.cancel(conn, trash.waiting_jobs(conn, retired))
    return marked


def serve_from_others(conn: Connection, repository_id: RepositoryId) -> None:
    """Have assets whose original is missing served from another file with the same bytes, where one is there."""
    where = {"repository_id": repository_id}
    found = conn.execute(Q["successors"], where).fetchall()
    if found:
        trash.hold(conn, *(AssetId(row[2]) for row in found))
        pairs = conn.execute(Q["successors"], where).fetchall()
        conn.execute(Q["remove_all"], {"ids": [row[0] for row in pairs]})
        conn.execute(Q["promote_all"], {"ids": [row[1] for row in pairs]})


def forget_absences(conn: Connection, repository_id: RepositoryId, generation: int) -> None:
    """Drop what this scan and earlier ones have noted."""
    conn.execute(Q["forget_absences"], {"repository_id": repository_id, "generation": generation})


def lacks_jobs(conn: Connection, repository_id: RepositoryId) -> bool:
    """Tell whether more files of a repository wait to be ingested than jobs are open for that.

    One that is open for a file that waits no longer may hide one that is lost, until it has ended.
    """
    row = conn.execute(Q["lacks_jobs"], {"repository_id": repository_id}).fetchone()
    return bool(row and row[0])


def pending_without_job(
    conn: Connection, repository_id: RepositoryId, after: UUID, count: int
) -> tuple[list[UUID], UUID | None]:
    """Look at ``count`` files of a repository that wait to be ingested; return those without a job and where to go on.

    They come in the order of their ids, those beyond ``after``; the second value is None at the end.
    """
    params = {"repository_id": repository_id, "after": after, "count": count}
    conn.execute(Q["in_order"])
    row = conn.execute(Q["pending_without_job"], params).fetchone()
    return (row[0] or [], row[1]) if row else ([], None)


def _where(repository_id: RepositoryId, stretch: Stretch) -> dict[str, object]:
    return {
        "repository_id": repository_id,
        "after": stretch.after,
        "until": stretch.until,
        "name_at": stretch.name_at,
    }


def below(folders: Iterable[RepoPath]) -> dict[str, object]:
    """Return what lies below folders as parameters: beyond ``above`` of each and before ``behind``."""
    prefixes = [path_bytes(RepoPath(f"{folder}/" if folder else "")) for folder in folders]
    # zero follows the slash
    return {"above": prefixes, "behind": [prefix[:-1] + b"0" if prefix else BEYOND for prefix in prefixes]}
