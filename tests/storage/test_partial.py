"""Uploads in pieces: what counts after anything happened, and that complete ones are staged once."""

import datetime as dt
import errno
import fcntl
import hashlib
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumiliod.domain.errors import Conflict, NotFound, Permanent, Refused, Retryable, Shape, Unavailable
from lumiliod.domain.ids import Digest, UploadId, UserId
from lumiliod.domain.text import size_text
from lumiliod.storage import partial, partial_sweep, partial_writer, staging
from lumiliod.storage.partial import Partial
from lumiliod.storage.partial_writer import PartialWriter, join
from lumiliod.storage.repository import Repository

HOUR = dt.timedelta(hours=1)


def begin(repo: Repository, size_bytes: int | None = 10, **options: Any) -> UploadId:
    return partial.create(repo, "a.jpg", size_bytes=size_bytes, **options).id


def take(writer: PartialWriter, block: bytes) -> None:
    """Write and hash, as the pump does."""
    writer.write(block)
    writer.hash(block)


def put(repo: Repository, id_: UploadId, offset: int, *blocks: bytes, **options: Any) -> PartialWriter:
    """Write, prove and settle, as one request does."""
    with PartialWriter(repo, id_, **options) as writer:
        writer.begin(offset)
        for block in blocks:
            writer.count(len(block))
            take(writer, block)
        writer.prove()
        writer.settle()
        return writer


def found(repo: Repository, id_: UploadId) -> Partial:
    one = partial.find(repo, id_)
    assert one is not None
    return one


def changed_terms(repo: Repository, id_: UploadId, **changes: Any) -> None:
    terms = found(repo, id_).terms
    partial.write_terms(repo, id_, msgspec.structs.replace(terms, **changes))


def test_piece_by_piece(repo: Repository) -> None:
    content = os.urandom(3_000_000)
    owner = UserId(uuid4())
    digest = Digest(blake3(content).hexdigest())
    id_ = begin(repo, len(content), owner_id=owner, promised=digest, metadata="filename YS5qcGc=")
    assert found(repo, id_).offset == 0
    put(repo, id_, 0, content[:1_000_000])
    put(repo, id_, 1_000_000, content[1_000_000:1_000_001], b"")
    assert found(repo, id_).offset == 1_000_001
    assert not found(repo, id_).is_whole
    with PartialWriter(repo, id_) as writer:
        writer.begin(1_000_001)
        take(writer, content[1_000_001:])
        writer.settle()
        staged = writer.complete()
    assert (staged.digest, staged.size_bytes, staged.owner_id, staged.filename) == (digest, 3_000_000, owner, "a.jpg")
    assert Path(staged.path).read_bytes() == content
    assert staging.load(repo, id_) == staged
    assert found(repo, id_).is_whole
    assert partial_sweep.recover(repo) == []
    assert staging.sweep(repo) == []
    staging.forget(repo, id_)
    # who did not hear it can still ask
    assert found(repo, id_).offset == 3_000_000
    with pytest.raises(Conflict, match="complete"), PartialWriter(repo, id_) as writer:
        writer.begin(3_000_000)
    assert sorted(os.listdir(repo.incoming)) == [f"{id_}.upload.json"]


def test_only_the_next_byte_is_taken(repo: Repository) -> None:
    id_ = begin(repo)
    put(repo, id_, 0, b"12345")
    for offset in (0, 4, 6, 10, 11):
        with pytest.raises(Conflict) as caught:
            put(repo, id_, offset, b"x")
        assert caught.value.code == "wrong_offset"
        assert caught.value.detail["offset"] == 5
    assert found(repo, id_).offset == 5
    with pytest.raises(NotFound):
        put(repo, UploadId(uuid4()), 0, b"x")


def test_one_at_a_time(repo: Repository) -> None:
    id_ = begin(repo)
    with PartialWriter(repo, id_) as writer:
        writer.begin(0)
        take(writer, b"123")
        with pytest.raises(Conflict) as caught:
            put(repo, id_, 3, b"x")
        assert caught.value.code == "upload_locked"
        with pytest.raises(Conflict):
            partial.remove(repo, id_)
    assert found(repo, id_).offset == 3


def test_what_a_killed_process_wrote_counts(repo: Repository) -> None:
    id_ = begin(repo)
    writer = PartialWriter(repo, id_)
    writer.begin(0)
    take(writer, b"12345")
    writer.close()  # nothing was settled
    assert found(repo, id_).offset == 5
    put(repo, id_, 5, b"67890")
    with PartialWriter(repo, id_) as last:
        last.begin(10)
        assert Path(last.complete().path).read_bytes() == b"1234567890"


