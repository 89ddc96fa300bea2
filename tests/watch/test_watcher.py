"""Watching a repository: every change has its folder scanned, and nothing else wakes anybody."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from lumiliod.contract.repositories import RepositoryChange
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.library import repositories
from lumiliod.runtime import WatchState, reopen
from lumiliod.watch import inotify, mounts, tree, watcher
from lumiliod.watch.changes import FOLDERS_MAX, Changes
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of
from tests.watch.scanning import on_disk, recorded
from tests.watch.watching import QUEUES, parts, quiet, reason, scans, state, until, watching


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    made = shelves.make(conninfo, tmp_path / "home")
    plant(made, "a/1.jpg", "a/b/2.jpg", "c/3.jpg", "top.jpg")
    return made


def plant(shelf: Shelf, *paths: str) -> None:
    for path in paths:
        (shelf.path / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / path).write_bytes(b"x")


def is_in_step(shelf: Shelf) -> bool:
    # without the time of change: another name of a file changes that, and is told where it appears only
    known = {path: there[:3] for path, (_, there) in recorded(shelf).items()}
    return known == {path: there[:3] for path, there in on_disk(shelf).items()}


async def in_step(shelf: Shelf) -> None:
    await until(partial(is_in_step, shelf))


def latin(shelf: Shelf) -> None:
    os.mkdir(os.fsencode(shelf.root) + b"/a/\xe9t\xe9")
    with open(os.fsencode(shelf.root) + b"/a/\xe9t\xe9/\xff.jpg", "wb") as file:
        file.write(b"x")


def come_in(shelf: Shelf) -> None:
    (shelf.path.parent / "other/deep").mkdir(parents=True)
    (shelf.path.parent / "other/deep/5.jpg").write_bytes(b"x")
    (shelf.path.parent / "other").rename(shelf.path / "c/in")


def download(shelf: Shelf) -> None:
    plant(shelf, "a/d.jpg.part")
    (shelf.path / "a/d.jpg.part").rename(shelf.path / "a/d.jpg")


CHANGES: dict[str, Callable[[Shelf], object]] = {
    "create": lambda shelf: plant(shelf, "a/new.jpg"),
    "create at the root": lambda shelf: plant(shelf, "new.jpg"),
    "write": lambda shelf: (shelf.path / "a/b/2.jpg").write_bytes(b"other"),
    "touch": lambda shelf: os.utime(shelf.path / "a/1.jpg", (1, 1)),
    "link": lambda shelf: os.link(shelf.path / "a/1.jpg", shelf.path / "c/linked.jpg"),
    "rename a file": lambda shelf: (shelf.path / "a/1.jpg").rename(shelf.path / "c/1.jpg"),
    "delete a file": lambda shelf: (shelf.path / "a/1.jpg").unlink(),
    "rename a folder": lambda shelf: (shelf.path / "a").rename(shelf.path / "z"),
    "delete a folder": lambda shelf: shutil.rmtree(shelf.path / "a"),
    "out": lambda shelf: (shelf.path / "a").rename(shelf.path.parent / "outside"),
    "in": come_in,
    "a tree": lambda shelf: plant(shelf, *(f"n/{one}/{two}/f.jpg" for one in range(9) for two in range(5))),
    "bytes": latin,
    "download": download,
    "inbox": lambda shelf: plant(shelf, "inbox/dropped/x.jpg"),
}


async def test_nothing_is_left_out_of_the_inbox(shelf: Shelf) -> None:
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        plant(shelf, "inbox/.dropped/x.tmp")
        await until(lambda: b"inbox/.dropped/x.tmp" in recorded(shelf))
        plant(shelf, "inbox/.dropped/.y")
        await until(lambda: b"inbox/.dropped/.y" in recorded(shelf))


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changes_is_scanned(shelf: Shelf, change: str) -> None:
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        assert is_in_step(shelf)
        before = len(scans(shelf, open_=False))
        CHANGES[change](shelf)
        assert not is_in_step(shelf)
        await in_step(shelf)
        # folders, and never everything
        await quiet(rt, shelf)
        assert all(folder or not deep for folder, deep in scans(shelf, open_=False)[before:])


async def test_what_came_is_watched_and_what_went_is_not(shelf: Shelf) -> None:
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        for round_ in range(3):
            plant(shelf, f"n{round_}/o/p/1.jpg")
            await in_step(shelf)
            plant(shelf, f"n{round_}/o/p/2.jpg", f"n{round_}/o/q/r/3.jpg")
            await in_step(shelf)
            (shelf.path / f"n{round_}/o").rename(shelf.path / f"moved{round_}")
            plant(shelf, f"moved{round_}/p/4.jpg", f"n{round_}/o/5.jpg")
            await in_step(shelf)
        (shelf.path / "moved0").rename(shelf.path.parent / "outside")
        await in_step(shelf)
        await quiet(rt, shelf)
        before = scans(shelf, open_=False)
        (shelf.path.parent / "outside/p/6.jpg").write_bytes(b"x")
        await told_nothing(shelf, before)


async def test_a_folder_in_which_something_happens_without_an_end_keeps_nothing_waiting(shelf: Shelf) -> None:
    async def go_on() -> None:
        while True:
            os.utime(shelf.path / "c/3.jpg")
            await trio.lowlevel.checkpoint()

    async with watching(shelf) as rt, trio.open_nursery() as nursery:
        await quiet(rt, shelf)
        nursery.start_soon(go_on)
        plant(shelf, "a/new.jpg")
        await until(lambda: b"a/new.jpg" in recorded(shelf))
        nursery.cancel_scope.cancel()


async def test_names_that_are_left_out_and_our_own_folders_wake_nobody(shelf: Shelf) -> None:
    plant(shelf, "a/@eaDir/t.jpg")
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        before = scans(shelf, open_=False)
        plant(shelf, "a/.hidden.jpg", "a/x.part", "a/@eaDir/u.jpg", ".lumilio/temp/t.jpg", "a/.git/x.jpg")
        plant(shelf, ".lumilio/assets/thumbnails/150/aa/x.jpg")
        (shelf.path / "a/@eaDir").rename(shelf.path / "c/@eaDir")
        await told_nothing(shelf, before)


async def told_nothing(shelf: Shelf, before: list[tuple[str, bool]]) -> None:
    """Wait for what happens later to be looked at: nothing else has been by then."""
    plant(shelf, "c/later.jpg")
    await until(lambda: b"c/later.jpg" in recorded(shelf))
    await until(lambda: not scans(shelf, open_=True))
    assert scans(shelf, open_=False)[len(before) :] == [("c", False)]


def test_no_watch_is_placed_where_a_walk_does_not_go(shelf: Shelf, tmp_path: Path) -> None:
    plant(shelf, "a/@eaDir/t.jpg", "other/.lumiliorepo", "other/x/1.jpg", ".lumilio/x/y.jpg", "state/pg/1")
    (shelf.path / "loop").symlink_to(shelf.path)
    folders = tree.Tree(shelf.root, IgnoreRule(["c"]), str(shelf.path / "state"))
    try:
        folders.open()
        assert len(folders) == len({"", "a", "a/b", "inbox"})
    finally:
        folders.close()


async def test_lost_events_have_everything_looked_at_and_watched(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    read = inotify.Inotify.read
    overflows = [inotify.Event(-1, inotify.Q_OVERFLOW, b"")]

    def lossy(self: inotify.Inotify) -> list[inotify.Event]:
        found = read(self)
        return [overflows.pop()] if found and overflows else found

    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        # what the system does when its queue is full, at the edge to it
        monkeypatch.setattr(inotify.Inotify, "read", lossy)
        plant(shelf, "a/lost/1.jpg", "n/lost/2.jpg")
        await in_step(shelf)
        await quiet(rt, shelf)
        plant(shelf, "a/lost/3.jpg", "n/lost/4.jpg")
        await in_step(shelf)


async def test_a_real_flood_is_survived(shelf: Shelf) -> None:
    folders = tree.Tree(shelf.root, IgnoreRule())
    try:
        folders.open()
        count = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for _ in range(count):
            (shelf.path / "a/x").touch()
            (shelf.path / "c/x").touch()
        changes, told = Changes(), True
        while told:
            told = bool(more := folders.take())
            changes.add(more)
        assert changes.is_lost
    finally:
        folders.close()
    assert [job.unique_key for job in changes.scans(RepositoryId(shelf.id))] == [f"repository:{shelf.id}"]


@pytest.mark.parametrize(("number", "sysctl"), [(28, tree.WATCHES), (24, tree.INSTANCES)])
async def test_a_limit_of_the_system_means_polling_and_says_what_to_raise(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int, sysctl: str
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    limits = ["7"]
    monkeypatch.setattr(tree, "limit", lambda _: limits[0])
    with monkeypatch.context() as edge:
        edge.setattr(inotify.Inotify, "add" if sysctl == tree.WATCHES else "__init__", refused)
        shorten(shelf)
        async with watching(shelf) as rt:
            await until(lambda: state(rt, shelf) is WatchState.POLLING)
            assert reason(rt, shelf) == f"the system allows no more watches: raise {sysctl}, which is 7"
            health = {service.name: service for service in rt.health.snapshot().services}
            assert (health["watch"].state, health["watch"].reason) == ("degraded", f"home: {reason(rt, shelf)}")
            await in_step(shelf)
            plant(shelf, "a/polled.jpg")
            await in_step(shelf)
            edge.undo()
            limits[0] = "8"
            await until(lambda: state(rt, shelf) is WatchState.WATCHING)
            health = {service.name: service for service in rt.health.snapshot().services}
            assert health["watch"].state == "ready"


def shorten(shelf: Shelf) -> None:
    """Have everything scanned twenty times a second where it is polled."""
    marker = shelf.path / ".lumiliorepo"
    text = marker.read_text().replace("quick_scan_interval: 5m0s", "quick_scan_interval: 50ms")
    marker.write_text(text)
    assert "50ms" in text


async def test_real_watches_run_out(shelf: Shelf) -> None:
    """In a user namespace whose limit is three."""
    code = (
        "import sys; from lumiliod.watch import tree; from lumiliod.domain.ignore import IgnoreRule\n"
        "folders = tree.Tree(sys.argv[1], IgnoreRule())\n"
        "try: folders.open()\n"
        "except Exception as error: print(error.code, error.detail['sysctl'])\n"
    )
    script = shelf.path.parent / "script.py"
    script.write_text(code)
    lower = 'echo 3 >/proc/sys/user/max_inotify_watches && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", lower, "sh", sys.executable]
    done = subprocess.run([*command, str(script), shelf.root], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no user namespace: {done.stderr[:200]}")
    assert done.stdout.split() == ["watch_limit", tree.WATCHES], done.stderr


async def test_what_is_on_a_network_is_polled(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    table = shelf.path.parent / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {shelf.root} rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mounts, "why_polled", partial(mounts.why_polled, table=str(table)))
    shorten(shelf)
    async with watching(shelf) as rt:
        await until(lambda: state(rt, shelf) is WatchState.POLLING)
        assert reason(rt, shelf) == "it is on nfs4"
        assert {service.name: service.state for service in rt.health.snapshot().services}["watch"] == "ready"
        await in_step(shelf)
        plant(shelf, "a/polled.jpg")
        await in_step(shelf)


async def test_polling_takes_a_twentieth_of_the_time_at_most(shelf: Shelf) -> None:
    shelf.sql(
        "INSERT INTO sync_operations (id, repository_id, type, scope, status, started_at, finished_at)"
        " VALUES (gen_random_uuid(), %s, 'startup', 'full', 'completed', now() - interval '60 s', now())",
        shelf.id,
    )
    async with shelves.opened(shelf) as rt:
        interval_s = watcher._interval_s
        assert await interval_s(rt, rt.repositories.online()[0]) == pytest.approx(1200)
        shelf.sql("UPDATE sync_operations SET started_at = now() - interval '1 s'")
        assert await interval_s(rt, rt.repositories.online()[0]) == 300
        shelf.sql("UPDATE sync_operations SET started_at = now() - interval '9 h'")
        assert await interval_s(rt, rt.repositories.online()[0]) == 86_400


async def test_other_settings_are_watched_by_at_once(shelf: Shelf) -> None:
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        await repositories.change(rt, "home", RepositoryChange(ignore_patterns=["c"]))
        await quiet(rt, shelf)
        before = scans(shelf, open_=False)
        plant(shelf, "c/ignored.jpg", "a/seen.jpg")
        await until(lambda: b"a/seen.jpg" in recorded(shelf))
        await quiet(rt, shelf)
        assert scans(shelf, open_=False)[len(before) :] == [("a", False)]


async def test_a_root_that_goes_is_offline_at_once_and_watched_again_when_it_is_back(shelf: Shelf) -> None:
    async with watching(shelf) as rt:
        await quiet(rt, shelf)
        shelf.path.rename(shelf.path.parent / "away")
        await until(lambda: not rt.repositories.is_open(RepositoryId(shelf.id)))
        await until(lambda: state(rt, shelf) is None)
        (shelf.path.parent / "away").rename(shelf.path)
        plant(shelf, "a/meanwhile.jpg")
        [row] = rt.repositories.offline()
        await reopen(rt.db, rt.repositories, row)
        await quiet(rt, shelf)
        await in_step(shelf)


async def test_a_disk_that_is_unmounted_is_offline_at_once(conninfo: str, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        shelf = shelves.make(conninfo, root / "home")
        plant(shelf, "a/1.jpg")
        async with watching(shelf) as rt:
            await quiet(rt, shelf)
            # lazily, as it is in use: the watches are told nothing by that
            subprocess.run(["umount", "-l", root], check=True)
            await until(lambda: not rt.repositories.is_open(RepositoryId(shelf.id)))
            assert shelf.sql("SELECT count(*) FROM file_records WHERE missing_since IS NULL") == [(1,)]
    finally:
        subprocess.run(["umount", "-l", root], capture_output=True)


async def test_a_file_that_is_written_slowly_becomes_one_asset_when_it_is_done(shelf: Shelf) -> None:
    content = shelves.jpeg(1)
    async with watching(shelf, queues={**QUEUES, "ingest": 1}, with_media=True) as rt:
        await quiet(rt, shelf)
        with open(shelf.path / "a/slow.jpg", "wb") as file:
            file.write(content[:-100])
            file.flush()
            # it was looked at, and put off
            await until(lambda: "unstable" in str(shelf.sql("SELECT errors FROM jobs WHERE kind = 'ingest'")))
            assert recorded(shelf)[b"a/slow.jpg"][0] == "pending"
            file.write(content[-100:])
        await until(lambda: recorded(shelf)[b"a/slow.jpg"][0] != "pending")
        assert shelf.sql("SELECT encode(digest, 'hex') FROM assets") == [(digest_of(content),)]


def test_more_folders_than_a_few_are_one_scan() -> None:
    id_ = RepositoryId(uuid4())
    few = Changes({b"a/b/", b"a/", b"c/d/e/", b"", b"z/"}, {b"c/d/", b"c/d/f/", b"y/"})
    assert [part for job in few.scans(id_) for part in parts(job.args)] == [
        ("c/d", True), ("y", True), ("", False), ("a", False), ("a/b", False), ("z", False),
    ]  # fmt: skip
    many = Changes({b"%d/" % number for number in range(FOLDERS_MAX + 1)})
    assert [job.unique_key for job in many.scans(id_)] == [f"repository:{id_}"]
