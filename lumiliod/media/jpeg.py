"""Walk a JPEG's markers (ITU-T T.81 annex B) for what its header says, without decoding it."""

import re
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from lumiliod.media.tiff import Tiff

MAX_MARKERS = 2000
"""Segments read before giving up; an ICC profile and extended XMP need a few hundred at most."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""What is no stuffed byte, no filler, no restart and has a length, the end of the image apart."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})  # what RAW files store their sensor data as


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What precedes the first scan; width and height are as stored, None where no frame header was found.

    ``is_one_scan``: the first scan holds all there is; decoders read no other.
    """

    width: int | None
    height: int | None
    components: int
    is_lossless: bool
    is_one_scan: bool
    tags: dict[str, str | int | float]
    icc: bytes


def read_header(file: BinaryIO, base: int = 0) -> JpegHeader:
    """Read the markers of the JPEG at ``base`` up to its frame header and on to its first scan."""
    file.seek(base + 2)
    width = height = None
    components, frame_marker, scanned = 0, 0, 0
    tags: dict[str, str | int | float] = {}
    icc: dict[int, bytes] = {}
    for _ in range(MAX_MARKERS):
        marker = _next_marker(file)
        if marker is None or marker in (0xD9, 0xDA):  # end of image, start of scan
            scanned = int.from_bytes(file.read(3)[2:]) if marker == 0xDA else 0
            break
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            break
        if marker in _FRAMES and length >= 6:
            frame = file.read(length)
            if len(frame) < 6:
                break
            height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            components, frame_marker = frame[5], marker
        elif marker in (0xE1, 0xE2):
            segment = file.read(length)
            if segment.startswith(b"Exif\0") and not tags:
                tags = Tiff(BytesIO(segment[6:])).tags()
            elif segment.startswith(b"ICC_PROFILE\0") and len(segment) > 14:
                icc[segment[12]] = segment[14:]
        else:
            file.seek(length, 1)
    profile = b"".join(icc[number] for number in sorted(icc))
    return JpegHeader(
        width or None,
        height or None,
        components,
        is_lossless=frame_marker in _LOSSLESS,
        is_one_scan=frame_marker not in _PROGRESSIVE and scanned == components > 0,
        tags=tags,
        icc=profile,
    )


def has_more_scans(data: bytes, most: int) -> bool:
    """Tell whether a whole JPEG has more than ``most`` scans; each walks over every block of the picture."""
    at, scans = 2, 0
    while scans <= most and (marker := _MARKER.search(data, at)) is not None and marker[0] != b"\xff\xd9":
        scans += marker[0] == b"\xff\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans > most


def _next_marker(file: BinaryIO) -> int | None:
    """Return the next marker's code; up to 4 KiB of stray bytes before it are skipped, as libjpeg does."""
    for _ in range(4096):
        byte = file.read(1)
        if not byte:
            return None
        if byte == b"\xff":
            while byte == b"\xff":
                byte = file.read(1)
            if byte and byte != b"\0":
                return byte[0]
    return None
