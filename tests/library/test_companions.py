"""What belongs together, through real scans: the same whatever was seen first, and told anew when it changes."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from lumiliod.contract.assets import AssetDetail
from lumiliod.contract.trash import RemoveRequest, RestoreRequest
from lumiliod.db.pool import Connection
from lumiliod.library import browse, repositories, trash
from lumiliod.media import media
from lumiliod.media.settings import MediaSettings
from lumiliod.pipeline import ingest, metadata, retire
from lumiliod.runtime import Runtime
from lumiliod.watch import scan
from scripts.sample_formats import raw
from tests.conftest import CORPUS
from tests.demo.test_sample_library import fake_source
from tests.media import moving
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:Rating="{rating}"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
WAITING_S = 60


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


@asynccontextmanager
async def working(shelf: Shelf) -> AsyncIterator[Runtime]:
    """Open a library that scans, ingests and reads metadata with exiftool."""
    async with shelves.opened(shelf) as plain, media.opened(MediaSettings(workers=1)) as room:
        rt = replace(plain, media=room)
        for kind in (ingest.setup(rt), metadata.setup(rt), scan.setup(rt), retire.setup(rt)):
            rt.jobs.kinds[kind.name] = kind
        async with shelves.serving(rt, {"ingest": 1, "maintenance": 1, "media": 1}):
            yield rt


async def scanned(rt: Runtime, shelf: Shelf) -> None:
    """Scan, and wait until everything that was found is understood."""
    await repositories.scan(rt, str(shelf.id))
    await idle(rt)


async def idle(rt: Runtime) -> None:
    with trio.fail_after(WAITING_S):
        while await rt.db.call(_open):
            await trio.sleep(0.01)


def _open(conn: Connection) -> int:
    kinds = ["scan", "ingest", "metadata", "retire"]
    row = conn.execute("SELECT count(*) FROM jobs WHERE kind = ANY (%s) AND state <> 'discarded'", (kinds,)).fetchone()
    assert row is not None
    return int(row[0])


async def shown(rt: Runtime) -> dict[str, AssetDetail]:
    """Return all assets by their paths."""
    items = (await browse.page(rt, limit=500, cursor=None)).items
    return {str(item.path): await browse.show(rt, item.id) for item in items}


def told(found: dict[str, AssetDetail]) -> dict[str, tuple[object, ...]]:
    """Return what is told of companions, without ids."""
    names = {asset.id: path for path, asset in found.items()}
    return {
        path: (
            asset.stack and (asset.stack.kind, names[asset.stack.cover], asset.stack.count, asset.stack.why),
            [(one.name, one.role, one.why) for one in asset.stack_members],
            names.get(asset.live_id) if asset.live_id else None,
            [(one.path, one.is_read, one.why) for one in asset.companions],
            (asset.rating, asset.title),
        )
        for path, asset in found.items()
    }


def photo(colour: str, at: str, *more: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        moving.jpeg(path, colour=colour)
        moving.exiftool(path, f"-DateTimeOriginal={at}", *more)

    return write


def dng(at: str, seed: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(raw(fake_source("", f"{seed}.png")))
        moving.exiftool(path, f"-DateTimeOriginal={at}")

    return write


def xmp(title: str, rating: int) -> Callable[[Path], object]:
    return lambda path: path.write_text(XMP.format(title=title, rating=rating))


FILES: dict[str, Callable[[Path], object]] = {
    "IMG_1.DNG": dng("2026:05:01 12:00:00", 1),
    "IMG_1.JPG": photo("red", "2026:05:01 12:00:00"),
    "IMG_1-edit.jpg": photo("blue", "2026:05:01 12:00:00"),
    "IMG_1.xmp": xmp("of the RAW", 5),
    "IMG_1.JPG.xmp": xmp("of the JPEG", 3),
    "IMG_2.DNG": dng("2026:05:01 12:00:00", 2),
    "IMG_2.JPG": photo("green", "2019:01:01 12:00:00"),
    "c.jpg": photo("pink", "2026:05:01 12:00:00"),
    "c.xmp": xmp("less exact", 1),
    "c.jpg.xmp": xmp("exact", 2),
    "live.jpg": lambda path: moving.apple_photo(path, "black", content_id="LIVE-1"),
    "elsewhere.mov": lambda path: moving.apple_film(path, "LIVE-1"),
    "b1.jpg": lambda path: moving.apple_photo(path, "white", burst="BURST-1"),
    "b2.jpg": lambda path: moving.apple_photo(path, "gray", burst="BURST-1"),
}
PAIR = "same name IMG_1.DNG and IMG_1.JPG in one folder"
PAIR_MEMBERS = [("IMG_1.JPG", "photo", PAIR), ("IMG_1.DNG", "raw", PAIR)]
LIVE = ("live", "Trip/live.jpg", 2, "content id LIVE-1")
LIVE_MEMBERS = [("live.jpg", "photo", "content id LIVE-1"), ("elsewhere.mov", "film", "content id LIVE-1")]
BURST = ("burst", "Trip/b1.jpg", 2, "burst id BURST-1")
BURST_MEMBERS = [("b1.jpg", "frame", "burst id BURST-1"), ("b2.jpg", "frame", "burst id BURST-1")]
ALONE: tuple[object, ...] = (None, [], None, [], (None, None))
EXPECTED: dict[str, tuple[object, ...]] = {
    "Trip/IMG_1.DNG": (
        ("raw_jpeg", "Trip/IMG_1.JPG", 2, PAIR), PAIR_MEMBERS, None,
        [("Trip/IMG_1.xmp", True, "same name as IMG_1.DNG, the RAW of several; IMG_1.JPG has none of this name")],
        (5, "of the RAW"),
    ),
    "Trip/IMG_1.JPG": (
        ("raw_jpeg", "Trip/IMG_1.JPG", 2, PAIR), PAIR_MEMBERS, None,
        [("Trip/IMG_1.JPG.xmp", True, "named after IMG_1.JPG")], (3, "of the JPEG"),
    ),
    "Trip/c.jpg": (
        None, [], None,
        [("Trip/c.jpg.xmp", True, "named after c.jpg"),
         ("Trip/c.xmp", False, "same name as c.jpg; not read, for c.jpg.xmp is")],
        (2, "exact"),
    ),
    "Trip/live.jpg": (LIVE, LIVE_MEMBERS, "Trip/elsewhere.mov", [], (None, None)),
    "Trip/elsewhere.mov": (LIVE, LIVE_MEMBERS, "Trip/live.jpg", [], (None, None)),
    "Trip/b1.jpg": (BURST, BURST_MEMBERS, None, [], (None, None)),
    "Trip/b2.jpg": (BURST, BURST_MEMBERS, None, [], (None, None)),
    "Trip/IMG_1-edit.jpg": ALONE, "Trip/IMG_2.DNG": ALONE, "Trip/IMG_2.JPG": ALONE,
}  # fmt: skip


def order(which: str) -> Sequence[str]:
    names = list(FILES)
    if which == "backwards":
        return names[::-1]
    if which == "any":
        random.Random(7).shuffle(names)
    return names


@pytest.mark.parametrize("which", ["together", "forwards", "backwards", "any"])
async def test_no_order_makes_a_difference(shelf: Shelf, which: str) -> None:
    folder = shelf.path / "Trip"
    folder.mkdir()
    async with working(shelf) as rt:
        for name in order(which):
            FILES[name](folder / name)
            if which != "together":
                await scanned(rt, shelf)
        await scanned(rt, shelf)
        assert told(await shown(rt)) == EXPECTED


async def test_a_sidecar_that_changes_goes_or_comes_back_is_followed(shelf: Shelf) -> None:
    photo("red", "2026:05:01 12:00:00", "-XMP:Rating=1", "-XMP:Title=own")(shelf.path / "a.jpg")
    beside = shelf.path / "a.xmp"

    async def said(rt: Runtime) -> tuple[object, object]:
        await scanned(rt, shelf)
        [asset] = (await shown(rt)).values()
        return asset.rating, asset.title

    async with working(shelf) as rt:
        assert await said(rt) == (1, "own")
        xmp("first", 2)(beside)
        assert await said(rt) == (2, "first")
        xmp("second", 3)(beside)
        assert await said(rt) == (3, "second")
        beside.rename(shelf.path.parent / "kept.xmp")
        assert await said(rt) == (1, "own")
        (shelf.path.parent / "kept.xmp").rename(beside)
        assert await said(rt) == (3, "second")
        shelf.sql("UPDATE assets SET title = 'a person''s'")
        xmp("third", 4)(beside)
        assert await said(rt) == (4, "a person's")


async def test_a_sidecar_that_moves_with_its_photo_follows_it(shelf: Shelf) -> None:
    (shelf.path / "old").mkdir()
    photo("red", "2026:05:01 12:00:00")(shelf.path / "old" / "a.jpg")
    xmp("told", 5)(shelf.path / "old" / "a.xmp")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        (shelf.path / "old").rename(shelf.path / "new")
        await scanned(rt, shelf)
        [asset] = (await shown(rt)).values()
        assert (asset.path, asset.rating, [one.path for one in asset.companions]) == ("new/a.jpg", 5, ["new/a.xmp"])
        # and one that is left behind does not
        (shelf.path / "new" / "a.jpg").rename(shelf.path / "a.jpg")
        await scanned(rt, shelf)
        [asset] = (await shown(rt)).values()
        assert (asset.path, asset.rating, asset.companions) == ("a.jpg", None, [])


async def test_photos_and_their_sidecars_that_are_written_over_at_once_stay_what_they_are(shelf: Shelf) -> None:
    """As programs do that write both; whichever of the two is looked at first."""
    names = [f"a{number}" for number in range(9)]

    def write(shade: int, title: str) -> None:
        moving.jpeg(shelf.path / "0.jpg", colour=f"#ff{shade:02x}ff")
        for number, name in enumerate(names):
            moving.jpeg(shelf.path / f"{name}.jpg", colour=f"#{25 * number:02x}{shade:02x}00")
            xmp(f"{title} {name}", 4)(shelf.path / f"{name}.xmp")

    async with working(shelf) as rt:
        write(40, "told")
        await scanned(rt, shelf)
        before = await shown(rt)
        write(80, "anew")
        await scanned(rt, shelf)
        after = await shown(rt)
        assert {path: one.id for path, one in after.items()} == {path: one.id for path, one in before.items()}
        assert all(after[path].digest != one.digest for path, one in before.items())
        assert [after[f"{name}.jpg"].title for name in names] == [f"anew {name}" for name in names]


async def test_photos_that_become_something_else_go_whenever_their_sidecars_are_looked_at(shelf: Shelf) -> None:
    names = [f"a{number}" for number in range(9)]
    moving.jpeg(shelf.path / "0.jpg", colour="white")
    for number, name in enumerate(names):
        moving.jpeg(shelf.path / f"{name}.jpg", colour=f"#{25 * number:02x}0000")
        xmp(name, 4)(shelf.path / f"{name}.xmp")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        moving.jpeg(shelf.path / "0.jpg", colour="black")
        for name in names:
            (shelf.path / f"{name}.jpg").write_text("no picture")
            xmp("changed", 3)(shelf.path / f"{name}.xmp")
        await scanned(rt, shelf)
        assert set(await shown(rt)) == {"0.jpg"}


async def test_a_raw_that_comes_or_goes_takes_and_leaves_the_sidecar(shelf: Shelf) -> None:
    photo("red", "2026:05:01 12:00:00")(shelf.path / "a.jpg")
    xmp("told", 5)(shelf.path / "a.xmp")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        dng("2026:05:01 12:00:00", 3)(shelf.path / "a.dng")
        await scanned(rt, shelf)
        found = await shown(rt)
        assert (found["a.jpg"].rating, found["a.dng"].rating) == (None, 5)
        await trash.remove(rt, RemoveRequest(ids=[found["a.dng"].id]))
        await idle(rt)
        assert [(path, one.rating, one.stack) for path, one in (await shown(rt)).items()] == [("a.jpg", 5, None)]
        await trash.restore(rt, RestoreRequest(ids=[found["a.dng"].id]))
        await idle(rt)
        found = await shown(rt)
        assert (found["a.jpg"].rating, found["a.dng"].rating) == (None, 5)
        assert found["a.jpg"].stack is not None


async def test_copies_in_two_folders_pair_wherever_each_was_met_first(shelf: Shelf) -> None:
    for folder in ("A", "B"):
        (shelf.path / folder).mkdir()
    FILES["IMG_1.DNG"](shelf.path / "A" / "IMG_1.DNG")
    FILES["IMG_1.JPG"](shelf.path / "B" / "IMG_1.JPG")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        assert [one.stack for one in (await shown(rt)).values()] == [None, None]
        (shelf.path / "B" / "IMG_1.DNG").write_bytes((shelf.path / "A" / "IMG_1.DNG").read_bytes())
        await scanned(rt, shelf)
        found = await shown(rt)
        assert set(found) == {"A/IMG_1.DNG", "B/IMG_1.JPG"}
        assert [one.stack and one.stack.why for one in found.values()] == [PAIR, PAIR]


async def test_collapsed_pages_tell_every_stack_once(shelf: Shelf) -> None:
    folder = shelf.path / "Trip"
    folder.mkdir()
    for name, write in FILES.items():
        write(folder / name)
    for number in range(6):
        moving.apple_photo(folder / f"many{number}.jpg", f"#{40 * number:02x}0000", burst="BURST-2")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        everything = (await browse.page(rt, limit=500, cursor=None)).items
        expected = [one.path for one in everything if one.stack is None or one.stack.cover == one.id]
        assert len(everything) - len(expected) == 8
        for limit in (1, 2, 3, 500):
            told_: list[str | None] = []
            cursor: str | None = None
            while True:
                page = await browse.page(rt, limit=limit, cursor=cursor, collapsed=True)
                assert len(page.items) <= limit
                told_ += [one.path for one in page.items]
                if (cursor := page.next_cursor) is None:
                    break
            assert told_ == expected


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")
async def test_cameras_own_files(shelf: Shelf) -> None:
    """A RAW of each of two makers with the JPEG that exiftool takes out of it, and a sidecar of Lightroom's time."""
    (shelf.path / "2010.xmp").write_bytes((CORPUS / "2010.xmp").read_bytes())
    for name in ("canon_eos_6d.dng", "sample.arw"):
        (shelf.path / name).write_bytes((CORPUS / name).read_bytes())
        still = moving.jpeg(shelf.path / f"{Path(name).stem}.JPG", colour="olive" if "6d" in name else "teal")
        moving.exiftool(still, "-TagsFromFile", str(CORPUS / name), "-exif:all")
    async with working(shelf) as rt:
        await scanned(rt, shelf)
        found = await shown(rt)
        assert {path: asset.stack and asset.stack.kind for path, asset in found.items()} == dict.fromkeys(
            ["canon_eos_6d.dng", "canon_eos_6d.JPG", "sample.arw", "sample.JPG"], "raw_jpeg"
        )
        FILES["c.jpg"](shelf.path / "2010.jpg")
        await scanned(rt, shelf)
        [told_] = (await shown(rt))["2010.jpg"].companions
        assert (told_.path, told_.is_read) == ("2010.xmp", True)
