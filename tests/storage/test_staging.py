import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from blake3 import blake3

from lumiliod.domain.errors import LumilioError, NotFound, Refused, Retryable, Shape, Unavailable
from lumiliod.domain.ids import Digest, UploadId, UserId
from lumiliod.storage import durable, refusals, repository, staging
from lumiliod.storage.pump import BLOCK_BYTES, BUFFERS
from lumiliod.storage.repository import Repository
from lumiliod.storage.staging import Staged
from lumiliod.testing.sources import Chunks
from tests import meanwhile

MIB = 1 << 20


async def write(repo: Repository, *parts: bytes, filename: str = "a.jpg", **limits: Any) -> Staged:
    limits = {"max_bytes": None, "min_free_bytes": 0} | limits
    return await staging.write(repo, filename, Chunks(parts), **limits)


def files(repo: Repository) -> list[str]:
    return sorted(os.listdir(repo.incoming))


async def test_write_and_load(repo: Repository) -> None:
    content = os.urandom(3 * MIB + 17)
    owner = UserId(uuid4())
    parts = [content[:10], b"", content[10 : 2 * MIB], content[2 * MIB :]]
    digest = Digest(blake3(content).hexdigest())
    staged = await write(
        repo, *parts, owner_id=owner, announced_bytes=len(content), expected_digest=digest, max_bytes=len(content)
    )
    assert Path(staged.path).read_bytes() == content
    assert (staged.digest, staged.size_bytes, staged.filename, staged.owner_id) == (
        digest,
        len(content),
        "a.jpg",
        owner,
    )
    assert files(repo) == [str(staged.id), f"{staged.id}.json"]
    assert staging.load(repo, staged.id) == staged
    assert staging.sweep(repo) == []
    other = await write(repo, b"x")
    assert staging.waiting(repo) == [staged, other]
    staging.forget(repo, staged.id)
    staging.forget(repo, staged.id)
    assert staging.waiting(repo) == [other]
    assert staging.load(repo, staged.id) is None


@pytest.mark.parametrize(
    ("filename", "kept"),
    [
        ("a\nb.jpg", "a\nb.jpg"),
        ("\udcff.jpg", "\ufffd.jpg"),
        ("a\0b", "ab"),
        ("ü" * 127 + "x", "ü" * 127 + "x"),
        ("", ""),
    ],
)
async def test_any_name_is_kept_as_text(repo: Repository, filename: str, kept: str) -> None:
    staged = await write(repo, b"x", filename=filename)
    found = staging.load(repo, staged.id)
    assert found is not None
    assert found.filename == kept


@pytest.mark.parametrize(
    ("parts", "limits", "error", "code"),
    [
        ([], {}, Shape, "empty_file"),
        ([b"", b""], {}, Shape, "empty_file"),
        ([b"12345"], {"max_bytes": 4}, Refused, "too_large"),
        ([b"12345"], {"max_bytes": 4, "announced_bytes": 5}, Refused, "too_large"),
        ([b"12345"], {"announced_bytes": 6}, Shape, "truncated_upload"),
        ([b"12345"], {"announced_bytes": 4}, Shape, "length_mismatch"),
        ([b"12345"], {"expected_digest": "0" * 64}, Shape, "digest_mismatch"),
        ([b"12345"], {"min_free_bytes": 1 << 60}, Unavailable, "no_space"),
        ([b"12345"], {"announced_bytes": 1 << 60}, Unavailable, "no_space"),
    ],
)
async def test_refusals_leave_nothing(
    repo: Repository, parts: list[bytes], limits: dict[str, Any], error: type[LumilioError], code: str
) -> None:
    with pytest.raises(error) as caught:
        await write(repo, *parts, **limits)
    assert caught.value.code == code
    assert files(repo) == []


async def test_limits_are_checked_before_bytes_are_taken(repo: Repository) -> None:
    taken: list[bytes] = []

    def watched() -> Iterator[bytes]:
        taken.append(b"x")
        yield b"x"

    for max_bytes, announced_bytes, error in ((4, 5, Refused), (None, 1 << 60, Unavailable)):
        with pytest.raises(error):
            await staging.write(
                repo,
                "a",
                Chunks(watched()),
                max_bytes=max_bytes,
                min_free_bytes=0,
                announced_bytes=announced_bytes,
            )
    assert taken == []