def test_after_a_power_failure_only_what_was_flushed_counts(repo: Repository) -> None:
    id_ = begin(repo)
    put(repo, id_, 0, b"12345")
    writer = PartialWriter(repo, id_)
    writer.begin(5)
    take(writer, b"xxx")
    writer.close()
    changed_terms(repo, id_, boot_id="the boot before")
    assert found(repo, id_).offset == 5
    put(repo, id_, 5, b"67890")
    assert Path(partial.bytes_path(repo, id_)).read_bytes() == b"1234567890"


def test_what_was_not_proven_does_not_count(repo: Repository) -> None:
    id_ = begin(repo)
    put(repo, id_, 0, b"12345")
    writer = PartialWriter(repo, id_, checksum=("sha1", hashlib.sha1(b"67890").digest()))
    writer.begin(5)
    take(writer, b"678")
    writer.settle()
    writer.close()
    assert found(repo, id_).offset == 5
    with pytest.raises(Shape) as caught:
        put(repo, id_, 5, b"67891", checksum=("sha1", hashlib.sha1(b"67890").digest()))
    assert caught.value.code == "checksum_mismatch"
    assert found(repo, id_).offset == 5
    put(repo, id_, 5, b"67890", checksum=("blake3", blake3(b"67890").digest()))
    assert found(repo, id_).offset == 10


