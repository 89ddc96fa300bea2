"""Who waits for whom: jobs and groups that must end before a job begins."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.db.waking import note, wake_again
from lumiliod.domain.errors import Conflict

Q = Queries(__file__)


def unmet(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Return those of ``ids`` that have not ended, each held so that it cannot end before this commits.

    Raises:
        Conflict: ``predecessor_cancelled``, one of them was cancelled.
    """
    if not ids:
        return set()
    found = _held_open(conn, ids)
    cancelled = conn.execute(Q["cancelled_of"], {"ids": [one for one in ids if one not in found]}).fetchone()
    if cancelled is not None:
        raise Conflict(
            f"the job {cancelled[0]}, which was to be waited for, was cancelled", code="predecessor_cancelled"
        )
    return found


def wait_again(conn: Connection, jobs: Mapping[UUID, Collection[UUID]]) -> None:
    """Let available jobs wait for what each is said to come after, as far as that has not ended."""
    unmet = _held_open(conn, {on for on_ids in jobs.values() for on in on_ids})
    waits = {job_id: sorted(unmet.intersection(on_ids)) for job_id, on_ids in jobs.items()}
    waits = {job_id: on_ids for job_id, on_ids in waits.items() if on_ids}
    if waits:
        add_waits(conn, waits)
        conn.execute(Q["wait_again"], {"ids": list(waits), "counts": [len(on_ids) for on_ids in waits.values()]})


def add_waits(conn: Connection, waits: Mapping[UUID, Sequence[UUID]]) -> None:
    """Write down what each job waits for."""
    pairs = [(on, job_id) for job_id, on_ids in waits.items() for on in on_ids]
    if pairs:
        params = {"on_ids": [on for on, _ in pairs], "job_ids": [job_id for _, job_id in pairs]}
        conn.execute(Q["add_waits"], params)


def _held_open(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    if not ids:
        return set()
    params = {"ids": sorted(ids)}
    rows = conn.execute(Q["await_jobs"], params).fetchall()
    # a claim passes over what is locked here
    wake_again(conn, {queue for _, queue, state in rows if state == "available"})
    open_jobs = {row[0] for row in rows}
    return open_jobs | {row[0] for row in conn.execute(Q["await_groups"], params)}


def join_groups(conn: Connection, group_ids: Sequence[UUID]) -> None:
    """Count one more open job for each of ``group_ids``."""
    if group_ids:
        conn.execute(Q["join_groups"], {"ids": list(group_ids)})


def leave_groups(conn: Connection, group_ids: Sequence[UUID]) -> list[UUID]:
    """Count one end for each of ``group_ids``; return the groups that have ended with that."""
    if not group_ids:
        return []
    ids = list(group_ids)
    counts = {group: ids.count(group) for group in set(ids)}
    # locked first: the statements after see what others counted meanwhile
    found = conn.execute(Q["lock_groups"], {"ids": sorted(counts)}).fetchall()
    ended = [group for group, still_open in found if still_open <= counts[group]]
    conn.execute(Q["leave_groups"], {"ids": ids})
    conn.execute(Q["end_groups"], {"ids": ended})
    return ended


def release_waiting(conn: Connection, ended: Sequence[UUID]) -> None:
    """Let what waited for these jobs and groups go on."""
    if ended:
        found = conn.execute(Q["release_waiting"], {"ids": list(ended)}).fetchall()
        note(conn, [(queue, state) for queue, state, waits_for in found if waits_for == 0])
        wake_again(conn, {queue for queue, state, _ in found if state == "available"})
