"""What is said of a job: its row in a table, and everything about it in lines."""

import json
from datetime import datetime

from lumilio_tui.text import age, clock, progress
from lumiliod.contract.jobs import Job


def why(job: Job) -> str:
    """Return why the last attempt of a job failed, or how far it is."""
    if job.state == "running" and job.progress is not None:
        return progress(job.progress)
    if not job.errors or job.state in ("completed", "running"):
        return ""
    last = job.errors[-1]
    return f"{last.code}: {last.message}"


def lines(job: Job, now: datetime) -> list[tuple[str, str]]:
    """Return names and values: what a job is, then each of its failed attempts, the newest first."""
    told: list[tuple[str, str | None]] = [
        ("About", job.about),
        ("State", job.state),
        ("Why", why(job)),
        ("Kind", job.kind),
        ("Queue", job.queue),
        ("Priority", str(job.priority)),
        ("Attempt", f"{job.attempt} of {job.max_attempts}"),
        ("Progress", progress(job.progress)),
        ("Created", f"{clock(job.created_at)}  ({age(job.created_at, now)} ago)"),
        ("Due", clock(job.scheduled_at)),
        ("Begun", clock(job.attempted_at) if job.attempted_at else ""),
        ("Ended", clock(job.finished_at) if job.finished_at else ""),
        ("Asset", str(job.asset_id or "")),
        ("Repository", str(job.repository_id or "")),
        ("Came from", str(job.parent_id or "")),
        ("Waits on", "\n".join(map(str, job.waits_on))),
        ("Tags", ", ".join(job.tags)),
        ("Arguments", json.dumps(job.args, ensure_ascii=False)),
        ("Result", json.dumps(job.result, ensure_ascii=False) if job.result else ""),
        ("Id", str(job.id)),
    ]
    found = [(name, value) for name, value in told if value]
    if job.errors:
        found += [("", ""), ("Failed attempts, the newest first", "")]
        for error in reversed(job.errors):
            put_off = "  (put off: it did not count)" if error.put_off else ""
            found += [
                (f"{error.attempt}", f"{clock(error.at)}  {error.code}{put_off}"),
                (" ", error.message),
            ]
            if error.worker or error.traceback_digest:
                where = ", ".join(part for part in (error.error_class, error.worker, error.traceback_digest) if part)
                found.append((" ", where))
    return found
