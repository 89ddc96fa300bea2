"""Folding of text for search: one rule for what is stored and what is asked."""

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_SEPARATORS = re.compile(r"[\W_]+")
_CASE_STEPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


MAX_WORD_CHARS = 100
MAX_WORDS = 2000
"""Bounds of what is indexed of one asset; nobody searches by the rest."""


HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories that could move the cursor, reverse text or show nothing."""


def visible(value: object) -> str:
    r"""Return ``value`` as text that cannot control a terminal: such characters appear as ``\x1b``."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in HIDDEN else c for c in text)


def visible_json(written: str) -> str:
    r"""Return a JSON document that means the same and cannot control a terminal: such characters appear as ``\u001b``.

    The line ends of its layout stay: they are the only control characters that stand in JSON outside of a text.
    """
    return written if written.isprintable() else "".join(map(_in_json, written))


def _in_json(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


def fold(text: str) -> str:
    """Return ``text`` without case, accents and compatibility forms (NFKD, marks removed, casefolded)."""
    return _plain(text).casefold()


def words(text: str) -> list[str]:
    """Split ``text`` into folded search words, in order.

    Anything that is not a letter or digit separates; camel case and letter-digit changes give
    the parts as well as the whole, so ``IMG_2041.jpg`` is found by ``img``, ``2041`` and ``jpg``.
    """
    found: list[str] = []
    for chunk in _SEPARATORS.split(_plain(text)):
        parts = _CASE_STEPS.split(chunk)
        for piece in [chunk, *parts] if len(parts) > 1 else [chunk]:
            found.extend(word[:MAX_WORD_CHARS] for word in _SEPARATORS.split(piece.casefold()) if word)
    return found


def search_text(*texts: str | None) -> str:
    """Join the search words of ``texts``, without repeats, separated by spaces."""
    found = dict.fromkeys(word for text in texts if text for word in words(text))
    return " ".join(list(found)[:MAX_WORDS])


def size_text(size_bytes: float) -> str:
    """Return a number of bytes for people, in units of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def storable(value: Any) -> Any:
    """Return text or JSON-like data without what PostgreSQL cannot hold: NUL, lone surrogates, infinities."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
        case Mapping():
            return {storable(key): storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