async def test_an_endless_upload_is_cut_off(repo: Repository) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += MIB
            yield bytes(MIB)

    with pytest.raises(Refused):
        await staging.write(repo, "a", Chunks(endless()), max_bytes=5 * MIB, min_free_bytes=0)
    assert taken == 6 * MIB
    assert files(repo) == []


async def test_the_senders_own_error_passes_through(repo: Repository) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(2 * MIB)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        await staging.write(repo, "a", Chunks(broken()), max_bytes=None, min_free_bytes=0)
    assert files(repo) == []


@pytest.mark.parametrize("at", range(6))
async def test_cancelled_at_every_chunk_leaves_nothing(repo: Repository, at: int) -> None:
    with trio.CancelScope() as scope:

        def cancelled_at() -> Iterator[bytes]:
            for number in range(6):
                if number == at:
                    scope.cancel()
                yield bytes(700_000)

        await staging.write(repo, "a", Chunks(cancelled_at()), max_bytes=None, min_free_bytes=0)
    assert scope.cancelled_caught or at == 5
    assert len(files(repo)) in {0, 2}
    assert scope.cancelled_caught == (files(repo) == [])


async def test_cancelled_before_it_begins(repo: Repository) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await write(repo, b"x")
    assert scope.cancelled_caught
    assert files(repo) == []


async def test_a_full_disk_is_refused_and_leaves_nothing(small_disk: Path) -> None:
    repo = repository.create(str(small_disk), "Small")
    with pytest.raises(Unavailable) as caught:
        await write(repo, *[bytes(MIB)] * 8)
    assert caught.value.code == "no_space"
    assert files(repo) == []
    assert (await write(repo, bytes(MIB))).size_bytes == MIB
    with pytest.raises(Unavailable):
        await write(repo, bytes(MIB), min_free_bytes=3 * MIB)


FILL = """
import os, resource, signal, sys, trio
from lumiliod.domain.errors import Refused
from lumiliod.storage import staging
from lumiliod.storage.repository import open_repository
from lumiliod.testing.sources import Chunks

repo = open_repository(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

async def chunks():
    for _ in range(5):
        yield bytes(1 << 20)

async def main():
    try:
        await staging.write(repo, "a", Chunks(chunks()), max_bytes=None, min_free_bytes=0)
    except Refused:
        sys.exit(0 if os.listdir(repo.incoming) == [] else 3)
    sys.exit(4)

trio.run(main)
"""


def test_a_write_that_fails_half_way_leaves_nothing(repo: Repository) -> None:
    assert subprocess.run([sys.executable, "-c", FILL, repo.root]).returncode == 0


async def test_an_offline_repository_takes_nothing(repo: Repository) -> None:
    os.unlink(f"{repo.root}/.lumiliorepo")
    with pytest.raises(Retryable) as caught:
        await write(repo, b"x")
    assert caught.value.code == "repository_offline"
    assert files(repo) == []


async def test_memory_stays_constant(repo: Repository) -> None:
    """A slow disk holds the sender back: only so many blocks are in memory."""
    ahead: list[int] = []

    def watched() -> Iterator[bytes]:
        sent = 0
        for _ in range(24):
            names = files(repo)
            written = os.path.getsize(f"{repo.incoming}/{names[0]}") if names else 0
            ahead.append(sent - written)
            sent += MIB
            yield bytes(MIB)

    await staging.write(repo, "a", Chunks(watched()), max_bytes=None, min_free_bytes=0)
    assert max(ahead) <= BUFFERS * BLOCK_BYTES


SLOW = """
import sys, trio
from lumiliod.storage import staging
from lumiliod.storage.repository import open_repository
from lumiliod.testing.sources import Chunks

async def chunks():
    for _ in range(3):
        yield bytes(1 << 20)
    print("ready", flush=True)
    await trio.sleep_forever()
    yield b""

repo = open_repository(sys.argv[1])
trio.run(lambda: staging.write(repo, "a", Chunks(chunks()), max_bytes=None, min_free_bytes=0))
"""


