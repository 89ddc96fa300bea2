import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lumiliod.media import jpeg, jxl, tiff
from lumiliod.media.audio import Audio
from lumiliod.media.media_type import HEAD_BYTES, MediaType, Sniffed
from lumiliod.media.photo import Photo
from lumiliod.media.raw import Raw
from lumiliod.media.tiff import with_directory
from lumiliod.media.video import Video
from scripts.sample_formats import raw as raw_file

TYPES: tuple[MediaType, ...] = (Raw(), Photo(), Video(), Audio())
MAGICS = [
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08",
    b"II+\0\x08\0\0\0", b"8BPS\0\x01", b"BM", b"\xff\x0a", jxl.CONTAINER, b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypcrx ",
    b"FUJIFILMCCD-RAW", b"IIU\0\x18\0\0\0", b"IIRO\x08\0\0\0", b"ID3\x04\0\0\0\0\0\x0a", b"\xff\xfb\x90\x44", b"OggS",
    b"\x1aE\xdf\xa3", b"FLV\x01", b"G", b"", b"\xff\xf1\x50\x80",
]  # fmt: skip


def sniffed(head: bytes, size: int | None = None) -> str | None:
    found = (media_type.sniff(head, size or len(head)) for media_type in TYPES)
    return next((result.mime_type for result in found if result is not None), None)


@settings(max_examples=400)
@given(st.sampled_from(MAGICS), st.binary(max_size=2000))
def test_nothing_makes_a_sniffer_raise(magic: bytes, rest: bytes) -> None:
    sniffed(magic + rest)
    tiff.exif_tags(magic + rest)
    jpeg.read_header(BytesIO(magic + rest))
    jxl.shown_size(BytesIO(magic + rest))
    jxl.exif_block(BytesIO(magic + rest))


