"""Take a repository's disk away while the daemon watches it, and bring it back: nothing may be concluded from that.

The repository lies on a file system of its own, where one can be mounted, and the catalogue knows many files: some
pictures that were ingested, and texts that nobody can read, whose records are brought to their end by hand. The disk
is taken away at rest, for a moment, and in the middle of a scan. Meanwhile the repository is offline and says why, and
not a row of a file or an asset is written; on its return there is one scan, which finds nothing to do: no file is
missing, no asset in the trash, nothing is read again. The last line is one JSON object.

    python -m bench.absence [--files N] [--short]
"""

import argparse
import datetime as dt
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench.measuring import machine
from bench.watching.contents import Contents
from bench.watching.removable import Removable
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from lumiliod.db import embedded
from scripts.daemon_process import Daemon, end_on_signals, measuring, running

NAME = "bench"
CONFIG = "[watch]\nenabled = true\n[storage]\nmin_free_mb = 16\n[log]\nlevel = 'warning'\nformat = 'text'\n"
FILES, PICTURES, IN_A_FOLDER = 100_000, 2000, 100
SHORT_FILES, SHORT_PICTURES = 200, 40
SIZE_MB = 1024
LIMIT_S = 900.0
LOOK_S = 0.02
TRIES = 20
"""How often a scan is begun until one is under way when the disk goes."""

_DONE_BY_HAND = """
UPDATE file_records SET outcome = 'unsupported', reason = 'unsupported: no picture'
WHERE outcome = 'pending' AND path LIKE '%.txt'::bytea"""
_NO_JOBS = """
DELETE FROM jobs
WHERE kind = 'ingest' AND unique_key IN (SELECT 'file:' || id FROM file_records WHERE outcome = 'unsupported')"""

# each row with the transaction that wrote it last
_ROWS = """
SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (
    SELECT f.id::text || f.xmin::text || f.ctid::text || f.updated_at::text AS r FROM file_records f
    UNION ALL SELECT a.id::text || a.xmin::text || a.ctid::text FROM assets a) AS rows"""
_MISSING = "SELECT count(*) FROM file_records WHERE missing_since IS NOT NULL"
_RETIRED = "SELECT (SELECT count(*) FROM trash) + (SELECT count(*) FROM assets WHERE deleted_at IS NOT NULL)"
_JOBS = "SELECT kind, count(*) FROM job_history WHERE finished_at > %s GROUP BY kind"
_OPEN = """
SELECT count(*) FROM jobs
WHERE state <> 'discarded' AND kind IN ('scan', 'ingest', 'metadata', 'thumbnails', 'retire')"""


@dataclass
class Absence:
    """What came of one absence."""

    how: str
    offline_after_s: float = 0.0
    reason: str | None = None
    back_after_s: float = 0.0
    missing: int = 0
    retired: int = 0
    are_rows_written: bool = False
    jobs: dict[str, int] = field(default_factory=dict[str, int])
    """Those that ended since it came back."""
    problems: list[str] = field(default_factory=list[str])


