"""Photographs: JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC, AVIF, JPEG XL, JPEG 2000 and PSD."""

import re
import warnings
from typing import Any

import numpy as np
import pi_heif
import pillow_jxl  # noqa: F401  # registers its decoder with Pillow
import simplejpeg
from PIL import Image, ImageFile
from pillow_jxl import JpegXLImagePlugin

from lumiliod.domain.errors import Permanent, Refused
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media import isobmff, jpeg, jxl, picture
from lumiliod.media.appearance import Pixels
from lumiliod.media.media_type import (
    Inspected,
    Recipe,
    Rendering,
    Sniffed,
    Source,
    check_pixels,
    shown_size,
)
from lumiliod.media.quick_taken import quick_taken
from lumiliod.media.tiff import Tiff, exif_tags, orientation_of

FILLER_SHARE = 1 / 8
"""A JPEG that ends early is corrupt where more than this share of its rows was filled in by the decoder."""

MAX_SCANS = 100
"""A progressive JPEG has some ten; of thousands without data a few kilobytes are made, and minutes of decoding."""

_DIB_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes of the BMP information headers
_EXTENSIONS = {"image/heic": ".heic", "image/heif": ".heif", "image/avif": ".avif"}

Image.MAX_IMAGE_PIXELS = None  # check_pixels is the guard: it lets scaled decoding through
pi_heif.register_heif_opener()
JpegXLImagePlugin.DECODE_THREADS = 0  # one core per worker


class Photo:
    """Pictures Pillow and its plugins read; JPEG has a faster way of its own."""

    name = "photo"
    order = 20

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell a picture by its signature."""
        if head.startswith(b"\xff\xd8\xff"):
            return Sniffed("image/jpeg", ".jpg")
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            animated = re.search(rb"acTL|IDAT", head)
            return Sniffed("image/apng" if animated and animated[0] == b"acTL" else "image/png", ".png")
        if head.startswith((b"GIF87a", b"GIF89a")):
            return Sniffed("image/gif", ".gif")
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return Sniffed("image/webp", ".webp")
        if head[:4] in (b"II*\0", b"MM\0*"):
            return Sniffed("image/tiff", ".tif")
        if head[:8] in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
            return Sniffed("image/x-tiff-big", ".tif")
        if head[:6] in (b"8BPS\0\x01", b"8BPS\0\x02"):
            return Sniffed("application/vnd.adobe.photoshop", ".psd")
        if head[:2] == b"BM" and len(head) >= 26 and int.from_bytes(head[14:18], "little") in _DIB_HEADERS:
            return Sniffed("image/bmp", ".bmp")
        if jxl.is_jxl(head):
            return Sniffed("image/jxl", ".jxl")
        if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
            return Sniffed("image/jp2", ".jp2")
        mime_type = isobmff.mime_type(head, size)
        return Sniffed(mime_type, _EXTENSIONS[mime_type]) if mime_type in _EXTENSIONS else None

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read size, orientation and EXIF from the header; broken pixels leave the size None."""
        width, height, tags = self._header(source, sniffed)
        check_pixels(width, height, max_pixels)
        return Inspected(
            Identified(AssetType.PHOTO, sniffed.mime_type, sniffed.extension, width, height, taken=quick_taken(tags)),
            tags=tags,
        )

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Draw the pictures from one decode, scaled while decoding where the format can."""
        if sniffed.mime_type == "image/jpeg":
            return render_jpeg(source, recipe)
        return render_pillow(source, recipe)

    def _header(self, source: Source, sniffed: Sniffed) -> tuple[int | None, int | None, dict[str, str | int | float]]:
        if sniffed.mime_type == "image/jpeg":
            header = jpeg.read_header(source.file)
            width, height = shown_size(header.width, header.height, orientation_of(header.tags))
            return width, height, header.tags
        if sniffed.mime_type == "image/jxl":
            width, height = jxl.shown_size(source.file) or (None, None)
            return width, height, exif_tags(jxl.exif_block(source.file))
        try:
            with _opened(source) as image:
                if image.format == "TIFF":  # Pillow turns TIFF itself, already in its size
                    return image.width, image.height, Tiff(source.file).tags()
                block = image.info.get("exif")
                tags = exif_tags(block) if isinstance(block, bytes) else {}
                orientation = 1 if image.format == "HEIF" else orientation_of(tags)
                width, height = shown_size(*image.size, orientation)
                return width, height, tags
        except (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, RuntimeError, TypeError):
            return None, None, {}  # a broken header is no reason to turn the original away


def render_jpeg(source: Source, recipe: Recipe, orientation: int | None = None) -> Rendering:
    """Draw pictures of a JPEG by libjpeg-turbo's scaled decoding; ``orientation`` overrides its own."""
    header = jpeg.read_header(source.file)
    check_pixels(header.width, header.height, recipe.max_pixels)
    turn = orientation_of(header.tags) if orientation is None else orientation
    data = source.content()
    if not header.is_one_scan and jpeg.has_more_scans(data, MAX_SCANS):
        raise Refused(f"the JPEG has more than {MAX_SCANS} scans", code="too_large")
    if header.components not in (1, 3):  # CMYK, YCCK
        return render_pillow(source, recipe)
    pixels = _decoded_jpeg(data, header, max(recipe.sizes))
    icc = header.icc if header.components == 3 else b""
    return picture.drawn(pixels, turn, icc, recipe)


