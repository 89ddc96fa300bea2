"""Removing, restoring, purging and overwriting: killed at every step, healed both ways; and beside each other."""

import datetime as dt
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
import trio

from lumiliod.contract.trash import PurgeRequest, Removal, RemoveRequest, RestoreRequest
from lumiliod.db import files, scans
from lumiliod.db import trash as db_trash
from lumiliod.domain.assets import Outcome
from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId
from lumiliod.domain.trash import Why
from lumiliod.library import browse, derived, trash
from lumiliod.pipeline import file_ingest, kinds, settlement, strays
from lumiliod.pipeline.retire import note_of
from lumiliod.runtime import Runtime
from lumiliod.storage import trash_entry
from lumiliod.storage.local import stat_of
from tests import meanwhile, stepping
from tests.pipeline import removing
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg

WAYS = stepping.ways(removing.heal_by_work, removing.heal_by_scan)
FEWEST_STEPS = 6
"""Fewer would mean that the harness does not see what the operations do."""

A, B, C, NEW = jpeg(1), jpeg(2), jpeg(3), jpeg(4)


def put_into_trash(shelf: Shelf, asset_id: AssetId) -> None:
    """Remove an asset, as the job leaves it."""
    with psycopg.connect(shelf.conninfo) as conn:
        db_trash.remove(conn, [asset_id], why=Why.REMOVED, by=None)
        found = db_trash.item(conn, asset_id)
        assert found is not None
        repo = shelf.repository()
        kept = [(file.id, trash_entry.put(repo, note_of(found, file), file.stat)) for file in found.files]
        db_trash.retired(conn, asset_id, kept, [])


class Scene:
    """An asset to try things with; others, live and in the trash, and a stranger's file: nothing happens to them."""

    def __init__(self, conninfo: str, folder: Path, *, overwrite: bool = False) -> None:
        self.shelf = shelves.make(conninfo, shelves.fresh(folder), overwrite=overwrite)
        self.asset = shelves.add(self.shelf, "inbox/a.jpg", A)
        self.others = [shelves.add(self.shelf, "inbox/b.jpg", B), shelves.add(self.shelf, "inbox/c.jpg", C)]
        put_into_trash(self.shelf, self.others[1])
        hidden = self.shelf.path / "Trip" / ".notes"
        hidden.parent.mkdir()
        hidden.write_text("theirs")
        self.before = self.foreign()
        assert len(self.before) >= 6

    def foreign(self) -> dict[str, tuple[bytes, int]]:
        everything = self.shelf.everything(but=digest_of(A))
        return {
            name: found
            for name, found in everything.items()
            if not {str(self.asset), digest_of(A)} & set(re.split(r"[/.]", name)) and name not in self.notes()
        }

    def notes(self) -> set[str]:
        """Return the notes of the asset's own files."""
        found = set()
        for path in self.shelf.trash.glob("*.json"):
            if json.loads(path.read_bytes())["asset_id"] == str(self.asset):
                found.add(str(path.relative_to(self.shelf.path)))
        return found

    def state(self) -> tuple[str | None, bool]:
        """Return the asset's state in the trash, and whether it is deleted; ``gone`` when it has no row."""
        rows = self.shelf.sql(
            "SELECT t.state, a.deleted_at IS NOT NULL FROM assets a LEFT JOIN trash t ON t.asset_id = a.id"
            " WHERE a.id = %s",
            self.asset,
        )
        for state, deleted in rows:
            return None if state is None else str(state), bool(deleted)
        return "gone", True

    def check_whole(self) -> None:
        """Check: nothing foreign changed, nothing is left over, every row tells where its bytes are."""
        after = self.foreign()
        assert {name: after.get(name) for name in self.before} == self.before
        assert list((self.shelf.path / ".lumilio" / "temp").iterdir()) == []
        rows = self.shelf.sql(
            "SELECT id::text, inode, size_bytes FROM trash_files WHERE repository_id = %s", self.shelf.id
        )
        expected = {str(name) for id_, *_ in rows for name in (id_, f"{id_}.json")}
        assert {path.name for path in self.shelf.trash.iterdir()} == expected
        for id_, inode, size in rows:
            found = (self.shelf.trash / str(id_)).stat()
            assert (found.st_ino, found.st_size) == (inode, size)
        records = self.shelf.sql(
            "SELECT convert_from(path, 'UTF8'), inode, encode(digest, 'hex'), outcome FROM file_records"
            " WHERE repository_id = %s AND outcome NOT IN ('ignored')",
            self.shelf.id,
        )
        for path, inode, digest, outcome in records:
            place = self.shelf.path / str(path)
            assert outcome in ("asset", "duplicate"), (path, outcome)
            assert (place.stat().st_ino, digest_of(place.read_bytes())) == (inode, digest)
        in_inbox = {str(path.relative_to(self.shelf.path)) for path in (self.shelf.path / "inbox").rglob("*")}
        assert in_inbox == {str(path) for path, *_ in records if str(path).startswith("inbox/")}

    def check_live(self, path: str = "inbox/a.jpg") -> None:
        assert self.state() == (None, False)
        assert self.shelf.holding(digest_of(A)) == [path]
        self.check_whole()

    def check_trashed(self) -> None:
        assert self.state() == ("trashed", True)
        [place] = self.shelf.holding(digest_of(A))
        assert place.startswith(".lumilio/trash/")
        [row] = self.shelf.sql("SELECT id::text FROM trash_files WHERE asset_id = %s", self.asset)
        assert place == f".lumilio/trash/{row[0]}"
        note = json.loads((self.shelf.path / f"{place}.json").read_bytes())
        assert (note["asset_id"], note["digest"], note["path"]) == (str(self.asset), digest_of(A), "inbox/a.jpg")
        self.check_whole()

    def rating(self) -> object:
        return self.shelf.sql("SELECT rating FROM assets WHERE id = %s", self.asset)


