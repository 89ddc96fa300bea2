"""Names of originals: what a person's file name becomes on disk, and what to try when it is taken."""

import re
import unicodedata
from collections.abc import Iterator
from uuid import UUID

from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.domain.repositories import DuplicateNames

NAME_MAX_BYTES = 255
"""Longest file name of ext4, XFS, Btrfs, ZFS and NTFS (there: UTF-16 units, never more than bytes here)."""

LAST_NUMBER = 999
"""Highest number ``rename`` tries before it falls back to a UUID."""

_ROOM_BYTES = len(f" ({LAST_NUMBER})")
_EXTENSION_MAX_BYTES = 32
_SURROGATES = re.compile("[\ud800-\udfff]")
# Line and paragraph separators, and the overrides that can show "gpj.exe" as "exe.jpg" (Unicode UAX 9).
_INVISIBLE = re.compile("[\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_EDGES = re.compile(r"\A[\s.]+|[\s.]+\Z")
# learn.microsoft.com/windows/win32/fileio/naming-a-file: reserved with any extension.
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|\Z)")


def text_name(filename: str) -> str:
    """Return ``filename`` as text a database can hold: no lone surrogates, no NUL, at most 1024 characters."""
    return _SURROGATES.sub("\ufffd", filename).replace("\0", "")[:1024]


def safe_name(filename: str, extension: str = "") -> str:
    """Return a name for a person's file that every common file system takes; otherwise as given.

    The last path component, in NFC, without control characters, without dots or spaces at its
    ends, never a device name of Windows, at most 255 bytes of UTF-8 less the room for `` (999)``,
    its extension kept. A name of which nothing is left is ``unnamed`` plus ``extension`` (with
    its dot). Applying it twice changes nothing.
    """
    text = _SURROGATES.sub("\ufffd", filename)
    parts = [part for part in re.split(r"[/\\]", text) if part.strip(". ")]
    text = _INVISIBLE.sub("", parts[-1]) if parts else ""
    text = "".join("_" if unicodedata.category(c) == "Cc" else c for c in text)
    text = _EDGES.sub("", unicodedata.normalize("NFC", text))
    if not text:
        text = f"unnamed{extension}"
    if _RESERVED.match(text):
        text = f"_{text}"
    return _EDGES.sub("", _shortened(text, "", NAME_MAX_BYTES - _ROOM_BYTES))


def split_name(name: str) -> tuple[str, str]:
    """Split ``name`` into stem and extension (with its dot, empty when there is none or it is implausibly long)."""
    stem, dot, extension = name.rpartition(".")
    if not stem or not extension or len(extension.encode("utf-8", "surrogateescape")) >= _EXTENSION_MAX_BYTES:
        return name, ""
    return stem, dot + extension


def digest_uuid(digest: Digest) -> UUID:
    """Return the UUID (version 8, RFC 9562 §5.8) of a digest: the same bytes always get the same name."""
    value = int(digest[:32], 16)
    value = value & ~(0xF << 76) | 0x8 << 76
    return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


def candidates(path: RepoPath, policy: DuplicateNames, digest: Digest) -> Iterator[RepoPath]:
    """Yield the places to try for an original, best first: ``path`` itself, then what ``policy`` makes of it.

    ``rename`` (and ``overwrite``, whose trash is another's work) gives ``name (1).jpg`` up to 999;
    ``uuid``, and every policy in the end, ``name_<uuid>.jpg``. The UUID comes from ``digest``, so
    doing it again after a crash finds the same place.
    """
    yield path
    folder, slash, name = path.rpartition("/")
    if policy != "uuid":
        for number in range(1, LAST_NUMBER + 1):
            yield RepoPath(folder + slash + _shortened(name, f" ({number})"))
    yield RepoPath(folder + slash + _shortened(name, f"_{digest_uuid(digest)}"))


def _shortened(name: str, suffix: str, limit_bytes: int = NAME_MAX_BYTES) -> str:
    """Put ``suffix`` between stem and extension and cut the stem, between characters, to fit ``limit_bytes``."""
    stem, extension = split_name(name)
    room = limit_bytes - len((suffix + extension).encode("utf-8", "surrogateescape"))
    raw = stem.encode("utf-8", "surrogateescape")
    if len(raw) > room:
        raw = raw[:room]
        while raw and not _whole(raw):
            raw = raw[:-1]
    return raw.decode("utf-8", "surrogateescape") + suffix + extension


def _whole(raw: bytes) -> bool:
    """Tell whether ``raw`` does not end inside a UTF-8 character."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte < 0x80:
            return True
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back >= need
    return True
