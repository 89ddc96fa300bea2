"""Folding of text for search: one rule for what is stored and what is asked."""

import re
import unicodedata

_SEPARATORS = re.compile(r"[\W_]+")
_CASE_STEPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


def fold(text: str) -> str:
    """Return ``text`` without case, accents and compatibility forms (NFKD, marks removed, casefolded)."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def words(text: str) -> list[str]:
    """Split ``text`` into folded search words, in order.

    Anything that is not a letter or digit separates; camel case and letter-digit changes give
    the parts as well as the whole, so ``IMG_2041.jpg`` is found by ``img``, ``2041`` and ``jpg``.
    """
    found: list[str] = []
    for chunk in _SEPARATORS.split(text):
        if not chunk:
            continue
        found.append(fold(chunk))
        parts = _CASE_STEPS.split(chunk)
        if len(parts) > 1:
            found.extend(fold(part) for part in parts)
    return found


def search_text(*texts: str | None) -> str:
    """Join the search words of ``texts``, without repeats, separated by spaces."""
    return " ".join(dict.fromkeys(word for text in texts if text for word in words(text)))