def test_sweep_spares_the_living_and_removes_the_dead(repo: Repository) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW, repo.root], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        (name,) = files(repo)
        assert staging.sweep(repo) == []
        assert files(repo) == [name]
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert staging.waiting(repo) == []
    assert staging.sweep(repo) == [name]
    assert files(repo) == []


KILLED = """
import os, sys, trio
from lumiliod.storage import staging
from lumiliod.storage.repository import open_repository
from lumiliod.testing.sources import Chunks

repo = open_repository(sys.argv[1])
left = int(sys.argv[2])

def dying(event, args):
    global left
    if event in {"os.rename", "os.remove", "fcntl.flock"} or (event == "open" and "incoming" in str(args[0])):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

async def chunks():
    yield b"content"

sys.addaudithook(dying)
print(trio.run(lambda: staging.write(repo, "a", Chunks(chunks()), max_bytes=None, min_free_bytes=0)).id)
"""


def test_killed_at_every_step_is_whole_or_swept(repo: Repository) -> None:
    for step in range(12):
        run = subprocess.run([sys.executable, "-c", KILLED, repo.root, str(step)], capture_output=True)
        staging.sweep(repo)
        staged = staging.waiting(repo)
        assert len(files(repo)) == 2 * len(staged)
        for found in staged:
            assert Path(found.path).read_bytes() == b"content"
            staging.forget(repo, found.id)
        if run.returncode == 0:
            assert [str(found.id) for found in staged] == [run.stdout.decode().strip()]
            assert step >= 4
            return
        assert run.returncode == -9
    pytest.fail("never ran to its end")


FAILING = """
import os, sys
from uuid import UUID
from lumiliod.storage import staging
from lumiliod.storage.repository import open_repository
from lumiliod.testing.sources import Chunks

repo = open_repository(sys.argv[1])
left = int(sys.argv[3])

def dying(event, args):
    global left
    if event in {"os.rename", "os.remove"} or (event == "open" and "staging" in str(args[0])):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

sys.addaudithook(dying)
staging.fail(repo, UUID(sys.argv[2]), "corrupt", "ends early")
"""


async def test_fail_killed_at_every_step_keeps_the_bytes(repo: Repository) -> None:
    for step in range(16):
        staged = await write(repo, b"bytes")
        command = [sys.executable, "-c", FAILING, repo.root, str(staged.id), str(step)]
        run = await trio.run_process(command, check=False)
        kept, moved = Path(staged.path), Path(repo.failed, str(staged.id))
        assert [path.read_bytes() for path in (kept, moved) if path.exists()] == [b"bytes"]
        if run.returncode == 0:
            assert step >= 4
            return
        if step % 2:
            staging.sweep(repo)
            assert moved.exists() == (files(repo) == [])
        staging.fail(repo, staged.id, "corrupt", "ends early")
        assert moved.read_bytes() == b"bytes"
        assert files(repo) == []
    pytest.fail("never ran to its end")


REMOVING = """
import os, sys
from uuid import UUID
from lumiliod.storage import refusals
from lumiliod.storage.repository import open_repository

repo = open_repository(sys.argv[1])
left = int(sys.argv[3])

def dying(event, args):
    global left
    if event == "os.remove" and str(args[0]).startswith(sys.argv[1]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

sys.addaudithook(dying)
refusals.remove(repo, UUID(sys.argv[2]))
"""


async def test_a_refusal_whose_removal_was_killed_is_still_told_and_removed_again(repo: Repository) -> None:
    for step in range(4):
        staged = await write(repo, b"bytes", filename="a.jpg")
        staging.fail(repo, staged.id, "corrupt", "ends early")
        [(id_, reason)] = refusals.kept(repo)
        assert (id_, reason.filename, reason.code, reason.digest) == (staged.id, "a.jpg", "corrupt", staged.digest)
        run = await trio.run_process(
            [sys.executable, "-c", REMOVING, repo.root, str(staged.id), str(step)], check=False
        )
        left = refusals.kept(repo)
        if run.returncode == 0:
            assert (left, os.listdir(repo.failed)) == ([], [])
            assert step == 2
            return
        [(id_, reason)] = left
        assert (id_, reason.size_bytes) == (staged.id, 5)
        refusals.remove(repo, staged.id)
        assert os.listdir(repo.failed) == []
    pytest.fail("never ran to its end")


