"""Resumable uploads over a real socket, with a real repository and database behind."""

import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString, cast
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
import trio.testing
from blake3 import blake3

from lumiliod.api import app as api
from lumiliod.config import Config
from lumiliod.db import job_admin, users
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Connection, Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import JobId, RepositoryId, UploadId
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs.engine import Engine
from lumiliod.library import upload, upload_metadata, upload_sweep
from lumiliod.library.concatenation import PARTS_MAX
from lumiliod.runtime import HealthBoard, Opened, Repositories, Runtime
from lumiliod.storage import partial, repository, staging
from lumiliod.storage.partial_writer import PartialWriter

from .wire import Reply, Running, serving

TUS = ("Tus-Resumable", "1.0.0")
BYTES = ("Content-Type", "application/offset+octet-stream")


def metadata(**values: str) -> tuple[str, str]:
    return "Upload-Metadata", ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


@dataclass
class Tus:
    server: Running
    opened: Opened
    rt: Runtime
    replies: list[Reply] = field(default_factory=list[Reply])

    async def ask(self, method: str, path: str, status: int, *headers: tuple[str, str], body: bytes = b"") -> Reply:
        reply = await self.server.ask(method, f"/api/v1{path}", [TUS, *headers], body)
        assert reply.status == status, reply
        assert reply.headers["tus-resumable"] == "1.0.0"
        assert status != 204 or "content-length" not in reply.headers
        return reply

    async def begin(self, size: int | None, *headers: tuple[str, str], body: bytes = b"") -> str:
        length = ("Upload-Length", str(size)) if size is not None else ("Upload-Defer-Length", "1")
        reply = await self.ask("POST", "/uploads", 201, length, metadata(filename="a.jpg"), *headers, body=body)
        return reply.headers["location"].removeprefix("/api/v1")

    async def send(self, place: str, offset: int, body: bytes, *headers: tuple[str, str], status: int = 204) -> Reply:
        return await self.ask("PATCH", place, status, BYTES, ("Upload-Offset", str(offset)), *headers, body=body)

    async def offset(self, place: str) -> int:
        return int((await self.ask("HEAD", place, 200)).headers["upload-offset"])

    async def code(self, method: str, path: str, status: int, *headers: tuple[str, str], body: bytes = b"") -> str:
        return str((await self.ask(method, path, status, *headers, body=body)).json["code"])


@pytest.fixture
async def tus(database: Database, socket_path: str, tmp_path: Path) -> AsyncIterator[Tus]:
    async with serve(database, socket_path, tmp_path) as served:
        yield served


@asynccontextmanager
async def serve(database: Database, socket_path: str, tmp_path: Path) -> AsyncIterator[Tus]:
    root = tmp_path / "library"
    root.mkdir()
    repo = repository.create(str(root), "Library")
    repositories = Repositories()
    opened = repositories.open(repo)
    marker = repo.marker
    row = RepositoryRow(opened.id, marker.name, repo.root, "date", RepositoryStatus.ONLINE, None, marker.created_at)
    await database.call(db_repositories.insert, row)
    repositories.put(row, opened)
    rt = SimpleNamespace(
        config=Config(),
        health=HealthBoard(),
        repositories=repositories,
        db=database,
        jobs=Engine(database, []),
        owner_id=await database.call(users.ensure_admin),
        disk=trio.CapacityLimiter(8),
    )
    async with serving(api.create(cast(Runtime, rt)), socket_path, grace_s=5.0) as server:
        yield Tus(server, opened, cast(Runtime, rt))
    repositories.close()


def content_of(tus: Tus) -> bytes:
    [staged] = staging.waiting(tus.opened.repository)
    return Path(staged.path).read_bytes()


async def test_abilities(tus: Tus) -> None:
    reply = await tus.server.ask("OPTIONS", "/api/v1/uploads")
    assert reply.status == 204
    assert "content-length" not in reply.headers  # RFC 9110 §8.6
    assert reply.headers["tus-version"] == "1.0.0"
    wanted = "checksum concatenation creation creation-defer-length creation-with-upload expiration termination"
    assert sorted(reply.headers["tus-extension"].split(",")) == wanted.split()
    assert "sha1" in reply.headers["tus-checksum-algorithm"].split(",")


async def test_another_version_is_refused(tus: Tus) -> None:
    for headers in ([], [("Tus-Resumable", "0.2.2")]):
        reply = await tus.server.ask("POST", "/api/v1/uploads", headers)
        assert (reply.status, reply.headers["tus-version"]) == (412, "1.0.0")


