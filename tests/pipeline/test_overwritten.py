"""An original that somebody writes over: in the inbox a person says what becomes of it."""

from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from lumiliod.contract.integrity import AppliedList, Approval, PlanApproval
from lumiliod.db import findings, integrity, mirrors
from lumiliod.db.findings import Finding
from lumiliod.domain.ids import AssetId, RepositoryId
from lumiliod.jobs.engine import Effect, Running
from lumiliod.jobs.kind import FIRST
from lumiliod.library import plan
from lumiliod.pipeline import heal, kinds, mirror
from lumiliod.pipeline.examine import examine
from lumiliod.runtime import Runtime
from lumiliod.storage import mirrors as storage
from lumiliod.storage.throttle import UNLIMITED
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg
from tests.pipeline.test_retire import outcomes_of, scanned

A, OTHER = jpeg(1), jpeg(2)


class Attempt:
    """A job that runs on its own."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt

    async def progress(self, *_: object) -> None:
        pass

    async def complete(self, effect: Effect) -> object:
        return await self._rt.jobs.call(effect)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


async def mirrored(rt: Runtime, shelf: Shelf, place: Path) -> None:
    place.mkdir()
    row = await rt.db.call(mirrors.insert, RepositoryId(shelf.id), str(place), {})
    await mirror.fill(rt, cast(Running, Attempt(rt)), row.id, storage.opened)


async def found(rt: Runtime) -> list[Finding]:
    return await rt.db.call(findings.standing, None, FIRST, 10)


async def approved(rt: Runtime, one: Finding, action: str) -> AppliedList:
    [item] = (await plan.plan(rt, cursor=None, limit=10)).items
    assert item.finding.id == one.id
    approval = Approval(finding_id=one.id, planned=item.action, action=action)
    return await plan.apply(rt, PlanApproval(items=[approval]))


async def verified(rt: Runtime, record_id: UUID | None) -> None:
    assert record_id is not None
    expected = await rt.db.call(integrity.file, record_id)
    assert expected is not None
    await examine(rt, rt.repositories.get(expected.repository_id), expected, None, UNLIMITED)
    await shelves.idle(rt)


def trashed(shelf: Shelf, asset: AssetId) -> list[tuple[object, ...]]:
    return shelf.sql("SELECT why FROM trash WHERE asset_id = %s", asset)


@pytest.mark.parametrize("met_by", ["scan", "scrub"])
@pytest.mark.parametrize("content", [OTHER, A[:-300], b"x" * len(A)], ids=["another", "cut off", "no picture"])
async def test_it_waits_and_can_be_restored(shelf: Shelf, tmp_path: Path, content: bytes, met_by: str) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    place = shelf.path / "inbox" / "a.jpg"
    async with shelves.working(shelf, with_media=True) as rt:
        await mirrored(rt, shelf, tmp_path / "mirror")
        [(record_id,)] = shelf.sql("SELECT id FROM file_records")
        place.write_bytes(content)
        for _ in range(2):  # nothing is asked twice
            await (scanned(rt, shelf) if met_by == "scan" else verified(rt, cast(UUID, record_id)))
            await verified(rt, cast(UUID, record_id))
            [one] = await found(rt)
            assert (one.kind, one.path) == ("changed", "inbox/a.jpg")
            assert outcomes_of(shelf, asset) == [("inbox/a.jpg", "asset")]
        assert trashed(shelf, asset) == []
        assert place.read_bytes() == content
        [item] = (await plan.plan(rt, cursor=None, limit=10)).items
        assert (item.action, item.alternatives) == ("restore", ["reingest"])
        await heal.heal(rt, cast(Running, Attempt(rt)), item.finding.id, storage.opened)
        assert place.read_bytes() == A
        assert len(shelf.holding(digest_of(content))) == 1  # in the quarantine
        await scanned(rt, shelf)
        assert await found(rt) == []
    assert outcomes_of(shelf, asset) == [("inbox/a.jpg", "asset")]


async def test_what_it_is_now_is_taken_in_when_a_person_says_so(shelf: Shelf, tmp_path: Path) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        await mirrored(rt, shelf, tmp_path / "mirror")
        (shelf.path / "inbox" / "a.jpg").write_bytes(OTHER)
        await scanned(rt, shelf)
        [one] = await found(rt)
        assert (await approved(rt, one, "reingest")).items[0].outcome == "queued"
        await shelves.idle(rt)
        assert await found(rt) == []
    assert trashed(shelf, asset) == [("no_file",)]
    [(new, outcome)] = shelf.sql("SELECT asset_id, outcome FROM file_records")
    assert (new != asset, outcome) == (True, "asset")


async def test_one_that_vanishes_while_it_is_looked_at_is_missing(shelf: Shelf, tmp_path: Path) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        await mirrored(rt, shelf, tmp_path / "mirror")
        (shelf.path / "inbox" / "a.jpg").unlink()
        [(record_id,)] = shelf.sql("UPDATE file_records SET outcome = 'pending' RETURNING id")
        await rt.jobs.call(kinds.enqueue_one, kinds.ingest_file(cast(UUID, record_id), RepositoryId(shelf.id)))
        await shelves.idle(rt)
        assert [one.kind for one in await found(rt)] == ["missing"]
    assert outcomes_of(shelf, asset) == [("inbox/a.jpg", "asset")]


async def test_the_same_bytes_met_elsewhere_take_its_place(shelf: Shelf, tmp_path: Path) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        await mirrored(rt, shelf, tmp_path / "mirror")
        (shelf.path / "inbox" / "a.jpg").write_bytes(OTHER)
        await scanned(rt, shelf)
        (shelf.path / "inbox" / "again.jpg").write_bytes(A)
        await scanned(rt, shelf)
        assert await found(rt) == []
    assert outcomes_of(shelf, asset) == [("inbox/again.jpg", "asset")]
    assert shelf.sql("SELECT outcome FROM file_records WHERE path = 'inbox/a.jpg'") == [("asset",)]


async def test_without_a_copy_it_waits_too_and_good_bytes_that_come_are_its_own(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        (shelf.path / "inbox" / "a.jpg").write_bytes(OTHER)
        await scanned(rt, shelf)
        [item] = (await plan.plan(rt, cursor=None, limit=10)).items
        assert (item.finding.kind, item.action, item.alternatives) == ("changed", "reingest", [])
        assert (outcomes_of(shelf, asset), trashed(shelf, asset)) == ([("inbox/a.jpg", "asset")], [])
        # somebody has the photograph elsewhere, and puts it back
        (shelf.path / "inbox" / "a.jpg").write_bytes(A)
        await scanned(rt, shelf)
        [(record_id,)] = shelf.sql("SELECT id FROM file_records")
        await verified(rt, cast(UUID, record_id))
        assert await found(rt) == []
    assert (outcomes_of(shelf, asset), trashed(shelf, asset)) == ([("inbox/a.jpg", "asset")], [])
    assert shelf.sql("SELECT count(*) FROM assets") == [(1,)]


@pytest.mark.parametrize(("folder", "is_mirrored", "is_copied"), [("Trip", True, False), ("inbox", True, True)])
async def test_nobody_is_asked_where_nothing_would_be_lost(
    shelf: Shelf, tmp_path: Path, folder: str, is_mirrored: bool, is_copied: bool
) -> None:
    """A person's own folders are theirs to edit."""
    asset = shelves.add(shelf, f"{folder}/a.jpg", A)
    if is_copied:
        shelves.copy(shelf, asset, "Trip/copy.jpg", A)
    async with shelves.working(shelf, with_media=True) as rt:
        if is_mirrored:
            await mirrored(rt, shelf, tmp_path / "mirror")
        (shelf.path / folder / "a.jpg").write_bytes(OTHER)
        await scanned(rt, shelf)
        assert await found(rt) == []
    assert outcomes_of(shelf, asset) == [("Trip/copy.jpg" if is_copied else "Trip/a.jpg", "asset")]
    assert trashed(shelf, asset) == []
    assert shelf.sql("SELECT count(*) FROM asset_versions") == [(0 if is_copied else 1,)]
