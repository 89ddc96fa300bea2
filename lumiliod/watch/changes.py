"""Where something changed, and the scans that look there."""

from dataclasses import dataclass, field

from lumiliod.domain.ids import RepositoryId, path_from_bytes
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.sync import SyncType
from lumiliod.pipeline import kinds

FOLDERS_MAX = 100
"""More folders than these are looked at by a scan of everything."""


@dataclass(slots=True)
class Changes:
    """Folders by their paths with a slash behind them, the root's empty.

    In those of ``flat`` files changed; those of ``deep`` came or went with all that is below. With ``is_lost``
    something was not told, or the root is another: nothing that is watched can be relied on.
    """

    flat: set[bytes] = field(default_factory=set[bytes])
    deep: set[bytes] = field(default_factory=set[bytes])
    is_lost: bool = False

    def __bool__(self) -> bool:
        """Tell whether anything changed."""
        return bool(self.flat or self.deep or self.is_lost)

    def add(self, more: "Changes") -> None:
        """Take in what changed besides."""
        self.flat |= more.flat
        self.deep |= more.deep
        self.is_lost |= more.is_lost

    def scans(self, repository_id: RepositoryId) -> list[NewJob]:
        """Return the scan that sees all of it, if there is anything to see."""
        deep = [prefix for prefix in self.deep if not _lies_in(self.deep, prefix, but=prefix)]
        flat = [prefix for prefix in self.flat if not _lies_in(self.deep, prefix)]
        if self.is_lost or len(deep) + len(flat) > FOLDERS_MAX:
            return [kinds.scan_again(repository_id, SyncType.REALTIME)]
        wanted = [(prefix, True) for prefix in sorted(deep)] + [(prefix, False) for prefix in sorted(flat)]
        folders = [(path_from_bytes(prefix.rstrip(b"/")), is_deep) for prefix, is_deep in wanted]
        return [kinds.scan_folders(repository_id, folders, SyncType.REALTIME)] if folders else []


def _lies_in(folders: set[bytes], prefix: bytes, *, but: bytes | None = None) -> bool:
    at = prefix.find(b"/") + 1
    while at:
        above = prefix[:at]
        if above in folders and above != but:
            return True
        at = prefix.find(b"/", at) + 1
    return False
