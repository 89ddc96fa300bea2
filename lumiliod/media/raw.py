"""Camera RAW: the embedded preview where it is large enough, else LibRaw's development, in half size if that is."""

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
import rawpy

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media import isobmff, jpeg, picture, tiff
from lumiliod.media.appearance import Pixels
from lumiliod.media.media_type import Inspected, Recipe, Rendering, Sniffed, Source, check_pixels, shown_size
from lumiliod.media.photo import render_jpeg
from lumiliod.media.quick_taken import quick_taken

SEARCHED_BYTES = 96 << 20
"""How much of a file is searched for embedded JPEGs when LibRaw finds nothing."""
MAX_CANDIDATES = 64
MOST_PIXELS_PER_BYTE = 16
"""A file with fewer bytes than its pixels divided by this is a stub; lossy DNG has about two pixels to a byte."""
BLACK_LEVEL = 4
"""A development with no sample brighter than this (of 255) holds no picture: LibRaw's silent failure."""

_CFA = 32803  # photometric interpretation of sensor data, TIFF/EP
_PENTAX_COMPRESSION, _NIKON_COMPRESSION, _SONY_COMPRESSION, _SAMSUNG_COMPRESSION = 65535, 34713, 32767, 32770
_FLIPS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip to EXIF orientation

_MIMES = {
    ".cr2": "image/x-canon-cr2", ".cr3": "image/x-canon-cr3", ".crw": "image/x-canon-crw",
    ".nef": "image/x-nikon-nef", ".arw": "image/x-sony-arw", ".dng": "image/x-adobe-dng",
    ".orf": "image/x-olympus-orf", ".rw2": "image/x-panasonic-rw2", ".rwl": "image/x-leica-rwl",
    ".pef": "image/x-pentax-pef", ".raf": "image/x-fujifilm-raf", ".mrw": "image/x-minolta-mrw",
    ".srw": "image/x-samsung-srw", ".x3f": "image/x-sigma-x3f", ".3fr": "image/x-hasselblad-3fr",
    ".iiq": "image/x-phaseone-iiq",
}  # fmt: skip


