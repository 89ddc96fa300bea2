"""What is served of an asset: its own bytes, whatever else was put in their place."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
import trio

from lumiliod.api import app as api
from lumiliod.db import assets, derivatives, files, job_pages
from lumiliod.domain.assets import FileRecord, Outcome
from lumiliod.domain.derivatives import version
from lumiliod.domain.ids import AssetId, Digest, RepoPath
from lumiliod.domain.media import AssetType
from lumiliod.runtime import HealthBoard, Repositories, Runtime
from lumiliod.storage import repository
from lumiliod.storage.local import stat_of

from .wire import Running, serving

ID = AssetId(UUID(int=7))
DIGEST = "ab" * 32
URL = f"/api/v1/assets/{ID}/original"
BYTES = b"bytes of a picture"


class Library:
    """One repository with one asset, and a database that knows where it lies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.repository = repository.create(str(folder), "Home")
        self.file = folder / "Trip" / "a.jpg"
        self.file.parent.mkdir()
        self.file.write_bytes(BYTES)
        self.stat = stat_of(self.file.stat())
        self.lost: list[str] = []
        self.again = 0

    def sources(self, _conn: object, _ids: object) -> dict[AssetId, assets.Source]:
        path = b"Trip/a.jpg"
        return {
            ID: assets.Source(
                ID, AssetType.PHOTO, "image/jpeg", 1, 1, None, "a.jpg", 4, Digest(DIGEST), self.repository.id, path, 1
            )
        }

    def original_of(self, _conn: object, _id: object) -> FileRecord:
        path, digest = RepoPath("Trip/a.jpg"), Digest(DIGEST)
        return FileRecord(UUID(int=1), self.repository.id, path, self.stat, Outcome.ASSET, None, ID, digest)

    @asynccontextmanager
    async def served(self, socket_path: str) -> AsyncIterator[Running]:
        async def call(function: Callable[..., Any], *args: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return function(None, *args)

        def lose(_id: object, reason: str) -> None:
            self.lost.append(reason)

        async def enqueue(*_args: object) -> None:
            await trio.lowlevel.checkpoint()
            self.again += 1

        opened = SimpleNamespace(repository=self.repository, id=self.repository.id)
        repositories = cast(Repositories, SimpleNamespace(get=lambda _id: opened, lose=lose))
        rt = SimpleNamespace(
            health=HealthBoard(),
            db=SimpleNamespace(call=call),
            jobs=SimpleNamespace(call=enqueue),
            repositories=repositories,
            disk=trio.CapacityLimiter(1),
        )
        async with serving(api.create(cast(Runtime, rt)), socket_path) as server:
            yield server
        left = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert not [path for path in left if path.startswith(self.repository.root)]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library(tmp_path / "library")
    monkeypatch.setattr(assets, "sources", library.sources)
    monkeypatch.setattr(files, "original_of", library.original_of)
    return library


async def test_an_original_is_served_with_its_digest(library: Library, socket_path: str) -> None:
    async with library.served(socket_path) as server:
        reply = await server.ask("GET", URL)
        assert (reply.status, reply.body, reply.headers["etag"]) == (200, BYTES, f'"{DIGEST}"')
        head = await server.ask("HEAD", URL)
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BYTES)))
        assert (await server.ask("GET", URL, [("If-None-Match", f'"{DIGEST}"')])).status == 304
        rest = await server.ask("GET", URL, [("Range", "bytes=6-"), ("If-Range", f'"{DIGEST}"')])
        assert (rest.status, rest.body) == (206, BYTES[6:])


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_is_not_as_recorded_has_no_digest(library: Library, socket_path: str, replaced: bool) -> None:
    """Other bytes of the same length must not be taken for the rest of the old ones."""
    if replaced:
        library.file.write_bytes(BYTES[::-1])
        os.utime(library.file, ns=(1, library.stat.mtime_ns + 1))
    else:
        library.file.write_bytes(BYTES + b"x")
        os.utime(library.file, ns=(1, library.stat.mtime_ns))
    now = library.file.stat()
    weak = f'W/"{now.st_size:x}-{now.st_mtime_ns:x}-{now.st_ino:x}"'
    async with library.served(socket_path) as server:
        reply = await server.ask("GET", URL, [("If-None-Match", f'"{DIGEST}"')])
        assert (reply.status, reply.headers["etag"]) == (200, weak)
        for validator in (f'"{DIGEST}"', weak):
            reply = await server.ask("GET", URL, [("Range", "bytes=6-"), ("If-Range", validator)])
            assert (reply.status, reply.body) == (200, library.file.read_bytes())
        assert (await server.ask("GET", URL, [("If-None-Match", weak)])).status == 304


@pytest.mark.parametrize("what", ["gone", "link", "folder_link", "fifo", "folder", "socket", "device"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_only_a_plain_file_below_the_root_is_served(
    library: Library, socket_path: str, tmp_path: Path, what: str, method: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"secret")
    library.file.unlink()
    match what:
        case "link":
            library.file.symlink_to(outside / "a.jpg")
        case "folder_link":
            library.file.parent.rmdir()
            library.file.parent.symlink_to(outside)
        case "fifo":
            os.mkfifo(library.file)
        case "folder":
            library.file.mkdir()
        case "socket":
            os.mknod(library.file, 0o140600)
        case "device":
            try:
                os.mknod(library.file, 0o020600, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("no devices here")
    async with library.served(socket_path) as server:
        with trio.fail_after(5):
            reply = await server.ask(method, URL)
        assert reply.status == 404
        if method == "GET":
            assert reply.json["code"] == "original_missing"
    assert library.lost == []


async def test_a_missing_disk_is_no_missing_original(library: Library, socket_path: str, tmp_path: Path) -> None:
    os.rename(library.repository.root, tmp_path / "unmounted")
    os.mkdir(library.repository.root)
    async with library.served(socket_path) as server:
        reply = await server.ask("GET", URL)
        assert (reply.status, reply.json["code"]) == (503, "repository_offline")
    assert len(library.lost) == 1


async def test_a_thumbnail_is_kept_for_ever_by_its_own_name_only(
    library: Library, socket_path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = Path(library.repository.lumilio, "assets/thumbnails/300/t.jpg")
    path.write_bytes(b"thumb")
    relative, now = "assets/thumbnails/300/t.jpg", datetime.now(UTC)
    made = derivatives.Derivative(
        ID, library.repository.id, relative, "r1", "image/jpeg", 5, now, now, False, None, "a.jpg"
    )
    monkeypatch.setattr(derivatives, "get", lambda *_: made)
    monkeypatch.setattr(job_pages, "page", lambda *_, **__: [])
    url = f"/api/v1/assets/{ID}/thumbnail?size=300"
    async with library.served(socket_path) as server:
        plain = await server.ask("GET", url)
        assert (plain.status, plain.body) == (200, b"thumb")
        fixed = version("r1", now)
        assert plain.headers["etag"] == f'"{ID}-300-{fixed}"'
        assert plain.headers["cache-control"] == "private, no-cache"
        assert (await server.ask("GET", f"{url}&version=old")).headers["cache-control"] == "private, no-cache"
        assert "immutable" in (await server.ask("GET", f"{url}&version={fixed}")).headers["cache-control"]
        assert library.again == 0
        for spoilt in (lambda: path.write_bytes(b"thu"), path.unlink, lambda: path.symlink_to(tmp_path / "library")):
            spoilt()
            reply = await server.ask("GET", url)
            assert (reply.status, reply.json["code"]) == (503, "thumbnail_pending")
    assert library.again == 3
