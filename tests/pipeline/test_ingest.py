"""Ingest while others are at work on the same asset: no record of a file that lives is lost."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import UUID

import msgspec
import psycopg
import pytest
import trio

from lumiliod.contract.trash import PurgeRequest, RestoreRequest
from lumiliod.db import due, files
from lumiliod.db import repositories as db_repositories
from lumiliod.domain.assets import FileRecord
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, UploadId
from lumiliod.domain.media import AssetType, Identified
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs.engine import Effect, Running
from lumiliod.library import trash
from lumiliod.pipeline import file_ingest, kinds, known_original, new_asset, purge, strays, upload_ingest
from lumiliod.runtime import DigestLocks, InForce, Repositories, Runtime
from lumiliod.storage import staging
from lumiliod.storage.local import stat_of
from lumiliod.storage.originals import Placed
from lumiliod.testing.sources import Chunks
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg
from tests.pipeline.test_retire import outcomes_of, put_into_trash, scanned

A, OTHER = jpeg(1), jpeg(2)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


def met(shelf: Shelf, path: str, content: bytes) -> FileRecord:
    """Put a file where a scan has just met it."""
    place = shelf.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    with psycopg.connect(shelf.conninfo) as conn:
        [seen] = files.seen(conn, RepositoryId(shelf.id), 0, [files.SeenFile(RepoPath(path), stat_of(place.stat()))])
        record = files.get(conn, seen.id)
    assert record is not None
    return record


async def examined(rt: Runtime, record: FileRecord) -> Effect:
    """Look at a file as its job does; the rows are to follow."""
    opened = rt.repositories.get(record.repository_id)
    stat = stat_of((Path(opened.repository.root) / record.path).stat())
    return await file_ingest._examined(rt, opened, record, Digest(digest_of(A)), stat)


def record_ids(shelf: Shelf, asset_id: UUID) -> dict[str, object]:
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), id FROM file_records WHERE asset_id = %s", asset_id)
    return {str(path): id_ for path, id_ in rows}


def with_copy(shelf: Shelf) -> AssetId:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    shelves.copy(shelf, asset, "Trip/b.jpg", A)
    return asset


async def test_a_copy_that_a_scan_made_the_original_meanwhile_stays_so(shelf: Shelf) -> None:
    asset = with_copy(shelf)
    before = record_ids(shelf, asset)
    (shelf.path / "Trip" / "a.jpg").unlink()
    async with shelves.opened(shelf) as rt:
        effect = await examined(rt, met(shelf, "Trip/c.jpg", A))
        await rt.db.call(lambda conn: shelves.scan_at_once(shelf, conn))
        told = await rt.db.call(effect)
    assert told is not None
    assert told["outcome"] == "duplicate"
    assert outcomes_of(shelf, asset) == [("Trip/b.jpg", "asset"), ("Trip/c.jpg", "duplicate")]
    assert record_ids(shelf, asset)["Trip/b.jpg"] == before["Trip/b.jpg"]


async def test_an_upload_loses_no_record_of_a_copy_a_scan_made_the_original(shelf: Shelf) -> None:
    asset = with_copy(shelf)
    before = record_ids(shelf, asset)
    (shelf.path / "Trip" / "a.jpg").unlink()
    async with shelves.working(shelf) as rt:
        opened = rt.repositories.get(shelf.id)
        original = await known_original.read_original(rt, asset, Digest(digest_of(A)))
        await rt.db.call(lambda conn: shelves.scan_at_once(shelf, conn))
        (shelf.path / "inbox" / "again.jpg").write_bytes(A)
        stat = stat_of((shelf.path / "inbox" / "again.jpg").stat())
        placed = Placed(RepoPath("inbox/again.jpg"), stat, created=True)
        taken = new_asset.file_clock(stat)
        identified = Identified(AssetType.PHOTO, "image/jpeg", ".jpg")
        new = new_asset.new_asset(rt.owner_id, "again.jpg", Digest(digest_of(A)), len(A), identified, taken)
        await rt.jobs.call(lambda conn: upload_ingest._admit_upload(rt, opened, new, placed, original, conn))
        await shelves.idle(rt)
    assert outcomes_of(shelf, asset) == [("Trip/b.jpg", "duplicate"), ("inbox/again.jpg", "asset")]
    assert record_ids(shelf, asset)["Trip/b.jpg"] == before["Trip/b.jpg"]


async def test_a_renamed_original_keeps_its_record(shelf: Shelf) -> None:
    """A re-layout had renamed the file, and its row not yet said so, when it was looked for."""
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    before = record_ids(shelf, asset)
    (shelf.path / "inbox" / "a.jpg").rename(shelf.path / "inbox" / "moved.jpg")
    async with shelves.opened(shelf) as rt:
        effect = await examined(rt, met(shelf, "Trip/c.jpg", A))
        shelf.sql("UPDATE file_records SET path = 'inbox/moved.jpg' WHERE id = %s", before["inbox/a.jpg"])
        await rt.db.call(effect)
    assert outcomes_of(shelf, asset) == [("Trip/c.jpg", "duplicate"), ("inbox/moved.jpg", "asset")]


async def test_what_comes_to_the_place_of_an_original_that_was_seen_gone_is_met_again(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    (shelf.path / "Trip/a.jpg").rename(shelf.path / "Trip/c.jpg")
    async with shelves.working(shelf, with_media=True) as rt:
        effect = await examined(rt, met(shelf, "Trip/c.jpg", A))
        (shelf.path / "Trip/a.jpg").write_bytes(OTHER)
        await rt.jobs.call(effect)
        await shelves.idle(rt)
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), outcome FROM file_records ORDER BY path")
    assert rows == [("Trip/a.jpg", "asset"), ("Trip/c.jpg", "asset")]
    assert outcomes_of(shelf, asset) == [("Trip/c.jpg", "asset")]


async def test_an_original_that_is_missed_while_a_copy_is_looked_at_is_followed_by_that(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    async with shelves.opened(shelf, with_media=True) as rt:
        effect = await examined(rt, met(shelf, "Trip/c.jpg", A))
        (shelf.path / "Trip/a.jpg").unlink()
        with psycopg.connect(shelf.conninfo) as conn:
            assert shelves.scan_at_once(shelf, conn) == 1
        await rt.db.call(effect)
    assert outcomes_of(shelf, asset) == [("Trip/c.jpg", "asset")]


@pytest.mark.parametrize("how", ["touched", "edited", "link"])
async def test_a_changed_original_is_looked_at_anew_and_not_forgotten(shelf: Shelf, how: str) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    place = shelf.path / "Trip" / "a.jpg"
    match how:
        case "touched":
            place.touch()
        case "edited":
            place.write_bytes(b"no picture any more")
        case _:
            place.unlink()
            place.symlink_to("/etc/hostname")
    async with shelves.working(shelf, with_media=True) as rt:
        effect = await examined(rt, met(shelf, "Trip/c.jpg", A))
        await rt.jobs.call(effect)
        await shelves.idle(rt)
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), outcome FROM file_records ORDER BY path")
    expected = {"touched": "duplicate", "edited": "unsupported", "link": "ignored"}[how]
    assert rows == [("Trip/a.jpg", expected), ("Trip/c.jpg", "asset")]
    assert outcomes_of(shelf, asset)[-1] == ("Trip/c.jpg", "asset")


@pytest.mark.parametrize("content", [OTHER, b"no picture any more", None])
async def test_when_its_original_becomes_another_file_an_asset_is_served_from_a_copy(
    shelf: Shelf, content: bytes | None
) -> None:
    asset = with_copy(shelf)
    place = shelf.path / "Trip" / "a.jpg"
    with psycopg.connect(shelf.conninfo) as conn:
        record = files.original_of(conn, asset)
    assert record is not None
    place.write_bytes(content or b"")
    if content is None:
        place.unlink()
    async with shelves.working(shelf, with_media=True) as rt:
        if content is None:
            await rt.jobs.call(kinds.enqueue_one, kinds.ingest_file(record.id, record.repository_id))
            await shelves.idle(rt)
        else:
            await scanned(rt, shelf)
    assert outcomes_of(shelf, asset) == [("Trip/b.jpg", "asset")]
    assert shelf.sql("SELECT deleted_at FROM assets WHERE id = %s", asset) == [(None,)]


async def test_a_sidecar_alone_keeps_no_asset_in_the_library(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    (shelf.path / "Trip" / "a.jpg.xmp").write_text("<x:xmpmeta/>")
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        assert outcomes_of(shelf, asset) == [("Trip/a.jpg", "asset"), ("Trip/a.jpg.xmp", "sidecar")]
        (shelf.path / "Trip" / "a.jpg").write_bytes(b"no picture")
        await scanned(rt, shelf)
    assert shelf.sql("SELECT why FROM trash WHERE asset_id = %s", asset) == [("no_file",)]


async def test_a_move_keeps_its_asset(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    (shelf.path / "Trip" / "a.jpg").rename(shelf.path / "Trip" / "moved.jpg")
    async with shelves.working(shelf) as rt:
        await scanned(rt, shelf)
    assert outcomes_of(shelf, asset) == [("Trip/moved.jpg", "asset")]


class Later:
    """An attempt whose rows come only after somebody else was at work."""

    def __init__(self, rt: Runtime, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._rt = rt
        self._meanwhile = meanwhile

    async def complete(self, effect: Effect) -> object:
        await self._meanwhile()
        return await self._rt.jobs.call(effect)


async def staged(rt: Runtime, shelf: Shelf, name: str) -> UploadId:
    opened = rt.repositories.get(shelf.id)
    written = await staging.write(
        opened.repository, name, Chunks([A]), owner_id=rt.owner_id, max_bytes=None, min_free_bytes=0
    )
    return written.id


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg"])
@pytest.mark.parametrize("by", ["upload", "scan"])
async def test_two_processes_take_the_same_bytes_at_the_same_moment(shelf: Shelf, name: str, by: str) -> None:
    """The second finds the first one's file in its place, or puts its own beside: what has a name keeps it."""
    async with shelves.opened(shelf, with_media=True) as one:
        other = await of_a_worker(one)
        first, second = await staged(one, shelf, "a.jpg"), await staged(other, shelf, name)

        async def overtake() -> None:
            opened = other.repositories.get(shelf.id)
            if by == "upload":
                await upload_ingest.ingest_upload(other, opened, cast(Running, Later(other, nothing)), second)
            else:
                await other.jobs.call(await examined(other, met(shelf, "inbox/a.jpg", A)))

        await upload_ingest.ingest_upload(
            one, one.repositories.get(shelf.id), cast(Running, Later(one, overtake)), first
        )
    [(asset, path)] = shelf.sql(
        "SELECT a.id, convert_from(path, 'UTF8') FROM assets a JOIN file_records f ON f.asset_id = a.id"
        " WHERE outcome = 'asset'"
    )
    assert (shelf.path / str(path)).read_bytes() == A
    holding = [path for path in shelf.holding(digest_of(A)) if path.startswith("inbox/")]
    assert sorted(record_ids(shelf, cast(UUID, asset))) == holding