Operation = tuple[Callable[..., None], *tuple[object, ...]]
"""What is run in a process of its own, and with what."""


def through(
    make: Callable[[], Scene],
    operation: Callable[[Scene], Operation],
    *,
    how: str,
    heal: Callable[[Shelf], None],
    check: Callable[[Scene, str | None], None],
) -> None:
    """Kill an operation at each of its steps, heal, check; the last rounds are those of one that is not killed.

    ``check`` is told the state that was on record when the operation was killed: what was asked for and written
    down is done in the end, and what was not has not been begun.
    """
    ended = 0
    for step in stepping.steps():
        here = make()
        powerless = here.shelf.root if how == stepping.POWERLESS else None
        act, *args = operation(here)
        was_killed = stepping.run(act, *args, kill_at=step, powerless=powerless)
        begun, _ = here.state()
        stepping.run(heal, here.shelf)
        check(here, begun)
        # nobody meets what an earlier round left
        here.shelf.sql("TRUNCATE repositories, assets, jobs CASCADE")
        ended += not was_killed
        if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
            assert step > FEWEST_STEPS
            return


def removed_or_not(scene: Scene) -> None:
    if scene.state() == (None, False):
        scene.check_live()
    else:
        scene.check_trashed()


@pytest.mark.parametrize(("heal", "how"), WAYS)
def test_removing_killed_at_every_step(conninfo: str, tmp_path: Path, heal: Callable[[Shelf], None], how: str) -> None:
    def check(scene: Scene, begun: str | None) -> None:
        if begun is None:
            scene.check_live()
        else:
            scene.check_trashed()

    through(
        lambda: Scene(conninfo, tmp_path),
        lambda scene: (removing.remove, scene.shelf, scene.asset),
        how=how,
        heal=heal,
        check=check,
    )


@pytest.mark.parametrize(("heal", "how"), WAYS)
def test_restoring_killed_at_every_step(conninfo: str, tmp_path: Path, heal: Callable[[Shelf], None], how: str) -> None:
    def scene() -> Scene:
        made = Scene(conninfo, tmp_path)
        put_into_trash(made.shelf, made.asset)
        return made

    def check(scene: Scene, begun: str | None) -> None:
        if begun == "trashed":
            scene.check_trashed()
        else:
            scene.check_live()
        assert scene.rating() == [(4,)]

    through(scene, lambda scene: (removing.restore, scene.shelf, scene.asset), how=how, heal=heal, check=check)


@pytest.mark.parametrize(("heal", "how"), WAYS)
def test_purging_killed_at_every_step(conninfo: str, tmp_path: Path, heal: Callable[[Shelf], None], how: str) -> None:
    def scene() -> Scene:
        made = Scene(conninfo, tmp_path)
        put_into_trash(made.shelf, made.asset)
        return made

    def check(scene: Scene, begun: str | None) -> None:
        if begun == "trashed":
            scene.check_trashed()
        else:
            assert scene.state()[0] == "gone"
            assert scene.shelf.holding(digest_of(A)) == []
            if how == stepping.POWERLESS:
                stepping.run(removing.look_for_leftovers, scene.shelf)
            assert not list((scene.shelf.path / ".lumilio" / "assets").rglob(f"{digest_of(A)}*"))
            scene.check_whole()

    through(scene, lambda scene: (removing.purge, scene.shelf, scene.asset), how=how, heal=heal, check=check)