def test_other_bytes_than_proven_do_not_count_though_they_cannot_be_cut_off(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = begin(repo)
    put(repo, id_, 0, b"12345")
    with PartialWriter(repo, id_, checksum=("sha1", hashlib.sha1(b"67890").digest())) as writer:
        writer.begin(5)
        take(writer, b"67891")

        def fails(_fd: int, _length: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as context:
            context.setattr(os, "ftruncate", fails)
            with pytest.raises(Unavailable):
                writer.prove()
        writer.settle()
    assert found(repo, id_).offset == 5
    put(repo, id_, 5, b"67890")
    assert Path(partial.bytes_path(repo, id_)).read_bytes() == b"1234567890"


def test_nobody_writes_what_was_removed_before_it_was_locked(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening its file and locking it another request, or the sweeper, removes the upload."""
    id_ = begin(repo, 5)
    put(repo, id_, 0, b"12345")
    lock = fcntl.flock

    def removed_meanwhile(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        partial.remove(repo, id_)
        lock(fd, how)

    with PartialWriter(repo, id_) as writer:
        monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
        with pytest.raises(NotFound) as caught:
            writer.begin(5)
    assert caught.value.code == "upload_not_found"
    assert os.listdir(repo.incoming) == []


def test_nobody_writes_what_was_staged_before_it_was_locked(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = begin(repo, 5)
    put(repo, id_, 0, b"12345")
    lock = fcntl.flock

    def staged_meanwhile(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        with PartialWriter(repo, id_) as other:
            other.begin(5)
            other.complete()
        lock(fd, how)

    with PartialWriter(repo, id_) as writer:
        monkeypatch.setattr(fcntl, "flock", staged_meanwhile)
        with pytest.raises(Conflict, match="complete"):
            writer.begin(5)
    assert staging.load(repo, id_) is not None


def test_nothing_is_staged_that_is_not_there(repo: Repository) -> None:
    short, link, gone = (begin(repo, 5) for _ in range(3))
    for id_ in (short, link, gone):
        put(repo, id_, 0, b"12345")
        changed_terms(repo, id_, digest=blake3(b"12345").hexdigest())
    os.truncate(partial.bytes_path(repo, short), 4)
    Path(partial.bytes_path(repo, link)).rename(Path(repo.incoming, "elsewhere"))
    Path(partial.bytes_path(repo, link)).symlink_to("elsewhere")
    Path(partial.bytes_path(repo, gone)).unlink()
    assert partial_sweep.recover(repo) == []
    for id_ in (short, link, gone):
        with pytest.raises(Permanent) as caught:
            partial.stage(repo, id_, found(repo, id_).terms)
        assert caught.value.code == "upload_damaged"
        assert not os.path.lexists(Path(repo.incoming, f"{id_}.json"))
    assert Path(partial.bytes_path(repo, short)).read_bytes() == b"1234"


def failing(sync: Callable[[int], None], at: int = 1) -> Callable[[int], None]:
    """Fail as a disk does that did not take what was written: Linux tells once, and then that all is well."""
    calls = itertools.count(1)

    def failing_once(fd: int) -> None:
        if next(calls) == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    return failing_once


@pytest.mark.parametrize("at", [1, 2])
def test_what_the_disk_did_not_take_does_not_count(repo: Repository, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The first flush that fails is one in the middle, or the one at the end."""
    monkeypatch.setattr(partial_writer, "FLUSH_BYTES", 5)
    monkeypatch.setattr(partial_writer, "FLUSH_S", 0.0)
    id_ = begin(repo, 12)
    put(repo, id_, 0, b"12345")
    with PartialWriter(repo, id_, hasher=blake3(b"12345")) as writer:
        writer.begin(5)
        with monkeypatch.context() as context:
            context.setattr(os, "fdatasync", failing(os.fdatasync, at))
            if at == 1:
                with pytest.raises(Unavailable) as caught:
                    take(writer, b"67890")
                writer.settle()
            else:
                take(writer, b"67890")
                take(writer, b"ab")
                with pytest.raises(Unavailable) as caught:
                    writer.settle()
                writer.settle()
        assert caught.value.code == "io_error"
        assert writer.hasher is None
    good = 5 if at == 1 else 10
    assert found(repo, id_).offset == writer.offset == good
    assert found(repo, id_).terms.flushed_bytes == good
    assert os.stat(partial.bytes_path(repo, id_)).st_size == good
    put(repo, id_, good, b"1234567890ab"[good:])
    # a hash that somebody remembers is not believed any more
    with PartialWriter(repo, id_, hasher=blake3(b"another")) as writer:
        writer.begin(12)
        with pytest.raises(Unavailable):
            writer.complete()
    assert found(repo, id_).offset == 0
    put(repo, id_, 0, b"1234567890ab")
    with PartialWriter(repo, id_) as writer:
        writer.begin(12)
        assert writer.complete().digest == blake3(b"1234567890ab").hexdigest()


def test_the_last_flush_that_fails_completes_nothing(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = begin(repo)
    with PartialWriter(repo, id_) as writer:
        writer.begin(0)
        take(writer, b"1234567890")
        with monkeypatch.context() as context:
            context.setattr(os, "fsync", failing(os.fsync))
            with pytest.raises(Unavailable):
                writer.complete()
    assert found(repo, id_).offset == 0
    assert staging.waiting(repo) == []


def test_bytes_that_the_disk_does_not_take_count_for_no_digest(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    id_ = begin(repo)
    with PartialWriter(repo, id_) as writer:
        writer.begin(0)
        take(writer, b"12345")
        with monkeypatch.context() as context:
            context.setattr(os, "write", full)
            with pytest.raises(Unavailable):
                writer.write(b"67890")
        assert writer.hasher is not None
        assert (writer.offset, writer.hasher.hexdigest()) == (5, blake3(b"12345").hexdigest())
        # or they were hashed in the meantime
        writer.hash(b"67890")
        assert not writer.hasher
        writer.settle()
    with PartialWriter(repo, id_) as writer:
        writer.begin(5)
        take(writer, b"abcde")
        assert writer.hasher is None
        assert writer.complete().digest == blake3(b"12345abcde").hexdigest()


def test_other_bytes_than_promised_are_no_upload(repo: Repository) -> None:
    id_ = begin(repo, 5, promised=Digest("0" * 64))
    with PartialWriter(repo, id_) as writer:
        writer.begin(0)
        take(writer, b"12345")
        with pytest.raises(Shape) as caught:
            writer.complete()
    assert caught.value.code == "digest_mismatch"
    assert staging.waiting(repo) == []


def test_limits(repo: Repository) -> None:
    id_ = begin(repo, None)
    with pytest.raises(Refused):
        put(repo, id_, 0, b"12345", max_bytes=4)
    with pytest.raises(Unavailable) as caught:
        put(repo, id_, 0, b"12345", min_free_bytes=1 << 60)
    assert caught.value.code == "no_space"
    with PartialWriter(repo, id_) as writer:
        writer.begin(0, 5)
        with pytest.raises(Shape, match="more bytes"):
            writer.count(6)
        take(writer, b"12345")
    for size_bytes in (4, 6):
        with pytest.raises(Shape) as wrong, PartialWriter(repo, id_) as writer:
            writer.begin(5, size_bytes)
        assert wrong.value.code == "bad_length"


def test_room_is_kept_for_what_has_begun(repo: Repository) -> None:
    disk = os.statvfs(repo.incoming)
    free_bytes = disk.f_bavail * disk.f_frsize
    wanted = free_bytes // 8 * 5  # others use the same disk meanwhile
    first = begin(repo, wanted)
    said = f"{size_text(wanted - 1)} more .* {size_text(wanted)} are reserved .* 17 B stay free"
    with pytest.raises(Unavailable, match=said) as caught:
        begin(repo, wanted - 1, min_free_bytes=17)
    assert caught.value.code == "no_space"
    # nobody went on with it for a day
    changed_terms(repo, first, touched_at=dt.datetime.now(dt.UTC) - 25 * HOUR)
    begin(repo, wanted)
    assert partial.find(repo, first) is None


def test_no_more_than_so_many_are_under_way(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "UPLOADS_MAX", 3)
    first, second, third = (begin(repo, 5, is_part=True) for _ in range(3))
    with pytest.raises(Retryable) as caught:
        begin(repo)
    assert caught.value.code == "too_many_uploads"
    begin(repo, None, parts=[str(first), str(second)])
    for id_ in (first, second):
        partial.remove(repo, id_)
    put(repo, third, 0, b"12345")
    begin(repo)


def test_who_brings_nothing_keeps_no_upload_alive(repo: Repository) -> None:
    now = dt.datetime.now(dt.UTC)
    id_ = begin(repo)
    put(repo, id_, 0, b"123")
    then = now - 23 * HOUR
    changed_terms(repo, id_, touched_at=then)
    put(repo, id_, 3)
    assert found(repo, id_).terms.touched_at == then
    # killed before anything is settled: its bytes came nevertheless
    writer = PartialWriter(repo, id_)
    writer.begin(3)
    take(writer, b"4")
    writer.close()
    assert found(repo, id_).terms.touched_at >= now
    changed_terms(repo, id_, touched_at=then)
    put(repo, id_, 4, checksum=("sha1", hashlib.sha1(b"").digest()))
    assert partial_sweep.expire(repo, now + HOUR) == [id_]


def test_what_nobody_goes_on_with_is_forgotten(repo: Repository) -> None:
    now = dt.datetime.now(dt.UTC)
    ids = [begin(repo) for _ in range(5)]
    fresh, old, busy, whole, heard = ids
    put(repo, old, 0, b"12345")
    for id_ in (whole, heard):
        put(repo, id_, 0, b"1234567890")
        with PartialWriter(repo, id_) as writer:
            writer.begin(10)
            writer.complete()
    staging.forget(repo, heard)
    orphan = Path(partial.bytes_path(repo, UploadId(uuid4())))
    orphan.write_bytes(b"without terms")
    young = Path(partial.bytes_path(repo, UploadId(uuid4())))
    young.write_bytes(b"its terms are being written")
    os.utime(orphan, (0, 0))
    unfinished = begin(repo, 5)
    put(repo, unfinished, 0, b"12345")
    for id_ in (old, busy, whole, heard, unfinished):
        changed_terms(repo, id_, touched_at=now - 25 * HOUR)
    with PartialWriter(repo, busy) as writer:
        writer.begin(0)
        changed_terms(repo, busy, touched_at=now - 25 * HOUR)
        assert set(partial_sweep.expire(repo, now)) >= {old, heard}
        assert partial.find(repo, old) is None
        assert found(repo, busy).offset == 0
        assert found(repo, fresh).offset == 0
    assert found(repo, unfinished).is_unfinished
    assert not orphan.exists()
    assert young.exists()
    assert staging.load(repo, whole) is not None


def test_parts_are_put_together(repo: Repository) -> None:
    first, second = begin(repo, 5, is_part=True), begin(repo, 5, is_part=True)
    put(repo, first, 0, b"12345")
    whole = begin(repo, None)
    with pytest.raises(Conflict, match="not complete"):
        join(repo, whole, [first, second])
    put(repo, second, 0, b"67890")
    joined, hasher = join(repo, whole, [first, second])
    assert joined.offset == 10
    assert hasher is not None
    assert hasher.hexdigest() == blake3(b"1234567890").hexdigest()
    with PartialWriter(repo, whole) as writer:
        writer.begin(10)
        assert Path(writer.complete().path).read_bytes() == b"1234567890"
    with pytest.raises(NotFound):
        join(repo, begin(repo, None), [whole])
    assert partial_sweep.recover(repo) == []
    assert [one.id for one in staging.waiting(repo)] == [whole]


class Killed(BaseException):
    """Where a process would have ended."""


@pytest.mark.parametrize("at", range(1, 40))
def test_killed_at_every_step_of_the_end(repo: Repository, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whatever the last step was: the upload is whole and staged once, or can be gone on with; nothing else is left."""
    id_ = begin(repo)
    put(repo, id_, 0, b"12345")
    steps = 0

    def stepping(name: str) -> None:
        original = getattr(os, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at:
                raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, step)

    killed = False
    writer = PartialWriter(repo, id_)
    with monkeypatch.context() as context:
        for name in ("rename", "unlink", "fsync", "fdatasync", "write", "link", "ftruncate"):
            stepping(name)
        try:
            writer.begin(5)
            take(writer, b"67890")
            writer.settle()
            writer.complete()
        except Killed:
            killed = True
        context.undo()
    writer.close()
    if not killed:
        assert steps < at
    partial_sweep.recover(repo)
    staging.sweep(repo)
    [only] = [found(repo, id_)]
    if only.terms.digest is None:
        assert only.offset in (5, 10)
        put(repo, id_, only.offset, b"1234567890"[only.offset :])
        with PartialWriter(repo, id_) as last:
            last.begin(10)
            last.complete()
    [staged] = staging.waiting(repo)
    assert Path(staged.path).read_bytes() == b"1234567890"
    assert staged.digest == blake3(b"1234567890").hexdigest()
    assert {name.removeprefix(str(id_)) for name in os.listdir(repo.incoming)} == {"", ".json", ".upload.json"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 200_000))
def test_any_way_of_sending_ends_in_the_same_bytes(repo: Repository, seed: int, size: int) -> None:
    """Cut anywhere, with and without checksums, killed or told, with a machine that goes down now and then."""
    rng = random.Random(seed)
    content = rng.randbytes(size)
    id_ = begin(repo, size)
    hasher: Any = None
    for _ in range(200):
        offset = found(repo, id_).offset
        if offset == size:
            break
        piece = content[offset : offset + rng.randrange(1, size + 1)]
        checksum = ("sha256", hashlib.sha256(piece).digest()) if rng.random() < 0.3 else None
        sent = piece[: rng.randrange(len(piece) + 1)] if rng.random() < 0.3 else piece
        writer = PartialWriter(repo, id_, hasher=hasher, checksum=checksum)
        try:
            writer.begin(offset)
            take(writer, sent)
            if rng.random() < 0.8:
                if sent == piece:
                    writer.prove()
                writer.settle()
        finally:
            writer.close()
        same_place = found(repo, id_).offset == writer.offset
        hasher = writer.hasher if same_place and rng.random() < 0.7 else None
        if rng.random() < 0.2:
            changed_terms(repo, id_, boot_id="another boot")
            hasher = None
    with PartialWriter(repo, id_, hasher=hasher) as writer:
        writer.begin(size)
        staged = writer.complete()
    assert Path(staged.path).read_bytes() == content
    assert staged.digest == blake3(content).hexdigest()


def rotten(content: bytes) -> dict[str, bytes]:
    """Return what bits that flip, and people, make of the terms of an upload."""
    terms = msgspec.json.decode(content)
    return {
        "no JSON": b"\xff",
        "no UTF-8": content.replace(b"a.jpg", b"\xff.jpg"),
        "deep": b"[" * 200_000,
        "deep below": content[:-1] + b',"extra":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        "long": content[:-1] + b',"extra":"' + b"x" * partial.TERMS_MAX_BYTES + b'"}',
        **{
            f"{name} = {value}": msgspec.json.encode(terms | {name: value})
            for name, value in (
                ("touched_at", "2020-01-01T00:00:00"),
                ("created_at", "2020-01-01T00:00:00"),
                ("touched_at", "9999-12-31T23:59:59Z"),
                ("size_bytes", -1),
                ("flushed_bytes", -1),
                ("digest", "0"),
                ("digest", "A" * 64),
                ("digest", "a" * 64 + "\n"),
                ("promised", "../" * 21 + "a"),
            )
        },
        "digest without a size": msgspec.json.encode(terms | {"digest": "0" * 64, "size_bytes": None}),
    }


def test_terms_that_cannot_be_read_are_no_upload(repo: Repository) -> None:
    """However one is rotten: it is no upload, is given up in its time, and keeps nobody else from anything."""
    now = dt.datetime.now(dt.UTC)
    id_ = begin(repo)
    path = Path(f"{partial.bytes_path(repo, id_)}.json")
    for what, content in rotten(path.read_bytes()).items():
        path.write_bytes(content)
        assert partial.find(repo, id_) is None, what
        with pytest.raises(NotFound):
            put(repo, id_, 0, b"x")
        assert partial_sweep.recover(repo) == [], what
        assert partial_sweep.expire(repo, now) == [], what
        assert partial_sweep.expire(repo, now + 25 * HOUR) == [id_], what
        Path(partial.bytes_path(repo, id_)).touch()
        path.write_bytes(content)
    path.unlink()
    for make in (os.mkfifo, lambda path: os.symlink("nowhere", path)):
        make(path)
        assert partial.find(repo, id_) is None
        path.unlink()


def test_terms_of_a_killed_writer_are_forgotten(repo: Repository) -> None:
    now = dt.datetime.now(dt.UTC)
    id_, busy, without = begin(repo), begin(repo), UploadId(uuid4())
    temps = [Path(f"{partial.bytes_path(repo, one)}.json.tmp") for one in (id_, busy, without)]
    for temp in temps:
        temp.write_bytes(b"half of what was s")
    assert partial_sweep.expire(repo, now) == []
    for temp in temps:
        os.utime(temp, (0, 0))
    with PartialWriter(repo, busy) as writer:
        os.utime(temps[1], (0, 0))
        writer.begin(0)  # whoever goes on writes its terms anew
        temps[1].touch()
        os.utime(temps[1], (0, 0))
        assert partial_sweep.expire(repo, now) == []
        assert [temp.exists() for temp in temps] == [False, True, False]
    partial.remove(repo, busy)
    assert not temps[1].exists()


def test_whole_bytes_whose_terms_cannot_be_read_are_kept_aside(repo: Repository) -> None:
    id_ = begin(repo, 5)
    put(repo, id_, 0, b"12345")
    with PartialWriter(repo, id_) as writer:
        writer.begin(5)
        path = Path(writer.complete().path)
    Path(f"{path}.json").unlink()
    Path(f"{path}.upload.json").write_bytes(b"rotten")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        partial_sweep.recover(repo)
        assert path.exists()
    partial_sweep.recover(repo)
    staging.sweep(repo)
    assert Path(repo.failed, str(id_)).read_bytes() == b"12345"
    assert os.listdir(repo.incoming) == []


def test_terms_without_bytes_are_forgotten_though_they_cannot_be_read(repo: Repository) -> None:
    now = dt.datetime.now(dt.UTC)
    terms = Path(f"{partial.bytes_path(repo, UploadId(uuid4()))}.json")
    terms.write_bytes(b"rotten")
    assert partial_sweep.expire(repo, now) == []
    partial_sweep.expire(repo, now + 25 * HOUR)
    assert os.listdir(repo.incoming) == []


def test_no_upload_keeps_others_from_being_given_up_or_finished(repo: Repository) -> None:
    now = dt.datetime.now(dt.UTC)
    lost = "0190A000-0000-7000-8000-ABCDEFABCDEF"  # no name that we make
    for name in (lost, f"{lost}.upload", f"{lost}.upload.json", f"{lost}.json"):
        Path(repo.incoming, name).write_bytes(b"x")
        os.utime(Path(repo.incoming, name), (0, 0))
    early, late, whole, taken = (begin(repo, 5) for _ in range(4))
    for id_ in (whole, taken):
        put(repo, id_, 0, b"12345")
        changed_terms(repo, id_, digest=blake3(b"12345").hexdigest())
    Path(repo.incoming, str(taken)).write_bytes(b"other")
    # what cannot be removed: a folder where the bytes of one should be
    Path(partial.bytes_path(repo, early)).unlink()
    Path(partial.bytes_path(repo, early)).mkdir()
    changed_terms(repo, early, touched_at=now - 25 * HOUR)
    changed_terms(repo, late, touched_at=now - 25 * HOUR)
    with pytest.raises(Unavailable):
        partial_sweep.expire(repo, now)
    assert partial.find(repo, late) is None
    assert partial_sweep.recover(repo) == [whole]
    assert [one.id for one in staging.waiting(repo)] == [whole]
    assert Path(partial.bytes_path(repo, taken)).read_bytes() == b"12345"
    assert staging.sweep(repo) == []
    assert Path(repo.incoming, lost).exists()