async def test_a_refused_upload_is_tried_again(shelf: Shelf) -> None:
    async with shelves.opened(shelf, with_media=True) as rt:
        opened = rt.repositories.get(shelf.id)
        refused = await staged(rt, shelf, "a.jpg")
        staging.fail(opened.repository, refused, "unsupported", "no decoder for it yet")
        await upload_ingest.ingest_upload(rt, opened, cast(Running, Later(rt, nothing)), refused)
    assert shelf.sql("SELECT original_filename FROM assets") == [("a.jpg",)]
    assert list(Path(opened.repository.failed).iterdir()) == list(Path(opened.repository.incoming).iterdir()) == []


@pytest.mark.parametrize("duplicates", ["skip", "keep"])
@pytest.mark.parametrize("by", ["purge", "removal of the repository"])
async def test_an_upload_of_an_asset_that_goes_meanwhile_is_taken_in_as_new(
    conninfo: str, tmp_path: Path, by: str, duplicates: str
) -> None:
    """It was found good, and is deleted before the upload's end is written: its bytes are the only ones."""
    first, shelf = (shelves.make(conninfo, tmp_path / name) for name in ("first", "second"))
    asset = shelves.add(first, "inbox/a.jpg", A)
    if by == "purge":
        put_into_trash(first, asset)
    async with shelves.opened(shelf, with_media=True) as opened:
        storage = msgspec.structs.replace(opened.config.storage, duplicates=duplicates)
        rt = replace(opened, in_force=InForce(msgspec.structs.replace(opened.config, storage=storage)))
        upload = await staged(rt, shelf, "again.jpg")

        async def go() -> None:
            if by == "purge":
                assert await rt.db.call(lambda conn: due.mark_due(conn, ids=[asset])) == [asset]
                assert await purge.purge_one(rt, asset) == len(A)
            else:
                await rt.db.call(db_repositories.remove, RepositoryId(first.id))

        async def ingest(meanwhile: Callable[[], Awaitable[None]]) -> None:
            running = cast(Running, Later(rt, meanwhile))
            await upload_ingest.ingest_upload(rt, rt.repositories.get(shelf.id), running, upload)

        with pytest.raises(Unavailable) as refused:
            await ingest(go)
        assert refused.value.code == "in_motion"
        assert any(".lumilio/staging/" in path for path in shelf.holding(digest_of(A)))
        await ingest(nothing)
    [(new, path, outcome)] = shelf.sql("SELECT asset_id, convert_from(path, 'UTF8'), outcome FROM file_records")
    assert (path, outcome) == ("inbox/again.jpg", "asset")
    assert new != asset
    assert shelf.holding(digest_of(A)) == ["inbox/again.jpg"]


