"""Object keys of repository paths: readable where that is possible, listed in the order of the paths' bytes. Pure.

A key is UTF-8 of at most 1024 bytes, and a listing comes in the order of those bytes (Amazon S3 API
Reference, PutObject and ListObjectsV2; Cloud Storage and Azure order alike). So a path that is plain
text is its own key. What no key can be, or what the XML of a listing cannot carry (bytes that are not
UTF-8, control characters), is written below :data:`BYTES` as hexadecimal digits, whose order is that of
the bytes: a page merges both.
"""

import re

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import RepoPath, path_bytes, path_from_bytes, shown
from lumiliod.storage.backend import parts_of

OURS = ".lumilio/"
"""Below the prefix: keys that are no originals."""

BYTES = f"{OURS}bytes/"
"""Below the prefix: paths as hexadecimal digits, in parts of :data:`_PART_DIGITS`."""

AFTER_OURS = f"{OURS}~"
"""No key of ours follows it."""

MAX_KEY_BYTES = 1024

_PART_DIGITS = 200
"""Servers that keep keys as files of theirs cannot name one with more than 255 bytes."""

# Control characters, lone surrogates (bytes that are not UTF-8) and what XML 1.0 cannot carry (§2.2).
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def key_of(prefix: str, path: RepoPath) -> str:
    """Return the key of ``path``; ``prefix`` is empty or ends with a slash.

    Raises:
        Shape: no original may lie there (``bad_path``), or its key would be too long (``name_unstorable``).
    """
    parts_of(path)
    key = prefix + (BYTES + _digits(path_bytes(path)) if _NO_TEXT.search(path) else path)
    if len(key.encode()) > MAX_KEY_BYTES:
        message = f"{shown(path)} needs a key of more than {MAX_KEY_BYTES} bytes"
        raise Shape(message, code="name_unstorable")
    return key


def path_of(prefix: str, key: str) -> RepoPath | None:
    """Return the path whose key is ``key``; None for what is no key of ours."""
    if not key.startswith(prefix):
        return None
    below = key[len(prefix) :]
    try:
        path = (
            path_from_bytes(bytes.fromhex(below.removeprefix(BYTES).replace("/", "")))
            if below.startswith(BYTES)
            else RepoPath(below)
        )
        return path if key_of(prefix, path) == key else None
    except (ValueError, Shape):
        return None


def offset_of(prefix: str, after: RepoPath) -> str | None:
    """Return a key that no key of a plain path after ``after`` precedes, as near as can be; None is the beginning."""
    text = _NO_TEXT.split(after, maxsplit=1)[0]
    parts: list[str] = []
    for part in text.split("/"):
        if part in {"", ".", ".."}:
            break
        parts.append(part)
    return prefix + "/".join(parts) if parts else None


def bytes_offset_of(prefix: str, after: RepoPath) -> str:
    """Return the key below :data:`BYTES` that ``after`` has or would have."""
    return prefix + BYTES + _digits(path_bytes(after))


def _digits(raw: bytes) -> str:
    digits = raw.hex()
    return "/".join(digits[at : at + _PART_DIGITS] for at in range(0, len(digits), _PART_DIGITS))
