"""An upload whose bytes another repository has: one file, two names, or two files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from lumiliod.jobs import service
from lumiliod.library import upload
from lumiliod.runtime import InForce, Runtime
from lumiliod.testing.sources import Chunks
from tests.pipeline import shelf
from tests.pipeline.shelf import QUEUES, Shelf

A = shelf.jpeg(1)


@asynccontextmanager
async def working(first: Shelf, how: str) -> AsyncIterator[Runtime]:
    async with shelf.opened(first, with_media=True) as opened:
        storage = msgspec.structs.replace(opened.config.storage, duplicates=how, min_free_mb=0)
        config = msgspec.structs.replace(opened.config, storage=storage)
        rt = shelf._with_kinds(replace(opened, in_force=InForce(config)))
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(service.serve, rt.jobs, QUEUES, stop=stop, grace_s=5.0))
            yield rt
            stop.set()


async def send(rt: Runtime, into: Shelf) -> None:
    await upload.receive(
        rt,
        repository=into.path.name,
        filename="again.jpg",
        body=Chunks([A]),
        expected_digest=None,
        announced_bytes=None,
    )
    await shelf.idle(rt)


@pytest.mark.parametrize("where", ["inbox/a.jpg", "Trip/a.jpg"])
@pytest.mark.parametrize("how", ["skip", "link", "keep"])
async def test_bytes_that_another_repository_has(conninfo: str, tmp_path: Path, how: str, where: str) -> None:
    first, second = (shelf.make(conninfo, tmp_path / name) for name in ("first", "second"))
    asset = shelf.add(first, where, A)
    async with working(first, how) as rt:
        for _ in range(2):  # the second time everything is there
            await send(rt, second)
    expected = [] if how == "skip" else ["inbox/again.jpg"]
    assert second.holding(shelf.digest_of(A)) == expected
    assert first.holding(shelf.digest_of(A)) == [where]
    records = first.sql("SELECT repository_id, path, outcome, asset_id FROM file_records ORDER BY outcome")
    found = [(first.id, where.encode(), "asset", asset)]
    assert records == found + [(second.id, path.encode(), "duplicate", asset) for path in expected]
    assert first.sql("SELECT id FROM assets") == [(asset,)]
    if expected:
        shares = (first.path / where).samefile(second.path / expected[0])
        assert shares == (how == "link" and where.startswith("inbox/"))
    assert list((second.path / ".lumilio" / "staging" / "incoming").iterdir()) == []


async def test_in_the_same_repository_one_is_enough(conninfo: str, tmp_path: Path) -> None:
    only = shelf.make(conninfo, tmp_path / "only")
    shelf.add(only, "inbox/a.jpg", A)
    async with working(only, "keep") as rt:
        await send(rt, only)
    assert only.holding(shelf.digest_of(A)) == ["inbox/a.jpg"]
