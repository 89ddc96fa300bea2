"""A mirror in a bucket, through the jobs that fill, read and use it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumiliod.db.pool import Database
from lumiliod.domain.ids import RepoPath
from lumiliod.pipeline import kinds
from lumiliod.storage import mirrors as storage
from lumiliod.storage.backend import Backend
from tests.pipeline.originals import library


async def test_a_mirror_in_a_bucket(database: Database, tmp_path: Path, open_bucket: Callable[..., Backend]) -> None:
    async with library(
        database,
        tmp_path / "home",
        backend_of=lambda _location, _options: open_bucket("copies"),
        heal=True,
        scrub_days=1,
        scrub_mb_per_s=0,
    ) as kept:
        rotten, garbled, *_ = await kept.add(5)
        mirror_id = await kept.mirror_at("s3://bucket/copies")
        row = await kept.run(kinds.mirror(mirror_id, kept.opened.id))
        assert (row.state, row.result) == ("completed", {"copied": 5, "skipped": 0})
        bucket = open_bucket("copies")
        stored = {entry.path: _read(bucket, entry.path) for entry in bucket.list(None, 100)}
        copies = {path.rpartition("/")[2]: body for path, body in stored.items() if path.startswith("originals/")}
        assert copies == {one.digest: one.content for one in kept.originals}
        lines = [json.loads(line) for path in stored if path.startswith("manifests/") for line in _lines(stored[path])]
        assert {line["path"] for line in lines} == {one.relative for one in kept.originals}

        rotten.rot()
        await kept.verified()
        await kept.settled()
        assert rotten.is_good

        bad = storage.original_path(garbled.digest)
        bucket.remove(bad)
        other = tmp_path / "other"
        other.write_bytes(garbled.content[::-1])
        bucket.put_new(str(other), bad)
        for _ in range(4):
            await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")
            await kept.ask("UPDATE integrity_runs SET started_at = started_at - interval '1 day'")
            await kept.run(kinds.scrub())
            await kept.settled()
        assert _read(bucket, bad) == garbled.content
        assert {(one.kind, one.state) for one in await kept.findings(None)} == {("bit_rot", "healed")}


def _read(backend: Backend, path: RepoPath) -> bytes:
    with backend.open(path) as file:
        return file.read()


def _lines(body: bytes) -> list[Any]:
    return body.splitlines()
