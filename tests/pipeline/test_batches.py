"""Files and pictures that are looked at together: each has its own end, whatever becomes of the others."""

import errno
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import files
from lumiliod.db import jobs as db_jobs
from lumiliod.domain.assets import Outcome
from lumiliod.domain.ids import Digest, RepoPath, RepositoryId
from lumiliod.jobs.engine import Running
from lumiliod.pipeline import deriving, file_ingest, kinds, thumbnails
from lumiliod.runtime import Runtime
from lumiliod.storage.hashers import LEAST_BYTES, Hasher, Hashers
from lumiliod.storage.local import stat_of
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


def met(shelf: Shelf, contents: dict[str, bytes]) -> None:
    """Put files where a scan has just met them, their jobs enqueued."""
    for path, content in contents.items():
        place = shelf.path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    page = [files.SeenFile(RepoPath(path), stat_of((shelf.path / path).stat())) for path in contents]
    with psycopg.connect(shelf.conninfo) as conn:
        seen = files.seen(conn, RepositoryId(shelf.id), 0, page)
        db_jobs.enqueue(conn, [kinds.ingest_file(one.id, RepositoryId(shelf.id)) for one in seen])


def outcomes(shelf: Shelf) -> dict[str, tuple[object, object]]:
    rows = shelf.sql("SELECT convert_from(path, 'UTF8'), outcome, encode(digest, 'hex') FROM file_records")
    return {str(path): (outcome, digest) for path, outcome, digest in rows}


async def test_files_that_are_looked_at_together_end_each_by_itself(shelf: Shelf) -> None:
    new = {f"Trip/{number}.jpg": jpeg(number) for number in range(6)}
    strange = {
        "Trip/0.jpg.xmp": b"<x:xmpmeta/>",
        "Trip/again.jpg": jpeg(1),
        "Trip/again too.jpg": jpeg(1),
        "Trip/empty.jpg": b"",
        "Trip/words.jpg": b"no picture at all",
        "Trip/gone.jpg": jpeg(100),
        "Trip/loop.jpg": jpeg(101),
        "Trip/known.jpg": jpeg(200),
    }
    shelves.add(shelf, "inbox/known.jpg", jpeg(200))
    met(shelf, {name: content for pair in zip(new.items(), strange.items(), strict=False) for name, content in pair})
    met(shelf, dict(list(strange.items())[len(new) :]))
    (shelf.path / "Trip/gone.jpg").unlink()
    (shelf.path / "Trip/loop.jpg").unlink()
    (shelf.path / "Trip/loop.jpg").symlink_to("loop.jpg")
    async with shelves.working(shelf, with_media=True) as rt:
        # that something else lies there by now is seen when its job has ended, and told by a scan
        with trio.fail_after(60):
            while outcomes(shelf)["Trip/loop.jpg"][0] != Outcome.IGNORED:
                await trio.sleep(0.02)
        await shelves.idle(rt)
    found = outcomes(shelf)
    copies = {found.pop(name) for name in ("Trip/1.jpg", "Trip/again.jpg", "Trip/again too.jpg")}
    assert copies == {("asset", digest_of(jpeg(1))), ("duplicate", digest_of(jpeg(1)))}
    assert found == {
        **{name: ("asset", digest_of(content)) for name, content in new.items() if name != "Trip/1.jpg"},
        "inbox/known.jpg": ("asset", digest_of(jpeg(200))),
        "Trip/known.jpg": ("duplicate", digest_of(jpeg(200))),
        "Trip/0.jpg.xmp": ("sidecar", None),
        "Trip/empty.jpg": (Outcome.CORRUPT, None),
        "Trip/words.jpg": (Outcome.UNSUPPORTED, None),
        "Trip/loop.jpg": (Outcome.IGNORED, None),
    }
    assert shelf.sql(
        "SELECT a.original_filename FROM file_records f JOIN assets a ON a.id = f.asset_id WHERE f.outcome = 'sidecar'"
    ) == [("0.jpg",)]
    waiting = shelf.sql("SELECT kind, count(*) FROM jobs GROUP BY kind ORDER BY kind")
    assert waiting == [("metadata", 6), ("thumbnails", 6)], "each new asset is to be understood, and nothing twice"
    [[transactions]] = shelf.sql("SELECT count(DISTINCT xmin::text) FROM file_records WHERE path LIKE 'Trip/_.jpg'")
    assert isinstance(transactions, int)
    assert transactions < len(new)


