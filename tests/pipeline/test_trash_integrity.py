"""What lies in the trash is read again, healed, and never comes back with other bytes than it had."""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lumiliod.contract.integrity import Approval, PlanApproval
from lumiliod.db import due, findings, trash
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.trash import TrashState, Why
from lumiliod.library import plan
from lumiliod.pipeline import kinds, retire
from lumiliod.storage import trash as storage

from .originals import Library, Original, library
from .test_mirror import filled
from .test_scrub import a_day_passes


@pytest.fixture
async def kept(database: Database, tmp_path: Path) -> AsyncIterator[Library]:
    async with library(database, tmp_path / "home", scrub_mb_per_s=0) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    return path


async def removed(kept: Library, original: Original) -> Original:
    """Put an original into the trash; return it as it lies there."""

    def remove(conn: Connection) -> None:
        trash.remove(conn, [original.asset_id], why=Why.REMOVED, by=None)

    await kept.rt.db.call(remove)
    await kept.rt.jobs.call(await retire.moved(kept.rt, original.asset_id))
    item = await kept.rt.db.call(trash.item, original.asset_id)
    assert item is not None
    [file] = [file for file in item.files if file.was_original]
    path = Path(storage.path_of(kept.opened.repository, file.id))
    assert path.read_bytes() == original.content
    return replace(original, path=path, file_id=file.id)


async def restored(kept: Library, original: Original) -> str | None:
    """Ask for an asset back and move it; return why it did not come, None when it did."""
    await kept.rt.db.call(trash.bring_back, original.asset_id)
    await kept.rt.jobs.call(await retire.moved(kept.rt, original.asset_id, kept.backend_of))
    item = await kept.rt.db.call(trash.item, original.asset_id)
    if item is None:
        return None
    assert item.state is TrashState.TRASHED
    return item.refused


async def in_trash(kept: Library, count: int = 3) -> list[Original]:
    return [await removed(kept, original) for original in await kept.add(count, folder="inbox")]


async def test_rot_in_the_trash_is_found_and_healed(kept: Library, place: Path) -> None:
    """By approval here: healing unasked is off."""
    made = await kept.add(3, folder="inbox")
    await filled(kept, place)
    rotten, fine, lost = [await removed(kept, original) for original in made]
    rotten.rot()
    lost.path.unlink()
    row = await kept.verified()
    assert row.result is not None
    assert (row.result["files"], row.result["found"]) == (3, 2)
    found = {one.path: one for one in await kept.findings()}
    names = {f".lumilio/trash/{one.file_id}": one for one in (rotten, lost)}
    assert {path: one.kind for path, one in found.items()} == dict(zip(names, ("bit_rot", "missing"), strict=True))
    assert [item.action for item in (await plan.plan(kept.rt, cursor=None, limit=10)).items] == ["restore", "restore"]
    for one in found.values():
        healed = await kept.run(kinds.heal(one.id, one.repository_id))
        assert healed.state == "completed", healed.errors
    assert rotten.is_good
    assert lost.is_good
    assert fine.is_good
    assert await kept.findings() == []
    # the rows say what is there now, so that it can be purged and restored
    again = await kept.verified()
    assert again.result is not None
    assert again.result["found"] == 0
    inode_of = "SELECT inode FROM trash_files WHERE id = %s"
    for original in (rotten, lost):
        assert await kept.ask(inode_of, original.file_id) == [(original.path.stat().st_ino,)]
        assert await restored(kept, original) is None


async def test_the_scrub_reads_what_is_in_the_trash(database: Database, tmp_path: Path) -> None:
    async with library(database, tmp_path / "home", scrub_mb_per_s=0, scrub_days=1) as kept:
        first, second = await in_trash(kept, 2)
        second.rot()
        row = await kept.run(kinds.scrub())
        assert row.result is not None
        assert (row.result["files"], row.result["found"]) == (2, 1)
        read = "SELECT id, verified_at IS NOT NULL FROM trash_files WHERE checked_at IS NOT NULL ORDER BY id"
        assert await kept.ask(read) == [(first.file_id, True), (second.file_id, False)]
        await a_day_passes(kept)
        assert await restored(kept, first) is None


