"""Files that somebody moves keep what they are, and are not read for that."""

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lumiliod.domain.errors import Retryable
from lumiliod.domain.ids import AssetId, RepoPath, RepositoryId
from lumiliod.pipeline import kinds
from lumiliod.storage import repository
from lumiliod.storage.repository import Repository
from lumiliod.watch import mounts, scan
from lumiliod.watch.changes import Changes
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, jpeg
from tests.watch.scanning import asked_for, looked_at_first, recorded, result_of, scanned, scanning, settled, until

LOCAL = "1 1 8:1 / / rw - ext4 /dev/sda rw\n"


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def held(shelf: Shelf) -> dict[str, object]:
    """Return which asset each file that is there holds, by the records."""
    rows = shelf.sql("SELECT path, asset_id FROM file_records WHERE missing_since IS NULL AND asset_id IS NOT NULL")
    return {os.fsdecode(path): asset_id for path, asset_id in rows if isinstance(path, bytes)}


def fill(shelf: Shelf, paths: Sequence[str]) -> dict[str, AssetId]:
    return {path: shelves.add(shelf, path, jpeg(at), thumbnail=False) for at, path in enumerate(paths)}


async def follow(shelf: Shelf, folders: Sequence[str | None] = (None,)) -> dict[str, Any]:
    async with scanning(shelf) as rt:
        return [await scanned(rt, shelf, folder) for folder in folders][-1]


def step(root: Path, *pairs: tuple[str, str]) -> None:
    for before, after in pairs:
        (root / after).parent.mkdir(parents=True, exist_ok=True)
        (root / before).rename(root / after)


@pytest.mark.parametrize("page", [1, 2, 5000])
@pytest.mark.parametrize(("before", "after"), [("a.jpg", "z/b.jpg"), ("z/a.jpg", "b.jpg"), ("m.jpg", "n.jpg")])
async def test_a_file_that_was_moved_is_not_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, before: str, after: str, page: int
) -> None:
    monkeypatch.setattr(scan, "PAGE", page)
    assets = fill(shelf, [before, "k.jpg", "y.jpg"])
    await follow(shelf)
    step(shelf.path, (before, after))
    result = await follow(shelf)
    assert (result["added"], result["changed"], result["moved"], result["missing"]) == (0, 0, 1, 0)
    assert held(shelf) == {after: assets[before], "k.jpg": assets["k.jpg"], "y.jpg": assets["y.jpg"]}
    assert asked_for(shelf) == set()