@pytest.mark.parametrize("how", ["upload", "keep", "restore", "stray"])
async def test_a_name_of_an_original_that_is_missing_stays_its_own(conninfo: str, tmp_path: Path, how: str) -> None:
    """Whether it is given up waits for a person, and until then a copy of it may be restored to its place."""
    first, shelf = (shelves.make(conninfo, tmp_path / name) for name in ("first", "second"))
    if how in ("restore", "stray"):
        put_into_trash(shelf, shelves.add(shelf, "inbox/a.jpg", A))
    missing = shelves.add(shelf, "inbox/a.jpg", OTHER)
    before = record_ids(shelf, missing)
    (shelf.path / "inbox" / "a.jpg").unlink()
    async with shelves.working(shelf, with_media=True) as opened:
        storage = msgspec.structs.replace(opened.config.storage, duplicates="keep")
        rt = replace(opened, in_force=InForce(msgspec.structs.replace(opened.config, storage=storage)))
        if how in ("upload", "keep"):
            if how == "keep":
                shelves.add(first, "inbox/a.jpg", A)
            upload = await staged(rt, shelf, "a.jpg")
            running = cast(Running, Later(rt, nothing))
            await upload_ingest.ingest_upload(rt, rt.repositories.get(shelf.id), running, upload)
        elif how == "restore":
            await trash.restore(rt, RestoreRequest(all=True))
        else:
            [(id_,)] = shelf.sql("DELETE FROM trash_files RETURNING id")
            shelf.sql("DELETE FROM trash")
            shelf.sql("DELETE FROM assets WHERE digest = decode(%s, 'hex')", digest_of(A))
            await strays.put_back(rt, rt.repositories.get(shelf.id), cast(UUID, id_))
        await shelves.idle(rt)
    assert shelf.holding(digest_of(A)) == ["inbox/a (1).jpg"]
    assert record_ids(shelf, missing) == before


