"""What every backend has to keep. A plugin's own test::

    @pytest.mark.parametrize("check", backends.CHECKS)
    def test_backend(check, tmp_path):
        check(MyBackend(...), str(tmp_path))

Every check gets an empty backend and an empty folder for the files it stores.
"""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Shape
from lumiliod.domain.ids import RepoPath, path_bytes
from lumiliod.storage.backend import Backend, LocalPaths

LARGE_BYTES = (20 << 20) + 12_345
"""More than a backend sends or reads at once: several parts, the last one short."""

BAD_PATHS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../outside",
    "inbox/../../outside",
    "inbox//a",
    "inbox/",
    "./a",
    "a\0b",
    ".lumilio/assets/a",
    ".lumiliorepo",
    "\ud800",
)
"""Paths no verb may touch."""

AWKWARD_NAMES = (
    "inbox/line\nbreak.jpg",
    "inbox/" + os.fsdecode(b"latin-\xe9.jpg"),
    "inbox/" + "ü" * 127 + "x",
    "inbox/-rf *.jpg",
    "inbox/ leading and trailing ",
    " leading",
    "inbox/100% [a+b] {c} <d> #e? \\\\ ~^`|\"'&=;:@$,!.jpg",
    "inbox/%2e%2E",
    "inbox/\u0301combining \U0001f4f7.jpg",
    os.fsdecode(b"\xff\xfe/\xff.jpg"),
    "inbox/bell\a",
    "inbox/no\uffff character",
    ".hidden/...",
)
"""Names a file system can hold and tools stumble over."""


def stores_bytes(backend: Backend, folder: str) -> None:
    """What is put can be read, has its size and leaves its source alone."""
    source = _file(folder, b"bytes")
    assert backend.put_new(source, RepoPath("inbox/2024/01/a.jpg"))
    assert _read(backend, "inbox/2024/01/a.jpg") == b"bytes"
    assert backend.stat(RepoPath("inbox/2024/01/a.jpg")).size_bytes == 5
    assert Path(source).read_bytes() == b"bytes"


def never_replaces(backend: Backend, folder: str) -> None:
    """Other bytes under the same name are refused, and what is there stays; also when the sizes are equal."""
    target = RepoPath("inbox/a.jpg")
    backend.put_new(_file(folder, b"older"), target)
    for other in (b"newer", b"longer than that", b""):
        with pytest.raises(Conflict) as caught:
            backend.put_new(_file(folder, other), target)
        assert caught.value.code == "name_taken"
    assert _read(backend, target) == b"older"


def is_idempotent(backend: Backend, folder: str) -> None:
    """The same bytes are there already: from the same source, and from another."""
    target = RepoPath("inbox/a.jpg")
    source = _file(folder, b"same" * 500_000)
    assert backend.put_new(source, target) is True
    assert backend.put_new(source, target) is False
    assert backend.put_new(_file(folder, b"same" * 500_000), target) is False


def outlives_its_source(backend: Backend, folder: str) -> None:
    """Removing the source afterwards takes nothing away."""
    source = _file(folder, b"kept")
    backend.put_new(source, RepoPath("inbox/a.jpg"))
    Path(source).unlink()
    assert _read(backend, "inbox/a.jpg") == b"kept"


def lets_one_writer_win(backend: Backend, folder: str) -> None:
    """Of many simultaneous writers of one name exactly one wins, whole."""
    sources = [_file(folder, bytes([n]) * 100_000) for n in range(8)]
    _rival(backend, sources, RepoPath("inbox/new/folder/a.jpg"))


def lets_one_large_writer_win(backend: Backend, folder: str) -> None:
    """As with small files; some write a small one."""
    sources = [_file(folder, bytes([n]) * (LARGE_BYTES if n % 2 else 1000)) for n in range(4)]
    _rival(backend, sources, RepoPath("inbox/a.mp4"))


def refuses_bad_paths(backend: Backend, folder: str) -> None:
    """No verb leaves the user's files."""
    source = _file(folder, b"bytes")
    for bad in map(RepoPath, BAD_PATHS):
        for verb in (
            lambda path: backend.put_new(source, path),
            backend.open,
            backend.stat,
            backend.remove,
        ):
            with pytest.raises(Shape) as caught:
                verb(bad)
            assert caught.value.code == "bad_path"