async def test_piece_by_piece_until_it_is_queued(tus: Tus, database: Database) -> None:
    content = os.urandom(3_000_000)
    place = await tus.begin(len(content))
    assert await tus.offset(place) == 0
    reply = await tus.send(place, 0, content[:1_500_000])
    assert reply.headers["upload-offset"] == "1500000"
    assert reply.headers["upload-expires"].endswith("GMT")
    assert "lumilio-task" not in reply.headers
    reply = await tus.send(place, 1_500_000, content[1_500_000:])
    task = reply.headers["lumilio-task"].rpartition("/")[2]
    job = await database.call(job_admin.show, JobId(task))  # type: ignore[arg-type]  # a text is as good
    assert job is not None
    assert (job.kind, job.state) == ("ingest", "available")
    assert content_of(tus) == content
    head = await tus.ask("HEAD", place, 200)
    assert head.headers["upload-offset"] == head.headers["upload-length"] == str(len(content))
    assert head.headers["lumilio-task"] == reply.headers["lumilio-task"]
    assert head.headers["cache-control"] == "no-store"
    assert base64.b64decode(head.headers["upload-metadata"].split()[1]) == b"a.jpg"


async def test_created_with_its_bytes(tus: Tus) -> None:
    reply = await tus.ask(
        "POST", "/uploads", 201, ("Upload-Length", "10"), metadata(filename="a.jpg"), BYTES, body=b"12345"
    )
    assert reply.headers["upload-offset"] == "5"
    await tus.send(reply.headers["location"].removeprefix("/api/v1"), 5, b"67890")
    assert content_of(tus) == b"1234567890"


async def test_what_was_never_told_where_it_is_is_forgotten(tus: Tus) -> None:
    begun = (("Upload-Length", "10"), metadata(filename="a.jpg"), BYTES)
    wrong = ("Upload-Checksum", f"sha1 {base64.b64encode(bytes(20)).decode()}")
    assert await tus.code("POST", "/uploads", 460, *begun, wrong, body=b"12345") == "checksum_mismatch"
    assert await tus.code("POST", "/uploads", 400, *begun, body=b"12345678901") == "length_mismatch"
    stream = await tus.server.connect()
    head = "POST /api/v1/uploads HTTP/1.1\r\nHost: l\r\nTus-Resumable: 1.0.0\r\nContent-Length: 10\r\n"
    async with stream:
        told = "".join(f"{name}: {value}\r\n" for name, value in begun)
        await stream.send_all(f"{head}{told}\r\n12345".encode())
        with trio.fail_after(20):
            while not os.listdir(tus.opened.repository.incoming):
                await trio.sleep(0.01)
    with trio.fail_after(20):
        while os.listdir(tus.opened.repository.incoming):
            await trio.sleep(0.01)


async def test_what_is_under_way_is_listed(tus: Tus) -> None:
    first, second = await tus.begin(10), await tus.begin(None)
    whole = await tus.begin(5)
    await tus.send(first, 0, b"123")
    await tus.send(whole, 0, b"12345")
    listed = (await tus.server.ask("GET", "/api/v1/uploads")).json["items"]
    assert [(one["id"], one["offset"], one["size_bytes"]) for one in listed] == [
        (first.rpartition("/")[2], 3, 10),
        (second.rpartition("/")[2], 0, None),
    ]
    assert listed[0]["owner_id"] == str(tus.rt.owner_id)
    assert (listed[0]["filename"], listed[0]["repository"]) == ("a.jpg", "Library")
    await tus.ask("DELETE", first, 204)
    assert len((await tus.server.ask("GET", "/api/v1/uploads")).json["items"]) == 1


async def test_a_length_that_is_told_later(tus: Tus) -> None:
    place = await tus.begin(None)
    await tus.send(place, 0, b"12345")
    assert (await tus.ask("HEAD", place, 200)).headers["upload-defer-length"] == "1"
    wrong = await tus.send(place, 5, b"6", ("Upload-Length", "3"), status=400)
    assert wrong.json["code"] == "bad_length"
    await tus.send(place, 5, b"67890", ("Upload-Length", "10"))
    assert content_of(tus) == b"1234567890"


async def test_only_the_next_byte_is_taken(tus: Tus) -> None:
    place = await tus.begin(10)
    await tus.send(place, 0, b"12345")
    for offset in (0, 6):
        reply = await tus.send(place, offset, b"x", status=409)
        assert reply.json["code"] == "wrong_offset"
    assert (await tus.send(place, 5, b"678901", status=400)).json["code"] == "length_mismatch"
    offset = await tus.offset(place)
    await tus.send(place, offset, b"1234567890"[offset:])
    assert content_of(tus) == b"1234567890"


