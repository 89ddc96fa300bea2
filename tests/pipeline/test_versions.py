"""A file that somebody wrote over is a new version of its asset: nothing people made of it is lost."""

import os
from pathlib import Path
from typing import cast

import psycopg
import pytest

from lumiliod.db import assets, files, versions
from lumiliod.domain.assets import Outcome
from lumiliod.domain.errors import Conflict, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepositoryId
from lumiliod.pipeline import kinds, renewal, settlement
from lumiliod.runtime import Opened
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg
from tests.watch.scanning import looked_at_first, rested, scanned

OLD, NEW, OTHER = jpeg(1), jpeg(2), jpeg(3)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def write(path: Path, content: bytes, how: str) -> None:
    """Write over a file in place, or as careful editors do: beside it, and then into its place."""
    if how == "in place":
        path.write_bytes(content)
        return
    beside = path.with_name("beside.tmp")
    beside.write_bytes(content)
    beside.rename(path)


async def follow(shelf: Shelf, *folders: str | None) -> None:
    async with shelves.working(shelf, with_media=True) as rt:
        for folder in folders or (None,):
            await scanned(rt, shelf, folder)
        await shelves.idle(rt)


def live(shelf: Shelf) -> dict[object, tuple[object, ...]]:
    """Return the digest and rating of every asset that is in no trash."""
    rows = shelf.sql("SELECT id, encode(digest, 'hex'), rating FROM assets WHERE deleted_at IS NULL")
    return {id_: tuple(rest) for id_, *rest in rows}


def before(shelf: Shelf, asset_id: AssetId) -> list[str]:
    with psycopg.connect(shelf.conninfo) as conn:
        return [version.digest for version in versions.of_asset(conn, asset_id)]


@pytest.mark.parametrize("how", ["in place", "beside"])
async def test_an_asset_keeps_everything_and_has_the_new_bytes(shelf: Shelf, how: str) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    await follow(shelf)
    write(shelf.path / "a.jpg", NEW, how)
    await follow(shelf)
    assert live(shelf) == {asset_id: (digest_of(NEW), 4)}
    assert before(shelf, asset_id) == [digest_of(OLD)]
    assert shelf.sql("SELECT path, encode(digest, 'hex') FROM file_records WHERE outcome = 'asset'") == [
        (b"a.jpg", digest_of(NEW))
    ]
    assert shelf.sql("SELECT status, metadata_at FROM assets") == [("processing", None)]
    assert shelf.sql("SELECT kind FROM jobs WHERE asset_id = %s ORDER BY kind", asset_id) == [
        ("metadata",), ("thumbnails",)
    ]  # fmt: skip
    # what is shown until there are others is to be made anew
    assert shelf.sql("SELECT kind, recipe FROM derivatives") == [("thumbnail_150", "")]


