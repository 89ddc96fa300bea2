"""What others record while a scan is under way: they know better than a walk that has passed."""

import os
from pathlib import Path

import psycopg
import pytest

from lumiliod.db import assets, files, scans, trash, users, waking
from lumiliod.db.pool import Connection
from lumiliod.db.scans import Merged, Met
from lumiliod.domain.assets import Outcome
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, uuid7
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.pipeline import kinds
from lumiliod.storage.local import stat_of
from lumiliod.watch.walk import Walk
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of
from tests.watch.scanning import asked_for, ended, recorded, rested, scanned, scanning, settled, until

A, B = shelves.jpeg(1), shelves.jpeg(2)


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


class Scan:
    """A scan in steps: it has walked everything when it is made, and compares when it is told to."""

    def __init__(self, shelf: Shelf, conn: Connection) -> None:
        self.conn = conn
        self.id = RepositoryId(shelf.id)
        self.generation = scans.next_generation(conn, self.id)
        self.walk = Walk(shelf.repository(), IgnoreRule())
        self.pages: list[Met] = []
        while page := self.walk.next_page(1000):
            self.pages.append(page)
        conn.commit()

    def compare(self) -> Merged:
        [page] = self.pages
        merged = scans.merge(self.conn, self.id, self.generation, page, kinds.ingest_file(uuid7(), self.id))
        assert scans.note_absent(self.conn, self.id, self.generation, page)[1] is None
        self.conn.commit()
        return merged

    def conclude(self) -> int:
        ids = scans.absent(self.conn, self.id, self.generation, 1000)
        assert len(ids) == scans.count_absent(self.conn, self.id, self.generation)
        counted = scans.mark_missing(self.conn, self.id, self.generation, ids)
        assert counted == len(ids)
        scans.forget_absences(self.conn, self.id, self.generation)
        self.conn.commit()
        return counted


def placed(shelf: Shelf, path: str, content: bytes, asset_id: AssetId) -> None:
    """Write a file and its record, as ingest does."""
    (shelf.path / path).write_bytes(content)
    stat = stat_of((shelf.path / path).stat())
    with psycopg.connect(shelf.conninfo) as conn:
        files.place(conn, RepositoryId(shelf.id), RepoPath(path), stat, Digest(digest_of(content)), asset_id)


def test_a_file_placed_behind_the_walk_is_not_missing(shelf: Shelf) -> None:
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        shelves.add(shelf, "inbox/a.jpg", A)
        scan.compare()
        shelves.add(shelf, "inbox/b.jpg", B)
        assert scan.conclude() == 0
    assert set(recorded(shelf)) == {b"inbox/a.jpg", b"inbox/b.jpg"}


def test_a_file_that_comes_back_after_it_was_not_met_is_not_missing(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "inbox/a.jpg", A)
    (shelf.path / "inbox/a.jpg").unlink()
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        scan.compare()
        assert conn.execute("SELECT count(*) FROM scan_absences").fetchone() == (1,)
        placed(shelf, "inbox/a.jpg", A, asset_id)
        assert scan.conclude() == 0
        # and one that does not is
        (shelf.path / "inbox/a.jpg").unlink()
        scan = Scan(shelf, conn)
        scan.compare()
        assert scan.conclude() == 1


def test_a_record_that_was_written_after_it_was_not_met_is_not_concluded_from(shelf: Shelf) -> None:
    """Whoever writes one has looked at its file, also where that is not placed anew."""
    asset_id = shelves.add(shelf, "inbox/a.jpg", A)
    (shelf.path / "inbox/a.jpg").rename(shelf.path / "away")
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        scan.compare()
        (shelf.path / "away").rename(shelf.path / "inbox/a.jpg")
        with psycopg.connect(shelf.conninfo) as other:
            record = files.original_of(other, asset_id)
            assert record is not None
            settled = files.Settled(record.id, Outcome.ASSET, record.stat, Digest(digest_of(A)), asset_id)
            files.settle(other, [settled])
        # but the folder is looked at again: a record is written without its file, too
        assert scans.unsure(conn, scan.id, scan.generation, 10) == [b"inbox/a.jpg"]
        assert scan.conclude() == 0


def test_a_file_put_back_from_the_trash_behind_the_walk_is_not_missing(shelf: Shelf) -> None:
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        (shelf.path / "inbox/back.jpg").write_bytes(A)
        stat = stat_of((shelf.path / "inbox/back.jpg").stat())
        with psycopg.connect(shelf.conninfo) as other:
            trash.adopt(other, RepositoryId(shelf.id), RepoPath("inbox/back.jpg"), stat)
        scan.compare()
        assert scan.conclude() == 0


