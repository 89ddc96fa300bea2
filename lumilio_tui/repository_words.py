"""What is said of a repository and of its scans, in lines."""

from lumilio_tui.text import clock, count, progress, size
from lumiliod.contract.repositories import Repository
from lumiliod.contract.sync import RepositorySync, SyncOperation


def lines(found: Repository, sync: RepositorySync | None) -> list[tuple[str, str]]:
    """Return names and values of what is known of a repository, and of the scans that are under way."""
    told = [
        ("Name", found.name),
        ("Path", found.path),
        ("Status", found.status + (f": {found.status_reason}" if found.status_reason else "")),
        ("Layout", found.storage_strategy),
        ("Assets", count(found.assets)),
        ("Files", count(found.files)),
        ("Size", size(found.size_bytes)),
        ("Id", str(found.id)),
    ]
    if found.watch is not None:
        told.append(("Watch", found.watch.state + (f": {found.watch.reason}" if found.watch.reason else "")))
    for job in sync.open if sync is not None else ():
        told.append(("Plan" if job.is_plan else "Scan", f"{job.state} {progress(job.progress)}".rstrip()))
    return told


def of_run(run: SyncOperation) -> list[tuple[str, str]]:
    """Return names and values of what one scan found."""
    told = [
        ("Why", run.type),
        ("Scope", run.scope),
        ("Folder", run.folder or "everything"),
        ("State", run.status),
        ("Begun", clock(run.started_at)),
        ("Ended", clock(run.finished_at) if run.finished_at else ""),
        ("Found", count(run.found)),
        ("New", count(run.added)),
        ("Changed", count(run.changed)),
        ("Moved", count(run.moved)),
        ("Missing", count(run.missing)),
        ("Left out", count(run.ignored)),
        ("Error", run.error or ""),
        ("Note", run.note or ""),
        ("Job", str(run.task_id or "")),
    ]
    return [(name, value) for name, value in told if value]
