"""Names that are nobody's photographs: hidden files, half-written downloads, systems' droppings."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from string import ascii_lowercase, ascii_uppercase, digits

DEFAULT_PATTERNS = (
    "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.bak", "*.orig", "*.swp", "*.swo", "~$*",
    ".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "._*", "@eaDir", "#recycle", ".Trash*",
    ".Spotlight-V100", ".fseventsd", ".TemporaryItems", "lost+found", "$RECYCLE.BIN", "System Volume Information",
    "*.*_original",
)  # fmt: skip
"""Shell patterns of file and folder names, compared without regard to case.

The last is what exiftool keeps of a file it has edited: the edited one is the photograph, and has its name.
"""

OURS = frozenset({".lumilio", ".lumiliorepo"})
"""Names in a repository's root that are the library's own."""

HARMLESS_MAX = 4096
"""So many folded names are kept that no pattern can match."""

_FOLDED = bytes.maketrans(ascii_uppercase.encode() + digits.encode(), ascii_lowercase.encode() + b"0" * 10)


class IgnoreRule:
    """Decides by name alone what a walk leaves out.

    Most patterns are a word with a star before or behind it: in a folder's names, joined by NUL, such a word is
    looked for once. Only names where one was found, or all where a pattern is none of these, are looked at one by one.
    What differs in its digits alone, as a camera's names do, is looked through once for all folders.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [
            (pattern, re.compile(translate(pattern), re.IGNORECASE)) for pattern in (*DEFAULT_PATTERNS, *patterns)
        ]
        marks = [_mark(pattern) for pattern, _ in self._patterns]
        self._marks = [b"\0.", *(mark for mark in marks if mark)]
        self._are_marks_enough = all(marks)
        self._harmless = set[bytes]()
        """Folded names without a mark: those of cameras differ in their digits alone."""

    def left_out(self, names: Sequence[bytes]) -> dict[bytes, str]:
        """Return which of a folder's ``names`` are left out, and why."""
        joined = b"\0" + b"\0".join(names) + b"\0"
        suspects: Iterable[bytes] = names
        if self._are_marks_enough and joined.isascii():
            folded = joined.translate(_FOLDED)
            distinct = set(folded.split(b"\0")) - self._harmless
            if not distinct:
                return {}
            unknown = b"\0" + b"\0".join(distinct) + b"\0"
            found = [mark for mark in self._marks if mark in unknown]
            if not found:
                if len(self._harmless) + len(distinct) > HARMLESS_MAX:
                    self._harmless.clear()
                self._harmless |= distinct
                return {}
            suspects = {name for mark in found for name in _with(mark, folded, joined)}
        reasons = ((name, self.reason(name.decode("utf-8", "surrogateescape"))) for name in suspects)
        return {name: reason for name, reason in reasons if reason is not None}

    def reason(self, name: str) -> str | None:
        """Return why ``name`` is left out, or None."""
        for pattern, compiled in self._patterns:
            if compiled.match(name):
                return f"matches the ignore pattern {pattern.strip()}"
        return "is hidden" if name.startswith(".") else None


def _mark(pattern: str) -> bytes | None:
    """Return what names, folded and between NULs, hold where one matches the pattern; None where no word says that."""
    if "[" in pattern or not pattern.isascii():
        return None
    head, *others = pattern.lower().replace("?", "*").split("*")
    if not others:
        word = f"\0{head}\0"
    elif others[-1]:
        word = f"{others[-1]}\0"
    elif head:
        word = f"\0{head}"
    else:
        word = max(others, key=len)
    return word.encode().translate(_FOLDED) if word else None


def _with(mark: bytes, folded: bytes, joined: bytes) -> Iterable[bytes]:
    """Return the names that hold ``mark``, as they are spelt."""
    at = folded.find(mark)
    while at >= 0:
        begin = at if mark.startswith(b"\0") else folded.rindex(b"\0", 0, at)
        end = folded.index(b"\0", begin + 1)
        yield joined[begin + 1 : end]
        at = folded.find(mark, end)
