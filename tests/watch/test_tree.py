"""Watches stay with the folders they were placed for, whatever these are called in the end."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.watching.acts import exchanged
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.watch.changes import Changes
from lumiliod.watch.tree import Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("a/b/c", "d/e", "f"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def watches(root: Path) -> Iterator[Tree]:
    tree = Tree(str(root), IgnoreRule())
    tree.open()
    yield tree
    tree.close()


def is_told_everywhere(root: Path, watches: Tree) -> bool:
    """Make a file in every folder, one after the other; tell whether exactly that folder is to be looked at."""
    assert not watches.take()
    for path, _, _ in os.walk(root):
        prefix = os.path.relpath(path, root).removeprefix(".")
        (Path(path) / "new.jpg").touch()
        told = watches.take()
        if told != Changes(flat={os.fsencode(prefix + "/" * bool(prefix))}):
            return False
    return len(watches) == len(list(os.walk(root)))


def test_all_are_watched(root: Path, watches: Tree) -> None:
    assert is_told_everywhere(root, watches)


def test_two_that_change_places_at_once(root: Path, watches: Tree) -> None:
    exchanged(os.fsencode(root / "a"), os.fsencode(root / "d"))
    assert watches.take().deep == {b"a/", b"d/"}
    assert is_told_everywhere(root, watches)


def test_two_that_change_places_and_again(root: Path, watches: Tree) -> None:
    exchanged(os.fsencode(root / "a/b"), os.fsencode(root / "d"))
    exchanged(os.fsencode(root / "a"), os.fsencode(root / "d"))
    watches.take()
    assert is_told_everywhere(root, watches)


def test_two_that_change_places_one_name_at_a_time(root: Path, watches: Tree) -> None:
    for one, other in (("a", "x"), ("d", "a"), ("x", "d")):
        (root / one).rename(root / other)
    watches.take()
    assert is_told_everywhere(root, watches)


def test_one_that_takes_the_place_of_an_empty_one(root: Path, watches: Tree) -> None:
    (root / "a").rename(root / "f")
    watches.take()
    assert is_told_everywhere(root, watches)


def test_one_that_takes_the_place_of_one_that_was_removed(root: Path, watches: Tree) -> None:
    shutil.rmtree(root / "d")
    (root / "a").rename(root / "d")
    (root / "d/b").rename(root / "a")
    watches.take()
    assert is_told_everywhere(root, watches)


def test_one_that_is_made_where_another_was(root: Path, watches: Tree) -> None:
    (root / "a").rename(root / "g")
    (root / "a/n").mkdir(parents=True)
    (root / "g/b").rename(root / "a/b")
    watches.take()
    assert is_told_everywhere(root, watches)
