"""Recognise ISO base media files (ISO/IEC 14496-12) by their brands: HEIF, AVIF, CR3, MP4, QuickTime, 3GP, M4A.

And tell where their index lies.
"""

from collections.abc import Iterator
from typing import BinaryIO

MAX_BOXES = 10_000
"""Boxes looked at on the top level; fragments of a film of hours are some thousands."""

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
_AVIF = frozenset({b"avif", b"avis"})
_AUDIO = frozenset({b"M4A ", b"M4B ", b"M4P "})
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def mime_type(head: bytes, size: int) -> str | None:
    """Return the MIME type an ISO base media file's brands name, or None where ``head`` is no such file."""
    if len(head) < 12:
        return None
    length, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind in _QUICKTIME_ATOMS:  # QuickTime before 2001 has no ftyp
        return "video/quicktime" if 8 <= length <= size or length in (0, 1) else None
    if kind != b"ftyp" or not 8 <= length <= size:
        return None
    major = head[8:12]
    compatible = {head[at : at + 4] for at in range(16, min(length, len(head)), 4)}
    if major == b"crx ":
        return "image/x-canon-cr3"
    if major in _AVIF or (major in _HEIF and compatible & _AVIF):
        return "image/avif"
    if major in _HEIC:
        return "image/heic"
    if major in _HEIF:
        return "image/heif"
    if major in _AUDIO:
        return "audio/mp4"
    if major == b"qt  ":
        return "video/quicktime"
    if major[:3] == b"3gp":
        return "video/3gpp"
    if major[:3] == b"3g2":
        return "video/3gpp2"
    return "video/mp4"


def index_comes_first(file: BinaryIO) -> bool:
    """Tell whether the index (``moov``) of a film comes before what it is of, so that playing can begin at once."""
    for kind, _ in boxes(file, 0, file.seek(0, 2)):
        if kind in (b"moov", b"mdat"):
            return kind == b"moov"
    return False


def index_bytes(file: BinaryIO) -> int:
    """Return how long the index (``moov``) of a film is; 0 where there is none."""
    return next((length for kind, length in boxes(file, 0, file.seek(0, 2)) if kind == b"moov"), 0)


def header_bytes(file: BinaryIO) -> int:
    """Return where the first fragment (``moof``) of a file begins, after all that they have in common."""
    length_bytes = 0
    for kind, length in boxes(file, 0, file.seek(0, 2)):
        if kind == b"moof":
            break
        length_bytes += length
    return length_bytes


def boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield kind and length in bytes of the boxes of the top level from ``at`` on, until one makes no sense."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = end - at
        if length < 8:
            return
        yield kind, length
        at += length
