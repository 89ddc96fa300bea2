"""Layout ``flat``: ``inbox/name``."""

from dataclasses import dataclass

from lumiliod.domain.ids import RepoPath
from lumiliod.domain.naming import safe_name
from lumiliod.storage.layout import Placing


@dataclass(frozen=True, slots=True)
class FlatLayout:
    """Keep all originals in one folder."""

    name: str = "flat"

    def place(self, item: Placing) -> RepoPath:
        """Return ``inbox/name``."""
        return RepoPath(f"inbox/{safe_name(item.filename, item.extension)}")
