"""A mirror in a bucket, through the jobs that fill, read and use it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lumiliod.db.pool import Database
from lumiliod.domain.errors import ConfigError, Shape
from lumiliod.domain.ids import RepoPath
from lumiliod.pipeline import kinds
from lumiliod.storage import mirrors as storage
from lumiliod.storage import secrets
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


def test_a_secret_by_reference(s3_port: int, bucket: str, tmp_path: Path) -> None:
    """A file, or a systemd credential; one that was exchanged is used from the next time on."""
    folder = str(tmp_path)
    (tmp_path / "key").write_text("s3cr3t\n")
    options = {
        "endpoint": f"http://127.0.0.1:{s3_port}",
        "allow_http": "true",
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key_file": str(tmp_path / "key"),
    }
    backend = storage.opened(f"s3://{bucket}/x", secrets.resolved(options, folder, {}))
    (tmp_path / "source").write_bytes(b"bytes")
    assert backend.put_new(str(tmp_path / "source"), RepoPath("a"))
    assert storage.checked_location(f"s3://{bucket}/x", options, [], folder) == f"s3://{bucket}/x"
    assert secrets.resolved(options, folder, {})["secret_access_key"] == "s3cr3t"
    (tmp_path / "key").write_text("another")
    found = secrets.resolved({"secret_access_key_file": "key"}, "/none", {"CREDENTIALS_DIRECTORY": folder})
    assert found == {"secret_access_key": "another"}


def test_a_file_the_store_reads_itself_lies_among_the_secrets_too(tmp_path: Path) -> None:
    kept, other = tmp_path / "secrets" / "google" / "account.json", tmp_path / "other"
    kept.parent.mkdir(parents=True)
    for file in (kept, other):
        file.write_text("{}")
    for option in ("web_identity_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE", "service_account_path"):
        fine = {option: str(kept)}
        assert secrets.resolved(fine, str(tmp_path / "secrets"), {}) == fine
        for wrong in (str(other), "other", str(tmp_path / "secrets" / ".." / "other")):
            with pytest.raises(ConfigError) as caught:
                secrets.resolved({option: wrong}, str(tmp_path / "secrets"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
            assert caught.value.code == "secret_unreadable"


def hostile_secrets(folder: Path) -> None:
    (folder / "folder").mkdir(parents=True)
    (folder.parent / "outside").write_text("hunter2")
    (folder / "empty").write_text(" \n")
    (folder / "binary").write_bytes(b"hunter2\xff")
    (folder / "large").write_bytes(b"hunter2" * 10_000)
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "way").symlink_to(folder.parent)
    (folder / "writable").write_text("hunter2")
    (folder / "writable").chmod(0o620)
    (folder / "open").mkdir()
    (folder / "open" / "key").write_text("hunter2")
    (folder / "open").chmod(0o777)
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize(
    "named",
    ["none", "folder", "empty", "binary", "large", "link", "way/outside", "writable", "open/key", "pipe", "../outside",
     "", ".", "folder/../../outside", "\0"],
)  # fmt: skip
@pytest.mark.parametrize("is_credential", [False, True])
def test_every_secret_that_cannot_be_used_reads_the_same(tmp_path: Path, named: str, is_credential: bool) -> None:
    folder = tmp_path / "secrets"
    hostile_secrets(folder)
    environ = {"CREDENTIALS_DIRECTORY": str(folder)} if is_credential else {}
    reference = named if is_credential else f"{folder}/{named}"
    told = []
    for one in (reference, "/etc/passwd", "/none", str(tmp_path / "outside"), "no credential"):
        with pytest.raises(ConfigError) as caught:
            secrets.resolved({"secret_access_key_file": one}, str(folder), environ)
        assert caught.value.code == "secret_unreadable"
        assert caught.value.__cause__ is None
        told.append(caught.value.message)
    assert len(set(told)) == 1
    assert told[0].startswith("secret_access_key_file: ")
    assert "hunter2" not in told[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_none(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("theirs")
    os.chown(file, 12345, 12345)
    with pytest.raises(ConfigError):
        secrets.resolved({"secret_access_key_file": str(file)}, str(tmp_path), {})


def test_where_no_secret_may_be(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t")
    both = {"secret_access_key": "hunter2", "secret_access_key_file": str(tmp_path / "key")}
    for location, options, code in (
        ("s3://bucket", both, "bad_location"),
        ("s3://bucket", {"secret_access_key_file": "/none"}, "secret_unreadable"),
        ("s3://key:hunter2@bucket/prefix", {}, "bad_location"),
    ):
        with pytest.raises(Shape) as caught:
            storage.checked_location(location, options, [], str(tmp_path))
        assert caught.value.code == code
        assert "hunter2" not in caught.value.message