def test_what_was_placed_since_the_walk_looked_is_not_taken_for_what_it_met(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "inbox/a.jpg", A)
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        placed(shelf, "inbox/a.jpg", A + b"longer", asset_id)
        assert scan.compare() == Merged(0, 0, 1)
        assert scan.conclude() == 0
        record = files.original_of(conn, asset_id)
        assert record is not None
        assert record.stat == stat_of((shelf.path / "inbox/a.jpg").stat())
        assert asked_for(shelf) == set()
        # the next one finds it as it was placed, and learns its time of change once it has rested
        rested(shelf)
        assert Scan(shelf, conn).compare() == Merged(0, 0, 1)
        assert asked_for(shelf) == set()
    [(_, state)] = recorded(shelf).values()
    assert state[3] == os.stat(shelf.path / "inbox/a.jpg").st_ctime_ns


def test_a_record_that_is_let_go_while_another_file_is_met_at_its_place_is_made_anew(shelf: Shelf) -> None:
    shelves.add(shelf, "inbox/a.jpg", A)
    (shelf.path / "inbox/a.jpg").unlink()
    with psycopg.connect(shelf.conninfo) as conn, psycopg.connect(shelf.conninfo) as other:
        scan = Scan(shelf, conn)
        scan.compare()
        assert scan.conclude() == 1
        (shelf.path / "inbox/a.jpg").write_bytes(B)
        scan = Scan(shelf, conn)
        # an asset that is served from elsewhere forgets it; the scan does not wait for that, but comes back to it
        other.execute("DELETE FROM file_records")
        merged = scan.compare()
        assert merged == Merged(0, 0, 0, 0, [b"inbox/a.jpg"])
        other.commit()
        scan.pages = [scans.part(scan.pages[0], merged.left)]
        assert merged.and_then(scan.compare()) == Merged(1, 0, 0)
        assert scan.conclude() == 0
    assert set(recorded(shelf)) == {b"inbox/a.jpg"}
    assert asked_for(shelf) == {b"inbox/a.jpg"}


def test_lanes_look_again_for_jobs_that_a_scan_has_held(shelf: Shelf) -> None:
    """A claim passes them over meanwhile, and nobody else says that they are there."""
    (shelf.path / "a.jpg").write_bytes(A)
    with psycopg.connect(shelf.conninfo) as conn:
        Scan(shelf, conn).compare()
        (shelf.path / "a.jpg").write_bytes(B + b"longer")
        scan = Scan(shelf, conn)
        waking.take_woken(conn)
        assert scan.compare().changed == 1
        woken = waking.take_woken(conn)
        assert (woken.queues, woken.again, woken.later) == (set(), {"ingest"}, True)


async def test_a_scan_does_not_wait_for_who_is_at_work_on_a_record_while_it_holds_others(shelf: Shelf) -> None:
    for path in ("a.jpg", "b.jpg", "c.jpg"):
        (shelf.path / path).write_bytes(A)
    async with scanning(shelf) as rt:
        assert (await scanned(rt, shelf))["added"] == 3
        settled(shelf)
        for path in ("a.jpg", "b.jpg", "c.jpg"):
            (shelf.path / path).write_bytes(B + b"longer")
        with psycopg.connect(shelf.conninfo) as other:
            other.execute("UPDATE file_records SET reason = 'as before' WHERE path = 'b.jpg'")
            task_id = await rt.jobs.call(kinds.enqueue_one, kinds.scan_again(RepositoryId(shelf.id)))
            await until(lambda: asked_for(shelf) == {b"a.jpg", b"c.jpg"})
            # it wants one that the scan would hold by now
            other.execute("UPDATE file_records SET reason = 'as before' WHERE path IN ('a.jpg', 'c.jpg')")
        assert (await ended(rt, task_id))["changed"] == 3
    assert asked_for(shelf) == {b"a.jpg", b"b.jpg", b"c.jpg"}


def test_a_duplicate_takes_over_from_an_original_that_is_gone(shelf: Shelf) -> None:
    asset_id = shelves.add(shelf, "inbox/a.jpg", A)
    shelves.copy(shelf, asset_id, "b.jpg", A)
    (shelf.path / "inbox/a.jpg").unlink()
    with psycopg.connect(shelf.conninfo) as conn:
        scan = Scan(shelf, conn)
        scan.compare()
        assert scan.conclude() == 1
        assert assets.by_digest(conn, users.ensure_admin(conn), Digest(digest_of(A))) == asset_id
        record = files.original_of(conn, asset_id)
        assert record is not None
        assert record.path == "b.jpg"
