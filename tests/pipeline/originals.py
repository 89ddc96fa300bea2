"""A repository of originals on a real disk, recorded in a real database, and an engine that looks after them."""

import datetime as dt
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import trio
from blake3 import blake3

from lumiliod.config import Config, Integrity
from lumiliod.db import assets, files, findings, job_admin, mirrors, users
from lumiliod.db import repositories as db_repositories
from lumiliod.db.findings import Finding
from lumiliod.db.job_admin import JobRow
from lumiliod.db.mirrors import Mirror
from lumiliod.db.pool import Connection, Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.assets import NewAsset, Outcome
from lumiliod.domain.ids import AssetId, Digest, JobId, RepoPath, UserId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.media import AssetType
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.kind import Kind
from lumiliod.media.media import Media
from lumiliod.pipeline import heal, kinds, mirror, scrub
from lumiliod.pipeline.mirror import BackendOf
from lumiliod.runtime import HealthBoard, InForce, Opened, Repositories, Runtime
from lumiliod.storage import local
from lumiliod.storage import mirrors as storage_mirrors
from lumiliod.storage import repository as storage

WHEN = dt.datetime(2024, 7, 1, tzinfo=dt.UTC)
ENDED = ("completed", "cancelled", "discarded")


@dataclass
class Original:
    """One file and what it was when it was recorded."""

    asset_id: AssetId
    file_id: UUID
    path: Path
    relative: RepoPath
    content: bytes
    digest: Digest

    def rot(self, seed: int = 0) -> None:
        """Flip a byte as a disk would: size, time and inode stay."""
        rng = random.Random(f"{self.relative} {seed}")
        times = self.path.stat()
        with self.path.open("r+b") as file:
            at = rng.randrange(times.st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ rng.randrange(1, 256)]))
        os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))

    @property
    def is_good(self) -> bool:
        return self.path.is_file() and self.path.read_bytes() == self.content


