"""What has to hold whatever a backend does wrong. A plugin's own test::

    @pytest.mark.parametrize("check", fault_checks.CHECKS)
    def test_faults(check, tmp_path):
        check(MyBackend(...), str(tmp_path))

Every check gets an empty backend and an empty folder for the files it stores. It makes the backend fail
(:class:`~lumiliod.testing.faults.Faulty`), does the work again as jobs do, and looks at the bare backend in the end.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from blake3 import blake3

from lumiliod.domain.errors import Conflict, NotFound, Permanent, Retryable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.domain.naming import candidates
from lumiliod.storage.backend import Backend
from lumiliod.storage.verified import put_verified
from lumiliod.testing.faults import POSSIBLE, Died, Fault, Faulty, Plan

SEEDS = range(3)
THEIRS = RepoPath("inbox/theirs.jpg")
_MOST = 20

T = TypeVar("T")


def ends_with_the_bytes(backend: Backend, folder: str) -> None:
    """Whatever goes wrong with storing, doing it again ends with exactly the bytes, and nothing else is touched."""
    their_bytes = os.urandom(70_000)
    backend.put_new(_file(folder, their_bytes), THEIRS)
    faults = sorted(POSSIBLE["put_new"] | POSSIBLE["open"])
    for plan in [Plan((fault,), chance=1, most=2) for fault in faults] + [Plan(faults, seed) for seed in SEEDS]:
        faulty = Faulty(backend, plan)
        content = os.urandom(70_000)
        path = _stored(faulty, _file(folder, content), THEIRS, content)
        assert len(faulty.struck) == plan.most or plan.chance < 1
        assert path != THEIRS, faulty.struck
        assert _read(backend, path) == content, faulty.struck
        assert _read(backend, THEIRS) == their_bytes, faulty.struck
        for entry in backend.list(None, 1000):
            assert entry.path in {THEIRS} or entry.path.startswith("inbox/theirs (")
            if entry.path != THEIRS:
                backend.remove(entry.path)


def believes_nothing_unread(backend: Backend, folder: str) -> None:
    """A store that says it has the bytes and has not, or has others, is found out, and nothing is removed."""
    content = os.urandom(50_000)
    source, digest = _file(folder, content), Digest(blake3(content).hexdigest())
    for fault, error, code in (
        (Fault.NOT_STORED, Retryable, "store_lost"),
        (Fault.OTHER_STORED, Permanent, "store_corrupts"),
    ):
        path = RepoPath(f"inbox/{fault}.jpg")
        with pytest.raises(error) as caught:
            put_verified(Faulty(backend, Plan((fault,), chance=1, most=1)), source, path, digest, len(content))
        assert caught.value.code == code
    assert [entry.path for entry in backend.list(None, 10)] == ["inbox/other_stored.jpg"]
    with pytest.raises(Conflict):
        put_verified(backend, source, RepoPath("inbox/other_stored.jpg"), digest, len(content))
    damaged = Faulty(backend, Plan((Fault.OTHER_READ,), chance=1, most=1))
    assert put_verified(damaged, source, RepoPath("inbox/a.jpg"), digest, len(content))


def sends_nothing_rotten(backend: Backend, folder: str) -> None:
    """A source that is not what it was is not stored."""
    content = b"rotten"
    for digest, size in ((Digest("0" * 64), 6), (Digest(blake3(content).hexdigest()), 5)):
        with pytest.raises(Permanent) as caught:
            put_verified(backend, _file(folder, content), RepoPath("inbox/a.jpg"), digest, size)
        assert caught.value.code == "corrupt"
    assert backend.list(None, 10) == []


def lists_everything_in_the_end(backend: Backend, folder: str) -> None:
    """Pages that fail or are short make a walk longer, not poorer."""
    expected = [RepoPath(f"inbox/{number:02}.jpg") for number in range(12)]
    for path in expected:
        backend.put_new(_file(folder, path.encode()), path)
    for seed in SEEDS:
        faulty = Faulty(backend, Plan(sorted(POSSIBLE["list"]), seed, most=8))
        found: list[RepoPath] = []
        while page := _again(lambda: faulty.list(found[-1] if found else None, 5)):  # noqa: B023  called at once
            found += [entry.path for entry in page]
        assert found == expected, faulty.struck


def removes_in_the_end(backend: Backend, folder: str) -> None:
    """Removing fails, or is not known to have happened; done again, one file is gone and the others stay."""
    for seed in SEEDS:
        for name in ("a", "b"):
            backend.put_new(_file(folder, name.encode()), RepoPath(f"inbox/{name}"))
        faulty = Faulty(backend, Plan(sorted(POSSIBLE["remove"]), seed, chance=0.9))
        _again(lambda: faulty.remove(RepoPath("inbox/a")))  # noqa: B023  called at once
        assert [entry.path for entry in backend.list(None, 10)] == ["inbox/b"]
        backend.remove(RepoPath("inbox/b"))


def keeps_rivals_apart(backend: Backend, folder: str) -> None:
    """Many writers of one name, all of them in trouble, end with a name each."""
    if not backend.atomic_no_replace:
        return
    contents = [os.urandom(30_000) for _ in range(5)]
    faulty = Faulty(backend, Plan(sorted(POSSIBLE["put_new"] | POSSIBLE["open"]), chance=0.4, most=12))
    paths: dict[int, RepoPath] = {}
    sources = [_file(folder, content) for content in contents]

    def put(number: int) -> None:
        paths[number] = _stored(faulty, sources[number], THEIRS, contents[number])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths.values())) == len(contents)
    assert [_read(backend, paths[number]) for number in range(len(contents))] == contents


CHECKS: tuple[Callable[[Backend, str], None], ...] = (
    ends_with_the_bytes,
    believes_nothing_unread,
    sends_nothing_rotten,
    lists_everything_in_the_end,
    removes_in_the_end,
    keeps_rivals_apart,
)


def _stored(backend: Backend, source: str, first: RepoPath, content: bytes) -> RepoPath:
    """Store as the library does: again when it may help, under the next name when this one holds other bytes."""
    digest = Digest(blake3(content).hexdigest())
    for path in candidates(first, "rename", digest):
        try:
            _again(lambda: put_verified(backend, source, path, digest, len(content)))  # noqa: B023  called at once
        except (Conflict, Permanent) as error:
            if error.code not in {"name_taken", "store_corrupts"}:
                raise
            continue
        return path
    raise AssertionError("every name is taken")


def _again(work: Callable[[], T]) -> T:
    """Do it until it works, as the queue does; whoever dies is followed by another."""
    for _ in range(_MOST):
        try:
            return work()
        except (Retryable, NotFound, Died):
            continue
    raise AssertionError(f"fails {_MOST} times")


def _file(folder: str, content: bytes) -> str:
    path = Path(folder) / f"source-{len(os.listdir(folder))}"
    path.write_bytes(content)
    return str(path)


def _read(backend: Backend, path: RepoPath) -> bytes:
    with backend.open(path) as file:
        return file.read()
