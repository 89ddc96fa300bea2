"""Uploads of bytes whose original is no good any more: what the disk lost comes back, what a person wrote stays."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import pytest

from lumiliod.jobs.engine import Running
from lumiliod.pipeline import upload_ingest
from lumiliod.runtime import InForce
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of
from tests.pipeline.test_ingest import OTHER, A, Later, nothing, staged
from tests.pipeline.test_retire import outcomes_of


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, shelves.fresh(tmp_path))


def rot(path: Path, _: pytest.MonkeyPatch) -> None:
    times = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:400] + bytes([content[400] ^ 1]) + content[401:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def lose_a_sector(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel refuse to read a file."""
    inode, readv = path.stat().st_ino, os.readv

    def refuse(fd: int, buffers: Sequence[memoryview]) -> int:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return readv(fd, buffers)

    monkeypatch.setattr(os, "readv", refuse)


async def given_again(shelf: Shelf, *, heals: bool = True) -> None:
    async with shelves.opened(shelf, with_media=True) as opened:
        integrity = msgspec.structs.replace(opened.config.integrity, heal=heals)
        rt = replace(opened, in_force=InForce(msgspec.structs.replace(opened.config, integrity=integrity)))
        upload = await staged(rt, shelf, "b.jpg")
        running = cast(Running, Later(rt, nothing))
        await upload_ingest.ingest_upload(rt, rt.repositories.get(shelf.id), running, upload)


@pytest.mark.parametrize("heals", [True, False])
@pytest.mark.parametrize("place", ["inbox/a.jpg", "Trip/a.jpg"])
@pytest.mark.parametrize(("harm", "kind"), [(rot, "bit_rot"), (lose_a_sector, "unreadable")])
async def test_what_the_disk_lost_is_found_and_healed(
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    harm: Callable[[Path, pytest.MonkeyPatch], None],
    kind: str,
    heals: bool,
) -> None:
    asset = shelves.add(shelf, place, A)
    harm(shelf.path / place, monkeypatch)
    await given_again(shelf, heals=heals)
    assert outcomes_of(shelf, asset) == sorted([(place, "duplicate"), ("inbox/b.jpg", "asset")])
    [(finding, *told)] = shelf.sql(
        "SELECT f.id, f.kind, f.state, convert_from(f.path, 'UTF8'), encode(r.digest, 'hex') FROM findings f"
        " JOIN file_records r ON r.id = f.file_id"
    )
    assert told == [kind, "open", place, digest_of(A)]
    jobs = shelf.sql("SELECT unique_key FROM jobs WHERE kind = 'heal'")
    assert jobs == ([(str(finding),)] if heals else [])


async def test_what_a_person_wrote_is_looked_at_anew(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "Trip/a.jpg", A)
    (shelf.path / "Trip" / "a.jpg").write_bytes(OTHER)
    await given_again(shelf)
    assert outcomes_of(shelf, asset) == [("inbox/b.jpg", "asset")]
    assert shelf.sql("SELECT outcome FROM file_records WHERE path = 'Trip/a.jpg'") == [("pending",)]
    assert shelf.sql("SELECT id FROM findings") == []
    assert shelf.sql("SELECT kind FROM jobs WHERE kind IN ('heal', 'ingest')") == [("ingest",)]