@pytest.mark.parametrize(("heal", "how"), WAYS)
def test_overwriting_killed_at_every_step(
    conninfo: str, tmp_path: Path, heal: Callable[[Shelf], None], how: str
) -> None:
    def check(scene: Scene, _begun: str | None) -> None:
        scene.check_trashed()
        assert scene.shelf.holding(digest_of(NEW)) == ["inbox/a.jpg"]
        [row] = scene.shelf.sql(
            "SELECT a.deleted_at, f.outcome FROM assets a JOIN file_records f ON f.asset_id = a.id"
            " WHERE a.digest = decode(%s, 'hex') AND f.repository_id = %s",
            digest_of(NEW),
            scene.shelf.id,
        )
        assert row == (None, "asset")
        assert scene.shelf.sql("SELECT why FROM trash WHERE asset_id = %s", scene.asset) == [("replaced",)]

    through(
        lambda: Scene(conninfo, tmp_path, overwrite=True),
        lambda scene: (removing.upload, scene.shelf, "a.jpg", NEW),
        how=how,
        heal=heal,
        check=check,
    )


@pytest.fixture
def scene(conninfo: str, tmp_path: Path) -> Scene:
    return Scene(conninfo, tmp_path)


async def remove(rt: Runtime, asset_id: AssetId, *, delete_file: bool = False) -> str:
    return (await trash.remove_one(rt, asset_id, delete_file=delete_file)).state


async def test_removing_twice_and_restoring_while_it_is_removed(scene: Scene) -> None:
    async with shelves.working(scene.shelf) as rt:
        assert await remove(rt, scene.asset) == "retiring"
        assert await remove(rt, scene.asset) in ("retiring", "trashed")
        [back] = (await trash.restore(rt, RestoreRequest(ids=[scene.asset]))).results
        assert back.outcome == "restoring"
        await shelves.idle(rt)
    scene.check_live()


async def test_two_processes_that_remove_the_same_file(scene: Scene) -> None:
    """An upload makes way in a worker while the daemon's job moves the file: whoever comes second loses nothing."""
    moved: list[bool] = []

    def move(args: tuple[Any, ...]) -> None:
        if args[0] != "a.jpg" or moved:
            return
        moved.append(True)
        with psycopg.connect(scene.shelf.conninfo) as conn:
            found = db_trash.item(conn, scene.asset)
        assert found is not None
        for file in found.files:
            trash_entry.put(scene.shelf.repository(), note_of(found, file), file.stat)

    async with shelves.working(scene.shelf) as rt:
        with meanwhile.before("open", move):
            await remove(rt, scene.asset)
            await shelves.idle(rt)
    assert moved
    scene.check_trashed()
    async with shelves.working(scene.shelf) as rt:
        await trash.restore(rt, RestoreRequest(ids=[scene.asset]))
        await shelves.idle(rt)
    scene.check_live()


async def test_many_at_once_about_one_asset(scene: Scene) -> None:
    """Whatever order they take effect in, the end is one of the two, whole."""
    async with shelves.working(scene.shelf) as rt:

        async def repeat(act: Callable[[], Awaitable[object]]) -> None:
            for _ in range(10):
                await act()

        async def purge() -> None:
            await trash.purge(rt, PurgeRequest(older_s=1e6))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(repeat, partial(remove, rt, scene.asset))
            nursery.start_soon(repeat, partial(trash.restore, rt, RestoreRequest(ids=[scene.asset])))
            nursery.start_soon(repeat, purge)
        await shelves.idle(rt)
    removed_or_not(scene)


async def test_restoring_against_purging(scene: Scene) -> None:
    """Either it is back with its bytes, or gone with its row; the one who asked was told which."""
    put_into_trash(scene.shelf, scene.asset)
    outcomes: dict[str, str] = {}
    async with shelves.working(scene.shelf) as rt:

        async def restore() -> None:
            [back] = (await trash.restore(rt, RestoreRequest(ids=[scene.asset]))).results
            outcomes["restore"] = back.outcome

        async with trio.open_nursery() as nursery:
            await trash.purge(rt, PurgeRequest(ids=[scene.asset]))
            nursery.start_soon(restore)
        await shelves.idle(rt)
    if outcomes["restore"] == "restoring":
        scene.check_live()
    else:
        assert outcomes["restore"] in ("doomed", "not_in_trash")
        assert scene.shelf.holding(digest_of(A)) == []
        scene.check_whole()