class Raw:
    """Sensor data and the previews around it."""

    name = "raw"
    order = 10  # before photo: most are TIFF too

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell RAW by its signature, TIFF-based ones by maker and the shape of IFD0."""
        extension = _extension(head, size)
        return Sniffed(_MIMES[extension], extension) if extension else None

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read LibRaw's idea of the size, else the tags'; and the EXIF where it is easily found."""
        tags = _tags(source, sniffed.extension)
        width, height, clock = _libraw_facts(source, tags)
        if clock:
            tags["ExifIFD:DateTimeOriginal"] = clock
        check_pixels(width, height, max_pixels)
        return Inspected(
            Identified(AssetType.PHOTO, sniffed.mime_type, sniffed.extension, width, height, taken=quick_taken(tags)),
            tags=tags,
        )

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Draw the pictures from the best source there is: preview, development, any smaller preview."""
        smaller: tuple[Pixels | bytes, int] | None = None
        try:
            with rawpy.RawPy() as raw:
                _open(raw, source)
                sizes = raw.sizes
                orientation = _FLIPS.get(sizes.flip, 1)
                check_pixels(sizes.raw_width, sizes.raw_height, recipe.max_pixels)
                preview = _preview(raw)
                if preview is not None and _longest(preview) >= max(recipe.sizes):
                    return _render_preview(preview, orientation, recipe)
                smaller = (preview, orientation) if preview is not None else None
                if source.size_bytes * MOST_PIXELS_PER_BYTE < sizes.raw_width * sizes.raw_height:
                    raise ValueError  # LibRaw would develop what is not there, without an error
                is_half_enough = max(sizes.raw_width, sizes.raw_height) >= 2 * max(recipe.sizes)
                developed = raw.postprocess(half_size=is_half_enough, use_camera_wb=True, output_bps=8)
                if int(developed.max(initial=0)) > BLACK_LEVEL:
                    return picture.drawn(np.asarray(developed, np.uint8), 1, b"", recipe)
        except (rawpy.LibRawError, ValueError):
            pass  # not LibRaw's day: whatever preview the file has is better than nothing
        embedded = _largest_embedded(source)
        if smaller is not None and (embedded is None or _longest(smaller[0]) >= _longest(embedded)):
            return _render_preview(*smaller, recipe)
        if embedded is not None:
            return _render_preview(embedded, tiff.orientation_of(_tags(source, sniffed.extension)), recipe)
        raise Permanent("neither the sensor data nor a preview can be decoded", code="corrupt")


def _extension(head: bytes, size: int) -> str | None:
    if head[:4] in (b"II*\0", b"MM\0*"):
        if head[8:10] == b"CR":
            return ".cr2"
        return ".iiq" if head[8:12] in (b"IIII", b"MMMM") else _tiff_extension(tiff.Tiff(BytesIO(head)).ifd0)
    if head[:4] == b"IIU\0":
        make = tiff.Tiff(BytesIO(head)).ifd0.get(tiff.MAKE)
        return ".rwl" if isinstance(make, str) and make.upper().startswith("LEICA") else ".rw2"
    if head[:4] in (b"IIRO", b"IIRS", b"MMOR"):
        return ".orf"
    for signature, extension in (
        (b"FUJIFILMCCD-RAW", ".raf"),
        (b"\0MRM", ".mrw"),
        (b"FOVb", ".x3f"),
    ):
        if head.startswith(signature):
            return extension
    if head[:2] == b"II" and head[6:14] == b"HEAPCCDR":
        return ".crw"
    return ".cr3" if isobmff.mime_type(head, size) == "image/x-canon-cr3" else None


def _tiff_extension(ifd0: tiff.Directory) -> str | None:
    """Tell RAW from an ordinary TIFF of the same maker: a preview before hidden directories, or sensor data."""
    if tiff.DNG_VERSION in ifd0:
        return ".dng"
    maker = ifd0.get(tiff.MAKE)
    if not isinstance(maker, str):
        return None
    compression = ifd0.get(tiff.COMPRESSION)
    is_sensor = ifd0.get(tiff.PHOTOMETRIC) == _CFA or compression in (
        _PENTAX_COMPRESSION,
        _NIKON_COMPRESSION,
        _SONY_COMPRESSION,
        _SAMSUNG_COMPRESSION,
    )
    has_preview_first = tiff.SUB_IFDS in ifd0 and (ifd0.get(tiff.SUBFILE_TYPE) == 1 or compression in (6, 7))
    if not is_sensor and not has_preview_first:
        return None
    for prefix, extension in (
        ("NIKON", ".nef"),
        ("SONY", ".arw"),
        ("PENTAX", ".pef"),
        ("RICOH", ".pef"),
        ("ASAHI", ".pef"),
        ("SAMSUNG", ".srw"),
        ("HASSELBLAD", ".3fr"),
        ("PHASE ONE", ".iiq"),
        ("LEAF", ".iiq"),
        ("CANON", ".cr2"),
        ("LEICA", ".rwl"),
    ):
        if maker.upper().startswith(prefix):
            return extension
    return None


def _tags(source: Source, extension: str) -> dict[str, str | int | float]:
    """Return the quick tags; empty where the format keeps them out of easy reach."""
    if extension == ".raf":  # the embedded JPEG's position, big-endian, at byte 84
        start = int.from_bytes(source.head[84:88], "big")
        return jpeg.read_header(source.file, start).tags if 0 < start < source.size_bytes else {}
    if extension == ".cr3":  # CMT1 is IFD0, CMT2 the EXIF directory, CMT4 GPS
        directories = []
        for kind in (b"CMT1", b"CMT2", b"CMT4"):
            at = source.head.find(kind)
            directories.append(tiff.Tiff(BytesIO(source.head[at + 4 :])).ifd0 if at > 0 else {})
        return tiff.named_tags(directories[0], directories[1], directories[2])
    if source.head[:2] in (b"II", b"MM") and extension != ".crw":
        return tiff.Tiff(source.file).tags()
    return {}


def _libraw_facts(source: Source, tags: dict[str, str | int | float]) -> tuple[int | None, int | None, str | None]:
    """Return width and height as shown, and the camera's clock; from the tags where LibRaw cannot open the file."""
    try:
        with rawpy.RawPy() as raw:
            _open(raw, source)
            sizes = raw.sizes
            clock = None if "ExifIFD:DateTimeOriginal" in tags else _clock(raw)
    except rawpy.LibRawError:
        width, height = (tags.get(f"ExifIFD:ExifImage{side}") for side in ("Width", "Height"))
        if isinstance(width, int) and isinstance(height, int):
            return *shown_size(width, height, tiff.orientation_of(tags)), None
        return None, None, None
    width, height = sizes.width, sizes.height
    if 0 < sizes.crop_width <= width and 0 < sizes.crop_height <= height:
        width, height = sizes.crop_width, sizes.crop_height
    taken = clock.strftime("%Y:%m:%d %H:%M:%S") if clock is not None and clock.year > 1980 else None
    return *shown_size(width, height, _FLIPS.get(sizes.flip, 1)), taken


