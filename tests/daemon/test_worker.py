"""``lumiliod worker``: other processes that share the job table with a daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from lumiliod.daemon import worker as worker_module
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import Digest
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs.engine import Engine
from lumiliod.runtime import Repositories, Runtime
from lumiliod.storage import repository
from lumiliod.storage.layout import Placing
from tests.conftest import Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_kill import photograph

PHOTOS = 40
PLACING = Placing("a.jpg", ".jpg", Digest("ab" * 32), datetime(2024, 7, 1))  # noqa: DTZ001  a wall clock


@contextmanager
def worker(daemon: Daemon, log: Path, *args: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "lumiliod.daemon", "worker", "--state-dir", str(daemon.state_dir), *args]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def pids(daemon: Daemon) -> set[int]:
    with daemon.client as client:
        return {one.pid for one in client.workers()}


def test_workers_share_the_work_and_may_die(daemon: Daemon, tmp_path: Path) -> None:
    """The daemon and two workers do everything once, although one of them is killed."""
    root = tmp_path / "repo"
    root.mkdir()
    log = tmp_path / "worker.log"
    with worker(daemon, log) as first, worker(daemon, log, "--queue", "media=2") as second:
        wait_until(lambda: {first.pid, second.pid} <= pids(daemon))
        # added after the workers began: they get to know of it
        daemon.cli("repos", "add", str(root), "--name", "photos")
        for number in range(PHOTOS):
            (root / f"{number:03}.jpg").write_bytes(photograph(number))
        daemon.cli("scan", "photos")
        with daemon.client as client:
            wait_until(lambda: len(client.assets(limit=50).items) > PHOTOS // 4)
        first.kill()
        first.wait()
        daemon.cli("wait", "--timeout", "120")
        assets = json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
        assert len(assets) == PHOTOS
        assert {asset["status"] for asset in assets} == {"ready"}
        assert json.loads(daemon.cli("jobs", "list", "--state", "discarded", "--json").stdout)["items"] == []
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0, log.read_text()
        wait_until(lambda: second.pid not in pids(daemon))


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--queue", "nonsense"), 78, "there is no queue nonsense"),
        (("--queue", "media=0"), 64, "between 1 and 256"),
        ((), 75, "no daemon has made its database"),
    ],
)
def test_a_worker_says_why_it_cannot(tmp_path: Path, args: tuple[str, ...], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lumiliod.daemon", "worker", "--state-dir", str(tmp_path), *args],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "postgres").exists()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a notification brings about, well before anything is looked at again by itself."""
    with trio.fail_after(worker_module.REFRESH_S / 2):
        while not holds():
            await trio.sleep(0.01)


async def test_a_worker_goes_by_the_rows_of_repositories(database: Database, tmp_path: Path) -> None:
    """It lets go what is detached or removed, and opens anew what comes back, was moved, or is arranged otherwise."""
    root, moved = tmp_path / "photos", tmp_path / "moved"
    root.mkdir()
    made = repository.create(str(root), "photos")
    row = RepositoryRow(made.id, "photos", str(root), "date", RepositoryStatus.ONLINE, None, datetime.now(UTC))
    repositories = Repositories(owner=False)
    engine = Engine(database, [])
    rt = cast(Runtime, SimpleNamespace(db=database, jobs=engine, repositories=repositories))
    async with trio.open_nursery() as nursery:
        await nursery.start(worker_module.attend, rt)
        await nursery.start(worker_module.hearing(rt))
        await database.call(db_repositories.insert, row)
        await until(lambda: repositories.is_open(row.id))
        await database.call(db_repositories.set_status, row.id, RepositoryStatus.DETACHED, None)
        await until(lambda: not repositories.is_open(row.id))
        with pytest.raises(Unavailable) as caught:
            repositories.get(row.id)
        assert caught.value.code == "repository_detached"
        root.rename(moved)
        await database.call(db_repositories.set_root, row.id, str(moved))
        await until(lambda: repositories.is_open(row.id))
        assert repositories.get(row.id).repository.root == str(moved)
        # moved without a word in between
        moved.rename(root)
        await database.call(db_repositories.set_root, row.id, str(root))
        await until(lambda: repositories.get(row.id).repository.root == str(root))
        saved = repository.save(
            repositories.get(row.id).repository, replace(made.marker, storage_strategy="flat", name="photos")
        )
        await database.call(db_repositories.tell)
        await until(lambda: repositories.get(row.id).repository.marker == saved.marker)
        assert repositories.get(row.id).layout.place(PLACING) == "inbox/a.jpg"
        await database.call(db_repositories.remove, row.id)
        await until(lambda: repositories.known(row.id) is None)
        nursery.cancel_scope.cancel()