@pytest.mark.parametrize("by", ["upload", "scan"])
@pytest.mark.parametrize("how", ["away", "detached"])
async def test_bytes_whose_original_is_away_are_taken_in_beside_it(
    conninfo: str, tmp_path: Path, by: str, how: str
) -> None:
    """Whether it is good cannot be told, so none are let go for it; nor do they wait until its disk comes, if ever."""
    first, shelf = (shelves.make(conninfo, tmp_path / name) for name in ("first", "second"))
    asset = shelves.add(first, "inbox/a.jpg", A)
    async with shelves.opened(shelf, with_media=True) as rt:
        opened = rt.repositories.get(shelf.id)
        if how == "away":
            first.path.rename(tmp_path / "elsewhere")
        else:
            row = next(row for row in rt.repositories.rows() if row.id == first.id)
            rt.repositories.put(replace(row, status=RepositoryStatus.DETACHED), None)
        if by == "upload":
            running = cast(Running, Later(rt, nothing))
            await upload_ingest.ingest_upload(rt, opened, running, await staged(rt, shelf, "b.jpg"))
        else:
            await rt.jobs.call(await examined(rt, met(shelf, "inbox/b.jpg", A)))
    assert outcomes_of(shelf, asset) == [("inbox/a.jpg", "asset"), ("inbox/b.jpg", "duplicate")]
    assert shelf.holding(digest_of(A)) == ["inbox/b.jpg"]


async def test_purging_waits_for_whoever_takes_in_the_same_bytes(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    put_into_trash(shelf, asset)
    async with shelves.working(shelf) as rt:
        async with rt.digests.holding(Digest(digest_of(A))):
            await trash.purge(rt, PurgeRequest(ids=[asset]))
            await trio.sleep(0.5)
            assert shelf.sql("SELECT state FROM trash") == [("purging",)]
        await shelves.idle(rt)
    assert shelf.sql("SELECT id FROM assets") == []


async def of_a_worker(rt: Runtime) -> Runtime:
    """Return the library as another process sees it, which owns no repository and holds other locks."""
    repositories = Repositories(owner=False)
    for row in await rt.db.call(db_repositories.all_rows):
        repositories.put(*repositories.reach(row))
    return replace(rt, repositories=repositories, digests=DigestLocks())


async def nothing() -> None:
    await trio.lowlevel.checkpoint()
