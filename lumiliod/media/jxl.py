"""Read a JPEG XL header: size, orientation and EXIF, without the decoding its Pillow plugin does at opening.

Layout: ISO/IEC 18181-1 (SizeHeader, ImageMetadata) and 18181-2 (the box container).
"""

from collections.abc import Iterator
from typing import BinaryIO

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
CODESTREAM = b"\xff\x0a"
MAX_BOXES = 1000
MAX_EXIF_BYTES = 1 << 20

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def is_jxl(head: bytes) -> bool:
    """Tell a container by its signature, a bare codestream by its two bytes and a readable size."""
    return head.startswith(CONTAINER) or (head.startswith(CODESTREAM) and _size(head[2:64]) is not None)


def shown_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return width and height as shown, or None where no codestream header is found."""
    file.seek(0)
    head = file.read(64)
    if head.startswith(CODESTREAM):
        return _size(head[2:])
    for kind, _ in _boxes(file):
        if kind in (b"jxlc", b"jxlp"):
            stream = file.read(64)
            stream = stream[4:] if kind == b"jxlp" else stream  # partial codestreams are numbered
            return _size(stream[2:]) if stream.startswith(CODESTREAM) else None
    return None


def exif_block(file: BinaryIO) -> bytes:
    """Return the TIFF structure of the container's Exif box; empty where there is none."""
    for kind, length in _boxes(file):
        if kind == b"Exif":
            block = file.read(min(length, MAX_EXIF_BYTES))
            return block[4 + int.from_bytes(block[:4], "big") :]
    return b""


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each box's type and content length, with the file at its content; nothing for a bare codestream."""
    position = 0
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or (position == 0 and header[4:] != b"JXL "):
            return
        length, start = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(file.read(8), "big"), 16
        if length != 0 and length < start:
            return
        yield header[4:], length - start if length else MAX_EXIF_BYTES
        if length == 0:
            return
        position += length


def _size(header: bytes) -> tuple[int, int] | None:
    """Return the size a SizeHeader and the orientation behind it give, as shown."""
    if len(header) < 12:
        return None
    bits, position = int.from_bytes(header[:32], "little"), 0

    def read(count: int) -> int:
        nonlocal position
        value = bits >> position & ((1 << count) - 1)
        position += count
        return value

    is_small = read(1)

    def side() -> int:
        return (read(5) + 1) * 8 if is_small else read((9, 13, 18, 30)[read(2)]) + 1

    height = side()
    ratio = read(3)
    width = side() if ratio == 0 else height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    orientation = 1
    if not read(1) and read(1):  # not all_default, extra_fields
        orientation = 1 + read(3)
    if not width or not height:
        return None
    return (height, width) if orientation >= 5 else (width, height)