@pytest.mark.parametrize("page", [7, 5000])
async def test_a_folder_that_was_renamed_keeps_everything(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(scan, "PAGE", page)
    assets = fill(shelf, [f"2024/{month:02}/{day}.jpg" for month in range(1, 5) for day in range(10)])
    await follow(shelf)
    step(shelf.path, ("2024", "Travel"))
    result = await follow(shelf)
    assert (result["moved"], result["missing"], result["note"]) == (40, 0, None)
    assert held(shelf) == {path.replace("2024", "Travel", 1): asset for path, asset in assets.items()}
    assert asked_for(shelf) == set()


@pytest.mark.parametrize("folders", [["in", "out"], ["out", "in"]])
async def test_a_move_told_in_two_scans_is_one(shelf: Shelf, folders: list[str]) -> None:
    assets = fill(shelf, ["in/a.jpg", "out/b.jpg"])
    await follow(shelf)
    step(shelf.path, ("in/a.jpg", "out/a.jpg"))
    async with shelves.working(shelf, with_media=True) as rt:
        for folder in folders:
            await scanned(rt, shelf, folder)
        await shelves.idle(rt)
    assert held(shelf) == {"out/a.jpg": assets["in/a.jpg"], "out/b.jpg": assets["out/b.jpg"]}
    assert shelf.sql("SELECT count(*) FROM trash") == [(0,)]


async def test_a_move_between_folders_that_are_scanned_together_is_not_read(shelf: Shelf) -> None:
    assets = fill(shelf, ["in/a.jpg", "in/sub/x.jpg", "out/b.jpg", "other/c.jpg"])
    await follow(shelf)
    step(shelf.path, ("in/a.jpg", "out/a.jpg"), ("out/b.jpg", "in/b.jpg"), ("in/sub/x.jpg", "x.jpg"))
    (shelf.path / "other/c.jpg").unlink()
    changes = Changes(flat={b"in/", b"out/", b""}, deep={b"in/sub/"})
    async with scanning(shelf) as rt:
        [job] = changes.scans(RepositoryId(shelf.id))
        result = await result_of(rt, job)
    assert (result["found"], result["moved"], result["missing"], result["note"]) == (3, 3, 0, None)
    assert held(shelf) == {
        "out/a.jpg": assets["in/a.jpg"], "in/b.jpg": assets["out/b.jpg"], "x.jpg": assets["in/sub/x.jpg"],
        "other/c.jpg": assets["other/c.jpg"],
    }  # fmt: skip
    assert asked_for(shelf) == set()
    assert shelf.sql("SELECT scope, folder, type, moved FROM sync_operations ORDER BY id DESC LIMIT 1") == [
        ("folder", b"", "realtime", 3)
    ]


async def test_names_handed_on_are_followed(shelf: Shelf) -> None:
    assets = fill(shelf, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    await follow(shelf)
    # a circle of three, and one that takes the place of none
    step(shelf.path, ("1.jpg", "x"), ("2.jpg", "1.jpg"), ("3.jpg", "2.jpg"), ("x", "3.jpg"), ("4.jpg", "5.jpg"))
    result = await follow(shelf)
    assert (result["moved"], result["changed"], result["missing"]) == (4, 0, 0)
    assert held(shelf) == {
        "1.jpg": assets["2.jpg"], "2.jpg": assets["3.jpg"], "3.jpg": assets["1.jpg"], "5.jpg": assets["4.jpg"]
    }  # fmt: skip


async def test_a_new_file_under_a_moved_ones_name_is_new(shelf: Shelf) -> None:
    assets = fill(shelf, ["IMG_1.jpg"])
    await follow(shelf)
    step(shelf.path, ("IMG_1.jpg", "kept/first.jpg"))
    (shelf.path / "IMG_1.jpg").write_bytes(jpeg(99))
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        await shelves.idle(rt)
    new = held(shelf)
    assert new.pop("kept/first.jpg") == assets["IMG_1.jpg"]
    assert set(new) == {"IMG_1.jpg"}
    assert shelf.sql("SELECT rating FROM assets WHERE id = %s", assets["IMG_1.jpg"]) == [(4,)]
    assert shelf.sql("SELECT count(*) FROM assets WHERE deleted_at IS NULL") == [(2,)]


async def test_a_new_file_under_a_moved_ones_name_is_found_whatever_was_scanned_first(shelf: Shelf) -> None:
    assets = fill(shelf, ["IMG_1.jpg"])
    await follow(shelf)
    step(shelf.path, ("IMG_1.jpg", "kept/first.jpg"))
    (shelf.path / "IMG_1.jpg").write_bytes(jpeg(99))
    async with scanning(shelf) as rt:
        home = RepositoryId(shelf.id)
        await result_of(rt, kinds.scan_folder(home, RepoPath(""), deep=False))
        await scanned(rt, shelf, "kept")
        await until(lambda: shelf.sql("SELECT 1 FROM jobs WHERE kind = 'scan'") == [])
    assert held(shelf) == {"kept/first.jpg": assets["IMG_1.jpg"]}
    assert b"IMG_1.jpg" in asked_for(shelf)


async def test_what_an_editor_keeps_beside_is_no_move(shelf: Shelf) -> None:
    """Exiftool renames the photograph and writes the edited one under its name."""
    assets = fill(shelf, ["a.jpg"])
    await follow(shelf)
    step(shelf.path, ("a.jpg", "a.jpg_original"))
    (shelf.path / "a.jpg").write_bytes(jpeg(99))
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        await shelves.idle(rt)
    assert held(shelf) == {"a.jpg": assets["a.jpg"]}
    assert shelf.sql("SELECT asset_id FROM asset_versions") == [(assets["a.jpg"],)]


async def test_a_hard_link_is_no_move(shelf: Shelf) -> None:
    fill(shelf, ["a.jpg"])
    await follow(shelf)
    os.link(shelf.path / "a.jpg", shelf.path / "b.jpg")
    result = await follow(shelf)
    assert (result["added"], result["moved"]) == (1, 0)
    assert b"b.jpg" in asked_for(shelf)


@pytest.mark.parametrize("other", ["size", "mtime", "inode"])
async def test_what_is_not_known_to_be_the_same_file_is_read(shelf: Shelf, other: str) -> None:
    fill(shelf, ["a.jpg"])
    await follow(shelf)
    before = (shelf.path / "a.jpg").stat()
    match other:
        case "size":
            with (shelf.path / "a.jpg").open("ab") as file:
                file.write(b"x")
        case "mtime":
            os.utime(shelf.path / "a.jpg", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        case _:
            shutil.copy2(shelf.path / "a.jpg", shelf.path / "copy")
            (shelf.path / "a.jpg").unlink()
            (shelf.path / "copy").rename(shelf.path / "a.jpg")
    if other == "size":
        os.utime(shelf.path / "a.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    step(shelf.path, ("a.jpg", "b.jpg"))
    result = await follow(shelf)
    assert (result["added"], result["moved"]) == (1, 0)
    assert asked_for(shelf) == {b"b.jpg"}


async def test_what_goes_into_the_inbox_or_comes_out_is_looked_at(shelf: Shelf) -> None:
    fill(shelf, ["inbox/a.jpg", "b.jpg"])
    await follow(shelf)
    step(shelf.path, ("inbox/a.jpg", "a.jpg"), ("b.jpg", "inbox/b.jpg"))
    assert (await follow(shelf))["moved"] == 0
    assert asked_for(shelf) == {b"a.jpg", b"inbox/b.jpg"}


@pytest.mark.parametrize("kept", [True, False])
async def test_other_inodes_alone_are_other_files_where_they_are_kept(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """Some file systems make them up whenever they are mounted: nothing is read again for that."""
    monkeypatch.setattr(mounts, "keeps_inodes", lambda _root: kept)
    (shelf.path / "a.jpg").write_bytes(jpeg(1))
    async with scanning(shelf) as rt:
        await scanned(rt, shelf)
        settled(shelf)
        before = recorded(shelf)
        shelf.sql("UPDATE file_records SET inode = inode + 1")
        result = await scanned(rt, shelf)
        assert (result["changed"], asked_for(shelf)) == ((1, {b"a.jpg"}) if kept else (0, set()))
        if not kept:
            assert recorded(shelf) == before


async def test_where_inodes_are_not_kept_files_are_read(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "keeps_inodes", lambda _root: False)
    fill(shelf, ["a.jpg"])
    await follow(shelf)
    step(shelf.path, ("a.jpg", "b.jpg"))
    assert (await follow(shelf))["moved"] == 0
    assert asked_for(shelf) == {b"b.jpg"}


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        (LOCAL, True),
        (LOCAL + "2 1 8:2 / /srv rw - vfat /dev/sdb rw\n", False),
        (LOCAL + "2 1 8:2 / /srv/photos/card rw - exfat /dev/sdb rw\n", False),
        (LOCAL + "2 1 8:2 / /srv/photos/old rw - xfs /dev/sdb rw\n", True),
        (LOCAL + "2 1 8:2 / /elsewhere rw - vfat /dev/sdb rw\n", True),
        ("", False),
    ],
)
def test_file_systems_without_inodes_are_known(tmp_path: Path, table: str, *, kept: bool) -> None:
    place = tmp_path / "mountinfo"
    place.write_text(table)
    assert mounts.keeps_inodes("/srv/photos", str(place)) is kept


@pytest.mark.parametrize("seed", range(4))
async def test_any_moves_keep_every_relation(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever is moved, over whatever, in however many scans: bytes that are there have their asset and its rating."""
    monkeypatch.setattr(scan, "PAGE", 8)
    chosen = random.Random(seed)
    paths = [f"{folder}/{name}.jpg" for folder in "abcd" for name in range(8)]
    assets = fill(shelf, paths)
    bytes_of = {(shelf.path / path).read_bytes(): asset for path, asset in assets.items()}
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        for _ in range(12):
            for _ in range(chosen.randrange(1, 9)):
                _move_something(shelf.path, chosen)
            await scanned(rt, shelf, chosen.choice([None, None, "a", "d"]))
        await scanned(rt, shelf)
        await shelves.idle(rt)
        await scanned(rt, shelf)
        await shelves.idle(rt)
    there = {str(path.relative_to(shelf.path)): path.read_bytes() for path in shelf.path.rglob("*.jpg")}
    assert held(shelf) == {path: bytes_of[content] for path, content in there.items()}
    assert len(there) > 10
    live = shelf.sql("SELECT id FROM assets WHERE deleted_at IS NULL AND rating = 4")
    assert {asset for (asset,) in live} == {bytes_of[content] for content in there.values()}


async def test_names_exchanged_are_followed_wherever_a_page_ends(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PAGE", 1)
    assets = fill(shelf, ["1.jpg", "2.jpg", "3.jpg"])
    await follow(shelf)
    step(shelf.path, ("1.jpg", "x"), ("3.jpg", "1.jpg"), ("x", "3.jpg"))
    result = await follow(shelf)
    assert (result["moved"], result["changed"], result["missing"]) == (2, 0, 0)
    assert held(shelf) == {"1.jpg": assets["3.jpg"], "2.jpg": assets["2.jpg"], "3.jpg": assets["1.jpg"]}
    assert asked_for(shelf) == set()


@pytest.mark.parametrize("page", [1, 5000])
@pytest.mark.parametrize("names", ["a b", "b a"])
async def test_a_sidecar_that_is_left_behind_is_nobodys(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, names: str, page: int
) -> None:
    monkeypatch.setattr(scan, "PAGE", page)
    moved, replaced = names.split()
    assets = fill(shelf, [f"{moved}.jpg", f"{replaced}.jpg"])
    for name in (moved, replaced):
        (shelf.path / f"{name}.xmp").write_bytes(b"<x:xmpmeta/>")
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf)
        await shelves.idle(rt)
        step(shelf.path, (f"{moved}.jpg", f"{replaced}.jpg"))
        await scanned(rt, shelf)
        await shelves.idle(rt)
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), asset_id FROM file_records WHERE outcome = 'sidecar'")
    assert set(rows) == {(f"{replaced}.xmp", assets[f"{moved}.jpg"]), (f"{moved}.xmp", None)}


@pytest.mark.parametrize("is_taken", [False, True])
async def test_what_made_way_in_a_scan_that_failed_is_looked_for_by_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, *, is_taken: bool
) -> None:
    """The next one is of the same folder, and does not come by where the file was that is missing."""
    assets = fill(shelf, ["a/1.jpg", "b/2.jpg"])
    await follow(shelf)
    step(shelf.path, ("b/2.jpg", "a/1.jpg"))
    if is_taken:
        (shelf.path / "b/2.jpg").write_bytes(jpeg(99))
    whole, failures = repository.check_identity, [Retryable("the disk is busy", code="database_busy")]

    def check_identity(repo: Repository) -> None:
        whole(repo)
        if failures and shelf.sql("SELECT 1 FROM scan_absences"):
            raise failures.pop()

    monkeypatch.setattr(repository, "check_identity", check_identity)
    async with shelves.working(shelf, with_media=True) as rt:
        await scanned(rt, shelf, "a")
        await until(lambda: shelf.sql("SELECT 1 FROM jobs WHERE kind = 'scan'") == [])
        await shelves.idle(rt)
    assert failures == []
    found = held(shelf)
    assert found.pop("a/1.jpg") == assets["b/2.jpg"]
    assert set(found) == ({"b/2.jpg"} if is_taken else set())
    assert assets["a/1.jpg"] not in found.values()
    assert shelf.sql("SELECT asset_id FROM trash") == [(assets["a/1.jpg"],)]


@pytest.mark.parametrize("page", [1, 5000])
@pytest.mark.parametrize("names", ["a.xmp b.jpg", "b.xmp a.jpg"])
async def test_what_no_asset_is_may_be_something_else_under_another_name(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, names: str, page: int
) -> None:
    monkeypatch.setattr(scan, "PAGE", page)
    sidecar, photo = names.split()
    assets = fill(shelf, [photo])
    (shelf.path / sidecar).write_bytes(b"<x:xmpmeta/>")
    async with shelves.working(shelf, with_media=True) as rt:
        for _ in range(2):
            await scanned(rt, shelf)
            await shelves.idle(rt)
            assert shelf.sql("SELECT path FROM file_records WHERE outcome = 'sidecar'") == [(sidecar.encode(),)]
            assert held(shelf) == {photo: assets[photo]}
        step(shelf.path, (photo, "x"), (sidecar, photo), ("x", sidecar))
        await scanned(rt, shelf)
        await shelves.idle(rt)
    assert held(shelf) == {sidecar: assets[photo]}
    assert shelf.sql("SELECT path, outcome FROM file_records WHERE asset_id IS NULL") == [
        (photo.encode(), "unsupported")
    ]


@pytest.mark.parametrize(
    ("names", "page"), [(names, 1) for names in ("abp", "apb", "bap", "bpa", "pab", "pba")] + [("abp", 5000)]
)
@pytest.mark.parametrize("there", ["nothing", "another", "another that is known"])
async def test_a_copy_that_goes_over_another_file_while_the_original_is_written_over_is_the_asset_still(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, names: str, there: str, page: int
) -> None:
    """Whichever is met or looked at first: the copy's bytes were never away, and what they replaced has no file."""
    monkeypatch.setattr(scan, "PAGE", page)
    original, copy, replaced = (f"{names.index(name)}.jpg" for name in "abp")
    assets = fill(shelf, [original, replaced, "k.jpg"])
    shelves.copy(shelf, assets[original], copy, (shelf.path / original).read_bytes())
    await follow(shelf)
    step(shelf.path, (copy, replaced))
    match there:
        case "another":
            (shelf.path / copy).write_bytes(jpeg(98))
        case "another that is known":
            step(shelf.path, ("k.jpg", copy))
    (shelf.path / original).write_bytes(jpeg(99))
    async with shelves.opened(shelf, with_media=True) as rt:
        async with shelves.serving(rt, {"maintenance": 1}):
            await scanned(rt, shelf)
        await looked_at_first(rt, shelf, original)
    found = held(shelf)
    new = found.pop(original)
    kept = {replaced: assets[original], "k.jpg": assets["k.jpg"]}
    match there:
        case "another":
            assert found.pop(copy) not in {*assets.values(), new}
        case "another that is known":
            kept[copy] = kept.pop("k.jpg")
    assert found == kept
    assert new not in assets.values()
    assert shelf.sql("SELECT count(*) FROM asset_versions") == [(0,)]
    live = {asset for (asset,) in shelf.sql("SELECT id FROM assets WHERE deleted_at IS NULL AND rating = 4")}
    assert live == {assets[original], assets["k.jpg"]}


def _move_something(root: Path, chosen: random.Random) -> None:
    files = sorted(root.glob("[a-z]*/**/*.jpg"))
    folders = sorted({path.parent for path in files})
    match chosen.choice(["file", "file", "over", "swap", "folder", "into"]):
        case "file":
            target = chosen.choice(folders) / f"{chosen.randrange(10_000)}.jpg"
            chosen.choice(files).rename(target)
        case "over" if chosen.random() < 0.3:
            chosen.choice(files).replace(chosen.choice(files))
        case "swap":
            one, other = chosen.choice(files), chosen.choice(files)
            if one != other:
                one.rename(root / "between")
                other.rename(one)
                (root / "between").rename(other)
        case "folder":
            chosen.choice(folders).rename(root / f"n{chosen.randrange(10_000)}")
        case "into":
            one, other = chosen.choice(folders), chosen.choice(folders)
            if not other.is_relative_to(one):
                one.rename(other / f"m{chosen.randrange(10_000)}")
        case _:
            pass


async def test_a_copy_that_comes_back_before_the_original_takes_its_place(shelf: Shelf) -> None:
    [asset_id] = fill(shelf, ["inbox/a.jpg"]).values()
    shelves.copy(shelf, asset_id, "inbox/b.jpg", (shelf.path / "inbox/a.jpg").read_bytes())
    away = shelf.path.parent / "away"
    away.mkdir()
    await follow(shelf)
    for name in ("a.jpg", "b.jpg"):
        (shelf.path / "inbox" / name).rename(away / name)
    await follow(shelf)
    (away / "b.jpg").rename(shelf.path / "inbox/b.jpg")
    await follow(shelf)
    assert shelf.sql("SELECT path, outcome FROM file_records WHERE missing_since IS NULL") == [
        (b"inbox/b.jpg", "asset")
    ]
