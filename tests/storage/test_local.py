import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import RepoPath
from lumiliod.storage import durable
from lumiliod.storage.backend import Backend, Links
from lumiliod.storage.local import LocalBackend
from lumiliod.testing import backends
from tests import meanwhile


@pytest.mark.parametrize("check", backends.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("hard_links", [True, False])
def test_conformance(check: Callable[[Backend, str], None], hard_links: bool, tmp_path: Path) -> None:
    root, sources = tmp_path / "root", tmp_path / "sources"
    root.mkdir()
    sources.mkdir()
    check(LocalBackend(str(root), hard_links=hard_links), str(sources))


def test_links_where_it_can_and_copies_with_the_time_where_not(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    os.utime(source, ns=(1, 1_234_567_890))
    linking, copying = LocalBackend(str(tmp_path)), LocalBackend(str(tmp_path), hard_links=False)
    assert linking.put_new(str(source), RepoPath("linked"))
    assert copying.put_new(str(source), RepoPath("copied"))
    assert linking.stat(RepoPath("linked")).inode == source.stat().st_ino
    copied = linking.stat(RepoPath("copied"))
    assert copied.inode != source.stat().st_ino
    assert copied.mtime_ns == 1_234_567_890
    assert os.listdir(tmp_path / ".lumilio/temp") == []


def test_copies_from_another_device(small_disk: Path, tmp_path: Path) -> None:
    source = small_disk / "source"
    source.write_bytes(b"bytes")
    backend = LocalBackend(str(tmp_path))
    assert backend.put_new(str(source), RepoPath("inbox/a")) is True
    assert backend.put_new(str(source), RepoPath("inbox/a")) is False


def test_a_full_disk_is_refused_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(8 << 20))
    backend = LocalBackend(str(small_disk))
    with pytest.raises(Unavailable) as caught:
        backend.put_new(str(source), RepoPath("inbox/a"))
    assert caught.value.code == "no_space"
    assert os.listdir(small_disk / "inbox") == os.listdir(small_disk / ".lumilio/temp") == []


def test_never_follows_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    source = tmp_path / "source"
    source.write_bytes(b"secret")
    backend = LocalBackend(str(root))
    for path in map(RepoPath, ("folder/secret", "file")):
        with pytest.raises(Permanent):
            backend.open(path)
        with pytest.raises(Permanent):
            backend.stat(path)
    with pytest.raises(Permanent):
        backend.put_new(str(source), RepoPath("folder/new"))
    with pytest.raises(Conflict):
        backend.put_new(str(source), RepoPath("file"))
    with pytest.raises(LumilioError):
        backend.remove(RepoPath("folder/secret"))
    assert os.listdir(outside) == ["secret"]
    assert backend.list(None, 10) == []
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(LumilioError):
        backend.put_new(str(tmp_path / "link"), RepoPath("b"))


def test_refuses_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        backend = LocalBackend(str(tmp_path))
        for name in map(RepoPath, ("pipe", "folder", "socket")):
            with pytest.raises(Permanent) as caught:
                backend.open(name)
            assert caught.value.code == "unreadable"
            with pytest.raises(Permanent):
                backend.stat(name)
    assert backend.list(None, 10) == []


def test_a_file_in_place_of_a_folder_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_bytes(b"")
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    with pytest.raises(Conflict) as caught:
        LocalBackend(str(tmp_path)).put_new(str(source), RepoPath("inbox/a"))
    assert caught.value.code == "folder_taken"
    with pytest.raises(NotFound):
        LocalBackend(str(tmp_path)).stat(RepoPath("inbox/a"))


def test_a_name_too_long_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    with pytest.raises(LumilioError) as caught:
        LocalBackend(str(tmp_path)).put_new(str(source), RepoPath("x" * 256))
    assert caught.value.code == "name_unstorable"


def test_link_gives_a_second_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    backend = LocalBackend(str(tmp_path))
    assert isinstance(backend, Links)
    assert backend.link(RepoPath("source"), RepoPath("trash/a"))
    assert not backend.link(RepoPath("source"), RepoPath("trash/a"))
    assert backend.stat(RepoPath("trash/a")).inode == source.stat().st_ino


def test_rename_new_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        durable.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    durable.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {"b": b"b", "c": b"a"}


def test_rename_new_without_renameat2(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_libc", object())
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        durable.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    durable.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    with pytest.raises(OSError, match="cross-device"):
        durable.rename_new(str(tmp_path / "c"), str(small_disk / "c"))
    assert os.listdir(small_disk) == []
    assert (tmp_path / "c").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("number", "writing", "told"),
    [
        (errno.ENOSPC, True, "Unavailable.no_space"),
        (errno.EDQUOT, True, "Unavailable.no_space"),
        (errno.ENOENT, False, "NotFound.file_missing"),
        (errno.EACCES, False, "Permanent.unreadable"),
        (errno.EACCES, True, "Unavailable.not_writable"),
        (errno.EROFS, True, "Unavailable.not_writable"),
        (errno.ENAMETOOLONG, True, "Shape.name_unstorable"),
        (errno.EIO, False, "Unavailable.io_error"),
    ],
)
def test_what_the_system_answers(number: int, writing: bool, told: str) -> None:
    error = durable.as_ours(OSError(number, os.strerror(number)), "store", "a\udcff", writing=writing)
    assert f"{type(error).__name__}.{error.code}" == told
    assert error.message == f"cannot store a\\xff: {os.strerror(number)}"


def test_write_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    durable.write_file(path, b"one")
    durable.write_file(path, b"two", mode=0o600)
    assert Path(path).read_bytes() == b"two"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(FileExistsError):
        durable.write_file(path, b"three", replace=False)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("event", "hard_links"), [("open", True), ("os.link", True), ("os.utime", False)])
def test_a_folder_that_goes_is_made_again(tmp_path: Path, event: str, hard_links: bool) -> None:
    """Between its making and its opening, before the link, and before the rename of a copy."""
    root, source = tmp_path / "root", tmp_path / "source"
    root.mkdir()
    source.write_bytes(b"bytes")
    backend = LocalBackend(str(root), hard_links=hard_links)
    with meanwhile.before(event, meanwhile.removing(root / "inbox" / "2024", 3)):
        assert backend.put_new(str(source), RepoPath("inbox/2024/a"))
    assert (root / "inbox" / "2024" / "a").read_bytes() == b"bytes"
    assert not hard_links or (root / "inbox" / "2024" / "a").samefile(source)


def test_a_folder_that_never_stays_is_told(tmp_path: Path) -> None:
    root, source = tmp_path / "root", tmp_path / "source"
    root.mkdir()
    source.write_bytes(b"bytes")
    backend = LocalBackend(str(root))
    with meanwhile.before("os.link", meanwhile.removing(root / "inbox", 1000)), pytest.raises(Unavailable) as caught:
        backend.put_new(str(source), RepoPath("inbox/a"))
    assert caught.value.code == "folder_unstable"
    root.rename(tmp_path / "away")
    with pytest.raises(NotFound):
        backend.put_new(str(source), RepoPath("inbox/a"))
    (tmp_path / "away").rename(root)
    with pytest.raises(NotFound):
        backend.put_new(str(tmp_path / "none"), RepoPath("inbox/a"))