def render_pillow(source: Source, recipe: Recipe) -> Rendering:
    """Draw pictures of anything Pillow opens: the first frame, turned where its plugin has not done so."""
    long_side = max(recipe.sizes)
    with _opened(source) as image:
        check_pixels(*image.size, recipe.max_pixels)
        image.draft(None, (long_side, long_side))  # a JPEG's or JPEG 2000's coarser level, where there is one
        image.load()
        block = image.info.get("exif")
        orientation = orientation_of(exif_tags(block)) if isinstance(block, bytes) else 1
        if image.format in ("HEIF", "TIFF") or (image.format == "JXL" and not getattr(image, "jpeg", False)):
            orientation = 1  # turned by their decoders
        pixels, icc = picture.flattened(image, long_side)
    return picture.drawn(pixels, orientation, icc, recipe)


def _opened(source: Source) -> ImageFile.ImageFile:
    source.file.seek(0)
    with warnings.catch_warnings(action="ignore"):
        return Image.open(source.file)


def _decoded_jpeg(data: bytes, header: jpeg.JpegHeader, long_side: int) -> Pixels:
    """Return the JPEG's RGB pixels, at the smallest eighth not shorter than ``long_side``."""
    width, height = header.width or 0, header.height or 0
    scale: dict[str, Any] = (
        {"min_width": min(width, long_side)} if width >= height else {"min_height": min(height, long_side)}
    )
    try:
        return _as_pixels(simplejpeg.decode_jpeg(data, "RGB", **scale))
    except ValueError as error:
        complaint = str(error)
    try:
        pixels = _as_pixels(simplejpeg.decode_jpeg(data, "RGB", strict=False, **scale))
    except ValueError as error:
        raise Permanent(f"the JPEG cannot be decoded: {error}", code="corrupt") from error
    if complaint.startswith("Premature end of JPEG file") and _filler_share(pixels) > FILLER_SHARE:
        raise Permanent("the JPEG ends before its picture does", code="corrupt")
    return pixels


def _filler_share(pixels: Pixels) -> float:
    """Return the share of rows at the bottom that hold one single colour: what libjpeg fills a lost end with."""
    plain = (pixels == pixels[-1, -1]).all(axis=(1, 2))[::-1]
    rows = len(plain) if plain.all() else int(np.argmin(plain))
    return rows / len(plain)


def _as_pixels(array: Any) -> Pixels:
    return np.asarray(array, dtype=np.uint8)
