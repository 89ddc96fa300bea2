"""Second copies: made, read back, listed, read again, and put back where an original was damaged."""

import json
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import pytest
import trio

from lumiliod.contract.integrity import NewMirror
from lumiliod.db import mirrors
from lumiliod.db.pool import Database
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Refused, Shape, Unavailable
from lumiliod.domain.ids import JobId, RepoPath, uuid7
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.domain.repositories import LocalSettings
from lumiliod.domain.trash import Why
from lumiliod.jobs.engine import Effect, Result, Running
from lumiliod.library import integrity as library_integrity
from lumiliod.pipeline import kinds, mirror, schedules
from lumiliod.pipeline import trash as removal
from lumiliod.storage import durable, repository
from lumiliod.storage import heal as storage_heal
from lumiliod.storage import mirrors as storage
from lumiliod.storage.backend import Backend, Entry
from lumiliod.storage.local import LocalBackend
from tests import stepping

from .originals import Library, Original, bound, library, serving, taken_in


@pytest.fixture
async def kept(database: Database, tmp_path: Path) -> AsyncIterator[Library]:
    async with library(database, tmp_path / "home", scrub_mb_per_s=0) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    return path


async def filled(kept: Library, place: Path) -> UUID:
    mirror_id = await kept.mirror_at(str(place))
    row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
    assert row.state == "completed", row.errors
    return mirror_id


def copy_of(place: Path, original: Original) -> Path:
    return place / storage.original_path(original.digest)


