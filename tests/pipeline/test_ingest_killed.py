"""Uploads and files that are found: killed at every step, with and without the power, healed both ways."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import stepping
from tests.pipeline import ingesting, removing
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg

HEALING = {"work": removing.heal_by_work, "scan": removing.heal_by_scan}
FEWEST_STEPS = 10

EVERY = list(itertools.product(("date", "flat", "cas"), HEALING, ("killed", "powerless")))
SOME = [
    ("date", "scan", "powerless"),
    ("flat", "work", "killed"),
    ("cas", "scan", "killed"),
    ("cas", "work", "powerless"),
]
A, MINE = jpeg(1), jpeg(2)


def staged(shelf: Shelf) -> list[str]:
    return sorted(path.name for path in (shelf.path / ".lumilio" / "staging").rglob("*") if path.is_file())


def check_whole(shelf: Shelf) -> None:
    """Check: every row tells where its bytes are, and nothing lies about that nobody knows."""
    records = shelf.sql(
        "SELECT convert_from(path, 'UTF8'), inode, encode(f.digest, 'hex'), outcome, a.digest = f.digest"
        " FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id WHERE repository_id = %s",
        shelf.id,
    )
    for path, inode, digest, outcome, is_its in records:
        place = shelf.path / str(path)
        assert (place.stat().st_ino, digest_of(place.read_bytes())) == (inode, digest)
        assert (outcome, is_its) == ("asset", True)
    inbox = {str(path.relative_to(shelf.path)) for path in (shelf.path / "inbox").rglob("*") if path.is_file()}
    assert inbox == {str(path) for path, *_ in records if str(path).startswith("inbox/")}
    assert staged(shelf) == []
    assert [path for path in (shelf.path / ".lumilio" / "temp").iterdir() if path.is_file()] == []
    assert shelf.sql("SELECT count(*) FROM assets") == [(len(records),)]


def forget(shelf: Shelf) -> None:
    """Leave nothing that the next round could meet."""
    shelf.sql("TRUNCATE repositories, assets, jobs CASCADE")


@pytest.mark.parametrize(("layout", "healing", "how"), EVERY if stepping.STRIDE == 1 else SOME)
def test_uploading_killed_at_every_step(conninfo: str, tmp_path: Path, layout: str, healing: str, how: str) -> None:
    told = set()
    ended = 0
    for step in stepping.steps():
        shelf = shelves.make(conninfo, shelves.fresh(tmp_path), layout=layout)
        acknowledged = tmp_path / f"acknowledged-{step}"
        was_killed = stepping.run(
            ingesting.upload,
            shelf,
            "a.jpg",
            A,
            str(acknowledged),
            kill_at=step,
            powerless=shelf.root if how == stepping.POWERLESS else None,
        )
        stepping.run(HEALING[healing], shelf)
        holding = shelf.holding(digest_of(A))
        told.add((acknowledged.exists(), len(holding)))
        assert len(holding) == 1 or not acknowledged.exists()
        assert all(path.startswith("inbox/") for path in holding)
        assert shelf.sql("SELECT count(*) FROM assets") == [(len(holding),)]
        check_whole(shelf)
        forget(shelf)
        ended += not was_killed
        if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
            assert step > FEWEST_STEPS
            break
    # some were killed before anything was promised, some after
    assert told > {(False, 0), (True, 1)} or told == {(False, 0), (True, 1)}


@pytest.mark.parametrize(("path", "healing"), [("Trip/mine.jpg", "work"), ("inbox/dropped.jpg", "scan")])
def test_taking_in_what_is_found_killed_at_every_step(conninfo: str, tmp_path: Path, healing: str, path: str) -> None:
    for step in stepping.steps():
        shelf = shelves.make(conninfo, shelves.fresh(tmp_path))
        place = shelf.path / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(MINE)
        before = place.stat()
        was_killed = stepping.run(ingesting.scan, shelf, kill_at=step, powerless=shelf.root)
        stepping.run(heal_with_media, shelf, healing)
        if healing == "work":
            # what was not even asked for when it was killed is found by the next scan
            assert shelf.sql("SELECT count(*) FROM assets WHERE id NOT IN (SELECT asset_id FROM file_records)") == [
                (0,)
            ]
            stepping.run(ingesting.scan, shelf)
        after = place.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
        assert shelf.holding(digest_of(MINE)) == [path]
        assert shelf.sql("SELECT count(*) FROM assets") == [(1,)]
        check_whole(shelf)
        forget(shelf)
        if not was_killed:
            break


def heal_with_media(shelf: Shelf, healing: str) -> None:
    heal: Callable[..., None] = HEALING[healing]
    heal(shelf, with_media=True)
