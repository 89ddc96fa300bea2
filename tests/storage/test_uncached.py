"""Bytes that other bytes are let go for are read from the disk itself, not from memory (by fincore(1): mincore(2))."""

import errno
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.pipeline import known_original
from lumiliod.runtime import Repositories
from lumiliod.storage import digesting, relayout, repository, verified
from lumiliod.storage.local import LocalBackend
from tests import meanwhile

CONTENT = random.Random(1).randbytes(3 << 20)
DIGEST = Digest(blake3(CONTENT).hexdigest())
PATH = RepoPath("inbox/a.jpg")


def resident(path: Path) -> int:
    told = subprocess.run(["fincore", "-n", "-b", "-o", "RES", path], capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("no fincore here")
    return int(told.stdout)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    repository.create(str(place), "home")
    (place / "staged").write_bytes(CONTENT)
    (place / PATH).write_bytes(CONTENT)
    fd = os.open(place / PATH, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(place / PATH):
        pytest.skip("this file system is nothing but cache")
    os.close(fd)
    (place / PATH).read_bytes()
    return place


def known(root: Path) -> Path:
    opened = Repositories().open(repository.open_repository(str(root)))
    assert known_original._read_at(opened, str(root / PATH))[0] == DIGEST
    return root / PATH


def relaid(root: Path) -> Path:
    assert relayout._holds(repository.open_repository(str(root)), PATH, DIGEST)
    return root / PATH


def mirrored(root: Path) -> Path:
    place = root.parent / "mirror"
    place.mkdir()
    verified.put_verified(LocalBackend(str(place), hard_links=False), str(root / "staged"), PATH, DIGEST, len(CONTENT))
    return place / PATH


def copied(root: Path) -> Path:
    """Where links cannot be made."""

    def refuse(_args: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with meanwhile.before("os.link", refuse):
        assert LocalBackend(str(root)).put_new(str(root / "staged"), RepoPath("inbox/b.jpg"))
    return root / "inbox/b.jpg"


@pytest.mark.parametrize("read", [known, relaid, mirrored, copied])
def test_nothing_is_believed_from_memory(root: Path, read: Callable[[Path], Path]) -> None:
    assert resident(read(root)) == 0


def test_other_readers_keep_what_stands_in_memory(root: Path) -> None:
    assert digesting.digest_file(str(root / PATH))[0] == DIGEST
    assert resident(root / PATH) >= len(CONTENT)
