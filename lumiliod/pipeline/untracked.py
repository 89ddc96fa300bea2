"""Orphans: files in the inbox and among the derivatives that no row knows."""

import os
import stat
import time
from collections.abc import Iterator
from itertools import islice

import trio

from lumiliod.db import findings, integrity
from lumiliod.db.findings import NewFinding
from lumiliod.db.integrity_runs import Run
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileStat
from lumiliod.domain.derivatives import digest_at
from lumiliod.domain.ids import RepoPath, RepositoryId, path_bytes
from lumiliod.pipeline import deriving
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import local, repository
from lumiliod.storage.repository import Repository

PAGE = 1000
AGE_S = 3600.0
"""Younger files may still wait for their row: bytes come first."""

INBOX, DERIVATIVES = "inbox", ".lumilio/assets"

_PATH_MAX_BYTES = 2000
"""Longer paths than the catalogue can hold are passed over, as scans do."""


class OurFiles:
    """A walk over what is ours in a repository, in pages; ``complete`` until a folder could not be read.

    Args:
        repo: where to look.
        before_ns: only files written and changed before that, nanoseconds since 1970.
        folders: where it begins, relative to the root.
    """

    def __init__(self, repo: Repository, before_ns: int, folders: tuple[str, ...] = (INBOX, DERIVATIVES)) -> None:
        self.complete = True
        self._root = repo.root
        self._before_ns = before_ns
        self._folders = folders
        self._files = self._walk()

    def next_page(self, count: int) -> list[tuple[RepoPath, FileStat]]:
        """Return up to ``count`` more plain files; empty at the end. Blocks."""
        return list(islice(self._files, count))

    def _walk(self) -> Iterator[tuple[RepoPath, FileStat]]:
        folders = list(self._folders)
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as entries:
                    for entry in entries:
                        path = RepoPath(f"{folder}/{entry.name}")
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(path)
                        elif len(path_bytes(path)) <= _PATH_MAX_BYTES and (found := self._old(entry)) is not None:
                            yield path, found
            except OSError:
                self.complete = False

    def _old(self, entry: "os.DirEntry[str]") -> FileStat | None:
        """Return the state of a plain file that is old enough."""
        found = entry.stat(follow_symlinks=False)
        is_old = max(found.st_mtime_ns, found.st_ctime_ns) < self._before_ns
        return local.stat_of(found) if is_old and stat.S_ISREG(found.st_mode) else None


async def look(rt: Runtime, opened: Opened, run: Run, *, age_s: float = AGE_S) -> int:
    """Report the orphans of a repository, and close those that are gone; return how many there are.

    Raises:
        Unavailable: the repository is away; nothing is concluded.
    """
    repo, found = opened.repository, 0
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
        walk = OurFiles(repo, time.time_ns() - int(age_s * 1e9))
        while page := await trio.to_thread.run_sync(walk.next_page, PAGE, limiter=rt.disk):
            unknown = await rt.db.call(_unknown, opened.id, page)
            if unknown:
                await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
                unknown = await _without_leftovers(rt, repo, unknown)
                await rt.db.call(_report, opened.id, unknown)
                found += len(unknown)
        await trio.to_thread.run_sync(repository.check_identity, repo, limiter=rt.disk)
    if walk.complete:
        await rt.db.call(findings.close_unmet, opened.id, run.started_at)
    return found


async def _without_leftovers(
    rt: Runtime, repo: Repository, unknown: list[tuple[RepoPath, FileStat]]
) -> list[tuple[RepoPath, FileStat]]:
    """Remove derivatives that no row names, and return all other files.

    One that gave way to another, or was drawn while its asset was purged, may be left over. They are ours, can be made
    again, and no person has to be asked.
    """
    others = list[tuple[RepoPath, FileStat]]()
    for path, found in unknown:
        place = path.removeprefix(".lumilio/")
        if digest_at(place) is None:
            others.append((path, found))
        else:
            await deriving.discard(rt, repo, place)
    return others


def _unknown(
    conn: Connection, repository_id: RepositoryId, page: list[tuple[RepoPath, FileStat]]
) -> list[tuple[RepoPath, FileStat]]:
    stats = dict(page)
    inbox = [path for path in stats if path.startswith(f"{INBOX}/")]
    unknown = set(integrity.unknown_files(conn, repository_id, inbox))
    ours = {path.removeprefix(".lumilio/"): path for path in stats if not path.startswith(f"{INBOX}/")}
    texts = [text for text in ours if text.isprintable()]
    unknown.update(ours[text] for text in integrity.unknown_derivatives(conn, repository_id, texts))
    # a name that is no text can stand in no row of a derivative
    unknown.update(path for text, path in ours.items() if not text.isprintable())
    return [(path, stats[path]) for path in sorted(unknown, key=path_bytes)]


def _report(conn: Connection, repository_id: RepositoryId, unknown: list[tuple[RepoPath, FileStat]]) -> None:
    for path, found in unknown:
        in_inbox = path.startswith(f"{INBOX}/")
        finding = NewFinding(
            kind="untracked",
            code="no_record" if in_inbox else "no_derivative",
            detail="no record knows it" if in_inbox else "no asset has such a derivative",
            repository_id=repository_id,
            path=path,
            digest=None,
            found=found,
        )
        findings.report(conn, finding)
