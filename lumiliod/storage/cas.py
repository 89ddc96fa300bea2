"""Layout ``cas``: content-addressed, ``inbox/aa/bb/cc/<digest>.ext`` with the extension of the content."""

import re
from dataclasses import dataclass

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import RepoPath, is_digest
from lumiliod.storage.layout import Placing

_PLAIN_EXTENSION = re.compile(r"\.[a-z0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class CasLayout:
    """Name originals by their digest, three folders deep."""

    name: str = "cas"

    def place(self, item: Placing) -> RepoPath:
        """Return ``inbox/aa/bb/cc/<digest>.ext``.

        Raises:
            Shape: the digest is not one (``bad_digest``).
        """
        digest = item.digest
        if not is_digest(digest):
            raise Shape("a content-addressed place needs a digest", code="bad_digest")
        extension = item.extension.lower()
        if not _PLAIN_EXTENSION.fullmatch(extension):
            extension = ""
        return RepoPath(f"inbox/{digest[:2]}/{digest[2:4]}/{digest[4:6]}/{digest}{extension}")
