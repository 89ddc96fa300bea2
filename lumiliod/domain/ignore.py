"""Names that are nobody's photographs: hidden files, half-written downloads, systems' droppings."""

import re
from collections.abc import Iterable
from fnmatch import translate

DEFAULT_PATTERNS = (
    "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.bak", "*.orig", "*.swp", "*.swo", "~$*",
    ".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "._*", "@eaDir", "#recycle", ".Trash*",
    ".Spotlight-V100", ".fseventsd", ".TemporaryItems", "lost+found", "$RECYCLE.BIN", "System Volume Information",
)  # fmt: skip
"""Shell patterns of file and folder names, compared without regard to case."""

OURS = frozenset({".lumilio", ".lumiliorepo"})
"""Names in a repository's root that are the library's own."""


class IgnoreRule:
    """Decides by name alone what a walk leaves out."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [
            (pattern, re.compile(translate(pattern), re.IGNORECASE)) for pattern in (*DEFAULT_PATTERNS, *patterns)
        ]

    def reason(self, name: str) -> str | None:
        """Return why ``name`` is left out, or None."""
        for pattern, compiled in self._patterns:
            if compiled.match(name):
                return f"matches the ignore pattern {pattern.strip()}"
        return "is hidden" if name.startswith(".") else None
