"""Walking a repository's folders in pages, in the order of paths; blocking, for a thread."""

import os
import stat
from dataclasses import dataclass, field

from lumiliod.db.files import SeenFile
from lumiliod.domain.assets import FileStat, Outcome
from lumiliod.domain.ids import RepoPath, shown
from lumiliod.domain.ignore import OURS, IgnoreRule
from lumiliod.storage.repository import Repository


@dataclass
class Walk:
    """A walk under way: call :meth:`next_page` until it returns an empty page.

    Symbolic links and special files are ``ignored``; folders behind links are not entered, and other
    file systems mounted below the root are. ``problems`` names folders that could not be read: a
    walk with problems was not complete, and nothing may be concluded from what it did not meet.
    """

    repository: Repository
    rule: IgnoreRule
    problems: list[str] = field(default_factory=list[str])
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
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.problems.append(f"{shown(folder) or '.'}: {error.strerror}")
            return
        below: list[str] = []
        for entry in found:
            if not folder and entry.name in OURS:
                continue
            inside = os.path.join(folder, entry.name)
            reason = self.rule.reason(entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if reason is None:
                        below.append(inside)
                    continue
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.problems.append(f"{shown(inside)}: {error.strerror}")
                continue
            if stat.S_ISLNK(seen.st_mode):
                reason = reason or "is a symbolic link"
            elif not stat.S_ISREG(seen.st_mode):
                reason = reason or "is not a plain file"
            outcome = Outcome.PENDING if reason is None else Outcome.IGNORED
            file = FileStat(seen.st_size, seen.st_mtime_ns, seen.st_ino)
            self._ready.append(SeenFile(RepoPath(inside), file, outcome, reason))
        self._folders.extend(reversed(below))
