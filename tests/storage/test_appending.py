"""Blocks at the end of a file, past the cache where the disk allows it: every byte is where it belongs."""

import errno
import fcntl
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lumiliod.storage import appending
from lumiliod.storage.appending import ALIGNED_BYTES, Appender, block

BLOCK = 64 << 10


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "DIRECT_FROM_BYTES", 2 * BLOCK)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def is_direct(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


def goes_direct_here(fd: int) -> bool:
    """Whether the file system of these tests is one that takes blocks past its cache."""
    return appending._file_system(fd) in appending._DIRECT_ON


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many bytes each write past the cache was asked to take."""
    asked: list[int] = []
    write = os.write

    def watched(fd: int, data: bytes) -> int:
        if is_direct(fd):
            asked.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    return asked


def append(appender: Appender, sizes: list[int]) -> bytes:
    """Write random blocks of these sizes; return all bytes."""
    sent = bytearray()
    with memoryview(block(BLOCK)) as memory:
        for number, size in enumerate(sizes):
            memory[:size] = random.Random(number).randbytes(size)
            appender.write(memory[:size])
            sent += memory[:size]
    return bytes(sent)


@pytest.mark.parametrize(
    "sizes",
    [[], [1], [BLOCK], [BLOCK] * 5, [BLOCK] * 4 + [BLOCK // 2], [BLOCK] * 4 + [77], [BLOCK] * 4 + [BLOCK - 1],
     [5] + [BLOCK] * 5, [BLOCK] * 3 + [5] + [BLOCK] * 3],
)  # fmt: skip
def test_every_byte_is_where_it_belongs(fd: int, sizes: list[int]) -> None:
    sent = append(Appender(fd), sizes)
    assert os.pread(fd, len(sent) + 1, 0) == sent


def test_long_files_go_past_the_cache_and_their_tail_does_not(fd: int, direct: list[int]) -> None:
    sent = append(Appender(fd), [BLOCK] * 4 + [BLOCK - 77])
    assert direct == ([BLOCK, BLOCK, BLOCK - ALIGNED_BYTES] if goes_direct_here(fd) else [])
    assert os.pread(fd, len(sent), 0) == sent
    assert not is_direct(fd)


@pytest.mark.parametrize("begins_at", [0, 5, ALIGNED_BYTES, 3 * BLOCK, 3 * BLOCK + 5])
def test_going_on_where_another_request_ended(fd: int, begins_at: int, direct: list[int]) -> None:
    before = os.urandom(begins_at)
    os.write(fd, before)
    lead = BLOCK - appending.lead_bytes(begins_at)
    sent = append(Appender(fd, begins_at), [lead, BLOCK, BLOCK, BLOCK, 9])
    assert os.pread(fd, begins_at + len(sent) + 1, 0) == before + sent
    assert bool(direct) == goes_direct_here(fd)


def test_bytes_that_lie_anywhere_arrive_too(fd: int) -> None:
    appender = Appender(fd)
    sent = b""
    for number in range(5):
        piece = random.Random(number).randbytes(BLOCK)
        appender.write(piece)
        sent += piece
    assert os.pread(fd, len(sent) + 1, 0) == sent


@pytest.mark.parametrize("taken", [0, ALIGNED_BYTES, 100])
def test_a_disk_that_wants_something_else(fd: int, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """It takes some of the first block that goes straight to it, and then says that this is not how to write there."""
    write = os.write
    asked = 0

    def choosy(fd: int, data: memoryview) -> int:
        nonlocal asked
        if not is_direct(fd):
            return write(fd, data)
        asked += 1
        if asked == 1 and taken:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)
            count = write(fd, data[:taken])
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
            return count
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with monkeypatch.context() as context:
        context.setattr(os, "write", choosy)
        sent = append(Appender(fd), [BLOCK] * 6)
    assert os.pread(fd, len(sent) + 1, 0) == sent
    assert asked == (0 if not goes_direct_here(fd) else 2 if taken else 1)


def test_a_disk_that_fails_is_heard(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(fd: int, data: memoryview) -> int:
        if os.fstat(fd).st_size >= 3 * BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append(Appender(fd), [BLOCK] * 6)
    assert os.fstat(fd).st_size == 3 * BLOCK
    assert not is_direct(fd)


def test_a_file_system_that_is_not_known_for_it(fd: int, monkeypatch: pytest.MonkeyPatch, direct: list[int]) -> None:
    monkeypatch.setattr(appending, "_DIRECT_ON", frozenset())
    sent = append(Appender(fd), [BLOCK] * 6)
    assert direct == []
    assert os.pread(fd, len(sent) + 1, 0) == sent
