"""Find the film that a motion photo carries behind its picture.

Google's motion photo format 1.0 and the older MicroVideo count from the file's end, in XMP; Samsung keeps a directory
of what it appends (as ExifTool's Samsung.pm reads it); in HEIF the film is a box ``mpvd``. What they say is only
believed of bytes that are an ISO base media file with an index.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import BinaryIO, cast

from lumiliod.domain.media import MotionVideo
from lumiliod.media import isobmff
from lumiliod.media.media_type import Source

MAX_CLAIMS, MAX_PLACES = 8, 16
MAX_SIZE_BYTES = 1 << 40
"""No file is so long; a number beyond is not worth a look."""

_FROM_END = ("MicroVideoOffset", "MotionPhotoOffset")
_MARKS = ("MotionPhoto", "MicroVideo")
_DIRECTORIES = ("Directory", "ContainerDirectory")
_SEF_ENTRY_BYTES, _SEF_MAX_ENTRIES, _SEF_MOTION_PHOTO = 12, 200, 0x0A30


def claims(tags: Mapping[str, object]) -> tuple[int, ...] | None:
    """Return where a photo's tags say that its film begins, in bytes from the end; None where they tell of no film.

    Empty where there may be one, and the file itself says where.
    """
    found: list[int] = []
    has_film = False
    for key, value in tags.items():
        group, _, name = key.rpartition(":")
        if name == "Make" and str(value).strip().lower() == "samsung":
            has_film = True  # it may be in the trailer of a JPEG, which exiftool does not read with -fast
        elif group.startswith("XMP-") and name in _MARKS:
            has_film = has_film or value in (1, "1", True)
        elif group.startswith("XMP-") and name in _FROM_END:
            found += _lengths([value])
        elif group.startswith("XMP-") and name in _DIRECTORIES and isinstance(value, list):
            found += _from_directory(cast("list[object]", value))
    return tuple(found[:MAX_CLAIMS]) if has_film or found else None


def locate(source: Source, from_end: tuple[int, ...]) -> MotionVideo | None:
    """Return where a photo's film lies; None where there is none."""
    counted = ((source.size_bytes - length, length) for length in from_end)
    for offset, size in islice(chain(_in_box(source), _in_trailer(source), counted), MAX_PLACES):
        if 0 < offset < source.size_bytes and (film := _film(source, offset, min(size, source.size_bytes - offset))):
            return film
    return None


def _film(source: Source, offset: int, size: int) -> MotionVideo | None:
    """Return the film at ``offset`` as far as its boxes go, at most ``size`` bytes; None where there is no index."""
    source.file.seek(offset)
    kind = isobmff.mime_type(source.file.read(64), size)
    if kind is None or not kind.startswith("video/"):
        return None
    length, has_index = 0, False
    for name, box_bytes in isobmff.boxes(source.file, offset, offset + size):
        if length + box_bytes > size or not name.decode("latin-1").isprintable():
            break
        length += box_bytes
        has_index = has_index or name == b"moov"
    return MotionVideo(offset, length) if has_index else None


def _from_directory(items: list[object]) -> Iterator[int]:
    """Yield where the film of a container's directory begins; its items lie behind each other up to the file's end."""
    told = [_item(one) for one in items]
    for number, item in enumerate(told):
        is_film = item.get("Semantic") == "MotionPhoto" or str(item.get("Mime")).startswith("video/")
        if is_film and number:
            yield from _lengths([sum(_lengths(one.get("Length") for one in told[number:]))])


def _item(value: object) -> Mapping[str, object]:
    inner = cast("Mapping[str, object]", value).get("Item", value) if isinstance(value, Mapping) else None
    return cast("Mapping[str, object]", inner) if isinstance(inner, Mapping) else {}


def _lengths(values: Iterator[object] | list[object] | list[int]) -> Iterator[int]:
    for value in values:
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else value
        if isinstance(number, int) and 0 < number < MAX_SIZE_BYTES:
            yield number


def _in_box(source: Source) -> Iterator[tuple[int, int]]:
    if source.head[4:8] != b"ftyp":
        return
    at = 0
    for name, box_bytes in isobmff.boxes(source.file, 0, source.size_bytes):
        if name == b"mpvd":
            yield at + 8, box_bytes - 8
        at += box_bytes


def _in_trailer(source: Source) -> Iterator[tuple[int, int]]:
    """Yield the film of Samsung's trailer: a directory at the end, whose entries count back from it."""
    tail = _read(source.file, source.size_bytes - 8, 8)
    if tail[4:] != b"SEFT":
        return
    directory_bytes = int.from_bytes(tail[:4], "little")
    start = source.size_bytes - 8 - directory_bytes
    directory = _read(source.file, start, min(directory_bytes, 12 + _SEF_MAX_ENTRIES * _SEF_ENTRY_BYTES))
    if directory[:4] != b"SEFH":
        return
    for at in range(12, len(directory) - _SEF_ENTRY_BYTES + 1, _SEF_ENTRY_BYTES):
        kind, back, size = (int.from_bytes(directory[at + n : at + n + 4], "little") for n in (0, 4, 8))
        if kind >> 16 == _SEF_MOTION_PHOTO:
            offset, end = start - back, start - back + size
            name_bytes = int.from_bytes(_read(source.file, offset + 4, 4), "little")
            yield offset + 8 + name_bytes, end - offset - 8 - name_bytes


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    if at < 0:
        return b""
    file.seek(at)
    return file.read(count)
