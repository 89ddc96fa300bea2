"""Serving an original while its file is renamed, moved aside or brought back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lumiliod.contract.trash import RestoreRequest
from lumiliod.domain.errors import NotFound, Unavailable
from lumiliod.domain.ids import AssetId
from lumiliod.library import browse, trash
from lumiliod.runtime import Runtime
from tests import meanwhile
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg
from tests.pipeline.test_retire import put_into_trash

A = jpeg(1)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


async def read(rt: Runtime, asset: AssetId) -> bytes:
    served = await browse.original(rt, asset)
    with served.opened:
        return served.opened.read()


def at_look(number: int, name: str, act: Callable[[], object]) -> Callable[[tuple[object, ...]], None]:
    """Return what acts right before a file is opened by its name for so many times."""
    left = [number]

    def before(args: tuple[object, ...]) -> None:
        if args[0] == name:
            left[0] -= 1
            if left[0] == 0:
                act()

    return before


async def test_a_renamed_original_is_served_once_its_row_says_where_it_is(shelf: Shelf) -> None:
    """As in a re-layout: the rename comes first, and its row a moment later."""
    asset = shelves.add(shelf, "inbox/a.jpg", A)

    def record() -> None:
        shelf.sql("UPDATE file_records SET path = 'inbox/moved.jpg' WHERE asset_id = %s", asset)

    async with shelves.opened(shelf) as rt:
        (shelf.path / "inbox" / "a.jpg").rename(shelf.path / "inbox" / "moved.jpg")
        with meanwhile.before("open", at_look(2, "a.jpg", record)):
            assert await read(rt, asset) == A


async def test_an_original_that_is_swapped_for_its_good_bytes_is_served(shelf: Shelf) -> None:
    """As when it is healed: the bad file is moved aside, and then the good one is renamed into its place."""
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    place = shelf.path / "inbox" / "a.jpg"
    good = place.rename(shelf.path / "good")
    async with shelves.opened(shelf) as rt:
        with meanwhile.before("open", at_look(3, "a.jpg", lambda: good.rename(place))):
            assert await read(rt, asset) == A


async def test_what_is_moved_to_the_trash_meanwhile_is_told_to_be_there(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with shelves.opened(shelf) as rt:
        moved = at_look(1, "a.jpg", lambda: put_into_trash(shelf, asset))
        with meanwhile.before("open", moved), pytest.raises(NotFound) as caught:
            await read(rt, asset)
        assert caught.value.code == "in_trash"
        await trash.restore(rt, RestoreRequest(ids=[asset]))
        with pytest.raises(Unavailable) as moving:
            await read(rt, asset)
        assert moving.value.code == "in_motion"


async def test_what_is_gone_is_told_in_the_end(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    (shelf.path / "inbox" / "a.jpg").unlink()
    async with shelves.opened(shelf) as rt:
        with pytest.raises(NotFound) as caught:
            await read(rt, asset)
    assert caught.value.code == "original_missing"