def takes_awkward_names(backend: Backend, folder: str) -> None:
    """Every name a file system can hold round-trips."""
    for name in map(RepoPath, AWKWARD_NAMES):
        assert backend.put_new(_file(folder, path_bytes(name)), name)
    stored = [entry.path for entry in backend.list(None, 100)]
    assert stored == sorted(map(RepoPath, AWKWARD_NAMES), key=path_bytes)
    for path in stored:
        assert _read(backend, path) == path_bytes(path)


def says_what_is_missing(backend: Backend, folder: str) -> None:
    """A missing file or source is told; nothing is created on the way."""
    for verb in (backend.open, backend.stat):
        for path in ("inbox/none.jpg", "none/none.jpg"):
            with pytest.raises(NotFound) as caught:
                verb(RepoPath(path))
            assert caught.value.code == "file_missing"
    with pytest.raises(LumilioError):
        backend.put_new(f"{folder}/none", RepoPath("inbox/a.jpg"))
    assert backend.list(None, 10) == []


def lists_in_byte_order(backend: Backend, folder: str) -> None:
    """Pages of any size give every file once, by the bytes of its whole path."""
    paths = ["a/b/c.jpg", "a/b.jpg", "a-b.jpg", "a.jpg", "a/z.jpg", "é.jpg", "Z.jpg", "a0/x.jpg", "inbox/1/2/3/4.jpg"]
    for path in paths:
        backend.put_new(_file(folder, path.encode()), RepoPath(path))
    expected = sorted(paths, key=str.encode)
    for limit in (1, 2, 4, 100):
        found: list[RepoPath] = []
        while page := backend.list(found[-1] if found else None, limit):
            assert len(page) <= limit
            found += [entry.path for entry in page]
        assert found == expected
    for after in ("a", "a/", "a/b", "a/b/zzz", "b", "zzz", "A"):
        page = backend.list(RepoPath(after), 100)
        assert [entry.path for entry in page] == [path for path in expected if path.encode() > after.encode()]
    assert all(entry.stat == backend.stat(entry.path) for entry in backend.list(None, 100))


def removes(backend: Backend, folder: str) -> None:
    """Removing twice is no error and frees the name."""
    path = RepoPath("inbox/x/a.jpg")
    backend.put_new(_file(folder, b"older"), path)
    backend.remove(path)
    backend.remove(path)
    backend.remove(RepoPath("none/none.jpg"))
    assert backend.put_new(_file(folder, b"newer"), path)


def takes_empty_files(backend: Backend, folder: str) -> None:
    """A file without bytes is a file: there, listed, readable, not replaced."""
    path = RepoPath("inbox/empty")
    assert backend.put_new(_file(folder, b""), path)
    assert not backend.put_new(_file(folder, b""), path)
    assert _read(backend, path) == b""
    assert backend.stat(path).size_bytes == 0
    assert [entry.path for entry in backend.list(None, 10)] == [path]
    with pytest.raises(Conflict):
        backend.put_new(_file(folder, b"bytes"), path)


def takes_large_files(backend: Backend, folder: str) -> None:
    """A file of several parts comes back byte for byte, is known again, and gives way to nothing."""
    content = random.Random(1).randbytes(LARGE_BYTES)  # noqa: S311  to be repeatable
    path = RepoPath("inbox/large.mp4")
    assert backend.put_new(_file(folder, content), path)
    assert backend.stat(path).size_bytes == LARGE_BYTES
    assert not backend.put_new(_file(folder, content), path)
    for other in (content[:-1] + b"?", content[:-1], b"small"):
        with pytest.raises(Conflict):
            backend.put_new(_file(folder, other), path)
    assert _read(backend, path) == content
    assert [entry.path for entry in backend.list(None, 10)] == [path]


