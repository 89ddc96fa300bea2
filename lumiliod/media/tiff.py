"""Read TIFF directories, and the EXIF ones inside pictures, without trusting a single offset.

One small reader serves JPEG, RAW and everything that embeds EXIF. Tag numbers: TIFF 6.0, Exif 2.32
(CIPA DC-008-2019), TIFF/EP, DNG 1.7.
"""

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import BinaryIO

Value = str | int | float | tuple[int, ...] | tuple[float, ...] | bytes
Directory = dict[int, Value]

MAX_ENTRIES = 512
"""Entries read of one directory; real ones have fewer than 100."""
MAX_VALUE_BYTES = 4096
"""Values longer than this (maker notes, colour tables) are passed over."""

WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, MAKE, MODEL, ORIENTATION = 0x100, 0x101, 0x103, 0x106, 0x10F, 0x110, 0x112
SUBFILE_TYPE, SUB_IFDS, EXIF_IFD, GPS_IFD, DNG_VERSION = 0xFE, 0x14A, 0x8769, 0x8825, 0xC612

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 13: 4}
_FORMATS = {3: "H", 4: "I", 8: "h", 9: "i", 13: "I"}

# exiftool's names, so that one rule reads both
_IFD0_NAMES = {MAKE: "Make", MODEL: "Model", ORIENTATION: "Orientation", 0x10E: "ImageDescription", 0x4746: "Rating"}
_EXIF_NAMES = {
    0x829A: "ExposureTime", 0x829D: "FNumber", 0x8827: "ISO", 0x9003: "DateTimeOriginal", 0x9004: "CreateDate",
    0x9011: "OffsetTimeOriginal", 0x9010: "OffsetTime", 0x9012: "OffsetTimeDigitized",
    0x920A: "FocalLength", 0xA002: "ExifImageWidth",    0xA003: "ExifImageHeight", 0xA434: "LensModel",
}  # fmt: skip
_SUBSEC = {0x9003: (0x9291, "SubSecDateTimeOriginal"), 0x9004: (0x9292, "SubSecCreateDate")}


def with_directory(head: bytes, file: BinaryIO) -> bytes:
    """Return the beginning of a TIFF so that it holds the entries of IFD 0: those that lie further on follow it.

    Many programs write the directory last. Values that are not in their entry stay out of reach.
    """
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or head[2:4] not in (b"*\0", b"\0*"):
        return head
    (offset,) = struct.unpack_from(order + "I", head, 4)
    if offset + 2 <= len(head) and offset + 2 + 12 * struct.unpack_from(order + "H", head, offset)[0] <= len(head):
        return head
    file.seek(offset)
    entries = file.read(2 + 12 * MAX_ENTRIES)
    return head[:4] + struct.pack(order + "I", len(head)) + head[8:] + entries


class Tiff:
    """A TIFF structure at ``base`` in a seekable file; ``ifd0`` is empty where nothing can be read."""

    def __init__(self, file: BinaryIO, base: int = 0) -> None:
        self._file = file
        self._base = base
        header = self._read(0, 8)
        self._order = ">" if header[:2] == b"MM" else "<"
        valid = len(header) == 8 and header[:2] in (b"II", b"MM")
        # any magic number is taken: ORF and RW2 have their own
        self.ifd0: Directory = self.directory(self._unpack("I", header[4:8])) if valid else {}

    def directory(self, offset: object) -> Directory:
        """Return the directory at ``offset``, tag number to value; empty where there is none."""
        if not isinstance(offset, int) or offset <= 0:
            return {}
        count_bytes = self._read(offset, 2)
        if len(count_bytes) < 2:
            return {}
        count = min(self._unpack("H", count_bytes), MAX_ENTRIES)
        entries = self._read(offset + 2, count * 12)
        found: Directory = {}
        for start in range(0, len(entries) - 11, 12):
            tag, kind, length = struct.unpack_from(self._order + "HHI", entries, start)
            size = _SIZES.get(kind, 0) * length
            if not 0 < size <= MAX_VALUE_BYTES:
                continue
            raw = entries[start + 8 : start + 12]
            raw = raw[:size] if size <= 4 else self._read(self._unpack("I", raw), size)
            if len(raw) == size and (value := self._value(kind, length, raw)) is not None:
                found[tag] = value
        return found

    def tags(self) -> dict[str, str | int | float]:
        """Return the quick tags of this picture, named and scaled as exiftool does with ``-n``."""
        return named_tags(self.ifd0, self.directory(self.ifd0.get(EXIF_IFD)), self.directory(self.ifd0.get(GPS_IFD)))

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(self._base + offset)
            return self._file.read(size)
        except (ValueError, OverflowError):
            return b""

    def _unpack(self, code: str, raw: bytes) -> int:
        return int(struct.unpack(self._order + code, raw)[0])

    def _value(self, kind: int, length: int, raw: bytes) -> Value | None:
        if kind == 2:
            return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
        if kind in (1, 6, 7):
            return raw
        if kind in (5, 10):
            parts = struct.unpack(self._order + ("I" if kind == 5 else "i") * 2 * length, raw)
            ratios = tuple(n / d for n, d in zip(parts[::2], parts[1::2], strict=True) if d)
            return (ratios[0] if length == 1 else ratios) if len(ratios) == length else None
        numbers = struct.unpack(self._order + _FORMATS[kind] * length, raw)
        return int(numbers[0]) if length == 1 else numbers


def named_tags(ifd0: Directory, exif: Directory, gps: Directory) -> dict[str, str | int | float]:
    """Return the tags of three directories under exiftool's names."""
    tags: dict[str, str | int | float] = {}
    for directory, group, names in ((ifd0, "IFD0", _IFD0_NAMES), (exif, "ExifIFD", _EXIF_NAMES)):
        for number, name in names.items():
            value = directory.get(number)
            if isinstance(value, str | int | float) and value != "":
                tags[f"{group}:{name}"] = value
    for number, (subsec, name) in _SUBSEC.items():
        time, fraction = exif.get(number), exif.get(subsec)
        if isinstance(time, str) and isinstance(fraction, str) and fraction.isdecimal():
            tags[f"Composite:{name}"] = f"{time}.{fraction}"
    return tags | _gps_tags(gps)


def orientation_of(tags: Mapping[str, object]) -> int:
    """Return the EXIF orientation 1-8; anything else said counts as 1, upright."""
    value = tags.get("IFD0:Orientation")
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def exif_tags(block: bytes) -> dict[str, str | int | float]:
    """Return the quick tags of an EXIF block, with or without its ``Exif`` prefix."""
    return Tiff(BytesIO(block.removeprefix(b"Exif\0\0"))).tags()


def _gps_tags(gps: Directory) -> dict[str, str | int | float]:
    tags: dict[str, str | int | float] = {}
    for name, ref, number, negative in (("GPSLatitude", 1, 2, "S"), ("GPSLongitude", 3, 4, "W")):
        parts = gps.get(number)
        if isinstance(parts, tuple) and len(parts) == 3:
            degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
            tags[f"Composite:{name}"] = -degrees if str(gps.get(ref, "")).upper() == negative else degrees
    altitude = gps.get(6)
    if isinstance(altitude, int | float):
        tags["Composite:GPSAltitude"] = -altitude if gps.get(5) == b"\x01" else altitude
    stamp, clock = gps.get(0x1D), gps.get(7)
    if isinstance(stamp, str) and isinstance(clock, tuple) and len(clock) == 3:
        hours, minutes, seconds = (int(part) for part in clock)
        tags["Composite:GPSDateTime"] = f"{stamp} {hours:02}:{minutes:02}:{seconds:02}Z"
    return tags