async def test_a_restore_that_comes_before_the_verdict_wins(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    async with shelves.opened(scene.shelf) as rt:
        # no engine: the purge is asked for and has not begun
        assert (await trash.purge(rt, PurgeRequest(ids=[scene.asset]))).count == 1
        [back] = (await trash.restore(rt, RestoreRequest(ids=[scene.asset]))).results
        assert back.outcome == "restoring"
    async with shelves.working(scene.shelf) as rt:
        await shelves.idle(rt)
    scene.check_live()


async def test_what_is_doomed_cannot_be_restored(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    async with shelves.opened(scene.shelf) as rt:
        await trash.purge(rt, PurgeRequest(ids=[scene.asset]))
        assert await rt.db.call(db_trash.doom, scene.asset) is not None
        [back] = (await trash.restore(rt, RestoreRequest(ids=[scene.asset]))).results
        assert (back.outcome, scene.state()[0]) == ("doomed", "doomed")


async def test_not_purged_while_a_job_is_at_work_on_it(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    async with shelves.opened(scene.shelf) as rt:
        await trash.purge(rt, PurgeRequest(ids=[scene.asset]))
        scene.shelf.sql(
            "INSERT INTO jobs (id, kind, queue, state, max_attempts, worker_id, token, asset_id)"
            " VALUES (gen_random_uuid(), 'thumbnails', 'media', 'running', 5, gen_random_uuid(), 1, %s)",
            scene.asset,
        )
        assert await rt.db.call(db_trash.doom, scene.asset) is None
        scene.shelf.sql("DELETE FROM jobs WHERE kind = 'thumbnails'")
        assert await rt.db.call(db_trash.doom, scene.asset) is not None


async def test_the_same_bytes_uploaded_while_they_are_removed(scene: Scene) -> None:
    async with shelves.opened(scene.shelf) as rt:
        assert await remove(rt, scene.asset) == "retiring"
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "again.jpg", A)
    scene.check_live()
    assert list((scene.shelf.path / ".lumilio" / "staging").rglob("*.json")) == []


async def test_an_upload_brings_back_what_lies_in_the_trash(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "again.jpg", A)
    scene.check_live()
    assert scene.rating() == [(4,)]


async def test_an_upload_replaces_what_is_damaged_in_the_trash(scene: Scene) -> None:
    """The bytes that were uploaded are not let go for ones that are not there; the damaged file is kept."""
    put_into_trash(scene.shelf, scene.asset)
    [row] = scene.shelf.sql("SELECT id::text FROM trash_files WHERE asset_id = %s", scene.asset)
    damaged = scene.shelf.trash / str(row[0])
    damaged.write_bytes(b"x" * len(A))
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "again.jpg", A)
    assert scene.state() == (None, False)
    assert scene.shelf.holding(digest_of(A)) == ["inbox/again.jpg"]
    assert damaged.read_bytes() == b"x" * len(A)
    async with shelves.opened(scene.shelf) as rt:
        [stray] = await strays.found(rt, rt.repositories.get(scene.shelf.id))
        assert (stray.name, stray.note and stray.note.asset_id) == (row[0], scene.asset)


async def scanned(rt: Runtime, shelf: Shelf) -> None:
    await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
    await shelves.idle(rt)


def outcomes_of(shelf: Shelf, asset_id: UUID) -> list[tuple[str, str]]:
    rows = shelf.sql(
        "SELECT convert_from(path, 'UTF8'), outcome FROM file_records WHERE asset_id = %s ORDER BY path", asset_id
    )
    return [(str(path), str(outcome)) for path, outcome in rows]


async def test_a_file_of_the_user_area_is_hidden_and_stays_hidden(scene: Scene) -> None:
    shelf, content = scene.shelf, jpeg(9)
    mine = shelves.add(shelf, "Trip/mine.jpg", content)
    place = shelf.path / "Trip" / "mine.jpg"
    before = place.stat()
    async with shelves.working(shelf) as rt:
        assert await remove(rt, mine) == "trashed"
        # touched, moved and copied: it is the same picture to whoever removed it
        place.touch()
        await scanned(rt, shelf)
        assert outcomes_of(shelf, mine) == [("Trip/mine.jpg", "trashed")]
        place.rename(shelf.path / "Trip" / "moved.jpg")
        (shelf.path / "Other").mkdir()
        (shelf.path / "Other" / "copy.jpg").write_bytes(content)
        await scanned(rt, shelf)
        assert dict(outcomes_of(shelf, mine))["Trip/moved.jpg"] == "trashed"
        assert dict(outcomes_of(shelf, mine))["Other/copy.jpg"] == "trashed"
        assert (shelf.path / "Trip" / "moved.jpg").stat().st_ino == before.st_ino
        # nothing of it lies in the trash, so there is nothing to purge, and the next scan must know it
        [refused] = (await trash.purge(rt, PurgeRequest(ids=[mine]))).results
        assert refused.outcome == "in_user_area"
        assert (await trash.purge(rt, PurgeRequest(older_s=0))).count == 1  # the other one
        [back] = (await trash.restore(rt, RestoreRequest(ids=[mine]))).results
        assert back.outcome == "restored"
        found = outcomes_of(shelf, mine)
        assert [end for _, end in found].count("asset") == 1
        served = next(path for path, end in found if end == "asset")
        assert (shelf.path / str(served)).read_bytes() == content
        await shelves.idle(rt)


async def test_a_file_of_the_user_area_moves_when_it_was_named(scene: Scene) -> None:
    shelf, content = scene.shelf, jpeg(9)
    mine = shelves.add(shelf, "Trip/mine.jpg", content)
    shelves.copy(shelf, mine, "inbox/mine too.jpg", content)
    async with shelves.working(shelf) as rt:
        assert await remove(rt, mine, delete_file=True) == "retiring"
        await scanned(rt, shelf)
        assert [path.startswith(".lumilio/trash/") for path in shelf.holding(digest_of(content))] == [True, True]
        assert outcomes_of(shelf, mine) == []
        await trash.restore(rt, RestoreRequest(ids=[mine]))
        await shelves.idle(rt)
    assert shelf.holding(digest_of(content)) == ["Trip/mine.jpg", "inbox/mine too.jpg"]
    assert outcomes_of(shelf, mine) == [("Trip/mine.jpg", "asset"), ("inbox/mine too.jpg", "duplicate")]
    scene.check_whole()


async def test_the_same_bytes_dropped_into_the_inbox_bring_it_back(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    (scene.shelf.path / "inbox" / "dropped.jpg").write_bytes(A)
    async with shelves.working(scene.shelf) as rt:
        await scanned(rt, scene.shelf)
    assert scene.state() == (None, False)
    assert scene.shelf.holding(digest_of(A)) == ["inbox/a.jpg", "inbox/dropped.jpg"]
    scene.check_whole()


async def test_a_file_that_was_moved_since_it_was_read_brings_nothing_back(scene: Scene) -> None:
    """A scan meets it on its way; by the time it is read, it has arrived."""
    shelf, place = scene.shelf, scene.shelf.path / "inbox" / "a.jpg"
    stat, digest = stat_of(place.stat()), Digest(digest_of(A))
    put_into_trash(shelf, scene.asset)
    async with shelves.opened(shelf) as rt:
        opened = rt.repositories.get(shelf.id)
        with psycopg.connect(shelf.conninfo) as conn:
            generation = scans.next_generation(conn, opened.id)
            [seen] = files.seen(conn, opened.id, generation, [files.SeenFile(RepoPath("inbox/a.jpg"), stat)])
            record = files.get(conn, seen.id)
            assert record is not None
            with pytest.raises(Unavailable):  # it came there since it was looked for
                settlement.settle(
                    opened, record, files.Settled(record.id, Outcome.ASSET, stat, digest, scene.asset), conn
                )
            conn.commit()
        told = await rt.jobs.call(await file_ingest._examined(rt, opened, record, digest, stat))
    assert told == {"outcome": "gone"}
    scene.check_trashed()


async def test_restoring_beside_what_took_its_name(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    shelves.add(scene.shelf, "inbox/a.jpg", NEW)
    async with shelves.working(scene.shelf) as rt:
        await trash.restore(rt, RestoreRequest(ids=[scene.asset]))
        await shelves.idle(rt)
    scene.check_live("inbox/a (1).jpg")
    assert scene.shelf.holding(digest_of(NEW)) == ["inbox/a.jpg"]


async def test_what_is_not_as_on_record_is_not_purged(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    [row] = scene.shelf.sql("SELECT id::text FROM trash_files WHERE asset_id = %s", scene.asset)
    file = scene.shelf.trash / str(row[0])
    file.write_bytes(b"y" * len(A))
    async with shelves.working(scene.shelf) as rt:
        task = (await trash.purge(rt, PurgeRequest(ids=[scene.asset]))).task_id
        await shelves.idle(rt)
    [result] = scene.shelf.sql("SELECT result FROM job_history WHERE id = %s", task)
    assert result[0]["purge_refused"] == 1  # type: ignore[index]  # a JSON object
    assert result[0]["refused"][0]["code"] == "digest_mismatch"  # type: ignore[index]
    assert file.read_bytes() == b"y" * len(A)
    assert scene.state() == ("trashed", True)
    [kept] = scene.shelf.sql("SELECT refused FROM trash WHERE asset_id = %s", scene.asset)
    assert str(kept[0]).startswith("digest_mismatch: ")


def onto_another_disk(shelf: Shelf) -> None:
    """Give every file a new inode, as a backup that is restored does."""
    for path in [path for path in shelf.path.rglob("*") if path.is_file()]:
        copy = path.with_name(f"{path.name}.copy")
        shutil.copy2(path, copy)
        copy.replace(path)


async def test_on_another_disk_the_trash_is_restored_and_purged(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    onto_another_disk(scene.shelf)
    async with shelves.working(scene.shelf) as rt:
        await trash.restore(rt, RestoreRequest(ids=[scene.asset]))
        await trash.purge(rt, PurgeRequest(ids=[scene.others[1]]))
        await shelves.idle(rt)
    assert scene.state() == (None, False)
    assert scene.shelf.holding(digest_of(A)) == ["inbox/a.jpg"]
    assert scene.shelf.holding(digest_of(C)) == []
    assert list(scene.shelf.trash.iterdir()) == []


async def test_what_was_doomed_before_it_came_onto_another_disk_goes(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    scene.shelf.sql("UPDATE trash SET state = 'doomed' WHERE asset_id = %s", scene.asset)
    onto_another_disk(scene.shelf)
    async with shelves.working(scene.shelf) as rt:
        await rt.jobs.call(kinds.enqueue_one, kinds.purge())
        await shelves.idle(rt)
    assert scene.state() == ("gone", True)
    assert scene.shelf.holding(digest_of(A)) == []


async def test_an_inode_of_another_disk_is_no_identity(scene: Scene) -> None:
    """A file that was put into the inbox comes back, though it has the number that the file in the trash had."""
    put_into_trash(scene.shelf, scene.asset)
    onto_another_disk(scene.shelf)
    dropped = scene.shelf.path / "inbox" / "dropped.jpg"
    dropped.write_bytes(A)
    inode = dropped.stat().st_ino
    scene.shelf.sql("UPDATE trash_files SET inode = %s WHERE asset_id = %s", inode, scene.asset)
    async with shelves.working(scene.shelf) as rt:
        await scanned(rt, scene.shelf)
    assert scene.state() == (None, False)
    assert scene.shelf.holding(digest_of(A)) == ["inbox/a.jpg", "inbox/dropped.jpg"]


async def test_only_what_has_been_there_long_enough_is_purged(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    scene.shelf.sql("UPDATE trash SET aged_s = 30 * 86400 WHERE asset_id = %s", scene.asset)
    async with shelves.working(scene.shelf) as rt:
        await rt.jobs.call(kinds.enqueue_one, kinds.purge(older_s=31 * 86_400.0))
        await shelves.idle(rt)
        assert scene.state() == ("trashed", True)
        await rt.jobs.call(kinds.enqueue_one, kinds.purge(older_s=30 * 86_400.0))
        await shelves.idle(rt)
    assert not scene.shelf.sql("SELECT 1 FROM assets WHERE id = %s", scene.asset)
    assert scene.shelf.sql("SELECT count(*) FROM trash") == [(1,)]


async def purge_at(rt: Runtime, asset_id: AssetId) -> dt.datetime:
    """Return when an asset is purged at the earliest; the trash as a whole says the same, a moment later."""
    at, held = (await trash.show(rt, asset_id)).purge_at, (await trash.page(rt, limit=1, cursor=None)).summary
    assert at is not None
    assert held.next_purge_at is not None
    assert held.next_purge_at <= at + dt.timedelta(minutes=1)
    return at


@pytest.mark.parametrize("off", ["- interval '60 days'", "+ interval '60 days'"], ids=["was behind", "was ahead"])
async def test_a_clock_that_was_wrong_purges_nothing_early(scene: Scene, off: str) -> None:
    """Removed while the clock was wrong, which was then put right; or the daemon was off for so long."""
    put_into_trash(scene.shelf, scene.asset)
    scene.shelf.sql(f"UPDATE trash SET deleted_at = now() {off}, aged_at = now() {off}")
    async with shelves.working(scene.shelf) as rt:
        now = dt.datetime.now(dt.UTC)
        assert (
            dt.timedelta(days=28, hours=23) < await purge_at(rt, scene.asset) - now < dt.timedelta(days=30, minutes=1)
        )
        for _ in range(2):
            await rt.jobs.call(kinds.enqueue_one, kinds.purge(older_s=30 * 86_400.0))
            await shelves.idle(rt)
        assert scene.state() == ("trashed", True)
        assert (
            dt.timedelta(days=28, hours=23) < await purge_at(rt, scene.asset) - now < dt.timedelta(days=30, minutes=1)
        )
        [(aged_s,)] = scene.shelf.sql("SELECT max(aged_s) FROM trash")
        assert cast(float, aged_s) < 86_400 + 60


async def test_the_days_in_the_trash_are_counted_from_purge_to_purge(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    async with shelves.working(scene.shelf) as rt:
        removed_at = (await trash.show(rt, scene.asset)).deleted_at
        assert await purge_at(rt, scene.asset) == removed_at + dt.timedelta(days=30)
        for day in range(1, 31):
            assert scene.state() == ("trashed", True), day
            scene.shelf.sql("UPDATE trash SET aged_at = now() - interval '1 day' WHERE asset_id = %s", scene.asset)
            await rt.jobs.call(kinds.enqueue_one, kinds.purge(older_s=30 * 86_400.0))
            await shelves.idle(rt)
    assert scene.state()[0] == "gone"
    assert scene.shelf.sql("SELECT count(*) FROM trash") == [(1,)]


async def test_bytes_that_are_gone_are_told_and_come_back_with_the_file(scene: Scene) -> None:
    """An asset with no file anywhere stays in the trash, and leaves it with its bytes."""
    put_into_trash(scene.shelf, scene.asset)
    [row] = scene.shelf.sql("SELECT id::text FROM trash_files WHERE asset_id = %s", scene.asset)
    file = scene.shelf.trash / str(row[0])
    away = scene.shelf.path.parent / "away"
    file.rename(away)
    async with shelves.working(scene.shelf) as rt:
        await trash.restore(rt, RestoreRequest(ids=[scene.asset]))
        await shelves.idle(rt)
        item = await trash.show(rt, scene.asset)
        assert (item.state, item.refused and item.refused.split(":")[0]) == ("trashed", "file_missing")
        away.rename(file)
        await trash.restore(rt, RestoreRequest(ids=[scene.asset]))
        await shelves.idle(rt)
    scene.check_live()


async def test_a_copy_keeps_the_name_from_an_overwriting_upload(conninfo: str, tmp_path: Path) -> None:
    scene = Scene(conninfo, tmp_path, overwrite=True)
    shelves.copy(scene.shelf, scene.asset, "Trip/copy.jpg", A)
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "a.jpg", NEW)
    assert scene.shelf.holding(digest_of(NEW)) == ["inbox/a (1).jpg"]
    assert scene.shelf.holding(digest_of(A)) == ["Trip/copy.jpg", "inbox/a.jpg"]
    assert scene.state() == (None, False)


async def test_an_overwriting_upload_ends_what_another_began(conninfo: str, tmp_path: Path) -> None:
    """Its row says that the older one is on its way, and nobody moves it."""
    scene = Scene(conninfo, tmp_path, overwrite=True)
    with psycopg.connect(conninfo) as conn:
        db_trash.remove(conn, [scene.asset], why=Why.REPLACED, by=None)
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "a.jpg", NEW)
    assert scene.shelf.holding(digest_of(NEW)) == ["inbox/a.jpg"]
    scene.check_trashed()


async def test_an_edited_file_keeps_the_name_from_an_overwriting_upload(conninfo: str, tmp_path: Path) -> None:
    scene = Scene(conninfo, tmp_path, overwrite=True)
    (scene.shelf.path / "inbox" / "a.jpg").write_bytes(b"edited")
    await trio.to_thread.run_sync(stepping.run, removing.upload, scene.shelf, "a.jpg", NEW)
    assert scene.shelf.holding(digest_of(NEW)) == ["inbox/a (1).jpg"]
    assert (scene.shelf.path / "inbox" / "a.jpg").read_bytes() == b"edited"
    assert scene.state() == (None, False)


async def test_what_is_in_the_trash_cannot_be_seen(scene: Scene) -> None:
    put_into_trash(scene.shelf, scene.asset)
    async with shelves.opened(scene.shelf) as rt:
        assert [item.id for item in (await browse.page(rt, limit=50, cursor=None)).items] == [scene.others[0]]
        for look in (browse.show, browse.original, partial(derived.thumbnail, size=150), derived.web_video):
            with pytest.raises(LumilioError) as caught:
                await look(rt, scene.asset)
            assert caught.value.code == "in_trash"


async def test_a_query_removes_what_it_finds_and_no_file_of_a_person(scene: Scene) -> None:
    mine = shelves.add(scene.shelf, "Trip/mine.jpg", jpeg(9))
    async with shelves.working(scene.shelf) as rt:
        with pytest.raises(LumilioError) as caught:
            await trash.remove(rt, RemoveRequest(query="  "))
        assert caught.value.code == "bad_selection"
        assert (await trash.remove(rt, RemoveRequest(query="name:mine", dry_run=True))).count == 1
        assert (await trash.remove(rt, RemoveRequest(query="type:photo"))).count == 3
        await shelves.idle(rt)
        assert (scene.shelf.path / "Trip" / "mine.jpg").is_file()
        assert not list((scene.shelf.path / "inbox").iterdir())
        page = await trash.page(rt, limit=2, cursor=None)
        rest = await trash.page(rt, limit=2, cursor=page.next_cursor)
        assert {item.asset_id for item in [*page.items, *rest.items]} == {scene.asset, *scene.others, mine}
        held = page.summary
        # the disks are asked once, not for every page
        assert (held.untracked, rest.summary.untracked) == (0, None)
        size = len(A) + len(B) + len(C)
        assert (held.count, held.files, held.size_bytes, held.hidden) == (4, 3, size, 1)
        assert held.oldest_at == min(item.deleted_at for item in [*page.items, *rest.items])
        assert held.oldest_at is not None
        assert held.next_purge_at == held.oldest_at + dt.timedelta(days=30)
        assert (await trash.restore(rt, RestoreRequest(all=True))).count == 4
        await shelves.idle(rt)
    assert scene.shelf.sql("SELECT count(*) FROM trash") == [(0,)]


async def test_waiting_jobs_of_what_is_removed_end(scene: Scene) -> None:
    async with shelves.opened(scene.shelf) as rt:
        for spec in (kinds.METADATA, kinds.THUMBNAILS):
            job = kinds.about(spec, scene.asset, RepositoryId(scene.shelf.id))
            await rt.jobs.call(kinds.enqueue_one, job)
        await remove(rt, scene.asset)
        assert scene.shelf.sql("SELECT kind FROM jobs") == [("retire",)]


async def test_removals_named_twice_count_once(scene: Scene) -> None:
    async with shelves.opened(scene.shelf) as rt:
        items = [Removal(id=scene.asset), Removal(id=scene.asset), Removal(id=scene.others[1]), Removal(id=UUID(int=5))]
        done = await trash.remove(rt, RemoveRequest(items=items))
    assert done.count == 1
    assert [one.outcome for one in done.results] == ["removed", "in_trash", "not_found"]


async def test_what_is_restored_at_once_is_told_from_what_is_moved_back(scene: Scene) -> None:
    """A page of assets in one transaction: what stayed in its place is back, what lies in the trash is coming."""
    mine = shelves.add(scene.shelf, "Trip/mine.jpg", jpeg(9))
    put_into_trash(scene.shelf, mine)
    put_into_trash(scene.shelf, scene.asset)
    wanted = [UUID(int=5), scene.others[0], mine, scene.asset, mine]
    async with shelves.working(scene.shelf) as rt:
        done = await trash.restore(rt, RestoreRequest(ids=list(wanted)))
        outcomes = ["not_in_trash", "not_in_trash", "restored", "restoring"]
        assert [(one.asset_id, one.outcome) for one in done.results] == list(zip(wanted, outcomes, strict=False))
        assert (done.count, done.restoring) == (2, 1)
        await shelves.idle(rt)
        await remove(rt, scene.asset)
        await shelves.idle(rt)
        done = await trash.restore(rt, RestoreRequest(all=True))
        assert (done.count, done.restoring) == (2, 2)
        await shelves.idle(rt)
    assert scene.shelf.sql("SELECT count(*) FROM trash") == [(0,)]


async def test_why_what_is_named_is_not_purged(scene: Scene) -> None:
    mine = shelves.add(scene.shelf, "Trip/mine.jpg", jpeg(9))
    put_into_trash(scene.shelf, mine)
    put_into_trash(scene.shelf, scene.asset)
    wanted = [mine, scene.asset, scene.others[0]]
    async with shelves.opened(scene.shelf) as rt:
        done = await trash.purge(rt, PurgeRequest(ids=list(wanted), older_s=86_400))
    assert [one.outcome for one in done.results] == ["in_user_area", "not_old_enough", "not_in_trash"]
    assert (done.count, done.task_id) == (0, None)


async def test_an_offline_repository_postpones_and_loses_nothing(scene: Scene) -> None:
    shelf = scene.shelf
    async with shelves.working(shelf) as rt:
        shelf.path.rename(shelf.root + ".away")
        assert await remove(rt, scene.asset) == "retiring"
        with trio.fail_after(shelves.WAITING_S):
            while not shelf.sql("SELECT 1 FROM jobs WHERE kind = 'retire' AND state = 'retryable'"):
                await trio.sleep(0.02)
        assert shelf.sql("SELECT attempt, errors -> -1 ->> 'code' FROM jobs WHERE kind = 'retire'") == [
            (0, "repository_offline")
        ]
        Path(shelf.root + ".away").rename(shelf.path)
    async with shelves.working(shelf) as rt:
        await shelves.idle(rt)
    scene.check_trashed()


async def test_a_file_no_row_knows_is_offered_and_can_be_put_back(scene: Scene) -> None:
    """As after a database was restored that does not remember the removal."""
    put_into_trash(scene.shelf, scene.asset)
    [row] = scene.shelf.sql("SELECT id FROM trash_files WHERE asset_id = %s", scene.asset)
    stray = UUID(str(row[0]))
    scene.shelf.sql("DELETE FROM trash WHERE asset_id = %s", scene.asset)
    scene.shelf.sql("UPDATE assets SET deleted_at = NULL WHERE id = %s", scene.asset)
    alone = UUID(int=77)
    (scene.shelf.trash / f"{alone}.json").write_text("{}")
    async with shelves.working(scene.shelf) as rt:
        await scanned(rt, scene.shelf)
        found = {one.name: one for one in (await trash.untracked_files(rt)).items}
        assert set(found) == {str(stray), str(alone)}
        assert (found[str(stray)].path, found[str(stray)].asset_id) == ("inbox/a.jpg", scene.asset)
        assert found[str(alone)].size_bytes is None
        assert (await trash.page(rt, limit=5, cursor=None)).summary.untracked == 2
        for name, id_ in ((scene.shelf.root, alone), (scene.shelf.root, UUID(int=1))):
            with pytest.raises(LumilioError) as caught:
                await trash.restore_untracked(rt, Path(name).name, id_)
            assert caught.value.code == "stray_not_found"
        assert (await trash.restore_untracked(rt, scene.shelf.path.name, stray)).path == "inbox/a.jpg"
        await shelves.idle(rt)
        (scene.shelf.trash / f"{alone}.json").unlink()
    scene.check_live()
