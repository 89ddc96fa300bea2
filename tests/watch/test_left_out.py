"""A picture that becomes what a scan leaves out is in the library no more; its bytes elsewhere are."""

from pathlib import Path

import pytest

from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg
from tests.watch.scanning import scanned


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


async def become_link(rt: Runtime, shelf: Shelf, path: str) -> None:
    (shelf.path / path).unlink()
    (shelf.path / path).symlink_to("somewhere")
    await scanned(rt, shelf)
    await shelves.idle(rt)


def files(shelf: Shelf) -> list[tuple[object, ...]]:
    return shelf.sql("SELECT path, outcome, asset_id IS NOT NULL FROM file_records ORDER BY path")


async def test_one_that_becomes_a_link_goes_to_the_trash_and_comes_back(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "a.jpg", jpeg(1))
    async with shelves.working(shelf) as rt:
        await become_link(rt, shelf, "a.jpg")
        assert files(shelf) == [(b"a.jpg", "ignored", False)]
        assert shelf.sql("SELECT asset_id, why FROM trash") == [(asset, "no_file")]
        (shelf.path / "b.jpg").write_bytes(jpeg(1))
        await scanned(rt, shelf)
        await shelves.idle(rt)
        assert files(shelf) == [(b"a.jpg", "ignored", False), (b"b.jpg", "asset", True)]
        assert shelf.sql("SELECT asset_id FROM trash") == []
        assert shelf.sql("SELECT id, rating FROM assets WHERE deleted_at IS NULL") == [(asset, 4)]


async def test_a_further_copy_of_one_that_becomes_a_link_is_served(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "a.jpg", jpeg(1))
    shelves.copy(shelf, asset, "b.jpg", jpeg(1))
    async with shelves.working(shelf) as rt:
        await become_link(rt, shelf, "a.jpg")
        assert files(shelf) == [(b"a.jpg", "ignored", False), (b"b.jpg", "asset", True)]
        assert shelf.sql("SELECT asset_id FROM trash") == []


async def test_an_original_of_the_inbox_is_nobodys_to_let_go(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", jpeg(1))
    async with shelves.working(shelf) as rt:
        await become_link(rt, shelf, "inbox/a.jpg")
        assert shelf.sql("SELECT id FROM assets WHERE deleted_at IS NULL") == [(asset,)]
        assert shelf.sql("SELECT asset_id FROM trash") == []


async def test_one_that_becomes_a_sidecar_leaves_its_asset_to_a_further_copy(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "a.xmp", jpeg(1))
    shelves.copy(shelf, asset, "b.jpg", jpeg(1))
    async with shelves.working(shelf, with_media=True) as rt:
        (shelf.path / "a.xmp").write_bytes(b"<x:xmpmeta/>")
        await scanned(rt, shelf)
        await shelves.idle(rt)
        assert files(shelf) == [(b"a.xmp", "sidecar", False), (b"b.jpg", "asset", True)]
        (shelf.path / "b.xmp").write_bytes(b"<x:xmpmeta/>")
        (shelf.path / "b.jpg").write_bytes(b"none")
        await scanned(rt, shelf)
        await shelves.idle(rt)
        assert shelf.sql("SELECT asset_id, why FROM trash") == [(asset, "no_file")]