async def test_a_checksum(tus: Tus) -> None:
    place = await tus.begin(10)

    def summed(name: str, content: bytes) -> tuple[str, str]:
        return "Upload-Checksum", f"{name} {base64.b64encode(hashlib.new(name, content).digest()).decode()}"

    reply = await tus.send(place, 0, b"12345", summed("sha1", b"54321"), status=460)
    assert reply.json["code"] == "checksum_mismatch"
    assert await tus.offset(place) == 0
    assert (await tus.send(place, 0, b"12345", ("Upload-Checksum", "crc7 AAAA"), status=400)).json[
        "code"
    ] == "bad_checksum"
    assert (await tus.send(place, 0, b"12345", ("Upload-Checksum", "sha1 ?"), status=400)).json[
        "code"
    ] == "bad_checksum"
    await tus.send(place, 0, b"12345", summed("sha1", b"12345"))
    await tus.send(place, 5, b"67890", summed("sha256", b"67890"))
    assert content_of(tus) == b"1234567890"


async def test_a_promised_digest(tus: Tus) -> None:
    told = metadata(filename="a.jpg", digest=blake3(b"12345").hexdigest())
    place = (await tus.ask("POST", "/uploads", 201, ("Upload-Length", "5"), told)).headers["location"][7:]
    assert (await tus.send(place, 0, b"54321", status=400)).json["code"] == "digest_mismatch"
    await tus.ask("HEAD", place, 404)
    assert staging.waiting(tus.opened.repository) == []
    place = (await tus.ask("POST", "/uploads", 201, ("Upload-Length", "5"), told)).headers["location"][7:]
    await tus.send(place, 0, b"12345")
    assert content_of(tus) == b"12345"


