"""Walks of several folders, one after the other, as one: what moved from one to another is met by one scan."""

from collections.abc import Iterable, Sequence

from lumiliod.db.scans import Met, Stretch
from lumiliod.domain.ids import RepoPath, path_from_bytes
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.sync import Part
from lumiliod.storage.repository import Repository
from lumiliod.watch.walk import Walk

AWAY = "the disk that was mounted there is away"


class Walks:
    """What :class:`~lumiliod.watch.walk.Walk` is, of several folders, none of which lies in a deep one of the others.

    Args:
        repository: whose folders they are.
        rule: which names are left out.
        own_folder: the daemon's state folder, which may lie below the root: it is not entered.
        parts: the folders.
    """

    def __init__(self, repository: Repository, rule: IgnoreRule, own_folder: str, parts: Sequence[Part]) -> None:
        self._walks = [Walk(repository, rule, own_folder, folder, is_deep) for folder, is_deep in parts]
        self._at = 0
        self._away: dict[RepoPath, str] = {}
        self.is_full = any(not folder and is_deep for folder, is_deep in parts)

    def next_page(self, count: int) -> Met | None:
        """Return the next stretch with up to ``count`` files; None at the end of the last folder. Blocks."""
        while self._at < len(self._walks):
            if (page := self._walks[self._at].next_page(count)) is not None:
                return page
            self._at += 1
        return None

    @property
    def stretches(self) -> list[Stretch]:
        """All that is walked."""
        return [walk.stretch for walk in self._walks]

    @property
    def unread(self) -> dict[RepoPath, str]:
        """Folders that could not be read, and why."""
        return {folder: why for walk in self._walks for folder, why in walk.unread.items()} | self._away

    def leave(self, places: Iterable[bytes]) -> None:
        """Take folders for unread whose disks are away: what is not met below them says nothing."""
        self._away |= {path_from_bytes(place): AWAY for place in places}

    @property
    def too_long(self) -> int:
        """Names beyond what the system or the catalogue can hold."""
        return sum(walk.too_long for walk in self._walks)
