"""A library without its daemon: a real database, a real repository and a real engine, in whatever process asks."""

import io
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import psycopg
import trio
from blake3 import blake3
from PIL import Image

from lumiliod import config as configuration
from lumiliod.db import assets, files, job_admin, scans, users
from lumiliod.db import derivatives as db_derivatives
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection, Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.assets import NewAsset, NewDerivative, Outcome
from lumiliod.domain.derivatives import place
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId, uuid7
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.jobs import JobFilter, JobState
from lumiliod.domain.media import AssetType
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs import service
from lumiliod.jobs.engine import Engine
from lumiliod.media import media
from lumiliod.media.media import Media
from lumiliod.media.settings import MediaSettings
from lumiliod.pipeline import ingest, kinds, purge, retire
from lumiliod.runtime import HealthBoard, InForce, Runtime, opened_repositories
from lumiliod.storage import derivatives, repository
from lumiliod.storage.hashers import Hashers
from lumiliod.storage.local import stat_of
from lumiliod.watch import plan, scan
from lumiliod.watch.walk import Walk

QUEUES = {"ingest": 2, "maintenance": 1}
OURS = ("ingest", "retire", "purge", "scan", "plan")
WAITING_S = 60


@dataclass(frozen=True)
class Shelf:
    """A repository and the database that knows it; what a process needs to open both."""

    conninfo: str
    root: str
    id: UUID

    @property
    def path(self) -> Path:
        return Path(self.root)

    @property
    def trash(self) -> Path:
        return self.path / ".lumilio" / "trash"

    def repository(self) -> repository.Repository:
        return repository.open_repository(self.root)

    def sql(self, query: str, *params: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def holding(self, digest: str) -> list[str]:
        """Return every file of the repository with these bytes, ours and theirs."""
        found = [path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()]
        return sorted(str(path.relative_to(self.path)) for path in found if digest_of(path.read_bytes()) == digest)

    def everything(self, *, but: str) -> dict[str, tuple[bytes, int]]:
        """Return the bytes and inode of every file that does not belong to the asset ``but`` or its digest."""
        found: dict[str, tuple[bytes, int]] = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if path.is_file() and name != ".lumilio/lock" and digest_of(path.read_bytes()) != but:
                found[name] = (path.read_bytes(), path.stat().st_ino)
        return found


def digest_of(content: bytes) -> str:
    return blake3(content).hexdigest()


def jpeg(seed: int) -> bytes:
    """Return a small photograph unlike any other."""
    noise = random.Random(seed).randbytes(16 * 16 * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (16, 16), noise).save(out, "JPEG", quality=95)
    return out.getvalue()


def make(conninfo: str, root: Path, *, layout: str = "flat", overwrite: bool = False) -> Shelf:
    """Make a repository at ``root`` and tell the database."""
    root.mkdir(parents=True)
    repo = repository.create(str(root), root.name, storage_strategy=layout)
    if overwrite:
        marker = root / ".lumiliorepo"
        marker.write_text(marker.read_text().replace("filenames: rename", "filenames: overwrite"))
    row = RepositoryRow(repo.id, repo.name, repo.root, layout, RepositoryStatus.ONLINE, None, datetime.now(UTC))
    with psycopg.connect(conninfo) as conn:
        db_repositories.insert(conn, row)
    return Shelf(conninfo, str(root), repo.id)


def add(shelf: Shelf, path: str, content: bytes, *, thumbnail: bool = True) -> AssetId:
    """Put a file into the repository and its asset into the library, as ingest leaves them."""
    place = shelf.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    digest = Digest(digest_of(content))
    with psycopg.connect(shelf.conninfo) as conn:
        new = new_photo(conn, content, place.name)
        asset_id = assets.admit(conn, new).asset_id
        files.place(conn, RepositoryId(shelf.id), RepoPath(path), stat_of(place.stat()), digest, asset_id)
        conn.execute("UPDATE assets SET metadata_at = now(), rating = 4 WHERE id = %s", (asset_id,))
        if thumbnail:
            _add_thumbnail(conn, shelf, asset_id, digest)
        assets.set_ready(conn, [asset_id])
    return asset_id


def new_photo(conn: Connection, content: bytes, name: str = "a.jpg") -> NewAsset:
    """Return the row of a photo with these bytes."""
    owner, now = users.ensure_admin(conn), datetime.now(UTC)
    return NewAsset(
        AssetId(uuid7()), owner, AssetType.PHOTO, Digest(digest_of(content)), len(content), "image/jpeg", name, None,
        None, None, now, now.replace(tzinfo=None), "utc", "file",
    )  # fmt: skip


def copy(shelf: Shelf, asset_id: AssetId, path: str, content: bytes) -> None:
    """Put a further copy of an asset's bytes into the repository, as ingest leaves it."""
    place = shelf.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    stat, digest = stat_of(place.stat()), Digest(digest_of(content))
    with psycopg.connect(shelf.conninfo) as conn:
        generation = scans.next_generation(conn, RepositoryId(shelf.id))
        seen = files.SeenFile(RepoPath(path), stat)
        [record] = files.seen(conn, RepositoryId(shelf.id), generation, [seen])
        files.settle(conn, [files.Settled(record.id, Outcome.DUPLICATE, stat, digest, asset_id)])


def scan_at_once(shelf: Shelf, conn: Connection) -> int:
    """Do what a scan does of everything there is, without its job; return how many files are missing since."""
    repository_id, walk = RepositoryId(shelf.id), Walk(shelf.repository(), IgnoreRule())
    generation = scans.next_generation(conn, repository_id)
    while page := walk.next_page(1000):
        scans.merge(conn, repository_id, generation, page, kinds.ingest_file(shelf.id, repository_id))
        scans.note_absent(conn, repository_id, generation, page)
    scans.note_unread(conn, repository_id, generation, walk.unread)
    return scans.mark_missing(conn, repository_id, generation, scans.absent(conn, repository_id, generation, 1000))


def _add_thumbnail(conn: Connection, shelf: Shelf, asset_id: AssetId, digest: Digest) -> None:
    repo = shelf.repository()
    with derivatives.scratch(repo) as folder:
        picture = Path(folder, "150.jpg")
        picture.write_bytes(b"picture of " + asset_id.bytes)
        path = place("thumbnail_150", digest, ".jpg", "r")
        derivatives.put(repo, str(picture), path)
    made = NewDerivative("thumbnail_150", path, "r", "image/jpeg", 27, None, None)
    db_derivatives.put(conn, [db_derivatives.Made(asset_id, RepositoryId(shelf.id), [made])])


@asynccontextmanager
async def opened(
    shelf: Shelf, *, with_media: bool = False, statement_timeout_s: float = 20, hashing: Hashers | None = None
) -> AsyncIterator[Runtime]:
    """Open the library as the daemon does, its API left out; without media nothing new can be identified."""
    database = Database(shelf.conninfo, pool_size=6, statement_timeout_s=statement_timeout_s)
    try:
        async with opened_repositories(database) as repositories:
            engine = Engine(database, [], keeper_period_s=1.0)
            rt = Runtime(
                in_force=InForce(configuration.parse("", state_dir=shelf.root + ".state")),
                db=database,
                jobs=engine,
                repositories=repositories,
                media=cast(Media, None),
                owner_id=await database.call(users.ensure_admin),
                health=HealthBoard(),
                hashers=hashing or Hashers(0),
            )
            if with_media:
                async with media.opened(MediaSettings(workers=1, exiftool="/nonexistent/exiftool")) as room:
                    yield _with_kinds(_replaced(rt, room))
            else:
                yield _with_kinds(rt)
    finally:
        with trio.CancelScope(shield=True):
            await database.close()


def _replaced(rt: Runtime, room: Media) -> Runtime:
    from dataclasses import replace

    return replace(rt, media=room)


def _with_kinds(rt: Runtime) -> Runtime:
    for kind in (ingest.setup(rt), retire.setup(rt), purge.setup(rt), scan.setup(rt), plan.setup(rt)):
        rt.jobs.kinds[kind.name] = kind
    return rt


@asynccontextmanager
async def working(shelf: Shelf, *, with_media: bool = False, hashing: Hashers | None = None) -> AsyncIterator[Runtime]:
    """Open the library and let its engine work."""
    async with opened(shelf, with_media=with_media, hashing=hashing) as rt, serving(rt, QUEUES):
        yield rt


@asynccontextmanager
async def serving(rt: Runtime, queues: Mapping[str, int]) -> AsyncIterator[None]:
    """Let a library's engine work on these queues, each with its concurrency."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(service.serve, rt.jobs, queues, stop=stop, grace_s=5.0))
        yield
        stop.set()


async def idle(rt: Runtime) -> None:
    """Wait until no job of ours is open; what was put off goes on at once."""
    with trio.fail_after(WAITING_S):
        while True:
            open_, discarded = await rt.db.call(_open_jobs)
            assert not discarded, discarded
            if not open_:
                return
            await rt.jobs.call(_hasten)
            await trio.sleep(0.02)


def _open_jobs(conn: Connection) -> tuple[int, list[object]]:
    open_ = conn.execute(
        "SELECT count(*) FROM jobs WHERE kind = ANY (%s) AND state <> 'discarded'", (list(OURS),)
    ).fetchone()
    discarded = conn.execute("SELECT kind, errors FROM jobs WHERE state = 'discarded'").fetchall()
    assert open_ is not None
    return open_[0], list(discarded)


def _hasten(conn: Connection) -> None:
    from lumiliod.db import jobs as db_jobs

    for (id_,) in conn.execute("SELECT id FROM repositories").fetchall():
        db_jobs.hasten(conn, id_)


def of_job(conn: Connection, kind: str) -> int:
    return job_admin.matching(conn, JobFilter(kind=kind), list(JobState))


Act = Callable[[Runtime], Awaitable[object]]


def fresh(folder: Path) -> Path:
    return folder / f"r{uuid4().hex[:8]}"