async def test_what_the_system_says_of_one_file_is_its_own_trouble(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL is what some file systems answer for a damaged file."""
    met(shelf, {f"{number}.jpg": jpeg(number) for number in range(4)})
    damaged, read = (shelf.path / "1.jpg").stat().st_ino, os.readv

    def readv(descriptor: int, buffers: list[memoryview]) -> int:
        if os.fstat(descriptor).st_ino == damaged:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return read(descriptor, buffers)

    monkeypatch.setattr(os, "readv", readv)
    async with shelves.working(shelf, with_media=True):
        with trio.fail_after(60):
            while shelf.sql("SELECT 1 FROM jobs WHERE kind = 'ingest' AND state <> 'discarded'"):
                await trio.sleep(0.02)
    assert [outcomes(shelf)[f"{number}.jpg"][0] for number in range(4)] == ["asset", "pending", "asset", "asset"]
    assert shelf.sql("SELECT errors -> 0 ->> 'code' FROM jobs WHERE state = 'discarded'") == [("name_unstorable",)]


async def test_a_repository_that_is_away_puts_all_its_files_off(shelf: Shelf) -> None:
    met(shelf, {f"Trip/{number}.jpg": jpeg(number) for number in range(3)})
    async with shelves.working(shelf, with_media=True):
        shelf.path.rename(shelf.root + ".away")
        with trio.fail_after(60):
            while shelf.sql("SELECT 1 FROM jobs WHERE state IN ('available', 'running')"):
                await trio.sleep(0.02)
        found = shelf.sql("SELECT DISTINCT state, attempt, errors -> 0 ->> 'code' FROM jobs")
        assert found == [("retryable", 0, "repository_offline")]
    assert set(outcomes(shelf).values()) == {("pending", None)}


async def test_large_photographs_are_hashed_by_processes_while_there_are_many(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"Trip/{number}.jpg": jpeg(number) + bytes(LEAST_BYTES + number) for number in range(9)}
    contents["Trip/film.jpg"] = jpeg(9) + bytes(file_ingest.LARGE_BYTES)
    contents["Trip/small.jpg"] = jpeg(10)
    met(shelf, contents)
    told: list[Digest | None] = []
    answer = Hasher.answer

    def heard(hasher: Hasher) -> Digest | None:
        told.append(answer(hasher))
        return told[-1]

    monkeypatch.setattr(Hasher, "answer", heard)
    with closing(Hashers(1, much_bytes=0)) as hashing:
        async with shelves.working(shelf, with_media=True, hashing=hashing) as rt:
            await shelves.idle(rt)
    assert told
    assert set(told) <= {digest_of(content) for content in contents.values()}
    assert outcomes(shelf) == {name: ("asset", digest_of(content)) for name, content in contents.items()}


@pytest.mark.parametrize("record_after_s", [60.0, 0.0])
async def test_pictures_that_are_drawn_together_are_recorded_whatever_becomes_of_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, record_after_s: float
) -> None:
    """Also where one takes so long that those before it are not to wait for it."""
    monkeypatch.setattr(deriving, "RECORD_AFTER_S", record_after_s)
    assets = [shelves.add(shelf, f"{number}.jpg", jpeg(number), thumbnail=False) for number in range(4)]
    shelf.sql("UPDATE assets SET status = 'processing'")
    (shelf.path / "1.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50))
    broken = (shelf.path / "1.jpg").stat()
    shelf.sql("UPDATE file_records SET mtime_ns = %s WHERE path = '1.jpg'", broken.st_mtime_ns)
    shelf.sql("UPDATE assets SET size_bytes = %s WHERE original_filename = '1.jpg'", broken.st_size)
    (shelf.path / "2.jpg").unlink()
    together: list[int] = []
    with psycopg.connect(shelf.conninfo) as conn:
        jobs = [kinds.about(kinds.THUMBNAILS, asset, RepositoryId(shelf.id), 2) for asset in assets]
        db_jobs.enqueue(conn, jobs)
    async with shelves.opened(shelf, with_media=True) as rt:
        _count_units(rt, together)
        async with shelves.serving(rt, {"media": 1}):
            with trio.fail_after(60):
                while shelf.sql("SELECT 1 FROM jobs WHERE kind = 'thumbnails' AND state <> 'discarded'"):
                    # one that is not there is looked for again
                    shelf.sql("UPDATE jobs SET scheduled_at = now() WHERE state = 'retryable'")
                    await rt.jobs.call(db_jobs.hasten, shelf.id)
                    await trio.sleep(0.02)
    assert together[0] == 4
    rows = set(shelf.sql("SELECT asset_id, count(*) FROM derivatives GROUP BY asset_id"))
    assert rows == {(assets[0], 3), (assets[3], 3)}
    states = shelf.sql("SELECT status FROM assets ORDER BY original_filename")
    assert states == [("ready",), ("undecodable",), ("processing",), ("ready",)]
    failed = set(shelf.sql("SELECT asset_id, errors -> -1 ->> 'code' FROM jobs WHERE state = 'discarded'"))
    assert failed == {(assets[1], "corrupt"), (assets[2], "original_missing")}


def _count_units(rt: Runtime, together: list[int]) -> None:
    kind = thumbnails.setup(rt)

    async def run(jobs: Sequence[Running]) -> None:
        together.append(len(jobs))
        await kind.run(jobs)

    rt.jobs.kinds[kind.name] = replace(kind, run=run)
