"""The files and folders that random changes have made so far, by their paths below the root."""

from dataclasses import dataclass, field
from functools import lru_cache

from bench.watching.contents import Content
from lumiliod.domain.ignore import IgnoreRule

_RULE = IgnoreRule()


@dataclass(eq=False, slots=True)
class Node:
    """A file: what it holds, None where it is a symbolic link or not written to its end; and how many names it has."""

    content: Content | None
    is_link: bool = False
    names: int = 1


@dataclass
class Tree:
    """What should be there; the root is the empty path."""

    files: dict[bytes, Node] = field(default_factory=dict[bytes, Node])
    folders: set[bytes] = field(default_factory=lambda: {b""})

    def is_free(self, path: bytes) -> bool:
        """Tell whether nothing has this name."""
        return path not in self.files and path not in self.folders

    def below(self, folder: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return the files and the folders below one, itself included."""
        inside = folder + b"/"
        files = [path for path in self.files if path.startswith(inside)]
        return files, [path for path in self.folders if path == folder or path.startswith(inside)]

    def drop(self, path: bytes) -> None:
        """Forget a name."""
        self.files.pop(path).names -= 1

    def rename(self, path: bytes, to: bytes) -> None:
        """Give a file another name; what had it is forgotten."""
        node = self.files[path]
        if to in self.files:
            if self.files[to] is node:
                # two names of one file: rename(2) does nothing
                return
            self.drop(to)
        self.files[to] = self.files.pop(path)

    def rename_folder(self, folder: bytes, to: bytes) -> None:
        """Give a folder another name."""
        files, folders = self.below(folder)
        for path in files:
            self.files[to + path[len(folder) :]] = self.files.pop(path)
        for path in folders:
            self.folders.discard(path)
        self.folders |= {to + path[len(folder) :] for path in folders}

    def digests(self) -> set[str]:
        """Return the digests of the pictures that a walk meets."""
        return {
            node.content.digest
            for path, node in self.files.items()
            if node.content is not None and node.content.is_picture and is_met(path)
        }


@lru_cache(maxsize=100_000)
def is_met(path: bytes) -> bool:
    """Tell whether no name of a path is left out."""
    return not _RULE.left_out(path.split(b"/"))