class _Content:
    """What rawpy reads a file of."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self) -> bytes:
        """Return everything."""
        return self._source.content()


def _open(raw: Any, source: Source) -> None:
    raw.open_buffer(_Content(source))


def _clock(raw: Any) -> datetime | None:
    """Return the camera's clock; LibRaw reads the sensor data first, so only where no tag says it."""
    try:
        clock = raw.other.timestamp
    except rawpy.LibRawError:
        return None
    return clock if isinstance(clock, datetime) else None


def _preview(raw: Any) -> Pixels | bytes | None:
    """Return LibRaw's largest embedded preview: JPEG bytes, or RGB pixels."""
    try:
        thumbnail = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    data = thumbnail.data
    if thumbnail.format == rawpy.ThumbFormat.JPEG:
        return bytes(data) if _dimensions(bytes(data)) != (0, 0) else None
    pixels = np.asarray(data)
    return pixels.astype(np.uint8) if pixels.ndim == 3 and pixels.shape[2] == 3 else None


def _render_preview(preview: Pixels | bytes, orientation: int, recipe: Recipe) -> Rendering:
    """Draw pictures of a preview: its own orientation when it has one, else the RAW's unless already turned."""
    if not isinstance(preview, bytes):
        return picture.drawn(preview, orientation, b"", recipe)
    own = tiff.orientation_of(jpeg.read_header(BytesIO(preview)).tags)
    width, height = _dimensions(preview)
    if own != 1 or (orientation >= 5 and height > width):  # sensors lie on their long side
        orientation = own
    return render_jpeg(Source(BytesIO(preview), preview[:16], len(preview)), recipe, orientation)


def _largest_embedded(source: Source) -> bytes | None:
    """Return the largest baseline JPEG found anywhere in the file, or None."""
    source.file.seek(0)
    data = source.file.read(SEARCHED_BYTES)
    found = max(_embedded(data), default=None)
    return None if found is None else data[found[1] :]


def _embedded(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield pixels and position (from the end, negative) of each JPEG that looks decodable."""
    at, file = -1, BytesIO(data)
    for _ in range(MAX_CANDIDATES):
        at = data.find(b"\xff\xd8\xff", at + 1)
        if at < 0:
            return
        header = jpeg.read_header(file, at)
        if header.width and header.height and header.components in (1, 3) and not header.is_lossless:
            yield header.width * header.height, at - len(data)


def _longest(preview: Pixels | bytes) -> int:
    return max(_dimensions(preview))


def _dimensions(preview: Pixels | bytes) -> tuple[int, int]:
    if not isinstance(preview, bytes):
        return preview.shape[1], preview.shape[0]
    header = jpeg.read_header(BytesIO(preview))
    return header.width or 0, header.height or 0