def reads_ranges(backend: Backend, folder: str) -> None:
    """An open file can be read from anywhere, as any file can."""
    content = random.Random(2).randbytes(3_000_000)  # noqa: S311  to be repeatable
    path = RepoPath("inbox/a.jpg")
    backend.put_new(_file(folder, content), path)
    with backend.open(path) as file:
        assert file.seekable()
        assert file.read(10) == content[:10]
        assert file.tell() == 10
        for at, count in ((2_999_990, 100), (0, 5), (300_000, 1_000_000), (299_999, 2), (3_000_000, 1), (4_000_000, 1)):
            assert file.seek(at) == at
            assert file.read(count) == content[at : at + count]
        assert file.seek(-4, os.SEEK_END) == 2_999_996
        assert file.seek(-1, os.SEEK_CUR) == 2_999_995
        assert file.read() == content[-5:]
        assert file.read() == b""
        with pytest.raises((OSError, ValueError)):
            file.seek(-3_000_001, os.SEEK_END)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def reads_one_state(backend: Backend, folder: str) -> None:
    """What is read of an open file is of the file that was opened, whatever takes its name; or it fails."""
    older, newer = (bytes([n]) * LARGE_BYTES for n in b"on")
    path = RepoPath("inbox/a.mp4")
    for replaced in (False, True):
        backend.put_new(_file(folder, older), path)
        with backend.open(path) as file:
            read = file.read(1000)
            backend.remove(path)
            if replaced:
                backend.put_new(_file(folder, newer), path)
            try:
                while block := file.read(1 << 20):
                    read += block
                ended = ""
            except LumilioError as error:
                ended = error.code
            assert ended in {"", "unstable" if replaced else "file_missing"}
            assert read == older if ended == "" else older.startswith(read)
        backend.remove(path)


def is_whole_or_not_there(backend: Backend, folder: str) -> None:
    """A caller that gives up in the middle leaves all of the file under its name, or nothing; then it can be stored."""
    path = RepoPath("inbox/a.mp4")
    content = random.Random(3).randbytes(LARGE_BYTES)  # noqa: S311  to be repeatable
    source = _file(folder, content)

    async def given_up() -> None:
        with trio.CancelScope() as scope:

            def put() -> None:
                trio.from_thread.run_sync(scope.cancel)
                backend.put_new(source, path)

            await trio.to_thread.run_sync(put)

    trio.run(given_up)
    for entry in backend.list(None, 10):
        assert entry.path == path
        assert _read(backend, path) == content
    backend.put_new(source, path)
    assert _read(backend, path) == content


def lists_while_files_come(backend: Backend, folder: str) -> None:
    """A walk in pages gives every file that was there before it once, whatever is added or removed meanwhile."""
    before = [RepoPath(f"inbox/{number:02}.jpg") for number in range(0, 40, 2)]
    for path in before:
        backend.put_new(_file(folder, b"before"), path)
    found: list[RepoPath] = []
    while page := backend.list(found[-1] if found else None, 3):
        found += [entry.path for entry in page]
        for number in (len(found) * 2 + 1, 1):
            backend.put_new(_file(folder, b"meanwhile"), RepoPath(f"inbox/{number:02}.jpg"))
        backend.remove(RepoPath(f"inbox/{len(found):02}-none.jpg"))
    assert len(found) == len(set(found))
    assert found == sorted(found, key=path_bytes)
    assert set(before) <= set(found)


def has_local_paths(backend: Backend, folder: str) -> None:
    """A local backend says where on this host a file lies."""
    if not backend.local:
        return
    assert isinstance(backend, LocalPaths)
    path = RepoPath("inbox/a.jpg")
    backend.put_new(_file(folder, b"bytes"), path)
    assert Path(backend.local_path(path)).read_bytes() == b"bytes"


CHECKS: tuple[Callable[[Backend, str], None], ...] = (
    stores_bytes,
    never_replaces,
    is_idempotent,
    outlives_its_source,
    lets_one_writer_win,
    lets_one_large_writer_win,
    refuses_bad_paths,
    takes_awkward_names,
    says_what_is_missing,
    lists_in_byte_order,
    removes,
    takes_empty_files,
    takes_large_files,
    reads_ranges,
    reads_one_state,
    is_whole_or_not_there,
    lists_while_files_come,
    has_local_paths,
)


def _rival(backend: Backend, sources: list[str], target: RepoPath) -> None:
    if not backend.atomic_no_replace:
        return
    won: list[int] = []
    refused: list[str] = []
    gate = threading.Barrier(len(sources))

    def put(number: int) -> None:
        gate.wait()
        try:
            if backend.put_new(sources[number], target):
                won.append(number)
        except LumilioError as error:
            refused.append(error.code)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) <= {"name_taken", "unstable"}  # taken, or just being taken
    (winner,) = won
    assert _read(backend, target) == Path(sources[winner]).read_bytes()
    assert [entry.path for entry in backend.list(None, 10)] == [target]


def _file(folder: str, content: bytes) -> str:
    path = Path(folder) / f"source-{len(os.listdir(folder))}"
    path.write_bytes(content)
    return str(path)


def _read(backend: Backend, path: str) -> bytes:
    with backend.open(RepoPath(path)) as file:
        return file.read()
