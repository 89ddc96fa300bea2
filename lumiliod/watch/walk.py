"""Walking a repository's folders in pages, in the order of paths; blocking, for a thread."""

import errno
import os
import stat
from dataclasses import dataclass, field

from lumiliod.db.files import SeenFile
from lumiliod.domain.assets import FileStat, Outcome
from lumiliod.domain.ids import RepoPath, shown
from lumiliod.domain.ignore import OURS, IgnoreRule
from lumiliod.storage.repository import Repository

PATH_MAX_BYTES = 2000
"""Longest path kept: an index row of PostgreSQL holds 2704 bytes (a third of a page)."""


@dataclass
class Walk:
    """A walk under way: call :meth:`next_page` until it returns an empty page.

    Symbolic links and special files are ``ignored``; folders behind links are not entered, and other
    file systems mounted below the root are; another repository below it is not. Inside the inbox nothing
    is left out by its name: what lies there is ours. ``unread`` maps folders that could not be read to
    why: nothing may be concluded from what was not met below them. ``too_long`` counts names beyond
    what the system or the catalogue can hold.
    """

    repository: Repository
    rule: IgnoreRule
    own_folder: str = ""
    """The daemon's state folder, which may lie below the root: it is not entered."""
    unread: dict[RepoPath, str] = field(default_factory=dict[RepoPath, str])
    too_long: int = 0
    _folders: list[str] = field(default_factory=lambda: [""])
    _ready: list[SeenFile] = field(default_factory=list[SeenFile])

    def next_page(self, count: int) -> list[SeenFile]:
        """Return up to ``count`` more files. Blocks."""
        while len(self._ready) < count and self._folders:
            self._enter(self._folders.pop())
        page, self._ready = self._ready[:count], self._ready[count:]
        return page

    def _enter(self, folder: str) -> None:
        path = os.path.join(self.repository.root, folder)
        if folder and self.own_folder and os.path.realpath(path) == os.path.realpath(self.own_folder):
            return
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except FileNotFoundError:
            if not folder:
                self.unread[RepoPath(folder)] = "the root is gone"
            return
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.too_long += 1
            else:
                self.unread[RepoPath(folder)] = error.strerror or str(error)
            return
        if folder and any(entry.name == ".lumiliorepo" for entry in found):
            return
        below: list[str] = []
        for entry in found:
            if not folder and entry.name in OURS:
                continue
            inside = os.path.join(folder, entry.name)
            if len(os.fsencode(inside)) > PATH_MAX_BYTES:
                self.too_long += 1
                continue
            reason = None if folder == "inbox" or folder.startswith("inbox/") else self.rule.reason(entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if reason is None:
                        below.append(inside)
                    continue
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unread[RepoPath(folder)] = f"{shown(entry.name)}: {error.strerror}"
                continue
            if stat.S_ISLNK(seen.st_mode):
                reason = reason or "is a symbolic link"
            elif not stat.S_ISREG(seen.st_mode):
                reason = reason or "is not a plain file"
            outcome = Outcome.PENDING if reason is None else Outcome.IGNORED
            file = FileStat(seen.st_size, seen.st_mtime_ns, seen.st_ino)
            self._ready.append(SeenFile(RepoPath(inside), file, outcome, reason))
        self._folders.extend(reversed(below))
