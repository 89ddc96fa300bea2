"""Random changes of a disk, one at a time."""

import ctypes
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.watching.contents import Content, Contents
from bench.watching.tree import Node, Tree

FOLDERS_MAX = 60
TREE_MAX = 40
"""Files in a tree that is moved or removed."""
_PATH_MAX_BYTES = 900

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _EXCHANGE = -100, 2


@dataclass(slots=True)
class _Writing:
    """A file that is not written to its end."""

    file: int
    node: Node
    content: Content
    done: int


class Acts:
    """Changes of what lies below ``root``, by lot.

    Args:
        wanted: how many files there are to be, about.
        moves_only: whether files and folders are only given other names and places.
    """

    def __init__(self, root: Path, rng: random.Random, wanted: int, *, moves_only: bool = False) -> None:
        self.root = os.fsencode(root)
        self.tree = Tree()
        self.counts: Counter[str] = Counter()
        self.told: list[str] = []
        """The last changes, for people."""
        self.vanished = 0
        """Names that files had and have no longer."""
        self.lost: set[str] = set()
        """Digests that lay nowhere for a moment."""
        self.writes_to_linked = False
        """Whether files are written in place that have several names: inotify tells only the folder of one."""
        self._rng = rng
        self._wanted = wanted
        self._contents = Contents(rng)
        self._digests: set[str] = set()
        self._writing: list[_Writing] = []
        self._acts: list[tuple[Callable[[], str | None], float]] = [
            (self._create, 6), (self._begin, 2), (self._go_on, 2), (self._write, 4), (self._replace, 4),
            (self._copy, 2), (self._rename, 5), (self._move_over, 2), (self._exchange, 2), (self._rotate, 1),
            (self._exchange_folders, 0.7), (self._rename_folder, 1.5), (self._delete, 5), (self._delete_tree, 0.4),
            (self._chmod, 3), (self._chmod_folder, 1), (self._touch, 2), (self._link, 1.5), (self._symlink, 1),
            (self._make_folders, 1.5),
        ]  # fmt: skip
        if moves_only:
            moves = {self._rename, self._exchange, self._rotate, self._exchange_folders, self._rename_folder}
            self._acts = [(act, weight) for act, weight in self._acts if act in moves]

    def fill(self) -> None:
        """Make as many files as are wanted."""
        while len(self.tree.files) < self._wanted:
            if self._rng.random() < 0.1:
                self._make_folders()
            self._create()
        self._note_lost()

    def act(self) -> None:
        """Do one thing."""
        acts, weights = zip(*self._acts, strict=True)
        while True:
            act = self._rng.choices(acts, weights)[0]
            count = len(self.tree.files)
            is_low, is_high = count < self._wanted * 0.9, count > self._wanted * 1.1
            takes = act in (self._delete, self._delete_tree, self._move_over)
            if (is_low and takes) or (is_high and act == self._create):
                continue
            if (what := act()) is not None:
                break
        self.counts[act.__name__.lstrip("_")] += 1
        self.told.append(what)
        del self.told[:-500]
        self._note_lost()

    def finish(self) -> None:
        """Write all files to their end."""
        while self._writing:
            self._end(self._writing.pop())
        self._note_lost()

    def touch_all(self, count: int) -> None:
        """Have so many events happen that change nothing: two files' modes in turn, as equal ones become one."""
        paths = [self._at(path) for path, node in self.tree.files.items() if not node.is_link][:2]
        for number in range(count):
            os.chmod(paths[number % 2], 0o640 + number // 2 % 2 * 4)

    # files

    def _create(self) -> str | None:
        path, content = self._new_file(), self._contents.any()
        if path is None:
            return None
        _write(self._at(path), content.data)
        self.tree.files[path] = Node(content)
        return f"create {path!r} {content.digest[:8]}"

    def _begin(self) -> str | None:
        path, content = self._new_file(), self._contents.any()
        if path is None or not content.data:
            return None
        file = os.open(self._at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        half = len(content.data) // 2
        os.write(file, content.data[:half])
        node = self.tree.files[path] = Node(None)
        self._writing.append(_Writing(file, node, content, half))
        return f"begin {path!r} {content.digest[:8]}"

    def _go_on(self) -> str | None:
        if not self._writing:
            return None
        one = self._writing.pop(self._rng.randrange(len(self._writing)))
        self._end(one)
        return f"end {one.content.digest[:8]}"

    def _write(self) -> str | None:
        path, node = self._old_file()
        if node.is_link or node.content is None or (node.names > 1 and not self.writes_to_linked):
            return None
        content = self._contents.any()
        _write(self._at(path), content.data)
        node.content = content
        return f"write {path!r} {content.digest[:8]}"

    def _replace(self) -> str | None:
        path, node = self._old_file()
        if node.is_link:
            return None
        content = self._contents.any()
        aside = path + self._rng.choice((b".tmp", b".new", b"~"))
        if not self.tree.is_free(aside):
            return None
        _write(self._at(aside), content.data)
        os.rename(self._at(aside), self._at(path))
        self.tree.drop(path)
        self.tree.files[path] = Node(content)
        return f"replace {path!r} by {aside!r} {content.digest[:8]}"

    def _copy(self) -> str | None:
        path, node = self._old_file()
        to = self._new_file()
        if node.content is None or to is None:
            return None
        _write(self._at(to), node.content.data)
        self.tree.files[to] = Node(node.content)
        return f"copy {path!r} to {to!r}"

    def _rename(self) -> str | None:
        path, _ = self._old_file()
        to = self._new_file()
        if to is None:
            return None
        os.rename(self._at(path), self._at(to))
        self.tree.rename(path, to)
        self.vanished += 1
        return f"rename {path!r} to {to!r}"

    def _move_over(self) -> str | None:
        path, node = self._old_file()
        to, other = self._old_file()
        if node is other:
            return None
        os.rename(self._at(path), self._at(to))
        self.tree.rename(path, to)
        self.vanished += 1
        return f"move {path!r} over {to!r}"

    def _exchange(self) -> str | None:
        one, other = self._old_file()[0], self._old_file()[0]
        if one == other:
            return None
        exchanged(self._at(one), self._at(other))
        files = self.tree.files
        files[one], files[other] = files[other], files[one]
        return f"exchange {one!r} and {other!r}"

    def _rotate(self) -> str | None:
        one, other = self._old_file()[0], self._old_file()[0]
        aside = one + b".aside"
        if one == other or not self.tree.is_free(aside):
            return None
        for path, to in ((one, aside), (other, one), (aside, other)):
            os.rename(self._at(path), self._at(to))
        files = self.tree.files
        files[one], files[other] = files[other], files[one]
        return f"rotate {one!r} and {other!r}"

    def _delete(self) -> str | None:
        path, _ = self._old_file()
        os.unlink(self._at(path))
        self.tree.drop(path)
        self.vanished += 1
        return f"delete {path!r}"

    def _chmod(self) -> str | None:
        path, node = self._old_file()
        if node.is_link:
            return None
        # whom a mode keeps out is not asked to read the file: only root is not kept out
        mode = self._rng.choice((0o000, 0o644, 0o600) if os.geteuid() == 0 else (0o644, 0o600))
        os.chmod(self._at(path), mode)
        return f"chmod {path!r} {mode:o}"

    def _touch(self) -> str | None:
        path, node = self._old_file()
        if node.is_link or (node.names > 1 and not self.writes_to_linked):
            return None
        at_ns = self._rng.randrange(10**17, 10**18)
        os.utime(self._at(path), ns=(at_ns, at_ns))
        return f"touch {path!r}"

    def _link(self) -> str | None:
        path, node = self._old_file()
        to = self._new_file()
        if node.is_link or node.content is None or to is None:
            return None
        os.link(self._at(path), self._at(to))
        self.tree.files[to] = node
        node.names += 1
        return f"link {path!r} as {to!r}"

    def _symlink(self) -> str | None:
        to = self._new_file()
        if to is None:
            return None
        there = self._rng.choice((*self.tree.files, *self.tree.folders, b"nowhere"))
        os.symlink(self._at(there), self._at(to))
        self.tree.files[to] = Node(None, is_link=True)
        return f"symlink {to!r} to {there!r}"

    # folders

    def _make_folders(self) -> str | None:
        if len(self.tree.folders) >= FOLDERS_MAX:
            return None
        folder = self._old_folder()
        for _ in range(self._rng.randint(1, 4)):
            folder = _joined(folder, self._contents.folder_name())
            if not self.tree.is_free(folder) or len(folder) > _PATH_MAX_BYTES:
                return None
            os.mkdir(self._at(folder))
            self.tree.folders.add(folder)
            content, path = self._contents.any(), _joined(folder, self._contents.file_name())
            if self._rng.random() < 0.5 and self.tree.is_free(path):
                _write(self._at(path), content.data)
                self.tree.files[path] = Node(content)
        return f"mkdir -p {folder!r}"

    def _rename_folder(self) -> str | None:
        folder, to = self._old_folder(), _joined(self._old_folder(), self._contents.folder_name())
        files, folders = self.tree.below(folder)
        longest = max((len(path) for path in files + folders), default=0)
        too_long = longest + len(to) > _PATH_MAX_BYTES
        if not folder or too_long or len(files) > TREE_MAX or (to + b"/").startswith(folder + b"/"):
            return None
        if not self.tree.is_free(to):
            # over an empty folder a folder may be moved
            if to not in self.tree.folders or len(self.tree.below(to)[1]) > 1 or self.tree.below(to)[0]:
                return None
            self.tree.folders.discard(to)
        os.rename(self._at(folder), self._at(to))
        self.tree.rename_folder(folder, to)
        self.vanished += len(files)
        return f"rename folder {folder!r} to {to!r}"

    def _exchange_folders(self) -> str | None:
        one, other = self._old_folder(), self._old_folder()
        if not one or not other or (one + b"/").startswith(other + b"/") or (other + b"/").startswith(one + b"/"):
            return None
        sizes = [len(self.tree.below(folder)[0]) for folder in (one, other)]
        longest = max(len(path) for folder in (one, other) for path in self.tree.below(folder)[1])
        if sum(sizes) > TREE_MAX or longest + max(len(one), len(other)) > _PATH_MAX_BYTES:
            return None
        exchanged(self._at(one), self._at(other))
        aside = b"\0"
        self.tree.rename_folder(one, aside)
        self.tree.rename_folder(other, one)
        self.tree.rename_folder(aside, other)
        self.vanished += sum(sizes)
        return f"exchange folders {one!r} and {other!r}"

    def _delete_tree(self) -> str | None:
        folder = self._old_folder()
        files, folders = self.tree.below(folder)
        if not folder or len(files) > TREE_MAX:
            return None
        for path in files:
            os.unlink(self._at(path))
            self.tree.drop(path)
        for path in sorted(folders, reverse=True):
            os.rmdir(self._at(path))
            self.tree.folders.discard(path)
        self.vanished += len(files)
        return f"delete tree {folder!r}"

    def _chmod_folder(self) -> str | None:
        folder = self._old_folder()
        if not folder:
            return None
        mode = self._rng.choice((0o000, 0o755) if os.geteuid() == 0 else (0o755, 0o700))
        os.chmod(self._at(folder), mode)
        return f"chmod folder {folder!r} {mode:o}"

    # what they have in common

    def _at(self, path: bytes) -> bytes:
        return os.path.join(self.root, path)

    def _old_file(self) -> tuple[bytes, Node]:
        path = self._rng.choice(list(self.tree.files))
        return path, self.tree.files[path]

    def _old_folder(self) -> bytes:
        return self._rng.choice(sorted(self.tree.folders))

    def _new_file(self) -> bytes | None:
        path = _joined(self._old_folder(), self._contents.file_name())
        return path if self.tree.is_free(path) and len(path) < _PATH_MAX_BYTES else None

    def _end(self, one: _Writing) -> None:
        os.write(one.file, one.content.data[one.done :])
        os.close(one.file)
        one.node.content = one.content

    def _note_lost(self) -> None:
        now = self.tree.digests()
        self.lost |= self._digests - now
        self._digests = now


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def exchanged(one: bytes, other: bytes) -> None:
    """Let two names change places in one step (renameat2(2))."""
    if _LIBC.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