def listed(place: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(place.glob("manifests/*/*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def quarantined(kept: Library) -> list[bytes]:
    return sorted(path.read_bytes() for path in kept.root.joinpath(*storage_heal.QUARANTINE).glob("*.bad"))


async def test_every_original_is_copied_once_and_listed(kept: Library, place: Path) -> None:
    await kept.add(25)
    await kept.add_twin(kept.originals[0], "twins/0.jpg")
    mirror_id = await filled(kept, place)
    copies = {path.name: path.read_bytes() for path in place.glob("originals/??/??/*")}
    assert copies == {one.digest: one.content for one in kept.originals}
    for one in kept.originals:
        assert not os.path.samefile(copy_of(place, one), one.path), "it would rot with it"
    assert {
        (line["digest"], line["size_bytes"], line["asset_id"], line["path"], line["filename"]) for line in listed(place)
    } == {(one.digest, len(one.content), str(one.asset_id), one.relative, one.path.name) for one in kept.originals}
    assert len(listed(place)) == 25
    assert (await kept.mirror(mirror_id)).status == "online"
    assert await kept.rt.db.call(mirrors.fewer_copies, 2) == (0, 25)
    assert await kept.rt.db.call(mirrors.fewer_copies, 3) == (25, 25)


async def test_copies_that_were_cut_off_are_swept(kept: Library, place: Path) -> None:
    await kept.add(1)
    mirror_id = await filled(kept, place)
    temp = place / ".lumilio" / "temp"
    for name in ("copy-0123", "somebodys"):
        (temp / name).write_bytes(b"half")
    living, path = durable.create_owned(str(temp))
    try:
        await kept.run(kinds.mirror(mirror_id, kept.opened.id))
        assert {entry.name for entry in temp.iterdir()} == {"somebodys", Path(path).name}
    finally:
        os.close(living)
    await kept.run(kinds.mirror(mirror_id, kept.opened.id))
    assert [entry.name for entry in temp.iterdir()] == ["somebodys"]


async def test_what_is_new_is_added_and_a_rename_costs_nothing(kept: Library, place: Path) -> None:
    first, _ = await kept.add(2)
    mirror_id = await filled(kept, place)
    times = {path: path.stat().st_mtime_ns for path in place.glob("originals/??/??/*")}
    renamed = first.path.rename(first.path.with_name("renamed.jpg"))
    await kept.ask("UPDATE file_records SET path = 'trip/renamed.jpg' WHERE id = %s", first.file_id)
    new = (await kept.add(1))[0]
    row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
    assert row.result == {"copied": 1, "skipped": 0}
    assert copy_of(place, new).read_bytes() == new.content
    assert {path: path.stat().st_mtime_ns for path in times} == times
    # the list that was not full is written anew, with the names of today
    assert len(list(place.glob("manifests/*/*.jsonl"))) == 1
    assert {line["path"] for line in listed(place)} == {"trip/renamed.jpg", "trip/0001.jpg", "trip/0002.jpg"}
    assert renamed.exists()


async def test_full_lists_are_left_alone(kept: Library, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumiliod.pipeline.mirror.MANIFEST_FULL", 4)
    monkeypatch.setattr("lumiliod.pipeline.mirror.MANIFEST_PAGE", 5)
    await kept.add(11)
    mirror_id = await filled(kept, place)
    before = {path.name: path.read_bytes() for path in place.glob("manifests/*/*.jsonl")}
    assert sorted(content.count(b"\n") for content in before.values()) == [1, 5, 5]
    await kept.add(1)
    await kept.run(kinds.mirror(mirror_id, kept.opened.id))
    after = {path.name: path.read_bytes() for path in place.glob("manifests/*/*.jsonl")}
    assert sorted(content.count(b"\n") for content in after.values()) == [2, 5, 5]
    assert len(before.items() & after.items()) == 2
    assert sorted(line["digest"] for line in listed(place)) == sorted(one.digest for one in kept.originals)


async def test_missing_work_is_found_by_query(kept: Library, place: Path) -> None:
    await kept.add(3)
    mirror_id = await kept.mirror_at(str(place))
    jobs, following = await kept.rt.db.call(kinds.missing_mirrors, UUID(int=0))
    assert ([job.unique_key for job in jobs], following) == ([f"mirror:{mirror_id}"], mirror_id)
    await kept.run(jobs[0])
    assert await kept.rt.db.call(kinds.missing_mirrors, UUID(int=0)) == ([], None)
    assert [job.args for job in await kept.rt.db.call(kinds.mirrors_of, kept.opened.id)] == [{"mirror": str(mirror_id)}]


async def test_every_flipped_byte_is_healed_from_a_mirror(kept: Library, place: Path) -> None:
    """By approval here: healing unasked is off."""
    await kept.add(30)
    await filled(kept, place)
    bad = random.Random(2).sample(kept.originals, 11)
    for original in bad:
        original.rot()
    rotten = sorted(one.path.read_bytes() for one in bad)
    await kept.verified()
    found = await kept.findings()
    assert len(found) == 11
    for wrong in found:
        row = await kept.run(kinds.heal(wrong.id, wrong.repository_id))
        assert row.state == "completed", row.errors
    assert all(one.is_good for one in kept.originals)
    assert quarantined(kept) == rotten
    assert {one.state for one in await kept.findings(None)} == {"healed"}
    # the records say what is there now: nothing looks edited
    again = await kept.verified()
    assert again.result is not None
    assert (again.result["found"], again.result["files"]) == (0, 30)
    for one in kept.originals:
        ((inode, mtime_ns),) = await kept.ask("SELECT inode, mtime_ns FROM file_records WHERE id = %s", one.file_id)
        assert (inode, mtime_ns) == (one.path.stat().st_ino, one.path.stat().st_mtime_ns)


async def test_healed_unasked_when_configured_but_no_persons_doing(database: Database, tmp_path: Path) -> None:
    place = tmp_path / "mirror"
    place.mkdir()
    async with library(database, tmp_path / "home", heal=True, scrub_mb_per_s=0) as kept:
        rotten, deleted, edited, fine = await kept.add(4)
        await filled(kept, place)
        rotten.rot()
        deleted.path.unlink()
        edited.path.write_bytes(b"another picture")
        await kept.verified()
        await kept.settled()
        assert rotten.is_good
        assert fine.is_good
        assert not deleted.path.exists()
        assert edited.path.read_bytes() == b"another picture"
        assert await kept.kinds_found() == {deleted.relative: "missing", edited.relative: "changed"}


async def test_without_a_copy_everything_is_reported_and_nothing_touched(database: Database, tmp_path: Path) -> None:
    async with library(database, tmp_path / "home", heal=True, scrub_mb_per_s=0) as kept:
        await kept.add(12)
        for original in kept.originals[::2]:
            original.rot()
        rotten = [one.path.read_bytes() for one in kept.originals[::2]]
        await kept.verified()
        await kept.settled()
        assert await kept.kinds_found() == {one.relative: "bit_rot" for one in kept.originals[::2]}
        assert [one.path.read_bytes() for one in kept.originals[::2]] == rotten
        assert quarantined(kept) == []
        given_up = await kept.ask("SELECT errors -> -1 ->> 'code' FROM jobs WHERE kind = 'heal'")
        assert given_up == [("no_good_copy",)] * 6


async def test_another_file_with_the_same_bytes_heals_too(kept: Library) -> None:
    (original,) = await kept.add(1)
    twin = await kept.add_twin(original, "twins/a.jpg")
    original.rot()
    await kept.verified()
    (found,) = await kept.findings()
    assert (await kept.run(kinds.heal(found.id, found.repository_id))).state == "completed"
    assert original.is_good
    assert twin.read_bytes() == original.content


async def test_a_bad_copy_heals_nothing_and_is_made_anew(kept: Library, place: Path) -> None:
    """The next good copy is taken; the bad one is a finding until the original is good again."""
    (original,) = await kept.add(1)
    second = place.with_name("second")
    second.mkdir()
    first_id, _ = await filled(kept, place), await filled(kept, second)
    original.rot()
    copy_of(place, original).write_bytes(original.content[::-1])
    await kept.ask("UPDATE mirror_copies SET verified_at = now() + interval '1 hour' WHERE mirror_id = %s", first_id)
    await kept.verified()
    found = next(one for one in await kept.findings() if one.mirror_id is None)
    assert (await kept.run(kinds.heal(found.id, found.repository_id))).state == "completed"
    assert original.is_good
    await kept.settled()
    if copy_of(place, original).read_bytes() != original.content:
        await kept.run(kinds.mirror(first_id, kept.opened.id))
    assert copy_of(place, original).read_bytes() == original.content
    states = {one.mirror_id: one.state for one in await kept.findings(None)}
    # whoever reads the good bytes before their row is written says that it has resolved itself
    assert states.keys() == {None, first_id}
    assert set(states.values()) <= {"healed", "resolved"}


async def test_when_every_copy_is_bad_all_of_them_stay(kept: Library, place: Path) -> None:
    (original,) = await kept.add(1)
    mirror_id = await filled(kept, place)
    original.rot()
    copy_of(place, original).write_bytes(b"x" * len(original.content))
    bad = original.path.read_bytes()
    await kept.verified()
    (found,) = await kept.findings()
    row = await kept.run(kinds.heal(found.id, found.repository_id))
    assert (row.state, row.errors[-1]["code"]) == ("discarded", "no_good_copy")
    await kept.settled()
    assert original.path.read_bytes() == bad
    assert copy_of(place, original).read_bytes() == b"x" * len(original.content)
    assert {(one.mirror_id, one.kind, one.state) for one in await kept.findings(None)} == {
        (None, "bit_rot", "open"),
        (mirror_id, "bit_rot", "open"),
    }


async def test_copies_are_read_again_and_made_anew(database: Database, tmp_path: Path, place: Path) -> None:
    async with library(database, tmp_path / "home", scrub_days=1, scrub_mb_per_s=0) as kept:
        await kept.add(10)
        mirror_id = await filled(kept, place)
        rotten, gone, short = kept.originals[:3]
        copy_of(place, rotten).write_bytes(rotten.content[::-1])
        copy_of(place, gone).unlink()
        os.truncate(copy_of(place, short), 10)
        for _ in range(5):
            await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")
            await kept.ask("UPDATE integrity_runs SET started_at = started_at - interval '1 day'")
            assert (await kept.run(kinds.scrub())).state == "completed"
            await kept.settled()
        assert {(one.kind, one.state, one.mirror_id) for one in await kept.findings(None)} == {
            ("bit_rot", "healed", mirror_id),
            ("missing", "healed", mirror_id),
        }
        assert all(copy_of(place, one).read_bytes() == one.content for one in kept.originals)
        read = await kept.ask("SELECT count(*), max(budget_bytes) FROM integrity_runs WHERE mirror_id IS NOT NULL")
        total = sum(len(one.content) for one in kept.originals)
        assert read == [(5, pytest.approx(total / 3, rel=0.35))]


@pytest.mark.parametrize("is_purged", [False, True])
async def test_a_bad_copy_of_what_is_in_the_trash_troubles_nobody(
    database: Database, tmp_path: Path, place: Path, is_purged: bool
) -> None:
    """It cannot be made anew now; it is when its original comes back."""
    async with library(database, tmp_path / "home", scrub_days=1, scrub_mb_per_s=0) as kept:
        (one,) = await kept.add(1)
        await filled(kept, place)
        await kept.rt.jobs.call(lambda conn: removal.remove(conn, [one.asset_id], why=Why.REMOVED, by=None))
        if is_purged:
            await kept.ask("DELETE FROM trash")
            await kept.ask("DELETE FROM file_records")
            await kept.ask("DELETE FROM assets")
        copy_of(place, one).write_bytes(one.content[::-1])
        for _ in range(3):
            await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")
            await kept.ask("UPDATE integrity_runs SET started_at = started_at - interval '1 day'")
            assert (await kept.run(kinds.scrub())).state == "completed"
            await kept.settled()
        assert await kept.ask("SELECT 1 FROM mirror_copies") == []
        assert await kept.findings() == []
        assert (await library_integrity.overview(kept.rt)).findings == {}
        if not is_purged:
            await kept.rt.jobs.call(removal.bring_back, one.asset_id)
            await kept.settled()
            assert copy_of(place, one).read_bytes() == one.content


async def test_a_bad_original_is_not_copied(kept: Library, place: Path) -> None:
    rotten, fine = await kept.add(2)
    rotten.rot()
    mirror_id = await kept.mirror_at(str(place))
    row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
    assert row.result == {"copied": 1, "skipped": 1}
    assert not copy_of(place, rotten).exists()
    assert copy_of(place, fine).read_bytes() == fine.content
    assert await kept.kinds_found() == {rotten.relative: "bit_rot"}


class Lying:
    """A store that is not what it says: a folder behind it, and one lie."""

    atomic_no_replace = True
    local = False
    flaky = False

    def __init__(self, root: str, lie: str) -> None:
        self._kept = LocalBackend(root, hard_links=False)
        self._lie = lie

    def open(self, path: RepoPath) -> BinaryIO:
        return self._kept.open(path)

    def put_new(self, source: str, target: RepoPath) -> bool:
        if self._lie == "too small" and Path(source).stat().st_size > 20_000:
            raise Refused(f"{target} has more bytes than this store takes", code="too_large")
        if self._lie == "forgets" and target.startswith("originals/"):
            return True
        stored = self._kept.put_new(source, target)
        if self._lie == "garbles" and target.startswith("originals/"):
            with open(self._kept.local_path(target), "r+b") as file:
                file.write(b"\0\0\0\0")
        return stored

    def stat(self, path: RepoPath) -> FileStat:
        return self._kept.stat(path)

    def list(self, after: RepoPath | None, limit: int) -> list[Entry]:
        return self._kept.list(after, limit)

    def remove(self, path: RepoPath) -> None:
        self._kept.remove(path)


async def test_what_a_store_is_too_small_for_is_said_and_no_damage(
    database: Database, tmp_path: Path, place: Path
) -> None:
    def small(location: str, _options: Mapping[str, str]) -> Backend:
        return Lying(location, "too small")

    async with library(database, tmp_path / "home", backend_of=small, scrub_mb_per_s=0) as kept:
        await kept.add(2)
        mirror_id = await kept.mirror_at(str(place))
        row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
        assert (row.state, row.result) == ("completed", {"copied": 1, "skipped": 1})
        assert await kept.findings() == []
        status = await kept.mirror(mirror_id)
        assert status.status == "degraded"
        assert status.status_reason is not None
        assert status.status_reason.endswith("has more bytes than this store takes")


@pytest.mark.parametrize(("lie", "kind"), [("forgets", "missing"), ("garbles", "bit_rot")])
async def test_a_mirror_that_lies_is_not_believed(
    database: Database, tmp_path: Path, place: Path, lie: str, kind: str
) -> None:
    def lying(location: str, _options: Mapping[str, str]) -> Backend:
        return Lying(location, lie)

    async with library(database, tmp_path / "home", backend_of=lying, heal=True, scrub_mb_per_s=0) as kept:
        (original,) = await kept.add(1)
        mirror_id = await kept.mirror_at(str(place))
        row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
        assert (row.state, row.result) == ("completed", {"copied": 0, "skipped": 1})
        assert await kept.ask("SELECT 1 FROM mirror_copies") == []
        assert [(one.kind, one.mirror_id) for one in await kept.findings()] == [(kind, mirror_id)]
        status = await kept.mirror(mirror_id)
        assert (status.status, status.status_reason) == ("degraded", "it does not keep what it is given")
        assert original.is_good
        original.rot()
        bad = original.path.read_bytes()
        await kept.verified()
        await kept.settled()
        assert original.path.read_bytes() == bad


@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_a_mirror_that_is_away_for_a_while(kept: Library, place: Path, how: str) -> None:
    """No attempt is spent, no copy is believed lost, nothing is written where a disk should be mounted."""
    await kept.add(3)
    mirror_id = await filled(kept, place)
    away = place.rename(place.with_name("away"))
    if how == "empty":
        place.mkdir()
    new = (await kept.add(1))[0]
    job_id = await kept.engine.call(kinds.enqueue_one, kinds.mirror(mirror_id, kept.opened.id))
    row = await kept.until(job_id, "retryable", "scheduled", errors=1)
    assert (row.errors[-1]["code"], row.errors[-1]["put_off"], row.attempt) == ("mirror_offline", True, 0)
    assert (await kept.mirror(mirror_id)).status == "offline"
    await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")
    assert (await kept.run(kinds.scrub())).state == "completed"
    assert await kept.findings(None) == []
    assert await kept.ask("SELECT count(*) FROM mirror_copies") == [(3,)]
    if how == "empty":
        assert os.listdir(place) == []
        place.rmdir()
    away.rename(place)
    await kept.ask("UPDATE jobs SET scheduled_at = now() WHERE id = %s", job_id)
    assert (await kept.ended(job_id)).state == "completed"
    assert copy_of(place, new).read_bytes() == new.content
    assert (await kept.mirror(mirror_id)).status == "online"


class Leaving(LocalBackend):
    """A folder that is unmounted when the third of its copies is opened."""

    opened = 0

    def open(self, path: RepoPath) -> BinaryIO:
        if path.startswith("originals/"):
            Leaving.opened += 1
            if Leaving.opened == 3:
                Path(self.root).rename(f"{self.root}-away")
        return super().open(path)


async def test_a_mirror_that_goes_away_while_it_is_read(database: Database, tmp_path: Path, place: Path) -> None:
    async with library(database, tmp_path / "home", served=False, scrub_days=1, scrub_mb_per_s=0) as kept:
        await kept.add(6)
        async with serving(kept):
            await filled(kept, place)
        await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")
        Leaving.opened = 0
        kept.backend_of = lambda location, _options: Leaving(location, hard_links=False)
        async with serving(kept):
            assert (await kept.run(kinds.scrub())).state == "completed"
        assert Leaving.opened == 3
        assert await kept.findings(None) == []
        assert await kept.ask("SELECT count(*) FROM mirror_copies") == [(6,)]
        assert await kept.ask("SELECT status FROM mirrors") == [("offline",)]


async def test_healing_waits_for_a_mirror_that_is_away(kept: Library, place: Path) -> None:
    (original,) = await kept.add(1)
    await filled(kept, place)
    original.rot()
    await kept.verified()
    (found,) = await kept.findings()
    away = place.rename(place.with_name("away"))
    job_id = await kept.engine.call(kinds.enqueue_one, kinds.heal(found.id, found.repository_id))
    row = await kept.until(job_id, "retryable", "scheduled", errors=1)
    assert (row.errors[-1]["code"], row.attempt) == ("mirror_offline", 0)
    away.rename(place)
    await kept.ask("UPDATE jobs SET scheduled_at = now() WHERE id = %s", job_id)
    assert (await kept.ended(job_id)).state == "completed"
    assert original.is_good


async def test_a_finding_out_of_date_heals_nothing(kept: Library, place: Path) -> None:
    """A person came first."""
    (original,) = await kept.add(1)
    await filled(kept, place)
    original.rot()
    await kept.verified()
    (found,) = await kept.findings()
    original.path.write_bytes(b"a person's own")
    job_id = await kept.engine.call(kinds.enqueue_one, kinds.heal(found.id, found.repository_id))
    await kept.until(job_id, "retryable", "scheduled", "completed", errors=1)
    assert original.path.read_bytes() == b"a person's own"
    assert await kept.kinds_found() == {original.relative: "changed"}


async def test_killed_in_the_middle_it_goes_on(database: Database, tmp_path: Path, place: Path) -> None:
    async with library(database, tmp_path / "home", served=False) as kept:
        await kept.add(60)
        mirror_id = await kept.mirror_at(str(place))
        job_id = await kept.engine.call(kinds.enqueue_one, kinds.mirror(mirror_id, kept.opened.id))
        for goal in (5, 25):
            async with serving(kept) as engine:
                with trio.fail_after(60):
                    while (await kept.ask("SELECT count(*) FROM mirror_copies"))[0][0] < goal:
                        await trio.lowlevel.checkpoint()
                engine.cancel()
        async with serving(kept):
            row = await kept.ended(job_id)
        assert row.result is not None
        assert row.result["copied"] < 60
        copies = {path.name: path.read_bytes() for path in place.glob("originals/??/??/*")}
        assert copies == {one.digest: one.content for one in kept.originals}
        assert sorted(line["digest"] for line in listed(place)) == sorted(copies)


async def test_a_mirror_is_readable_without_us(kept: Library, place: Path, tmp_path: Path) -> None:
    """The whole library again from what lies there, by its list alone."""
    await kept.add(8)
    await filled(kept, place)
    shutil.rmtree(kept.root / "trip")
    for line in listed(place):
        target = tmp_path / "again" / line["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / "originals" / line["digest"][:2] / line["digest"][2:4] / line["digest"], target)
    for one in kept.originals:
        assert (tmp_path / "again" / one.relative).read_bytes() == one.content


# killed at every step


class Alone:
    """Holds one job without a queue: its end is a transaction with its effect."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def commit(self, running: Running, effect: Effect | None, result: Result | None) -> Result | None:
        return await self.database.call(effect) if effect is not None else result

    async def fail(self, running: Running, error: BaseException) -> bool:
        raise error


def work_alone(conninfo: str, root: str, kind: str, args: dict[str, str]) -> None:
    """Do one job in a process of its own."""
    trio.run(_work, conninfo, root, kind, args)


async def _work(conninfo: str, root: str, kind: str, args: dict[str, str]) -> None:
    database = Database(conninfo, pool_size=2)
    async with library(database, Path(root), served=False) as kept:
        job = ClaimedJob(JobId(uuid7()), 1, kind, "integrity", 2, 1, 1, 5, args, None, None)
        (bound_kind,) = [one for one in bound(kept.rt, kept.backend_of) if one.name == kind]
        with stepping.armed():
            await bound_kind.run([Running(Alone(database), job)])
    await database.close()


async def in_a_child(
    kept: Library, kind: str, args: dict[str, str], step: int = 0, *, powerless: Path | None = None
) -> bool:
    """Do one job in a process that is killed before a step; tell whether it was."""
    kept.rt.repositories.close()
    at = None if powerless is None else str(powerless)
    conninfo, root = kept.rt.db.conninfo, str(kept.root)
    run = partial(stepping.run, work_alone, conninfo, root, kind, args, kill_at=step, powerless=at)
    return await trio.to_thread.run_sync(run)


@pytest.mark.parametrize("how", [stepping.KILLED, stepping.POWERLESS])
async def test_healing_killed_at_every_step(database: Database, tmp_path: Path, place: Path, how: str) -> None:
    """Whatever was written by then, doing it again ends in the good file, its row, and the bad one kept."""
    async with library(database, tmp_path / "home", served=False) as kept:
        (original,) = await kept.add(1)
        async with serving(kept):
            await filled(kept, place)
        ended = 0
        for step in stepping.steps():
            original.rot(step)
            bad = original.path.read_bytes()
            async with serving(kept):
                await kept.verified()
            (found,) = await kept.findings()
            args = {"finding": str(found.id)}
            powerless = kept.root if how == stepping.POWERLESS else None
            killed = await in_a_child(kept, "heal", args, step, powerless=powerless)
            aside = kept.root.joinpath(*storage_heal.QUARANTINE, f"{found.id}.bad")
            assert bad in [path.read_bytes() for path in (original.path, aside) if path.exists()]
            assert not await in_a_child(kept, "heal", args)
            assert original.is_good
            assert aside.read_bytes() == bad
            assert {one.state for one in await kept.findings(None)} == {"healed"}
            ((inode,),) = await kept.ask("SELECT inode FROM file_records")
            assert inode == original.path.stat().st_ino
            await taken_in(kept.rt, kept.root)
            ended += not killed
            if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
                break


@pytest.mark.parametrize("how", [stepping.KILLED, stepping.POWERLESS])
async def test_mirroring_killed_at_every_step(database: Database, tmp_path: Path, how: str) -> None:
    """No row without its copy, no list without its copies, and in the end everything once."""
    async with library(database, tmp_path / "home", served=False) as kept:
        originals = await kept.add(2)
        ended = 0
        for step in stepping.steps():
            place = tmp_path / f"mirror-{step}"
            place.mkdir()
            mirror_id = await kept.mirror_at(str(place))
            args = {"mirror": str(mirror_id)}
            powerless = place if how == stepping.POWERLESS else None
            killed = await in_a_child(kept, "mirror", args, step, powerless=powerless)
            rows = await kept.ask(
                "SELECT encode(digest, 'hex'), manifest_id FROM mirror_copies WHERE mirror_id = %s", mirror_id
            )
            contents = {one.digest: one.content for one in originals}
            for digest, manifest_id in rows:
                assert (place / storage.original_path(digest)).read_bytes() == contents[digest]
                if manifest_id is not None:
                    assert digest in {line["digest"] for line in listed(place)}
            assert not await in_a_child(kept, "mirror", args)
            assert {path.name: path.read_bytes() for path in place.glob("originals/??/??/*")} == contents
            assert {line["digest"] for line in listed(place)} == set(contents)
            await kept.ask("DELETE FROM mirrors WHERE id = %s", mirror_id)
            ended += not killed
            if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
                break


# where mirrors may lie, and what markers say


async def test_what_a_marker_declares(kept: Library, place: Path) -> None:
    repo = kept.opened.repository

    async def declared(settings: LocalSettings) -> list[str]:
        marked = repository.save(repo, replace(repo.marker, local_settings=settings))
        kept.rt.repositories._opened[kept.opened.id] = replace(kept.opened, repository=marked)
        await kept.rt.db.call(schedules.declare_repositories, kept.rt.repositories)
        return [row.location for row in await kept.rt.db.call(mirrors.all_rows)]

    assert await declared(LocalSettings()) == []
    outside = LocalSettings(create_backups=True, backup_path=str(place))
    assert await declared(outside) == [str(place)]
    # it would come back, also when a person has confirmed it
    for _ in range(2):
        (row,) = await kept.rt.db.call(mirrors.all_rows)
        with pytest.raises(Conflict) as caught:
            await library_integrity.remove_mirror(kept.rt, row.id)
        assert caught.value.code == "mirror_declared"
        await kept.ask("UPDATE mirrors SET declared = NOT declared")
    assert await declared(LocalSettings()) == []
    own = f"{kept.root}/.lumilio/backups/mirror"
    assert await declared(LocalSettings(create_backups=True, backup_path="backup")) == [own]
    (original,) = await kept.add(1)
    (row,) = await kept.rt.db.call(mirrors.all_rows)
    assert (await kept.run(kinds.mirror(row.id, kept.opened.id))).state == "completed"
    assert copy_of(Path(own), original).read_bytes() == original.content
    assert await declared(LocalSettings()) == []
    assert copy_of(Path(own), original).exists(), "what lies there stays"


async def test_a_marker_alone_sends_no_originals_elsewhere(kept: Library, place: Path) -> None:
    """Whoever brings a disk has written its marker: a person confirms the place, once."""
    repo = kept.opened.repository
    settings = LocalSettings(create_backups=True, backup_path=str(place))
    marked = repository.save(repo, replace(repo.marker, local_settings=settings))
    kept.rt.repositories._opened[kept.opened.id] = replace(kept.opened, repository=marked)
    await kept.rt.db.call(schedules.declare_repositories, kept.rt.repositories)
    (original,) = await kept.add(1)
    (row,) = await kept.rt.db.call(mirrors.all_rows)
    with pytest.raises(Unavailable) as caught:
        await mirror.reached(kept.rt, row, kept.backend_of)
    assert caught.value.code == "mirror_offline"
    assert list(place.iterdir()) == []
    (shown,) = (await library_integrity.mirrors(kept.rt)).items
    assert (shown.status, shown.declared) == ("offline", True)
    assert shown.status_reason is not None
    assert f"lumilio mirrors add {repo.id} {place}" in shown.status_reason
    confirmed = await library_integrity.add_mirror(kept.rt, NewMirror(repository=str(repo.id), location=str(place)))
    assert (confirmed.id, confirmed.declared) == (row.id, False)
    assert (await kept.run(kinds.mirror(row.id, kept.opened.id))).state == "completed"
    assert copy_of(place, original).read_bytes() == original.content
    with pytest.raises(Conflict):
        await library_integrity.add_mirror(kept.rt, NewMirror(repository=str(repo.id), location=str(place)))


async def test_a_place_that_hangs_is_away_and_does_not_keep_the_others_waiting(
    kept: Library, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lumiliod.library.mirror_look.LOOK_S", 0.3)
    mirror_id = await filled(kept, place)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}", "allow_http": "true", "region": "x"}
        options |= {"access_key_id": "k", "secret_access_key": "s"}
        hanging = await kept.rt.db.call(mirrors.insert, kept.opened.id, "s3://bucket/prefix", options)
        await kept.rt.db.call(mirrors.note_reached, hanging.id)
        with trio.fail_after(5):
            told = {one.id: one for one in (await library_integrity.mirrors(kept.rt)).items}
            assert told[mirror_id].status == "online"
            assert (told[hanging.id].status, "does not answer" in str(told[hanging.id].status_reason)) == (
                "offline",
                True,
            )
            assert hanging.id in kept.rt.mirrors_asked, "its thread hangs, and no other is sent after it"
            (place / "lumilio-mirror" / f"{mirror_id}.json").unlink()
            told = {one.id: one for one in (await library_integrity.mirrors(kept.rt)).items}
            assert [one.status for one in told.values()] == ["offline", "offline"]


def test_where_a_mirror_may_lie(tmp_path: Path) -> None:
    root = tmp_path / "home"
    (root / "below").mkdir(parents=True)
    for bad in (root, root / "below", tmp_path):
        with pytest.raises(Shape) as caught:
            storage.checked_location(str(bad), {}, [str(root)], "/none")
        assert caught.value.code == "nested_root"
    with pytest.raises(NotFound):
        storage.checked_location(str(tmp_path / "none"), {}, [str(root)], "/none")
    for bad_location in ("relative", "gopher://x/y"):
        with pytest.raises(Shape):
            storage.checked_location(bad_location, {}, [], "/none")
    other = tmp_path / "other"
    other.mkdir()
    assert storage.checked_location(f"{other}/", {}, [str(root)], "/none") == str(other)


def test_the_mark_of_another_mirror_is_none(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path), hard_links=False)
    repo = repository.create(str(_made(tmp_path.parent / f"{tmp_path.name}-repo")), "Home")
    mine, other = UUID(int=1), UUID(int=2)
    storage.introduce(backend, storage.Mark(mine, repo.id, repo.name), repo)
    storage.introduce(backend, storage.Mark(mine, repo.id, repo.name), repo)
    storage.check_there(backend, mine)
    # what was begun under an older name of its repository goes on
    storage.introduce(backend, storage.Mark(mine, repo.id, "Renamed"), repo)
    storage.check_there(backend, mine)
    with pytest.raises(Unavailable):
        storage.check_there(backend, other)
    (tmp_path / "lumilio-mirror" / f"{other}.json").write_bytes(
        (tmp_path / "lumilio-mirror" / f"{mine}.json").read_bytes()
    )
    with pytest.raises(Unavailable):
        storage.check_there(backend, other)
    for rotten in (b"\0", b'{"mirror":"\xff"}', b"[" * 60_000):
        (tmp_path / "lumilio-mirror" / f"{mine}.json").write_bytes(rotten)
        with pytest.raises(Unavailable, match="cannot be read"):
            storage.check_there(backend, mine)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


async def test_one_mirror_a_place(kept: Library, place: Path) -> None:
    await kept.mirror_at(str(place))
    with pytest.raises(Conflict):
        await kept.mirror_at(str(place))
