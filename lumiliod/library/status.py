"""One look at everything."""

from typing import Any

from lumiliod import __version__
from lumiliod.contract.status import JobCount, RunningScan, StageTime, Status
from lumiliod.db import assets, findings, held, job_admin, mirrors, uploads
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.jobs import OPEN_STATES, JobState
from lumiliod.domain.media import AssetType
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime

REFUSED_NAMES = 5


async def status(rt: Runtime) -> Status:
    """Return what is in the library and what is still to do."""
    asset_counts, job_counts, scans, open_findings, away_mirrors = await rt.db.call(_read)
    refused, names_of_refused, undecided = await rt.db.call(_read_undecided)
    by_type = dict.fromkeys((str(type_) for type_ in AssetType), 0)
    by_state: dict[str, int] = {}
    for type_, state, count in asset_counts:
        by_type[type_] += count
        by_state[state] = by_state.get(state, 0) + count
    names = {row.id: row.name for row in rt.repositories.rows()}
    return Status(
        version=__version__,
        health=rt.health.snapshot().status,
        assets=by_type,
        asset_states=by_state,
        repositories=len(names),
        open_jobs=sum(count for _, _, state, count in job_counts if state in OPEN_STATES),
        discarded_jobs=sum(count for _, _, state, count in job_counts if state == JobState.DISCARDED),
        refused_uploads=refused,
        refused_files=names_of_refused,
        open_findings=open_findings,
        away_mirrors=away_mirrors,
        held_repositories=sorted(names[one] for one in undecided if one in names),
        jobs=[JobCount(kind=k, queue=q, state=s, count=c) for k, q, s, c in sorted(job_counts)],
        scans=[
            RunningScan(
                repository=names.get(scan["repository_id"], "?"),
                repository_id=scan["repository_id"],
                task_id=scan["id"],
                state=scan["state"],
                done=(scan["progress"] or {}).get("done", 0),
                total=(scan["progress"] or {}).get("total"),
            )
            for scan in scans
        ],
        stages=[
            StageTime(
                kind=kind,
                completed=total.completed,
                total_s=round(total.run_ms / 1000, 3),
                mean_ms=round(total.run_ms / max(total.completed, 1), 3),
            )
            for kind, total in sorted(rt.jobs.totals.items())
        ],
    )


def _read(
    conn: Connection,
) -> tuple[list[tuple[str, str, int]], list[tuple[str, str, str, int]], list[dict[str, Any]], int, int]:
    scans = job_admin.open_of_kind(conn, kinds.SCAN.kind)
    away = sum(mirror.status != "online" for mirror in mirrors.all_rows(conn))
    return assets.counts(conn), job_admin.counts(conn), scans, sum(findings.counts(conn).values()), away


def _read_undecided(conn: Connection) -> tuple[int, list[str], list[RepositoryId]]:
    return *uploads.refused(conn, names=REFUSED_NAMES), held.undecided(conn)