async def test_a_cut_connection_loses_nothing_that_arrived(tus: Tus) -> None:
    content = os.urandom(2_500_000)
    place = await tus.begin(len(content))
    stream = await tus.server.connect()
    head = (
        f"PATCH /api/v1{place} HTTP/1.1\r\nHost: l\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES[1]}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    async with stream:
        await stream.send_all(head.encode() + content[:1_700_001])
    with trio.fail_after(20):
        while (offset := await tus.offset(place)) < 1_700_001:
            await trio.sleep(0.01)
    assert offset == 1_700_001
    await tus.send(place, offset, content[offset:])
    assert content_of(tus) == content


async def until_written(tus: Tus, place: str) -> None:
    """Wait until a request writes the upload."""
    path = partial.bytes_path(tus.opened.repository, UploadId(UUID(place.rpartition("/")[2])))
    with trio.fail_after(20):
        while True:
            try:
                os.close(partial.locked(path))
            except Conflict:
                return
            await trio.sleep(0.01)


async def test_who_hangs_gives_way_to_who_asks_again(tus: Tus) -> None:
    content = os.urandom(1_000_000)
    place = await tus.begin(len(content))
    stream = await tus.server.connect()
    head = (
        f"PATCH /api/v1{place} HTTP/1.1\r\nHost: l\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES[1]}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    async with stream:
        await stream.send_all(head.encode() + content[:300_000])
        await until_written(tus, place)
        await trio.testing.wait_all_tasks_blocked(0.05)
        offset = await tus.offset(place)
        assert offset == 300_000
        await tus.send(place, offset, content[offset:])
        answer = await stream.receive_some(4096)
        assert answer.startswith((b"HTTP/1.1 423 ", b"HTTP/1.1 409 "))
    assert content_of(tus) == content


async def test_many_at_once_on_one_upload_end_in_one_file(tus: Tus) -> None:
    content = os.urandom(400_000)
    place = await tus.begin(len(content))

    async def pusher() -> None:
        while True:
            head = await tus.server.ask("HEAD", f"/api/v1{place}", [TUS])
            offset = int(head.headers["upload-offset"])
            if offset == len(content):
                return
            headers = [TUS, BYTES, ("Upload-Offset", str(offset))]
            await tus.server.ask("PATCH", f"/api/v1{place}", headers, content[offset : offset + 30_000])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pusher)
    assert content_of(tus) == content


async def test_given_up(tus: Tus) -> None:
    place = await tus.begin(10)
    await tus.send(place, 0, b"12345")
    await tus.ask("DELETE", place, 204)
    await tus.ask("HEAD", place, 404)
    assert await tus.code("DELETE", place, 404) == "upload_not_found"
    assert os.listdir(tus.opened.repository.incoming) == []


async def test_what_is_complete_is_not_given_up(tus: Tus) -> None:
    place = await tus.begin(5)
    await tus.send(place, 0, b"12345")
    assert await tus.code("DELETE", place, 409) == "upload_complete"
    assert await tus.offset(place) == 5


async def test_what_was_refused_is_not_given_up_by_its_sender(tus: Tus) -> None:
    """A client that tidies up after itself does not decide about bytes that wait for a person."""
    place = await tus.begin(5)
    await tus.send(place, 0, b"12345")
    id_ = UploadId(UUID(place.rpartition("/")[2]))
    repo = tus.opened.repository
    staging.fail(repo, id_, "unsupported", "no photo")
    assert await tus.code("DELETE", place, 403) == "upload_refused"
    assert await tus.code("POST", place, 403, ("X-HTTP-Method-Override", "DELETE")) == "upload_refused"
    partial.remove(repo, id_)
    assert await tus.code("DELETE", place, 403) == "upload_refused"
    assert (Path(repo.failed) / str(id_)).read_bytes() == b"12345"
    assert await tus.code("DELETE", f"{place}?refused=true", 409) == "upload_retried"
    unfinished = await tus.begin(5)
    assert await tus.code("DELETE", f"{unfinished}?refused=x", 400) == "bad_request"
    await tus.ask("DELETE", f"{unfinished}?refused=true", 204)


async def test_listed_under_the_names_the_library_has(tus: Tus) -> None:
    """A marker may say another name; what lies in a repository that is away is not listed, and that is said."""
    for body in (b"123", b"12345"):
        place = await tus.begin(5)
        await tus.send(place, 0, body)
    staging.fail(tus.opened.repository, UploadId(UUID(place.rpartition("/")[2])), "unsupported", "no photo")
    known = tus.rt.repositories
    row = known.row("Library")
    known.put(replace(row, name="mine"), tus.opened)
    known.put(replace(row, id=RepositoryId(uuid4()), name="away", status=RepositoryStatus.OFFLINE), None)
    known.put(replace(row, id=RepositoryId(uuid4()), name="put away", status=RepositoryStatus.DETACHED), None)
    listed = (await tus.server.ask("GET", "/api/v1/uploads")).json
    assert [one["repository"] for one in (*listed["items"], *listed["refused"])] == ["mine", "mine"]
    assert listed["offline"] == ["away"]


async def test_a_media_type_in_other_words(tus: Tus) -> None:
    place = await tus.begin(5)
    other = ("Content-Type", "Application/Offset+Octet-Stream; charset=binary")
    await tus.ask("PATCH", place, 204, other, ("Upload-Offset", "0"), body=b"12345")
    assert content_of(tus) == b"12345"


async def test_what_nobody_foresaw_is_told_in_the_words_of_tus(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await tus.begin(5)
    monkeypatch.setattr(tus.rt, "repositories", None)
    assert await tus.code("PATCH", place, 500, BYTES, ("Upload-Offset", "0"), body=b"1") == "internal"


async def test_methods_that_are_overridden(tus: Tus) -> None:
    place = await tus.begin(5)
    head = await tus.ask("POST", place, 200, ("X-HTTP-Method-Override", "HEAD"))
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("0", "5")
    patch = ("X-HTTP-Method-Override", "PATCH")
    await tus.ask("POST", place, 204, patch, BYTES, ("Upload-Offset", "0"), body=b"123")
    assert await tus.code("POST", place, 400, ("X-HTTP-Method-Override", "GET")) == "bad_override"
    await tus.ask("POST", place, 204, ("X-HTTP-Method-Override", "DELETE"))
    await tus.ask("HEAD", place, 404)


async def test_parts_that_are_put_together(tus: Tus) -> None:
    places = [await tus.begin(5, ("Upload-Concat", "partial")) for _ in range(2)]
    final = ("Upload-Concat", "final; " + "  ".join(f"http://l/api/v1{place}" for place in places))
    for place, body in zip(places, (b"12345", b"67890"), strict=True):
        assert await tus.code("POST", "/uploads", 409, final, metadata(filename="a.jpg")) == "part_incomplete"
        reply = await tus.send(place, 0, body)
        assert "lumilio-task" not in reply.headers
    reply = await tus.ask("POST", "/uploads", 201, final, metadata(filename="a.jpg"))
    assert reply.headers["upload-offset"] == "10"
    assert "lumilio-task" in reply.headers
    assert content_of(tus) == b"1234567890"
    head = await tus.ask("HEAD", reply.headers["location"].removeprefix("/api/v1"), 200)
    assert head.headers["upload-concat"] == final[1]
    whole = reply.headers["location"].removeprefix("/api/v1")
    assert (await tus.send(whole, 10, b"1", status=403)).json["code"] == "final_upload"
    for place in places:
        await tus.ask("HEAD", place, 404)


async def test_who_asks_twice_for_the_same_parts_hears_of_the_same_upload(tus: Tus) -> None:
    parts = [await whole_part(tus, body) for body in (b"12345", b"67890")]
    replies: list[Reply] = []

    async def put_together() -> None:
        replies.append(await tus.ask("POST", "/uploads", 201, final_of(*parts), metadata(filename="a.jpg")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_together)
        nursery.start_soon(put_together)
    await put_together()
    assert len({(reply.headers["location"], reply.headers["lumilio-task"]) for reply in replies}) == 1
    assert content_of(tus) == b"1234567890"


async def test_parts_whose_joiner_was_killed_are_put_together_again(tus: Tus) -> None:
    part = await whole_part(tus, b"12345")
    dead = partial.create(tus.opened.repository, "a.jpg", size_bytes=5, parts=[part.rpartition("/")[2]])
    await tus.ask("POST", "/uploads", 201, final_of(part), metadata(filename="a.jpg"))
    assert content_of(tus) == b"12345"
    assert partial.find(tus.opened.repository, dead.id) is None


def final_of(*places: str) -> tuple[str, str]:
    return "Upload-Concat", "final;" + " ".join(f"/api/v1{place}" for place in places)


async def whole_part(tus: Tus, content: bytes) -> str:
    place = await tus.begin(len(content), ("Upload-Concat", "partial"))
    await tus.send(place, 0, content)
    return place


async def test_parts_are_within_every_limit(tus: Tus, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await whole_part(tus, b"12345"), await whole_part(tus, b"67890")
    before = sorted(os.listdir(tus.opened.repository.incoming))
    name = metadata(filename="a.jpg")

    async def refused(*places: str, status: int) -> str:
        code = await tus.code("POST", "/uploads", status, final_of(*places), name)
        assert sorted(os.listdir(tus.opened.repository.incoming)) == before
        return code

    assert await refused(first, second, first, status=400) == "part_repeated"
    assert await refused(*[f"/uploads/{uuid4()}" for _ in range(PARTS_MAX + 1)], status=400) == ("too_many_parts")
    assert await refused(status=400) == "empty_file"
    await database.call(users.set_quota, "admin", 9)
    assert await refused(first, second, status=413) == "quota_exceeded"
    await database.call(users.set_quota, "admin", None)
    config = tus.rt.config
    with monkeypatch.context() as context:
        storage = msgspec.structs.replace(config.storage, min_free_mb=1 << 40)
        context.setattr(tus.rt, "config", msgspec.structs.replace(config, storage=storage))
        assert await refused(first, second, status=507) == "no_space"
    large = [await whole_part(tus, bytes(1000)) for _ in range(2)]
    before = sorted(os.listdir(tus.opened.repository.incoming))
    repo = tus.opened.repository
    marker = replace(repo.marker, local_settings=replace(repo.marker.local_settings, max_file_size_kb=1))
    limited = replace(tus.opened, repository=replace(repo, marker=marker))
    tus.rt.repositories.put(tus.rt.repositories.row("Library"), limited)
    assert await refused(*large, status=413) == "too_large"


async def test_a_part_is_a_file_of_its_own(tus: Tus, tmp_path: Path) -> None:
    place = await whole_part(tus, b"12345")
    path = Path(partial.bytes_path(tus.opened.repository, UploadId(UUID(place.rpartition("/")[2]))))
    secret = tmp_path / "secret"
    secret.write_bytes(b"54321")
    path.unlink()
    path.symlink_to(secret)
    code = await tus.code("POST", "/uploads", 409, final_of(place), metadata(filename="a.jpg"))
    assert code == "part_incomplete"
    path.unlink()
    path.write_bytes(b"123456")
    code = await tus.code("POST", "/uploads", 409, final_of(place), metadata(filename="a.jpg"))
    assert code == "part_incomplete"
    assert staging.waiting(tus.opened.repository) == []


async def test_a_length_that_is_told_later_is_within_the_quota(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 7)
    place = await tus.begin(None)
    await tus.send(place, 0, b"12345")
    told = (BYTES, ("Upload-Offset", "5"), ("Upload-Length", "10"))
    assert await tus.code("PATCH", place, 413, *told, body=b"67890") == "quota_exceeded"
    assert await tus.offset(place) == 5
    # each of two is within it, both are not; what is refused is kept, there may be room for it soon
    other = await tus.begin(7)
    await tus.send(other, 0, b"123456")
    await database.call(users.set_quota, "admin", 6)
    assert await tus.code("PATCH", other, 413, BYTES, ("Upload-Offset", "6"), body=b"7") == "quota_exceeded"
    await tus.ask("HEAD", other, 413)
    assert staging.waiting(tus.opened.repository) == []
    await database.call(users.set_quota, "admin", 7)
    assert await tus.offset(other) == 7
    assert content_of(tus) == b"1234567"


async def test_what_may_not_be_kept_is_left_until_somebody_asks(
    tus: Tus, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    id_ = arrived(tus, b"12345")
    await database.call(users.set_quota, "admin", 4)
    async with trio.open_nursery() as nursery:
        await nursery.start(upload_sweep.sweep, tus.rt)
        while "an upload is not staged" not in caplog.text:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    found = partial.find(tus.opened.repository, id_)
    assert found is not None
    assert found.is_unfinished


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 400, "bad_length"),
        ([("Upload-Length", "-1")], 400, "bad_length"),
        ([("Upload-Length", "1" * 30)], 400, "bad_length"),
        ([("Upload-Length", "5"), ("Upload-Defer-Length", "1")], 400, "bad_length"),
        ([("Upload-Defer-Length", "2")], 400, "bad_length"),
        ([("Upload-Length", "5")], 400, "no_filename"),
        ([("Upload-Length", "5"), ("Upload-Metadata", "filename ?")], 400, "bad_metadata"),
        ([("Upload-Length", "5"), ("Upload-Metadata", "x" * 20_000)], 400, "bad_metadata"),
        ([("Upload-Length", "5"), metadata(filename="..")], 400, "bad_filename"),
        ([("Upload-Length", "0"), metadata(filename="a.jpg")], 400, "empty_file"),
        ([("Upload-Length", "5"), metadata(filename="a", digest="xyz")], 400, "bad_digest"),
        ([("Upload-Length", "5"), metadata(filename="a", repository="none")], 404, "repository_not_found"),
        ([("Upload-Length", "9" * 18), metadata(filename="a")], 507, "no_space"),
        ([("Upload-Concat", "half")], 400, "bad_concat"),
        ([("Upload-Concat", "final;/api/v1/uploads/../x"), metadata(filename="a")], 404, "upload_not_found"),
    ],
)
async def test_what_is_wrong_begins_nothing(
    tus: Tus, headers: Iterable[tuple[str, str]], status: int, code: str
) -> None:
    assert await tus.code("POST", "/uploads", status, *headers) == code
    assert os.listdir(tus.opened.repository.incoming) == []


async def test_what_is_no_upload(tus: Tus) -> None:
    place = await tus.begin(5)
    for name in ("x", "..%2f..%2fetc", "00000000-0000-0000-0000-000000000000", place[9:] + ".upload"):
        assert (await tus.server.ask("HEAD", f"/api/v1/uploads/{name}", [TUS])).status == 404
    assert await tus.code("PATCH", place, 415, ("Upload-Offset", "0"), body=b"12345") == "unsupported_media_type"
    assert await tus.code("PATCH", place, 400, BYTES, body=b"12345") == "bad_offset"
    assert await tus.code("PATCH", place, 400, BYTES, ("Upload-Offset", "+0"), body=b"12345") == "bad_offset"


async def test_too_much_for_one_person(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 7)
    assert await tus.code("POST", "/uploads", 413, ("Upload-Length", "8"), metadata(filename="a")) == "quota_exceeded"
    reply = await tus.server.ask(
        "POST", "/api/v1/assets?filename=a.jpg", [("Content-Type", "application/octet-stream")], b"12345678"
    )
    assert (reply.status, reply.json["code"]) == (413, "quota_exceeded")
    # a batch that is over by more than its frames is refused before its bytes are sent
    head = b"POST /api/v1/assets/batch HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    stream = await tus.server.connect()
    async with stream:
        await stream.send_all(head + b"Content-Length: 50000000\r\n\r\n")
        answer = b""
        while b"quota_exceeded" not in answer:
            more = await stream.receive_some(4096)
            assert more, answer
            answer += more
    assert answer.startswith(b"HTTP/1.1 413")
    shown = await tus.server.ask("GET", "/api/v1/users/admin/quota")
    assert shown.json == {"user": "admin", "limit_bytes": 7, "used_bytes": 0}
    change = [("Content-Type", "application/json")]
    shown = await tus.server.ask("PUT", "/api/v1/users/admin/quota", change, b'{"limit_bytes": null}')
    assert shown.json["limit_bytes"] is None
    assert (await tus.server.ask("GET", "/api/v1/users/nobody/quota")).status == 404
    await tus.begin(8)


def plain(content: bytes, name: str = "a.jpg") -> bytes:
    """Return the request of an upload that is its body."""
    return (
        f"POST /api/v1/assets?filename={name} HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def open_jobs(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute("SELECT kind, args ->> 'size_bytes' FROM jobs ORDER BY seq").fetchall()


async def used(tus: Tus) -> int:
    return int((await tus.server.ask("GET", "/api/v1/users/admin/quota")).json["used_bytes"])


async def test_what_is_not_ingested_yet_counts_against_the_quota(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 10)
    as_it_is = [("Content-Type", "application/octet-stream")]
    assert (await tus.server.ask("POST", "/api/v1/assets?filename=a", as_it_is, b"123456")).status == 202
    assert await used(tus) == 6
    refused = await tus.server.ask("POST", "/api/v1/assets?filename=b", as_it_is, b"67890")
    assert (refused.status, refused.json["code"]) == (413, "quota_exceeded")
    assert await tus.code("POST", "/uploads", 413, ("Upload-Length", "5"), metadata(filename="b")) == "quota_exceeded"
    assert len(staging.waiting(tus.opened.repository)) == 1
    # however its job ends, the room is free again
    await database.call(lambda conn: conn.execute("UPDATE jobs SET state = 'discarded', finished_at = now()"))
    assert await used(tus) == 0
    assert (await tus.server.ask("POST", "/api/v1/assets?filename=b", as_it_is, b"67890")).status == 202
    # what is here already is taken up, whatever the quota
    [first, _] = staging.waiting(tus.opened.repository)
    await upload.adopt(tus.rt, tus.opened, first)
    assert await used(tus) == 11


async def test_two_at_once_are_within_the_quota_together(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 10)
    first, second = await tus.server.connect(), await tus.server.connect()
    answers: list[bytes] = []

    async def finish(stream: trio.SocketStream, rest: bytes) -> None:
        await stream.send_all(rest)
        answers.append((await stream.receive_some(4096))[:12])

    async with first, second:
        for stream, content in ((first, b"123456"), (second, b"654321")):
            await stream.send_all(plain(content)[:-1])
        with trio.fail_after(20):
            while len(os.listdir(tus.opened.repository.incoming)) < 2:
                await trio.sleep(0.01)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish, first, b"6")
                nursery.start_soon(finish, second, b"1")
    assert sorted(answers) == [b"HTTP/1.1 202", b"HTTP/1.1 413"]
    assert await database.call(open_jobs) == [("ingest", "6")]
    assert len(staging.waiting(tus.opened.repository)) == 1


async def test_of_resumable_uploads_that_end_at_once_only_so_many_are_kept(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 10)
    places = [await tus.begin(6) for _ in range(4)]
    statuses: list[int] = []

    async def send(place: str, content: bytes) -> None:
        headers = [TUS, BYTES, ("Upload-Offset", "0")]
        statuses.append((await tus.server.ask("PATCH", f"/api/v1{place}", headers, content)).status)

    async with trio.open_nursery() as nursery:
        for number, place in enumerate(places):
            nursery.start_soon(send, place, b"12345%d" % number)
    assert sorted(statuses) == [204, 413, 413, 413]
    assert await database.call(open_jobs) == [("ingest", "6")]
    assert len(staging.waiting(tus.opened.repository)) == 1


async def test_a_form_over_the_quota_is_refused_before_its_bytes_are_sent(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 1_000_000)
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    head = b"POST /api/v1/assets HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    stream = await tus.server.connect()
    async with stream:
        await stream.send_all(head + b"Content-Length: 50000000\r\n\r\n" + part)
        with trio.fail_after(20):
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 413")
    # without a length it is cut off
    stream = await tus.server.connect()
    async with stream:
        await stream.send_all(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(part), part))
        with trio.fail_after(20), suppress(trio.BrokenResourceError):
            for _ in range(40):
                await stream.send_all(b"%x\r\n%b\r\n" % (100_000, bytes(100_000)))
        with trio.fail_after(20):
            answer = await stream.receive_some(4096)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"quota_exceeded" in answer
    assert os.listdir(tus.opened.repository.incoming) == []


async def test_a_length_nobody_told_is_within_the_quota(tus: Tus, database: Database) -> None:
    await database.call(users.set_quota, "admin", 7)
    place = await tus.begin(None)
    await tus.send(place, 0, b"12345")
    assert (await tus.send(place, 5, b"678", status=413)).json["code"] == "quota_exceeded"
    offset = await tus.offset(place)
    await tus.send(place, offset, b"1234567"[offset:], ("Upload-Length", "7"))
    assert content_of(tus) == b"1234567"


async def test_what_is_kept_already_takes_no_room(tus: Tus, database: Database) -> None:
    digest = blake3(b"12345").hexdigest()
    await database.call(
        lambda conn: conn.execute(
            "INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, taken_at,"
            " taken_at_local, tz_source, taken_source) VALUES (gen_random_uuid(), %s, 'photo', %s, 5,"
            " 'image/jpeg', 'a.jpg', now(), now(), 'unknown', 'upload')",
            (tus.rt.owner_id, bytes.fromhex(digest)),
        )
    )
    await database.call(users.set_quota, "admin", 5)
    headers = [("Content-Type", "application/octet-stream"), ("X-Content-Hash", digest)]
    assert (await tus.server.ask("POST", "/api/v1/assets?filename=a", headers, b"12345")).status == 202
    told = metadata(filename="a.jpg", digest=digest)
    place = (await tus.ask("POST", "/uploads", 201, ("Upload-Length", "5"), told)).headers["location"][7:]
    await tus.send(place, 0, b"12345")
    assert await used(tus) == 5


async def test_digests_that_are_known(tus: Tus, database: Database) -> None:
    known, gone, unknown = (blake3(text).hexdigest() for text in (b"1", b"2", b"3"))

    def insert(conn: Connection) -> None:
        for digest, deleted in ((known, None), (gone, "2026-01-01")):
            conn.execute(
                "INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, taken_at,"
                " taken_at_local, tz_source, taken_source, deleted_at) VALUES (gen_random_uuid(), %s, 'photo', %s, 1,"
                " 'image/jpeg', 'a.jpg', now(), now(), 'unknown', 'upload', %s)",
                (tus.rt.owner_id, bytes.fromhex(digest), deleted),
            )

    await database.call(insert)
    asked = {"digests": [unknown.upper(), gone, known, unknown]}
    reply = await ask_json(tus, asked)
    assert reply.json["unknown"] == [unknown]
    assert {(one["digest"], one["in_trash"]) for one in reply.json["known"]} == {(known, False), (gone, True)}
    assert (await ask_json(tus, {"digests": ["x"]})).json["code"] == "bad_digest"


async def ask_json(tus: Tus, body: dict[str, Any]) -> Reply:

    headers = [("Content-Type", "application/json")]
    return await tus.server.ask("POST", "/api/v1/assets/check", headers, json.dumps(body).encode())


async def test_a_complete_upload_whose_job_was_never_written_gets_one(tus: Tus, database: Database) -> None:
    place = await tus.begin(5)
    await tus.send(place, 0, b"12345")
    await database.call(lambda conn: conn.execute("DELETE FROM jobs"))
    head = await tus.ask("HEAD", place, 200)
    assert "lumilio-task" in head.headers
    [job] = await database.call(lambda conn: conn.execute("SELECT kind FROM jobs").fetchall())
    assert job == ("ingest",)


ENDED = (
    "WITH gone AS (DELETE FROM jobs RETURNING *) INSERT INTO job_history"
    " (id, kind, queue, state, priority, attempt, max_attempts, args, errors, tags, created_at, scheduled_at,"
    " finished_at)"
    " SELECT id, kind, queue, 'completed', priority, attempt, max_attempts, args, errors, tags, created_at,"
    " scheduled_at, now() FROM gone"
)
DISCARDED = "UPDATE jobs SET state = 'discarded', finished_at = now()"


@pytest.mark.parametrize("how", [ENDED, DISCARDED])
@pytest.mark.parametrize("is_forgotten", [True, False])
async def test_who_asks_late_hears_of_the_job_that_has_ended(
    tus: Tus, database: Database, how: LiteralString, is_forgotten: bool
) -> None:
    place = await tus.begin(5)
    task = (await tus.send(place, 0, b"12345")).headers["lumilio-task"]
    await database.call(lambda conn: conn.execute(how))
    if is_forgotten:
        staging.forget(tus.opened.repository, UploadId(UUID(place.rpartition("/")[2])))
    # the moment in which it has ended and its bytes are still there makes no second job
    assert (await tus.ask("HEAD", place, 200)).headers["lumilio-task"] == task
    assert len(await database.call(open_jobs)) == (0 if how is ENDED else 1)


def arrived(tus: Tus, content: bytes) -> UploadId:
    """Begin an upload, all bytes of which arrive; whoever takes them is killed before they are a staged file."""
    repo = tus.opened.repository
    begun = partial.create(repo, "a.jpg", size_bytes=len(content), owner_id=tus.rt.owner_id)
    with PartialWriter(repo, begun.id) as writer:
        writer.begin(0)
        writer.write(content)
        writer.hash(content)
        writer.settle()
    return begun.id


async def test_no_upload_is_called_whole_before_it_is_staged(tus: Tus) -> None:
    content = os.urandom(10_000)
    place = f"/uploads/{arrived(tus, content)}"
    head = await tus.ask("HEAD", place, 200)
    assert head.headers["upload-offset"] == "10000"
    assert "lumilio-task" in head.headers
    assert content_of(tus) == content


async def test_a_whole_upload_is_staged_though_nobody_asks_for_it(tus: Tus) -> None:
    content = os.urandom(10_000)
    id_ = arrived(tus, content)
    part = partial.create(tus.opened.repository, "part", size_bytes=5, is_part=True)
    with PartialWriter(tus.opened.repository, part.id) as writer:
        writer.begin(0)
        writer.write(b"12345")
        writer.hash(b"12345")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(upload_sweep.sweep, tus.rt)
            while not staging.waiting(tus.opened.repository) or await upload.job_of(tus.rt, id_) is None:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert content_of(tus) == content
    found = partial.find(tus.opened.repository, part.id)
    assert found is not None
    assert found.terms.digest is None


async def test_a_name_of_any_bytes(tus: Tus) -> None:
    value = base64.b64encode(b"C:\\fotos\\caf\xe9.jpg").decode()
    await tus.ask(
        "POST", "/uploads", 201, ("Upload-Length", "5"), ("Upload-Metadata", f"filename {value}"), BYTES, body=b"12345"
    )
    [staged] = staging.waiting(tus.opened.repository)
    assert staged.filename == "caf\\xe9.jpg"


def test_metadata_are_read() -> None:
    read = upload_metadata.read_metadata("filename d29ybGQ=, is_confidential,empty ")
    assert read == {"filename": "world", "is_confidential": "", "empty": ""}