@dataclass
class Library:
    """A repository and everything that looks after it."""

    rt: Runtime
    opened: Opened
    backend_of: BackendOf
    originals: list[Original] = field(default_factory=list[Original])

    @property
    def root(self) -> Path:
        return Path(self.opened.repository.root)

    @property
    def engine(self) -> Engine:
        return self.rt.jobs

    async def add(self, count: int, size_bytes: int = 20_000, folder: str = "trip") -> list[Original]:
        """Record so many files of random bytes."""
        made = []
        for number in range(len(self.originals), len(self.originals) + count):
            content = random.Random(f"{self.root.name} {number}").randbytes(size_bytes + number)
            relative = RepoPath(f"{folder}/{number:04}.jpg")
            path = self.root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            digest = Digest(blake3(content).hexdigest())
            asset_id, file_id = await self.rt.db.call(self._record, relative, path, digest)
            made.append(Original(asset_id, file_id, path, relative, content, digest))
        self.originals += made
        return made

    def _record(self, conn: Connection, relative: RepoPath, path: Path, digest: Digest) -> tuple[AssetId, UUID]:
        stat = local.stat_of(path.stat())
        asset = new_asset(self.rt.owner_id, path.name, digest, stat.size_bytes)
        admitted = assets.admit(conn, asset)
        files.place(conn, self.opened.id, relative, stat, digest, admitted.asset_id)
        row = files.original_of(conn, admitted.asset_id)
        assert row is not None
        return admitted.asset_id, row.id

    async def add_twin(self, original: Original, relative: str) -> Path:
        """Record a further file with the same bytes."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(original.content)
        await self.rt.db.call(self._record_twin, original, RepoPath(relative), path)
        return path

    def _record_twin(self, conn: Connection, original: Original, relative: RepoPath, path: Path) -> None:
        stat = local.stat_of(path.stat())
        (record,) = files.seen(conn, self.opened.id, 0, [files.SeenFile(relative, stat)])
        files.settle(conn, [files.Settled(record.id, Outcome.DUPLICATE, stat, original.digest, original.asset_id)])

    async def mirror_at(self, location: str) -> UUID:
        """Add a mirror without asking for it to be filled."""
        row = await self.rt.db.call(mirrors.insert, self.opened.id, location, {})
        return row.id

    async def run(self, job: NewJob) -> JobRow:
        """Enqueue a job and wait until it has ended."""
        return await self.ended(await self.engine.call(kinds.enqueue_one, job))

    async def ended(self, job_id: JobId) -> JobRow:
        return await self.until(job_id, *ENDED)

    async def until(self, job_id: JobId, *states: str, errors: int = 0) -> JobRow:
        with trio.fail_after(60):
            while True:
                row = await self.rt.db.call(job_admin.show, job_id)
                assert row is not None
                if row.state in states and len(row.errors) >= errors:
                    return row
                await trio.sleep(0.02)

    async def settled(self) -> None:
        """Wait until no job of ours is left to run."""
        with trio.fail_after(60):
            while await self.open_jobs("scrub", "verify", "mirror", "heal"):
                await trio.sleep(0.02)

    async def open_jobs(self, *wanted: str) -> list[tuple[str, str | None]]:
        return await self.rt.db.call(_open_jobs, wanted)

    async def verified(self) -> JobRow:
        """Verify everything now."""
        return await self.run(kinds.verify())

    async def findings(self, state: str | None = "open") -> list[Finding]:
        return await self.rt.db.call(_findings, state)

    async def kinds_found(self) -> dict[str, str]:
        """Return the kind of every open finding, by path."""
        return {found.path: found.kind for found in await self.findings()}

    async def mirror(self, mirror_id: UUID) -> Mirror:
        row = await self.rt.db.call(mirrors.get, mirror_id)
        assert row is not None
        return row

    async def ask(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.rt.db.call(_ask, query, params)


def new_asset(owner: UserId, name: str, digest: Digest, size_bytes: int) -> NewAsset:
    return NewAsset(
        id=AssetId(uuid7()),
        owner_id=owner,
        type=AssetType("photo"),
        digest=digest,
        size_bytes=size_bytes,
        mime_type="image/jpeg",
        original_filename=name,
        width=40,
        height=30,
        duration_s=None,
        taken_at=WHEN,
        taken_at_local=WHEN.replace(tzinfo=None),
        tz_source="unknown",
        taken_source="file",
    )


@asynccontextmanager
async def library(
    database: Database,
    root: Path,
    *,
    backend_of: BackendOf = storage_mirrors.opened,
    served: bool = True,
    state_dir: str = "/nonexistent",
    **settings: Any,
) -> AsyncIterator[Library]:
    """Give a repository at ``root`` with an engine that scrubs, verifies, mirrors and heals, if ``served``."""
    root.mkdir(exist_ok=True)
    if not (root / ".lumiliorepo").exists():
        storage.create(str(root), root.name)
    repositories = Repositories()
    rt = Runtime(
        in_force=InForce(Config(state_dir=state_dir, integrity=msgspec.convert(settings, Integrity))),
        db=database,
        jobs=Engine(database, [], keeper_period_s=1.0),
        repositories=repositories,
        media=cast(Media, None),
        owner_id=await database.call(users.ensure_admin),
        health=HealthBoard(),
    )
    try:
        opened = await taken_in(rt, root)
        kept = Library(rt, opened, backend_of)
        if not served:
            yield kept
            return
        async with serving(kept):
            yield kept
    finally:
        repositories.close()


async def taken_in(rt: Runtime, root: Path) -> Opened:
    """Open the repository at ``root``, and know it."""
    found = storage.open_repository(str(root))
    marker = found.marker
    row = RepositoryRow(marker.id, marker.name, found.root, "date", RepositoryStatus.ONLINE, None, marker.created_at)
    if marker.id not in {known.id for known in await rt.db.call(db_repositories.all_rows)}:
        await rt.db.call(db_repositories.insert, row)
    opened = rt.repositories.open(found)
    rt.repositories.put(row, opened)
    return opened


def reopened(rt: Runtime, opened: Opened) -> None:
    """Have a repository back that went offline, as the daemon does."""
    row = next(one for one in rt.repositories.rows() if one.id == opened.id)
    rt.repositories.put(*rt.repositories.reach(row))


@asynccontextmanager
async def serving(kept: Library) -> AsyncIterator[trio.CancelScope]:
    """Run an engine; cancelling the scope ends it as hard as can be within a process."""
    engine = kept.rt.jobs
    for kind in bound(kept.rt, kept.backend_of):
        engine.kinds[kind.name] = kind
    stop = trio.Event()
    queues: Mapping[str, int] = {"integrity": 2}
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(service.serve, engine, queues, stop=stop, grace_s=5.0))
        yield nursery.cancel_scope
        stop.set()


def bound(rt: Runtime, backend_of: BackendOf) -> list[Kind]:
    return [
        scrub.setup(rt, backend_of),
        scrub.setup_verify(rt),
        mirror.setup(rt, backend_of),
        heal.setup(rt, backend_of),
    ]


def _findings(conn: Connection, state: str | None) -> list[Finding]:
    return findings.page(conn, state=state, kind=None, repository_id=None, before=None, count=1000)


def _open_jobs(conn: Connection, wanted: tuple[str, ...]) -> list[tuple[str, str | None]]:
    query = "SELECT kind, unique_key FROM jobs WHERE kind = ANY (%s) AND state <> 'discarded' ORDER BY seq"
    return conn.execute(query, (list(wanted),)).fetchall()


def _ask(conn: Connection, query: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    cursor = conn.execute(query.encode(), params)
    return cursor.fetchall() if cursor.description else []
