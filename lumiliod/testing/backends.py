"""What every backend has to keep. A plugin's own test::

    @pytest.mark.parametrize("check", backends.CHECKS)
    def test_backend(check, tmp_path):
        check(MyBackend(...), str(tmp_path))

Every check gets an empty backend and an empty folder for the files it stores.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Shape
from lumiliod.domain.ids import RepoPath, path_bytes
from lumiliod.storage.backend import Backend, LocalPaths

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
    if not backend.atomic_no_replace:
        return
    sources = [_file(folder, bytes([n]) * 100_000) for n in range(8)]
    won: list[int] = []
    gate = threading.Barrier(len(sources))

    def put(number: int) -> None:
        gate.wait()
        try:
            if backend.put_new(sources[number], RepoPath("inbox/new/folder/a.jpg")):
                won.append(number)
        except Conflict:
            return

    threads = [threading.Thread(target=put, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert _read(backend, "inbox/new/folder/a.jpg") == bytes(won) * 100_000


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
    refuses_bad_paths,
    takes_awkward_names,
    says_what_is_missing,
    lists_in_byte_order,
    removes,
    has_local_paths,
)


def _file(folder: str, content: bytes) -> str:
    path = Path(folder) / f"source-{len(os.listdir(folder))}"
    path.write_bytes(content)
    return str(path)


def _read(backend: Backend, path: str) -> bytes:
    with backend.open(RepoPath(path)) as file:
        return file.read()
