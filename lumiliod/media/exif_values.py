"""What exiftool says of files: read from its JSON, and bounded in size and depth."""

import json
import math
from typing import Any

import msgspec

Tag = Any
"""A value as exiftool's JSON has it: text, number, list or mapping."""

MAX_STRING_CHARACTERS = 4096
MAX_TAGS_BYTES = 256 << 10
MAX_DEPTH = 16
"""Of structures within each other; what lies deeper is left out. XMP's own are some four deep."""

# group:name of what would be noise in a library: paths, thumbnails, exiftool's own words
_DROPPED_GROUPS = ("System:", "ExifTool:")
_DROPPED_NAMES = ("ThumbnailImage", "PreviewImage", "JpgFromRaw", "OtherImage", "SourceFile", "DataDump")


def bounded(tags: dict[str, Tag]) -> dict[str, Tag]:
    """Return ``tags`` without binary values and exiftool's own words, within the size limits.

    Where they are too many the shortest are kept. NUL characters go: no database text holds them.
    """
    kept: dict[str, Tag] = {}
    for key, value in tags.items():
        name = key.rpartition(":")[2]
        is_binary = isinstance(value, str) and value.startswith("(Binary data ")
        if not is_binary and name not in _DROPPED_NAMES and not key.startswith(_DROPPED_GROUPS):
            kept[_cut(key)] = _trimmed(value)
    if len(msgspec.json.encode(kept)) <= MAX_TAGS_BYTES:
        return kept
    sizes = {key: len(key) + len(msgspec.json.encode(value)) for key, value in kept.items()}
    total = sum(sizes.values())
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= MAX_TAGS_BYTES:
            break
        total -= sizes[key]
        del kept[key]
    return kept


def documents_of(output: bytes) -> list[dict[str, Tag]]:
    """Return what exiftool says of each file; nothing where that is no JSON."""
    text = output.decode("utf-8", "replace")
    try:
        return msgspec.json.decode(text, type=list[dict[str, Tag]])
    except msgspec.MsgspecError:
        try:
            documents = json.loads(text)  # knows numbers beyond a float and half surrogates
        except (ValueError, RecursionError):
            return []
    except RecursionError:
        return []
    return [document for document in documents if isinstance(document, dict)] if isinstance(documents, list) else []


def _trimmed(value: Tag, depth: int = 0) -> Tag:
    match value:
        case list() | dict() if depth == MAX_DEPTH:
            return None
        case str():
            return _cut(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_trimmed(item, depth + 1) for item in value]
        case dict():
            return {_cut(key): _trimmed(item, depth + 1) for key, item in value.items()}
        case _:
            return value


def _cut(text: str) -> str:
    if len(text) <= MAX_STRING_CHARACTERS and text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "")[:MAX_STRING_CHARACTERS].encode("utf-8", "replace").decode()
