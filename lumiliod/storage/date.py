"""Layout ``date``: ``inbox/YYYY/MM/name``, by the wall clock where the original was made."""

from dataclasses import dataclass

from lumiliod.domain.ids import RepoPath
from lumiliod.domain.naming import safe_name
from lumiliod.storage.layout import Placing


@dataclass(frozen=True, slots=True)
class DateLayout:
    """Arrange originals by year and month of capture."""

    name: str = "date"

    def place(self, item: Placing) -> RepoPath:
        """Return ``inbox/YYYY/MM/name``."""
        taken = item.taken_local
        return RepoPath(f"inbox/{taken.year:04d}/{taken.month:02d}/{safe_name(item.filename, item.extension)}")
