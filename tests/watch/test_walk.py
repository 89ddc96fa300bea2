"""Walking: every file once, in order, in pages; what is left out and what could not be read are told apart."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from lumiliod.db.scans import BEYOND, Met
from lumiliod.domain.ids import RepoPath
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.storage import repository
from lumiliod.storage.repository import Repository
from lumiliod.watch.walk import Walk


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "repo"
    root.mkdir()
    return repository.create(str(root), "walked")


@dataclass(frozen=True)
class Found:
    """A file that a walk met."""

    path: str
    state: tuple[int, ...]
    """Bytes, mtime in ns, inode, ctime in ns."""
    reason: str | None


def files_of(pages: list[Met]) -> list[Found]:
    return [
        Found(os.fsdecode(path), state, page.left_out.get(path))
        for page in pages
        for path, *state_ in zip(page.paths, *page.columns, strict=True)
        for state in [tuple(state_)]
    ]


def walked(repo: Repository, page: int = 1000, below: str = "", *, deep: bool = True) -> tuple[list[Found], Walk]:
    walk = Walk(repo, IgnoreRule(["skip*"]), below=RepoPath(below), is_deep=deep)
    pages: list[Met] = []
    while got := walk.next_page(page):
        assert len(got.paths) <= page
        pages.append(got)
    prefix = os.fsencode(below) + b"/" if below else b""
    # the stretches cover all there is, without a gap
    assert [one.stretch.after for one in pages] == [prefix, *(one.stretch.until for one in pages[:-1])]
    assert pages[-1].stretch.until == prefix + BEYOND
    found = files_of(pages)
    paths = [os.fsencode(file.path) for file in found]
    assert paths == sorted(paths)
    assert {path for one in pages for path in one.left_out} <= set(paths)
    return found, walk


def make(repo: Repository, *names: str) -> None:
    for name in names:
        path = Path(repo.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_every_file_once_whatever_the_page(repo: Repository, page: int) -> None:
    names = [f"{folder}/{number}.jpg" for folder in ("a", "a/b", "c", "d/e/f") for number in range(7)]
    make(repo, *names, "top.jpg")
    found, walk = walked(repo, page)
    assert sorted(file.path for file in found) == sorted([*names, "top.jpg"])
    assert (walk.unread, walk.too_long) == ({}, 0)


def test_what_is_left_out(repo: Repository) -> None:
    make(repo, "keep.jpg", "skip.jpg", ".hidden.jpg", "Thumbs.db", "skipped/x.jpg", ".git/y.jpg", "sub/keep.jpg")
    os.symlink("/etc/passwd", Path(repo.root, "link.jpg"))
    os.symlink("/", Path(repo.root, "folder-link"))
    os.mkfifo(Path(repo.root, "pipe.jpg"))
    found, _ = walked(repo)
    pending = {file.path for file in found if file.reason is None}
    assert pending == {"keep.jpg", "sub/keep.jpg"}
    ignored = {file.path for file in found} - pending
    assert ignored == {"skip.jpg", ".hidden.jpg", "Thumbs.db", "link.jpg", "folder-link", "pipe.jpg"}


def test_our_own_names_are_not_files(repo: Repository) -> None:
    make(repo, ".lumilio/assets/thumbnails/150/aa/x.jpg")
    assert walked(repo)[0] == []


def test_nothing_in_the_inbox_is_left_out_by_name(repo: Repository) -> None:
    make(repo, "inbox/2024/01/Thumbs.db", "inbox/2024/01/a.tmp")
    assert {file.reason for file in walked(repo)[0]} == {None}


def test_another_repository_below_is_not_entered(repo: Repository) -> None:
    make(repo, "other/.lumiliorepo", "other/a.jpg", "b.jpg")
    assert [file.path for file in walked(repo)[0]] == ["b.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_named(repo: Repository) -> None:
    make(repo, "closed/a.jpg", "b.jpg")
    Path(repo.root, "closed").chmod(0)
    found, walk = walked(repo)
    Path(repo.root, "closed").chmod(0o755)
    assert [file.path for file in found] == ["b.jpg"]
    assert list(walk.unread) == ["closed"]


def test_too_long_paths_are_counted_not_fatal(repo: Repository) -> None:
    folder = Path(repo.root)
    for _ in range(9):
        folder = folder / ("d" * 250)
    folder.mkdir(parents=True)
    (folder / "deep.jpg").write_bytes(b"x")
    make(repo, "b.jpg")
    found, walk = walked(repo)
    assert [file.path for file in found] == ["b.jpg"]
    assert (walk.unread, walk.too_long) == ({}, 1)


def test_any_name_comes_through(repo: Repository) -> None:
    names = [b"new\nline.jpg", b"\xff\xfe.jpg", b" lead", b"-rf", b"@x", "日本".encode(), "📷".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(repo.root), name))).write_bytes(b"x")
    assert sorted(os.fsencode(file.path) for file in walked(repo)[0]) == sorted(names)


def test_a_root_that_is_gone_is_unread(repo: Repository) -> None:
    os.rename(repo.root, repo.root + ".away")
    found, walk = walked(repo)
    assert found == []
    assert list(walk.unread) == [""]


def test_the_daemons_own_folder_is_not_entered(repo: Repository) -> None:
    make(repo, "state/postgres/data/x", "b.jpg")
    walk = Walk(repo, IgnoreRule(), str(Path(repo.root, "state")))
    page = walk.next_page(10)
    assert page is not None
    assert list(page.paths) == [b"b.jpg"]
