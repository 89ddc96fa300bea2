"""Walking a repository's folders in pages, in the order of their paths' bytes; blocking, for a thread."""

import errno
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from lumiliod.db import scans
from lumiliod.db.scans import BEYOND, PATH_MAX_BYTES, Met, Stretch
from lumiliod.domain.ids import RepoPath, path_bytes, path_from_bytes, shown
from lumiliod.domain.ignore import OURS, IgnoreRule
from lumiliod.storage import durable
from lumiliod.storage.repository import Repository
from lumiliod.watch import folder as folders
from lumiliod.watch.folder import Files

OUR_NAMES = frozenset(os.fsencode(name) for name in OURS)
"""What is ours in a root."""
MARKER = b".lumiliorepo"
_NAME_MAX_BYTES = 255

ROOT = RepoPath("")

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""No folder is there any more: it went, or something else has its name now."""


@dataclass(slots=True)
class _Level:
    """A folder under way: its path with a slash behind it, what it is, and the parts that are to come."""

    prefix: bytes
    identity: tuple[int, int]
    parts: Iterator[Files | bytes]
    left_out: dict[bytes, str]


@dataclass
class Walk:
    """A walk under way: call :meth:`next_page` until it returns None.

    Symbolic links and special files are ``ignored``; folders behind links are not entered, and other
    file systems mounted below the root are; another repository below it is not, nor a folder that is one of
    those it lies in. Inside the inbox nothing is left out by its name: what lies there is ours. ``unread`` maps folders
    that could not be read to why: nothing may be concluded from what was not met below them. ``too_long`` counts names
    beyond what the system or the catalogue can hold.
    """

    repository: Repository
    rule: IgnoreRule
    own_folder: str = ""
    """The daemon's state folder, which may lie below the root: it is not entered."""
    below: RepoPath = ROOT
    """The folder to walk; empty: all of the repository."""
    is_deep: bool = True
    """Whether the folders below are walked, too."""
    unread: dict[RepoPath, str] = field(default_factory=dict[RepoPath, str])
    too_long: int = 0
    _levels: list[_Level] = field(default_factory=list[_Level])
    _paths: list[bytes] = field(default_factory=list[bytes])
    _states: "list[array[int]]" = field(default_factory=lambda: [array("q") for _ in range(4)])
    _left_out: dict[bytes, str] = field(default_factory=dict[bytes, str])
    _own: tuple[int, int] | None = None
    _above: list[tuple[int, int] | None] = field(default_factory=list["tuple[int, int] | None"])
    _after: bytes | None = None
    """Where the next page begins; None before the first."""
    _is_over: bool = False

    @property
    def stretches(self) -> list[Stretch]:
        """All that is walked."""
        return [self.stretch]

    @property
    def stretch(self) -> Stretch:
        """All that is walked."""
        below = path_bytes(self.below) + b"/" if self.below else b""
        return Stretch(below, below + BEYOND, 0 if self.is_deep else len(below) + 1)

    @property
    def is_full(self) -> bool:
        """Whether that is everything."""
        return self.is_deep and not self.below

    def next_page(self, count: int) -> Met | None:
        """Return the next stretch of the walk with up to ``count`` files; the last reaches to its end. Blocks."""
        if self._is_over:
            return None
        if self._after is None:
            self._begin()
        while len(self._paths) <= count and self._levels:
            self._go_on()
        if len(self._paths) <= count:
            self._is_over = True
            count = len(self._paths)
        return self._cut(count)

    def _begin(self) -> None:
        self._after = prefix = path_bytes(self.below) + b"/" if self.below else b""
        if self.own_folder:
            self._own = _identity(os.fsencode(self.own_folder))
        if not self.below:
            self._enter(prefix)
            return
        # a folder is met by the walk of everything only where those it lies in are
        above, names = b"", path_bytes(self.below).split(b"/")
        for name in names:
            if self._is_closed(above, name):
                return
            self._above.append(_identity(self._absolute(above)))
            above += name + b"/"
        self._enter(prefix)

    def _is_closed(self, above: bytes, name: bytes) -> bool:
        """Tell whether a walk does not get from the folder ``above`` into ``name``, as what lies there is now."""
        if not above and name in OUR_NAMES:
            return True
        if above and (os.path.lexists(self._absolute(above) + MARKER) or self._is_own(above)):
            return True
        if not is_inbox(above) and self.rule.left_out([name]):
            return True
        try:
            return not stat.S_ISDIR(os.lstat(self._absolute(above) + name).st_mode)
        except OSError as error:
            if error.errno not in _GONE:
                self._cannot_read(above, f"{shown(os.fsdecode(name))}: {error.strerror}")
            return True

    def _is_own(self, prefix: bytes) -> bool:
        return self._own is not None and _identity(self._absolute(prefix)) == self._own

    def _go_on(self) -> None:
        """Take one part of the folder under way: some files, or a folder to enter."""
        level = self._levels[-1]
        part = next(level.parts, None)
        if part is None:
            self._levels.pop()
        elif isinstance(part, Files):
            self._take(level, part)
        elif self.is_deep and part not in level.left_out and (level.prefix or part not in OUR_NAMES):
            self._enter(level.prefix + part + b"/")

    def _enter(self, prefix: bytes) -> None:
        durable.check_cancelled()
        if len(prefix) > PATH_MAX_BYTES:
            self.too_long += 1
            return
        try:
            found = folders.read(self._absolute(prefix), follow=not prefix)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.too_long += 1
            elif not prefix and error.errno == errno.ENOENT:
                self._cannot_read(prefix, "the root is gone")
            elif not prefix or error.errno not in _GONE:
                self._cannot_read(prefix, error.strerror or str(error))
            return
        if prefix and (found.identity == self._own or MARKER in found.names):
            return
        if found.identity in self._above or any(found.identity == level.identity for level in self._levels):
            self._cannot_read(prefix, "is one of the folders it lies in")
            return
        if found.unread is not None:
            name, failed = found.unread
            self._cannot_read(prefix, f"{shown(os.fsdecode(name))}: {failed.strerror}")
        left_out = {} if is_inbox(prefix) else self.rule.left_out(found.names)
        self._levels.append(_Level(prefix, found.identity, iter(found.parts), left_out))

    def _take(self, level: _Level, files: Files) -> None:
        prefix, names = level.prefix, files.names
        paths = [prefix + name for name in names]
        if level.left_out or not files.are_plain:
            for path, name, mode in zip(paths, names, files.modes, strict=True):
                reason = level.left_out.get(name) or _special(mode)
                if reason is not None and path not in OUR_NAMES and len(path) <= PATH_MAX_BYTES:
                    self._left_out[path] = reason
        states = files.states
        if (not prefix and not OUR_NAMES.isdisjoint(names)) or len(prefix) + _NAME_MAX_BYTES > PATH_MAX_BYTES:
            fits = [len(path) <= PATH_MAX_BYTES for path in paths]
            kept = [at for at, path in enumerate(paths) if fits[at] and path not in OUR_NAMES]
            self.too_long += fits.count(False)
            paths = [paths[at] for at in kept]
            states = [array("q", [column[at] for at in kept]) for column in states]
        self._paths += paths
        for column, more in zip(self._states, states, strict=True):
            column += more

    def _cut(self, count: int) -> Met:
        """Return the first ``count`` of the files met so far as a page."""
        assert self._after is not None
        paths, states = self._paths[:count], [column[:count] for column in self._states]
        del self._paths[:count]
        for column in self._states:
            del column[:count]
        end = path_bytes(self.below) + b"/" + BEYOND if self.below else BEYOND
        until = end if self._is_over else paths[-1]
        name_at = 0 if self.is_deep else len(path_bytes(self.below)) + 2 if self.below else 1
        stretch, self._after = Stretch(self._after, until, name_at), until
        left_out = {path: reason for path, reason in self._left_out.items() if path <= until}
        for path in left_out:
            del self._left_out[path]
        return scans.met(stretch, paths, states, left_out)

    def _absolute(self, prefix: bytes) -> bytes:
        return os.path.join(os.fsencode(self.repository.root), prefix)

    def _cannot_read(self, prefix: bytes, why: str) -> None:
        self.unread[path_from_bytes(prefix.rstrip(b"/"))] = why


def _special(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return "is a symbolic link" if stat.S_ISLNK(mode) else "is not a plain file"


def is_inbox(prefix: bytes) -> bool:
    """Tell whether a folder lies in the inbox, where nothing is left out by its name."""
    return prefix.startswith(b"inbox/")


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino
