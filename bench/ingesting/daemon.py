"""The daemon: a new one ingests a folder into an empty database."""

import contextlib
import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.ingesting.rounds import Round
from bench.measuring import process_tree
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import Daemon, running

LIMIT_S = 1800.0
LOOK_S = 1.0
"""How often the daemon is asked whether it is done; when it was, its jobs tell."""
LAST_JOBS = 200


@dataclass(frozen=True)
class Ingested:
    """What a folder took from its scan, at ``began_at``, to its last job: seconds, and MB at most."""

    began_at: dt.datetime
    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(
    root: Path, folder: Path, files: int, *, warm: Path | None = None, every_s: float = process_tree.SAMPLE_S
) -> Round:
    """Ingest the folder with a new daemon and an empty database; the clock runs from the scan to the last job.

    A folder to ``warm`` up with is ingested before that, and is one of ``files``. Memory is looked at ``every_s``
    seconds, which takes 20 ms each.

    Raises:
        RuntimeError: a file did not become a ready asset.
    """
    with ingested(root, folder, warm=warm, every_s=every_s) as (client, measured):
        status = client.status()
    if status.asset_states != {"ready": files} or status.discarded_jobs:
        raise RuntimeError(
            f"not everything became ready: {status.asset_states}, {status.discarded_jobs} jobs discarded"
        )
    stages = {stage.kind: stage.mean_ms for stage in status.stages}
    return Round(measured.wall_s, measured.cpu_s, measured.peak_mb, stages)


@contextlib.contextmanager
def ingested(
    root: Path,
    folder: Path,
    *,
    warm: Path | None = None,
    log_level: str = "warning",
    every_s: float = process_tree.SAMPLE_S,
) -> Iterator[tuple[Client, Ingested]]:
    """Ingest a folder with a new daemon, ``warm`` or not, and hand out its client afterwards.

    What the daemon made is left in ``root``, a new folder on the same disk; the folder is as it was before.

    Raises:
        DaemonFailed: the daemon ended. RuntimeError: the jobs do not end.
    """
    root.mkdir()
    config = root / "lumiliod.toml"
    config.write_text(f"[storage]\nmin_free_mb = 16\n[log]\nlevel = '{log_level}'\nformat = 'text'\n")
    scratch = root / "tmp"
    scratch.mkdir()
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(running(root / "state", config=config, log=root / "log", scratch=scratch))
        client = stack.enter_context(Client(str(daemon.socket)))
        library = folder if warm is None else _warmed(client, daemon, root / "library", warm)
        if warm is None:
            client.add_repository(NewRepository(path=str(folder), name="bench"))
        else:
            _link_all(folder, library)
        tree = daemon.process.pid
        with process_tree.peak_memory(tree, every_s=every_s) as peak_mb:
            before, began_at = process_tree.cpu_s(tree), dt.datetime.now(dt.UTC)
            client.scan("bench")
            wait(client, daemon)
            cpu_s = process_tree.cpu_s(tree) - before
        wall_s = (_ended_at(client) - began_at).total_seconds()
        yield client, Ingested(began_at, wall_s, cpu_s, max(peak_mb))
    if library == folder:
        # not removed: where thousands of files just were, ext4 looks long for an inode (recently_deleted of ialloc.c)
        for name in (".lumilio", ".lumiliorepo", "inbox"):
            (folder / name).rename(root / name)


def _warmed(client: Client, daemon: Daemon, library: Path, warm: Path) -> Path:
    """Have a library made of the files of a folder: the programs that read them wait for more."""
    library.mkdir()
    _link_all(warm, library)
    client.add_repository(NewRepository(path=str(library), name="bench"))
    client.scan("bench")
    wait(client, daemon)
    return library


def _link_all(folder: Path, into: Path) -> None:
    for file in folder.iterdir():
        (into / file.name).hardlink_to(file)


def wait(client: Client, daemon: Daemon) -> None:
    """Wait until nothing is left to do.

    Raises:
        RuntimeError: it takes too long.
        DaemonFailed: the daemon ended.
    """
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        daemon.check()
        time.sleep(LOOK_S)
    raise RuntimeError(f"the jobs are not done after {LIMIT_S:.0f} s")


def _ended_at(client: Client) -> dt.datetime:
    ends = [job.finished_at for job in client.jobs(limit=LAST_JOBS).items if job.finished_at is not None]
    return max(ends)
