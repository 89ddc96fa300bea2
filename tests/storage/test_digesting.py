"""Reading files for their digests: what is read, what is refused, and that both are of one state of the file."""

import os
import threading
from pathlib import Path

import pytest
import trio
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import NotFound, Permanent, Retryable, Shape
from lumiliod.storage.digesting import digest_file


def test_digest_file(tmp_path: Path) -> None:
    for size in (0, 1, 1 << 20, (1 << 20) + 1, 3_000_000):
        path = tmp_path / os.fsdecode(b"a\xff\nb")
        path.write_bytes(bytes(size))
        digest, found = digest_file(str(path))
        assert digest == blake3(bytes(size)).hexdigest()
        assert found == FileStat(size, path.stat().st_mtime_ns, path.stat().st_ino)
        assert digest_file(str(path), root=str(tmp_path)) == (digest, found)


def test_digest_file_refuses_what_it_must_not_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    os.mkfifo(root / "pipe")
    for name in ("file", "pipe", "folder"):
        with pytest.raises(Permanent) as caught:
            digest_file(str(root / name))
        assert caught.value.code == "unreadable"
    for name in ("file", "pipe", "folder", "folder/secret", "../outside/secret"):
        with pytest.raises((Permanent, Shape)):
            digest_file(str(root / name), root=str(root))
    with pytest.raises(NotFound) as missing:
        digest_file(str(root / "none"))
    assert missing.value.code == "file_missing"
    with pytest.raises(Permanent):
        digest_file("/dev/zero")


async def test_digest_file_stops_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    started = trio.current_time()
    with trio.move_on_after(0.2) as scope:
        await trio.to_thread.run_sync(digest_file, str(path))
    assert scope.cancelled_caught
    assert trio.current_time() - started < 5
    assert not any(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in os.listdir("/proc/self/fd"))


def test_digest_file_says_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(bytes(64 << 20))
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"x")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(Retryable) as caught:
            digest_file(str(path))
    finally:
        stop.set()
        thread.join()
    assert (caught.value.code, caught.value.after_s) == ("unstable", 2)