def ftyp(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(100)


def tiff_file(*entries: tuple[int, int, bytes]) -> bytes:
    """A little-endian TIFF whose IFD0 holds (tag, type, value) entries; longer values follow the directory."""
    sizes = {2: 1, 3: 2, 4: 4, 1: 1}
    start = 8 + 2 + 12 * len(entries) + 4
    directory, values = len(entries).to_bytes(2, "little"), b""
    for tag, kind, value in entries:
        count = len(value) // sizes[kind]
        if len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = (start + len(values)).to_bytes(4, "little")
            values += value
        directory += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little") + field
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + values


SUB = (0x14A, 4, bytes(8))
PREVIEW = (0xFE, 4, b"\1\0\0\0")
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (ftyp(b"heic", b"mif1"), "image/heic"),
        (ftyp(b"mif1", b"heic"), "image/heif"),
        (ftyp(b"mif1", b"avif"), "image/avif"),
        (ftyp(b"avif"), "image/avif"),
        (ftyp(b"crx "), "image/x-canon-cr3"),
        (ftyp(b"qt  "), "video/quicktime"),
        (ftyp(b"isom"), "video/mp4"),
        (ftyp(b"M4V "), "video/mp4"),
        (ftyp(b"3gp6"), "video/3gpp"),
        (ftyp(b"M4A "), "audio/mp4"),
        (b"\0\0\0\x08wide\0\0\0\x20mdat" + bytes(40), "video/quicktime"),
        (b"\x1aE\xdf\xa3\x93\x42\x82\x84webm", "video/webm"),
        (b"\x1aE\xdf\xa3\x93\x42\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/x-wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"FLV\x01\x05", "video/x-flv"),
        (b"\0\0\x01\xba\x44", "video/mpeg"),
        ((b"G" + bytes(187)) * 6, "video/m2ts"),
        ((bytes(4) + b"G" + bytes(187)) * 6, "video/m2ts"),
        (ASF + bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b"), "audio/x-ms-wma"),
        (ASF + bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b"), "video/x-ms-wmv"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio/ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"FORM\0\0\0\0AIFC", "audio/x-aiff"),
        ((b"\xff\xfb\x90\x00" + bytes(413)) * 3, "audio/mpeg"),
        (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + (b"\xff\xfb\x90\x00" + bytes(413)) * 3, "audio/mpeg"),
        (b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + bytes(50), "audio/mpeg"),
        (b"\xff\xfb\x90\x00" + bytes(1000), None),
        ((b"\xff\xf1\x50\x80\x04\x00\x00" + bytes(25)) * 3, "audio/aac"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40) + b"acTL" + bytes(20) + b"IDAT", "image/apng"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40) + b"IDAT" + bytes(20) + b"acTL", "image/png"),
        (b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(20), "image/bmp"),
        (b"BM" + b"any old text, not a bitmap at all", None),
        (tiff_file((0x10F, 2, b"NIKON CORPORATION\0"), PREVIEW, SUB), "image/x-nikon-nef"),
        (tiff_file((0x10F, 2, b"NIKON CORPORATION\0")), "image/tiff"),
        (tiff_file((0x10F, 2, b"SONY\0"), PREVIEW, SUB), "image/x-sony-arw"),
        (tiff_file((0x10F, 2, b"SAMSUNG\0"), PREVIEW, SUB), "image/x-samsung-srw"),
        (tiff_file((0x10F, 2, b"Hasselblad\0"), PREVIEW, SUB), "image/x-hasselblad-3fr"),
        (tiff_file((0x10F, 2, b"PENTAX\0"), (0x103, 3, b"\xff\xff")), "image/x-pentax-pef"),
        (tiff_file((0xC612, 1, b"\1\4\0\0")), "image/x-adobe-dng"),
        (b"II*\0\x10\0\0\0IIIITwaR", "image/x-phaseone-iiq"),
        (b"II*\0\x10\0\0\0CR\2\0", "image/x-canon-cr2"),
        (b"II\x1a\0\0\0HEAPCCDR", "image/x-canon-crw"),
        (b"IIRS\x08\0\0\0", "image/x-olympus-orf"),
        (b"IIU\0" + tiff_file((0x10F, 2, b"LEICA CAMERA AG\0"))[4:], "image/x-leica-rwl"),
        (b"IIU\0" + tiff_file((0x10F, 2, b"Panasonic\0"))[4:], "image/x-panasonic-rw2"),
        (b"\0MRM\0\0", "image/x-minolta-mrw"),
        (b"FOVb\0\0", "image/x-sigma-x3f"),
        (b"FUJIFILMCCD-RAW 0201", "image/x-fujifilm-raf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_formats_by_content(head: bytes, mime_type: str | None) -> None:
    assert sniffed(head, 100_000) == mime_type


def test_a_tiff_is_known_by_a_directory_at_its_end() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 600, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    content = raw_file(out.getvalue())
    head = content[:HEAD_BYTES]
    assert Raw().sniff(head, len(content)) is None
    whole = with_directory(head, BytesIO(content))
    assert Raw().sniff(whole, len(content)) == Sniffed("image/x-adobe-dng", ".dng")


@pytest.mark.parametrize("offset", [HEAD_BYTES - 100, HEAD_BYTES - 30, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1])
def test_a_directory_that_begins_in_the_head_and_ends_beyond_is_seen(offset: int) -> None:
    entries = [(0x100, 3, 1, 64), (0x101, 3, 1, 64), (0x103, 3, 1, 1), *[(0x120 + n, 3, 1, 0) for n in range(20)]]
    entries.append((0xC612, 1, 4, 0x00000401))  # DNGVersion
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *one) for one in entries) + bytes(4)
    content = (b"II*\0" + struct.pack("<I", offset)).ljust(offset, b"\0") + directory
    found = Raw().sniff(with_directory(content[:HEAD_BYTES], BytesIO(content)), len(content))
    assert found == Sniffed("image/x-adobe-dng", ".dng")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\xff\xff\xff\xff" + bytes(100),
        b"II*\0\x08\0\0\0" + bytes(100),
        b"GIF89a",
    ],
)
def test_a_directory_that_is_nowhere_changes_nothing_that_is_seen(head: bytes) -> None:
    assert with_directory(head, BytesIO(head))[8 : len(head)] == head[8:]
    assert Raw().sniff(with_directory(head, BytesIO(head)), len(head)) is None