async def test_every_version_is_remembered_and_an_old_one_may_come_back(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    for content in (NEW, OTHER, OLD):
        write(shelf.path / "a.jpg", content, "beside")
        await follow(shelf)
    assert live(shelf) == {asset_id: (digest_of(OLD), 4)}
    assert before(shelf, asset_id) == [digest_of(OTHER), digest_of(NEW), digest_of(OLD)]


async def test_it_is_served_and_has_its_place_until_it_was_looked_at(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    async with shelves.opened(shelf) as rt, shelves.serving(rt, {"maintenance": 1}):
        await scanned(rt, shelf)
        rested(shelf)
        await scanned(rt, shelf)
        (shelf.path / "a.jpg").chmod(0o600)
        assert (await scanned(rt, shelf))["changed"] == 1
        write(shelf.path / "a.jpg", NEW, "beside")
        assert (await scanned(rt, shelf))["changed"] == 1
    assert shelf.sql("SELECT outcome, asset_id FROM file_records") == [("asset", asset_id)]
    # should the job be lost, it is found by the next scan
    shelf.sql("DELETE FROM jobs")
    await follow(shelf)
    assert live(shelf) == {asset_id: (digest_of(NEW), 4)}


@pytest.mark.parametrize("how", ["chmod", "touch", "copied back"])
async def test_the_same_bytes_are_no_version(shelf: Shelf, how: str) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    await follow(shelf)
    rested(shelf)
    await follow(shelf)
    match how:
        case "chmod":
            (shelf.path / "a.jpg").chmod(0o600)
        case "touch":
            os.utime(shelf.path / "a.jpg", (1, 1))
        case _:
            write(shelf.path / "a.jpg", OLD, "beside")
    await follow(shelf)
    assert live(shelf) == {asset_id: (digest_of(OLD), 4)}
    assert before(shelf, asset_id) == []
    found = (shelf.path / "a.jpg").stat()
    assert shelf.sql("SELECT mtime_ns, inode, ctime_ns FROM file_records") == [
        (found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
    ]
    async with shelves.working(shelf, with_media=True) as rt:
        assert (await scanned(rt, shelf))["changed"] == 0


async def test_a_copy_keeps_the_asset_and_the_changed_file_is_another(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    shelves.copy(shelf, asset_id, "b.jpg", OLD)
    write(shelf.path / "a.jpg", NEW, "in place")
    await follow(shelf)
    found = live(shelf)
    assert found.pop(asset_id) == (digest_of(OLD), 4)
    assert [digest for digest, _ in found.values()] == [digest_of(NEW)]
    assert before(shelf, asset_id) == []


async def test_bytes_of_another_asset_are_that_one_moved_or_copied(shelf: Shelf) -> None:
    one, other = shelves.add(shelf, "a.jpg", OLD), shelves.add(shelf, "b.jpg", NEW)
    await follow(shelf)
    (shelf.path / "b.jpg").rename(shelf.path / "a.jpg")
    await follow(shelf)
    assert live(shelf)[other] == (digest_of(NEW), 4)
    assert shelf.sql("SELECT path FROM file_records WHERE asset_id = %s AND missing_since IS NULL", other) == [
        (b"a.jpg",)
    ]
    assert before(shelf, one) == []


async def test_another_kind_of_file_is_another_asset(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    shelf.sql("UPDATE assets SET type = 'video'")
    write(shelf.path / "a.jpg", NEW, "in place")
    await follow(shelf)
    assert asset_id not in live(shelf)
    assert len(live(shelf)) == 1


async def test_no_picture_at_all_leaves_the_asset_without_a_file(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    write(shelf.path / "a.jpg", b"no picture", "in place")
    await follow(shelf)
    assert live(shelf) == {}
    write(shelf.path / "a.jpg", OLD, "in place")
    await follow(shelf)
    assert live(shelf) == {asset_id: (digest_of(OLD), 4)}


async def test_a_name_that_is_used_again_is_no_version(shelf: Shelf) -> None:
    """The camera counts anew: the new file is looked at first, and a scan that meets the moved one is yet to come."""
    asset_id = shelves.add(shelf, "in/IMG_1.jpg", OLD)
    await follow(shelf)
    (shelf.path / "kept").mkdir()
    (shelf.path / "in/IMG_1.jpg").rename(shelf.path / "kept/first.jpg")
    write(shelf.path / "in/IMG_1.jpg", NEW, "in place")
    async with shelves.opened(shelf, with_media=True) as rt:
        async with shelves.serving(rt, {"maintenance": 1}):
            await scanned(rt, shelf, "in")
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        async with shelves.serving(rt, {"ingest": 2}):
            while not shelf.sql("SELECT 1 FROM jobs WHERE kind = 'ingest' AND errors -> -1 ->> 'code' = 'unsettled'"):
                await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        shelf.sql("UPDATE jobs SET scheduled_at = now() + interval '1 hour' WHERE kind = 'ingest'")
        async with shelves.serving(rt, {"maintenance": 1}):
            await scanned(rt, shelf)
        # the scan has said that it need not wait any longer
        assert shelf.sql("SELECT bool_and(scheduled_at <= now()) FROM jobs WHERE kind = 'ingest'") == [(True,)]
        async with shelves.serving(rt, shelves.QUEUES):
            await shelves.idle(rt)
    assert live(shelf)[asset_id] == (digest_of(OLD), 4)
    assert len(live(shelf)) == 2
    assert before(shelf, asset_id) == []


async def test_a_name_left_by_a_file_that_went_over_another_is_no_version(shelf: Shelf) -> None:
    """The scan has ended before anything is looked at: neither asset takes what is not its own."""
    one, other = shelves.add(shelf, "a.jpg", OLD), shelves.add(shelf, "b.jpg", OTHER)
    await follow(shelf)
    (shelf.path / "a.jpg").replace(shelf.path / "b.jpg")
    write(shelf.path / "a.jpg", NEW, "in place")
    async with shelves.opened(shelf, with_media=True) as rt:
        async with shelves.serving(rt, {"maintenance": 1}):
            await scanned(rt, shelf)
        async with shelves.serving(rt, shelves.QUEUES):
            await shelves.idle(rt)
    found = live(shelf)
    assert found.pop(one) == (digest_of(OLD), 4)
    assert other not in found
    assert [digest for digest, _ in found.values()] == [digest_of(NEW)]
    assert shelf.sql("SELECT path FROM file_records WHERE asset_id = %s", one) == [(b"b.jpg",)]


@pytest.mark.parametrize("first", ["a.jpg", "c.jpg"])
@pytest.mark.parametrize("place", ["new", "another's", "another's, twice"])
@pytest.mark.parametrize("how", ["in place", "beside"])
async def test_bytes_that_were_copied_before_they_were_written_over_are_the_assets(
    shelf: Shelf, first: str, place: str, how: str
) -> None:
    """Whichever of them is looked at first: they have been there all the time."""
    one = shelves.add(shelf, "a.jpg", OLD)
    if place != "new":
        shelves.add(shelf, "c.jpg", OTHER)
    await follow(shelf)
    write(shelf.path / "c.jpg", OLD, how)
    if place == "another's, twice":
        write(shelf.path / "d.jpg", OLD, how)
    write(shelf.path / "a.jpg", NEW, how)
    async with shelves.opened(shelf, with_media=True) as rt:
        async with shelves.serving(rt, {"maintenance": 1}):
            await scanned(rt, shelf)
        await looked_at_first(rt, shelf, first)
    found = live(shelf)
    assert found.pop(one) == (digest_of(OLD), 4)
    assert [digest for digest, _ in found.values()] == [digest_of(NEW)]
    assert before(shelf, one) == []
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), outcome FROM file_records WHERE asset_id = %s", one)
    assert {path for path, _ in rows} == ({"c.jpg", "d.jpg"} if place == "another's, twice" else {"c.jpg"})
    assert sorted(str(outcome) for _, outcome in rows)[0] == "asset"
    assert len({outcome for _, outcome in rows}) == len(rows)
    waiting = shelf.sql("SELECT count(*) FROM jobs WHERE kind = 'metadata' AND asset_id = %s", one)
    assert waiting == [(1 if first == "a.jpg" else 0,)], "what was another for a moment is understood anew"


async def test_what_was_a_version_before_a_file_was_met_is_another_asset(shelf: Shelf) -> None:
    """Nobody can tell any longer where its bytes have been."""
    one = shelves.add(shelf, "a.jpg", OLD)
    await follow(shelf)
    write(shelf.path / "a.jpg", NEW, "in place")
    await follow(shelf)
    write(shelf.path / "c.jpg", OLD, "in place")
    await follow(shelf)
    found = live(shelf)
    assert found.pop(one) == (digest_of(NEW), 4)
    assert [digest for digest, _ in found.values()] == [digest_of(OLD)]
    assert before(shelf, one) == [digest_of(OLD)]


def test_what_was_read_before_its_record_followed_its_file_is_not_written(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "IMG_1.jpg", OLD)
    with psycopg.connect(shelf.conninfo) as conn:
        read = files.original_of(conn, asset_id)
        assert read is not None
        conn.execute("UPDATE file_records SET path = 'kept/first.jpg' WHERE id = %s", (read.id,))
        new = shelves.new_photo(conn, NEW)
        assert renewal.renew(conn, read, new) is None
        holds = files.Settled(read.id, Outcome.ASSET, read.stat, Digest(digest_of(OLD)), asset_id, read.path)
        with pytest.raises(Conflict):
            files.settle(conn, [holds])
        with pytest.raises(Conflict):
            files.reject(conn, read, Outcome.CORRUPT, "corrupt: it is none", read.stat)


def test_a_copy_of_what_an_asset_was_is_none_of_what_it_is(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "a.jpg", OLD)
    with psycopg.connect(shelf.conninfo) as conn:
        read = files.original_of(conn, asset_id)
        assert read is not None
        versions.renew(conn, asset_id, shelves.new_photo(conn, NEW))
        holds = files.Settled(read.id, Outcome.DUPLICATE, read.stat, Digest(digest_of(OLD)), asset_id)
        with pytest.raises(Unavailable) as caught:
            settlement.settle(cast(Opened, None), read, holds, conn)
        assert caught.value.code == "asset_changed"
        assert assets.with_digests(conn, {asset_id: Digest(digest_of(OLD))}) == set()
        assert assets.with_digests(conn, {asset_id: Digest(digest_of(NEW))}) == {asset_id}