def main() -> None:
    """Take it away, bring it back, and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Take a repository's disk away and bring it back.")
    parser.add_argument("--files", type=int, default=FILES, metavar="N", help=f"how many files are known ({FILES})")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_FILES} files: a check")
    given = parser.parse_args()
    files, pictures = (SHORT_FILES, SHORT_PICTURES) if given.short else (given.files, min(PICTURES, given.files))
    with measuring("absence") as root:
        disk = Removable(root / "library", SIZE_MB)
        try:
            found = _measure(root, disk, files, pictures)
        finally:
            disk.close()
    print(f"\n{'':<22}" + "".join(f"{head:>12}" for head in ("offline s", "back s", "missing", "retired", "written")))
    for one in found:
        seconds = (f"{one.offline_after_s:.2f}", f"{one.back_after_s:.2f}")
        cells = (*seconds, one.missing, one.retired, one.are_rows_written)
        print(f"{one.how:<22}" + "".join(f"{cell!s:>12}" for cell in cells) + f"   jobs since: {one.jobs}")
    problems = [f"{one.how}: {problem}" for one in found for problem in one.problems]
    for problem in problems:
        print(f"  {problem}")
    result = {
        "bench": "absence",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "files": files,
        "pictures": pictures,
        "disk": disk.kind,
        "problems": problems,
        "absences": [asdict(one) for one in found],
        "machine": {"cores": machine.cores(), "cpu": machine.cpu_name(), "python": platform.python_version()},
    }
    print(json.dumps(result), flush=True)
    sys.exit(1 if problems else 0)


def _measure(root: Path, disk: Removable, files: int, pictures: int) -> list[Absence]:
    (root / "lumiliod.toml").write_text(CONFIG)
    (root / "tmp").mkdir()
    _plant(disk.root, files, pictures)
    with ExitStack() as stack:
        started = running(root / "state", config=root / "lumiliod.toml", log=root / "log", scratch=root / "tmp")
        daemon = stack.enter_context(started)
        client = stack.enter_context(Client(str(daemon.socket)))
        conninfo = embedded.find(root / "state").conninfo
        library = _Library(client, daemon, stack.enter_context(psycopg.connect(conninfo, autocommit=True)), disk)
        library.know(files)
        return [
            library.away("at rest", disk.leave, is_noticed=True),
            library.away("for a moment", disk.leave, is_noticed=False),
            library.away("in the middle of a scan", library.leave_in_a_scan, is_noticed=True),
        ]


def _plant(folder: Path, files: int, pictures: int) -> None:
    contents = Contents(random.Random(0))
    for number in range(files):
        inner = folder / f"{number // (IN_A_FOLDER * 100):03}" / f"{number // IN_A_FOLDER:05}"
        if number % IN_A_FOLDER == 0:
            inner.mkdir(parents=True)
        is_picture = number % (files // pictures) == 0
        data = contents.picture().data if is_picture else b"%d" % number
        (inner / f"IMG_{number:06}.{'jpg' if is_picture else 'txt'}").write_bytes(data)


class _Library:
    """A daemon that watches one repository, and its database."""

    def __init__(self, client: Client, daemon: Daemon, conn: "psycopg.Connection[Any]", disk: Removable) -> None:
        self._client, self._daemon, self._conn, self._disk = client, daemon, conn, disk

    def know(self, files: int) -> None:
        """Have all files known, and everything done that is to be done about them."""
        self._client.pause_queue("ingest")
        self._client.add_repository(NewRepository(path=str(self._disk.root), name=NAME))
        self._until("all files are met", lambda: self._number("SELECT count(*) FROM file_records") >= files)
        self._conn.execute(_DONE_BY_HAND)
        self._conn.execute(_NO_JOBS)
        self._client.resume_queue("ingest")
        self._rest()
        # the scan that may have been asked for meanwhile is none of those that are counted
        task = self._client.scan(NAME).task_id
        self._until("it is scanned", lambda: self._client.task(task).state == "completed")
        self._rest()

    def away(self, how: str, leave: Callable[[], None], *, is_noticed: bool) -> Absence:
        """Take the disk away and bring it back, once that was noticed or at once."""
        found = Absence(how)
        before = self._text(_ROWS)
        began = time.monotonic()
        leave()
        if is_noticed:
            self._until("it is offline", lambda: self._client.repository(NAME).status == "offline")
            found.offline_after_s = time.monotonic() - began
            found.reason = self._client.repository(NAME).status_reason
            if not found.reason:
                found.problems.append("it does not say why it is offline")
        came_back_at = self._conn.execute("SELECT clock_timestamp()").fetchone()
        assert came_back_at is not None
        began = time.monotonic()
        self._disk.come_back()
        self._rest(came_back_at[0] if is_noticed else None)
        found.back_after_s = time.monotonic() - began
        found.missing, found.retired = self._number(_MISSING), self._number(_RETIRED)
        found.are_rows_written = self._text(_ROWS) != before
        found.jobs = {str(kind): int(count) for kind, count in self._conn.execute(_JOBS, came_back_at)}
        self._judge(found, scans=range(1, 2) if is_noticed else range(2))
        return found

    def leave_in_a_scan(self) -> None:
        """Take the disk away while a scan is under way.

        Raises:
            RuntimeError: scans are over before that.
        """
        for _ in range(TRIES):
            task = self._client.scan(NAME).task_id
            # a scan is claimed some milliseconds after it was asked for
            self._until("it is claimed", partial(self._is_claimed, task), look_s=0.0)
            self._disk.leave()
            if self._state(task) != "completed":
                return
            self._disk.come_back()
            self._rest()
        raise RuntimeError(f"{TRIES} scans were over before the disk was away")

    def _judge(self, found: Absence, scans: range) -> None:
        if found.missing or found.retired:
            found.problems.append(f"{found.missing} files are missing, {found.retired} assets in the trash")
        if found.are_rows_written:
            found.problems.append("rows of files or assets were written")
        if found.jobs.get("scan", 0) not in scans:
            found.problems.append(f"there were {found.jobs.get('scan', 0)} scans")
        others = {kind: count for kind, count in found.jobs.items() if kind in ("ingest", "metadata", "thumbnails")}
        if others:
            found.problems.append(f"work was done again: {others}")

    def _rest(self, since: "dt.datetime | None" = None) -> None:
        """Wait until it is watched, nothing is to be done, and something was scanned ``since`` if that is given."""

        def is_at_rest() -> bool:
            repository = self._client.repository(NAME)
            is_watched = repository.watch is not None and repository.watch.state == "watching"
            is_scanned = since is None or "scan" in dict(self._conn.execute(_JOBS, (since,)).fetchall())
            return is_watched and is_scanned and not self._number(_OPEN)

        self._until("it is at rest", is_at_rest, look_s=0.1)
        # what is asked for in the debounce of what was told last
        time.sleep(2.0)
        self._until("it is at rest", is_at_rest, look_s=0.1)

    def _until(self, what: str, holds: Callable[[], bool], look_s: float = LOOK_S) -> None:
        give_up_at = time.monotonic() + LIMIT_S
        while not holds():
            self._daemon.check()
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"not after {LIMIT_S:.0f} s: {what}")
            time.sleep(look_s)

    def _is_claimed(self, task: object) -> bool:
        return self._state(task) != "available"

    def _state(self, task: object) -> str:
        row = self._conn.execute("SELECT state FROM jobs WHERE id = %s", (task,)).fetchone()
        return str(row[0]) if row else "completed"

    def _number(self, query: str) -> int:
        return int(self._text(query))

    def _text(self, query: str) -> str:
        row = self._conn.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])


if __name__ == "__main__":
    main()
