"""One folder as a walk reads it: files in columns and folders, in the order of their paths' bytes; blocking."""

import os
import stat
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from lumiliod.db import scans

_NAME = attrgetter("name")
_COLUMNS = [attrgetter(name) for name in ("st_mode", "st_size", "st_mtime_ns", "st_ino", "st_ctime_ns")]
"""One by one: a tuple for each file costs as much again as all of them."""

_KIND = 0o170000
"""The bits of a mode that say what it is."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class Files:
    """Files that follow each other, column by column."""

    names: list[bytes]
    modes: list[int]
    states: "Sequence[array[int]]"
    """Their bytes, mtimes in ns, inodes and ctimes in ns; as objects they would take five times as much memory."""
    are_plain: bool
    """Whether none of them is a link or a special file."""


@dataclass(slots=True)
class Folder:
    """What a folder holds: runs of files, and between them the names of folders."""

    identity: tuple[int, int]
    """Device and inode."""
    parts: list[Files | bytes] = field(default_factory=list["Files | bytes"])
    names: list[bytes] = field(default_factory=list[bytes])
    unread: tuple[bytes, OSError] | None = None
    """The last name that could not be looked at, if any, and why."""


def read(path: bytes, *, follow: bool = False) -> Folder:
    """Read the folder at ``path``; names that vanish meanwhile are left out.

    Args:
        path: absolute.
        follow: whether ``path`` may be a symbolic link.

    Raises:
        OSError: it cannot be read to its end, or is no folder.
    """
    descriptor = os.open(path, _OPEN if follow else _OPEN | os.O_NOFOLLOW)
    try:
        there = os.fstat(descriptor)
        with os.scandir(descriptor) as listing:
            entries = list(listing)
        entries.sort(key=_NAME)
        folder = Folder((there.st_dev, there.st_ino))
        names, states = _looked_at(entries, folder)
    finally:
        os.close(descriptor)
    if names:
        joined = "\0".join(names)
        folder.names = joined.encode("utf-8", "surrogateescape").split(b"\0")
        modes, *columns = [list(map(column, states)) for column in _COLUMNS]
        _arrange(folder, modes, scans.as_columns(columns), are_sorted=joined.isascii())
    return folder


def _looked_at(entries: list["os.DirEntry[str]"], folder: Folder) -> tuple[list[str], list[os.stat_result]]:
    try:
        states = [entry.stat(follow_symlinks=False) for entry in entries]
    except OSError:
        pass
    else:
        return list(map(_NAME, entries)), states
    names, found = list[str](), list[os.stat_result]()
    for entry in entries:
        try:
            found.append(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            continue
        except OSError as error:
            folder.unread = os.fsencode(entry.name), error
            continue
        names.append(entry.name)
    return names, found


def _arrange(folder: Folder, modes: list[int], states: "Sequence[array[int]]", *, are_sorted: bool) -> None:
    """Cut the files where folders lie between them; the order of texts is that of their bytes only in ASCII."""
    kinds = {mode & _KIND for mode in set(modes)}
    are_plain = kinds <= {stat.S_IFREG, stat.S_IFDIR}
    if stat.S_IFDIR not in kinds and are_sorted:
        folder.parts.append(Files(folder.names, modes, states, are_plain))
        return
    names = folder.names
    keys = [name + b"/" if stat.S_ISDIR(mode) else name for name, mode in zip(names, modes, strict=True)]
    run: list[int] = []
    for at in sorted(range(len(names)), key=keys.__getitem__):
        if not stat.S_ISDIR(modes[at]):
            run.append(at)
            continue
        if run:
            folder.parts.append(_picked(run, names, modes, states, are_plain))
            run = []
        folder.parts.append(names[at])
    if run:
        folder.parts.append(_picked(run, names, modes, states, are_plain))


def _picked(
    run: list[int], names: list[bytes], modes: list[int], states: "Sequence[array[int]]", are_plain: bool
) -> Files:
    columns = [array("q", [column[at] for at in run]) for column in states]
    return Files([names[at] for at in run], [modes[at] for at in run], columns, are_plain)