async def test_sweep_removes_strays_and_nothing_else(repo: Repository) -> None:
    staged = await write(repo, b"x")
    lone = uuid4()
    for name in (str(uuid4()), f"{lone}.json", f"{uuid4()}.json.tmp", "somebody-else", "x.json"):
        Path(repo.incoming, name).write_bytes(b"{}")
    removed = staging.sweep(repo)
    assert len(removed) == 3
    assert files(repo) == sorted([str(staged.id), f"{staged.id}.json", "somebody-else", "x.json"])
    assert staging.waiting(repo) == [staged]


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        (b"{", b"\0"),
        (b"a.jpg", b"\xff.jpg"),
        (b'"a.jpg"', b"[" * 30_000),
        (b'"filename"', b'"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"filename"'),
        (b'+00:00"', b'"'),
        (b'"digest":"', b'"digest":"../'),
        (b'"size_bytes":', b'"size_bytes":-'),
        (b"}", b" " * (1 << 16) + b"}"),
    ],
)
async def test_sweep_keeps_bytes_whose_mark_is_unreadable(repo: Repository, was: bytes, is_: bytes) -> None:
    staged, good = await write(repo, b"bytes"), await write(repo, b"good")
    mark = Path(f"{staged.path}.json")
    content = mark.read_bytes().replace(b"Z", b"+00:00")
    assert was in content
    mark.write_bytes(content.replace(was, is_, 1))
    assert staging.load(repo, staged.id) is None
    assert staging.waiting(repo) == [good]
    assert staging.sweep(repo) == []
    assert files(repo) == [str(good.id), f"{good.id}.json"]
    assert Path(repo.failed, str(staged.id)).read_bytes() == b"bytes"


async def test_what_cannot_be_swept_keeps_no_other(repo: Repository) -> None:
    first, second = sorted(str(uuid4()) for _ in range(2))
    Path(repo.incoming, first).mkdir()
    Path(repo.incoming, second).write_bytes(b"a writer that was killed")
    Path(repo.incoming, str(uuid4())).symlink_to("nowhere")
    with pytest.raises(Unavailable):
        staging.sweep(repo)
    assert not Path(repo.incoming, second).exists()


async def test_fail_keeps_the_bytes_with_the_reason(repo: Repository) -> None:
    staged = await write(repo, b"bytes", filename="broken\udcff.jpg")
    staging.fail(repo, staged.id, "corrupt", "ends early")
    staging.fail(repo, staged.id, "corrupt", "ends early")
    assert files(repo) == []
    assert Path(repo.failed, str(staged.id)).read_bytes() == b"bytes"
    reason = msgspec.json.decode(Path(repo.failed, f"{staged.id}.reason.json").read_bytes())
    assert reason.pop("at")
    assert reason.pop("received_at")
    assert reason == {
        "filename": "broken\ufffd.jpg",
        "digest": staged.digest,
        "size_bytes": 5,
        "owner_id": None,
        "code": "corrupt",
        "message": "ends early",
    }
    with pytest.raises(NotFound):
        staging.fail(repo, UploadId(UUID(int=0)), "corrupt", "never was")


async def test_what_was_set_aside_is_staged_again_as_it_was(repo: Repository) -> None:
    staged = await write(repo, b"bytes", filename="broken.jpg")
    assert staging.take_back(repo, staged.id) is None
    staging.fail(repo, staged.id, "corrupt", "ends early")
    assert staging.take_back(repo, staged.id) == staging.load(repo, staged.id) == staged
    assert os.listdir(repo.failed) == []
    assert Path(staged.path).read_bytes() == b"bytes"
    assert staging.sweep(repo) == []