async def test_healed_unasked_when_configured(database: Database, tmp_path: Path, place: Path) -> None:
    """Other bytes in the trash are damage, also where the time says that somebody wrote them."""
    async with library(database, tmp_path / "home", heal=True, scrub_mb_per_s=0) as kept:
        made = await kept.add(3, folder="inbox")
        await filled(kept, place)
        rotten, written, lost = [await removed(kept, original) for original in made]
        rotten.rot()
        written.path.write_bytes(b"x" * len(written.content))
        lost.path.unlink()
        await kept.verified()
        await kept.settled()
        assert rotten.is_good
        assert written.is_good
        # who removed the file from there is not known: a person decides
        assert await kept.kinds_found() == {f".lumilio/trash/{lost.file_id}": "missing"}


@pytest.mark.parametrize("harm", ["rot", "cut", "gone"])
async def test_a_restore_gives_good_bytes_back(kept: Library, place: Path, harm: str) -> None:
    made = await kept.add(1, folder="inbox")
    await filled(kept, place)
    original = await removed(kept, made[0])
    match harm:
        case "rot":
            original.rot()
        case "cut":
            os.truncate(original.path, 100)
        case _:
            original.path.unlink()
    assert await restored(kept, original) is None
    assert made[0].is_good
    assert [one.state for one in await kept.findings(None)] == ["healed"]
    assert list(Path(kept.opened.repository.trash).iterdir()) == []


async def test_a_copy_in_the_user_area_is_good_enough(kept: Library) -> None:
    """It stayed there, hidden, when the asset was removed."""
    [original] = await kept.add(1, folder="inbox")
    twin = await kept.add_twin(original, "mine/a.jpg")
    gone = await removed(kept, original)
    gone.rot()
    assert await restored(kept, gone) is None
    assert original.is_good
    assert twin.read_bytes() == original.content


async def test_bytes_that_rotted_are_not_restored(kept: Library, place: Path) -> None:
    """There is no good copy, or none that can be reached: it is said, and nothing is lost or moved."""
    [original] = await in_trash(kept, 1)
    original.rot()
    refused = await restored(kept, original)
    assert refused is not None
    assert refused.startswith("changed: ")
    assert await kept.kinds_found() == {f".lumilio/trash/{original.file_id}": "bit_rot"}
    assert original.path.is_file()
    [item] = (await plan.plan(kept.rt, cursor=None, limit=10)).items
    assert item.action == "none"


async def test_a_mirror_that_is_away_only_puts_off_what_needs_it(kept: Library, place: Path) -> None:
    made = await kept.add(1, folder="inbox")
    await filled(kept, place)
    original = await removed(kept, made[0])
    original.rot()
    away = place.rename(place.with_name("away"))
    refused = await restored(kept, original)
    assert refused is not None
    assert refused.startswith("changed: ")
    away.rename(place)
    assert await restored(kept, original) is None
    assert made[0].is_good


async def test_what_is_gone_for_good_can_be_accepted(kept: Library) -> None:
    [original] = await in_trash(kept, 1)
    original.path.unlink()
    await kept.verified()
    [finding] = await kept.findings()
    approval = Approval(finding_id=finding.id, planned="accept_missing")
    [done] = (await plan.apply(kept.rt, PlanApproval(items=[approval]))).items
    assert (done.action, done.outcome) == ("accept_missing", "done")
    item = await kept.rt.db.call(trash.item, original.asset_id)
    assert item is not None
    assert item.files == ()
    assert await kept.findings() == []
    assert await kept.rt.db.call(due.mark_due) == [original.asset_id]


async def test_another_disk_is_recorded_when_it_is_read(kept: Library) -> None:
    [original] = await in_trash(kept, 1)
    copy = original.path.with_name("copy")
    shutil.copy2(original.path, copy)
    copy.replace(original.path)
    await kept.verified()
    assert await kept.findings() == []
    assert await kept.ask("SELECT inode FROM trash_files") == [(original.path.stat().st_ino,)]


async def test_a_finding_of_what_went_back_meanwhile_heals_nothing(kept: Library, place: Path) -> None:
    made = await kept.add(1, folder="inbox")
    await filled(kept, place)
    original = await removed(kept, made[0])
    original.rot()
    await kept.verified()
    [finding] = await kept.findings()
    original.path.write_bytes(original.content)
    assert await restored(kept, original) is None
    await kept.run(kinds.heal(finding.id, finding.repository_id))
    assert not original.path.exists()
    row = await kept.rt.db.call(findings.finding, finding.id)
    assert row is not None
    assert row.state == "resolved"
