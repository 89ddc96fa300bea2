"""Glyph: a picture of a made-up format, ``GLYPH1\\n``, a line of JSON, and its pixels as zlib packs them."""

import json
import zlib
from dataclasses import dataclass

import numpy as np

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media import picture
from lumiliod.media.media_type import Inspected, Recipe, Rendering, Sniffed, Source, check_pixels
from lumiliod.media.quick_taken import quick_taken

MAGIC = b"GLYPH1\n"
MAX_HEADER_BYTES = 4096
MAX_TEXT = 200


@dataclass(frozen=True)
class Header:
    """What the line of JSON says, and where the pixels begin."""

    width: int
    height: int
    tags: dict[str, str | int | float]
    pixels_at: int


class Glyph:
    """Pictures of the format Glyph."""

    name = "glyph"
    order = 50

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell a glyph by its first line."""
        return Sniffed("image/x-acme-glyph", ".glyph") if head.startswith(MAGIC) else None

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read the header; a broken one leaves the size open."""
        header = _header(source.head)
        width, height, tags = (header.width, header.height, header.tags) if header else (None, None, {})
        check_pixels(width, height, max_pixels)
        taken = quick_taken(tags)
        return Inspected(
            Identified(AssetType.PHOTO, sniffed.mime_type, sniffed.extension, width, height, taken=taken), tags=tags
        )

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Draw the pictures, from no more bytes than the header announces."""
        header = _header(source.head)
        if header is None:
            raise Permanent("the header of the glyph is broken", code="corrupt")
        check_pixels(header.width, header.height, recipe.max_pixels)
        source.file.seek(header.pixels_at)
        wanted = header.width * header.height * 3
        try:
            raw = zlib.decompressobj().decompress(source.file.read(), wanted)
        except zlib.error as error:
            raise Permanent(f"the pixels cannot be unpacked: {error}", code="corrupt") from error
        if len(raw) != wanted:
            raise Permanent("the glyph ends before its picture does", code="corrupt")
        pixels = np.frombuffer(raw, np.uint8).reshape(header.height, header.width, 3)
        return picture.drawn(pixels, 1, b"", recipe)


def _header(head: bytes) -> Header | None:
    line, end, _ = head[len(MAGIC) : MAX_HEADER_BYTES].partition(b"\n")
    try:
        told = json.loads(line)
        width, height = int(told["width"]), int(told["height"])
        texts = {"Glyph:Model": "pen", "Glyph:DateTimeOriginal": "taken", "Glyph:Title": "title"}
        tags: dict[str, str | int | float] = {
            tag: str(told[name])[:MAX_TEXT].replace("\0", "") for tag, name in texts.items() if name in told
        }
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    if not end or not (0 < width < 1 << 20 and 0 < height < 1 << 20):
        return None
    return Header(width, height, tags, len(MAGIC) + len(line) + 1)


def written(width: int, height: int, **told: str) -> bytes:
    """Return a glyph: green above, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 1] = pixels[height // 2 :, :, 2] = 255
    header = json.dumps({"width": width, "height": height, **told}).encode()
    return MAGIC + header + b"\n" + zlib.compress(pixels.tobytes())