async def test_a_failing_disk_says_nothing_of_what_is_staged(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = await write(repo, b"bytes")
    lstat = os.lstat

    def fails(path: str) -> os.stat_result:
        if path == staged.path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path)

    monkeypatch.setattr(os, "lstat", fails)
    with pytest.raises(Unavailable):
        staging.load(repo, staged.id)


async def test_many_at_once(repo: Repository) -> None:
    async def one(number: int) -> None:
        staged = await write(repo, *[bytes([number]) * 300_000] * 5)
        assert Path(staged.path).read_bytes() == bytes([number]) * 1_500_000

    async with trio.open_nursery() as nursery:
        for number in range(24):
            nursery.start_soon(one, number)
    assert len(staging.waiting(repo)) == 24


def beside(act: Callable[[], object]) -> tuple[Callable[[tuple[Any, ...]], None], Callable[[], None]]:
    """Return what begins ``act`` in another thread, once, and gives it time; and what waits for its end."""
    threads: list[threading.Thread] = []

    def begin(_args: tuple[Any, ...]) -> None:
        if not threads:
            threads.append(threading.Thread(target=act))
            threads[0].start()
            threads[0].join(0.3)

    def end() -> None:
        assert threads
        threads[0].join(20)
        assert not threads[0].is_alive()

    return begin, end


@contextmanager
def before_renaming(act: Callable[[tuple[Any, ...]], None]) -> Iterator[None]:
    """Call ``act`` before each rename to a free name, which raises no audit event."""
    real = durable.rename_new

    def rename_new(source: str, target: str) -> None:
        act(())
        real(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(durable, "rename_new", rename_new)
        yield


async def test_what_is_taken_back_while_it_is_set_aside_keeps_its_mark(repo: Repository) -> None:
    """The last step of setting aside unlinked the mark that taking back had written, and a sweep then the bytes."""
    staged = await write(repo, b"acknowledged")
    begin, end = beside(lambda: staging.take_back(repo, staged.id))
    mark = f"{staged.path}.json"
    with meanwhile.before("os.remove", lambda args: begin(args) if args[0] == mark else None):
        staging.fail(repo, staged.id, "unsupported", "no")
    end()
    assert staging.load(repo, staged.id) == staged
    assert staging.sweep(repo) == []
    assert Path(staged.path).read_bytes() == b"acknowledged"


async def test_a_sweep_leaves_the_mark_of_what_is_taken_back(repo: Repository) -> None:
    staged = await write(repo, b"acknowledged")
    staging.fail(repo, staged.id, "unsupported", "no")
    begin, end = beside(lambda: staging.sweep(repo))
    with before_renaming(begin):
        assert staging.take_back(repo, staged.id) == staged
    end()
    assert staging.load(repo, staged.id) == staged
    assert staging.sweep(repo) == []
    assert Path(staged.path).read_bytes() == b"acknowledged"


async def test_setting_aside_again_leaves_the_mark_of_what_is_taken_back(repo: Repository) -> None:
    staged = await write(repo, b"acknowledged")
    staging.fail(repo, staged.id, "unsupported", "no")
    begin, end = beside(lambda: staging.fail(repo, staged.id, "unsupported", "no"))
    with before_renaming(begin):
        staging.take_back(repo, staged.id)
    end()
    found = staging.load(repo, staged.id) or staging.take_back(repo, staged.id)
    assert found == staged
    assert Path(staged.path).read_bytes() == b"acknowledged"


async def test_refused_uploads_are_told_whatever_else_lies_beside_them(repo: Repository) -> None:
    Path(repo.failed).rmdir()
    assert refusals.kept(repo) == []
    staged, other = await write(repo, b"one"), await write(repo, b"other")
    for one in (staged, other):
        staging.fail(repo, one.id, "unsupported", "no")
    reason = Path(repo.failed, f"{staged.id}.reason.json")
    reason.unlink()
    reason.mkdir()
    told = dict(refusals.kept(repo))
    assert (told[staged.id].code, told[other.id].code) == (refusals.NO_REASON, "unsupported")
    refusals.remove(repo, staged.id)
    assert [id_ for id_, _ in refusals.kept(repo)] == [other.id]
