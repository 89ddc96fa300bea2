"""What hostile files are put together from: good pictures, films and sounds, and the bytes of each structure."""

import random
import struct
import wave
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from io import BytesIO

import av
import numpy as np
import pillow_jxl  # noqa: F401  # registers its encoder
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

READY = frozenset({"ready"})
NO_MEDIA = frozenset({"unsupported"})
REFUSED = frozenset({"too_large"})
BOUNDED = frozenset({"too_large", "corrupt", "undecodable", "ready"})
"""Decoded, or not: but within limits."""
BROKEN = frozenset({"corrupt", "undecodable", "ready", "unsupported", "too_large"})
"""Damage may hit anything: any clear verdict will do."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file nobody should have to meet.

    ``ends`` are the verdicts that are right: an outcome of :class:`lumiliod.contract.repositories.File` with the status
    of the asset (``ready``, ``undecodable``) in place of ``asset``. ``content`` None is no regular file.
    """

    name: bytes
    content: bytes | None
    about: str
    ends: frozenset[str]


BITEXACT = {"fflags": "+bitexact"}
"""What has muxers write the same bytes every time."""

Make = Callable[[random.Random], Hostile]


def hostile(name: str, content: bytes, about: str, ends: frozenset[str]) -> Hostile:
    """Make a hostile file of an ordinary name."""
    return Hostile(name.encode(), content, about, ends)


# good ones


def picture(rng: random.Random, width: int = 320, height: int = 240) -> Image.Image:
    """Return a picture with shapes and some noise, different for every state of ``rng``."""
    noise = np.random.default_rng(rng.getrandbits(64))
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * noise.uniform(0.01, 0.1) + y * noise.uniform(0.01, 0.1) + phase) for phase in range(3)]
    pixels = 128 + 90 * np.stack(waves, axis=2) + noise.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    """Return ``image`` as a file."""
    out = BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def jpeg(rng: random.Random, **options: object) -> bytes:
    """Return a good small JPEG."""
    return saved(picture(rng), "JPEG", **options)


def film(rng: random.Random, format_: str, codec: str = "mpeg4", frames: int = 25, **options: str) -> bytes:
    """Return a good film of a second."""
    out = BytesIO()
    with av.open(out, "w", format=format_, options=options | BITEXACT) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        pixels = np.asarray(picture(rng, 160, 120))
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(pixels, number, axis=1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def slide_show(frame: bytes, size: tuple[int, int], frames: int, format_: str = "matroska") -> bytes:
    """Return a film whose every frame is the JPEG ``frame``."""
    out = BytesIO()
    with av.open(out, "w", format=format_, options=dict(BITEXACT)) as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for number in range(frames):
            packet = Packet(frame)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            packet.is_keyframe = number == 0
            container.mux(packet)
    return out.getvalue()


def sound(rng: random.Random, format_: str, codec: str) -> bytes:
    """Return a good sound of a second."""
    if format_ == "wav":
        return wav(rng)
    out = BytesIO()
    with av.open(out, "w", format=format_, options=dict(BITEXACT)) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(_samples(rng)[None, :], format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def wav(rng: random.Random) -> bytes:
    """Return a good WAV of a second."""
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(_samples(rng).tobytes())
    return out.getvalue()


def _samples(rng: random.Random) -> NDArray[np.int16]:
    times = np.arange(48000) / 48000
    return (8000 * np.sin(2 * np.pi * rng.uniform(200, 2000) * times)).astype(np.int16)


GOOD: dict[str, Callable[[random.Random], bytes]] = {
    ".jpg": jpeg,
    ".progressive.jpg": lambda rng: jpeg(rng, progressive=True),
    ".png": lambda rng: saved(picture(rng, 96, 72), "PNG"),
    ".webp": lambda rng: saved(picture(rng), "WEBP"),
    ".lossless.webp": lambda rng: saved(picture(rng, 96, 72), "WEBP", lossless=True),
    ".gif": lambda rng: saved(picture(rng), "GIF"),
    ".tif": lambda rng: saved(picture(rng, 96, 72), "TIFF"),
    ".lzw.tif": lambda rng: saved(picture(rng, 96, 72), "TIFF", compression="tiff_lzw"),
    ".bmp": lambda rng: saved(picture(rng, 96, 72), "BMP"),
    ".jp2": lambda rng: saved(picture(rng), "JPEG2000", quality_mode="rates", quality_layers=[20]),
    ".avif": lambda rng: saved(picture(rng), "AVIF", speed=10),
    ".jxl": lambda rng: saved(picture(rng), "JXL", effort=1),
    ".mp4": lambda rng: film(rng, "mp4"),
    ".fragmented.mp4": lambda rng: film(rng, "mp4", movflags="frag_keyframe+empty_moov+default_base_moof"),
    ".mov": lambda rng: film(rng, "mov"),
    ".mkv": lambda rng: film(rng, "matroska"),
    ".avi": lambda rng: film(rng, "avi"),
    ".ts": lambda rng: film(rng, "mpegts", "mpeg2video"),
    ".mpg": lambda rng: film(rng, "mpeg", "mpeg2video"),
    ".flv": lambda rng: film(rng, "flv", "flv"),
    ".wmv": lambda rng: film(rng, "asf", "wmv2"),
    ".mp3": lambda rng: sound(rng, "mp3", "libmp3lame"),
    ".flac": lambda rng: sound(rng, "flac", "flac"),
    ".wav": wav,
    ".aiff": lambda rng: sound(rng, "aiff", "pcm_s16be"),
    ".opus": lambda rng: sound(rng, "opus", "libopus"),
    ".m4a": lambda rng: sound(rng, "ipod", "aac"),
}
"""A maker of good files per format that can be written here."""


@cache
def good(extension: str, seed: int) -> bytes:
    """Return the good file that damage is done to, made once."""
    return GOOD[extension](random.Random(seed))


# structures


def deflated_zeros(count: int) -> bytes:
    """Return a zlib stream of ``count`` zero bytes (a multiple of 1 MiB, at least that), made of one repeated block."""
    blocks = max(1, count >> 20)
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (blocks << 20) % 65521 << 16 | 1  # RFC 1950: of nothing but zeros
    return b"\x78\x9c" + block * blocks + b"\x03\x00" + adler.to_bytes(4, "big")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, data: bytes, before: bytes = b"") -> bytes:
    """Return a PNG with deflated ``data``, and chunks ``before`` it."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


Entry = tuple[int, int, int, int]
"""Tag, type, count, and the value or where it lies."""


def tiff(entries: Sequence[Entry], *, following: int = 0, behind: bytes = b"", at: int = 8) -> bytes:
    """Return a little-endian TIFF of one directory; ``behind`` it lies what entries point at."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<2sHIH", b"II", 42, at, len(entries)) + rows + struct.pack("<I", following) + behind


def behind_tiff(count: int) -> int:
    """Return where what follows a directory of ``count`` entries begins."""
    return 8 + 2 + 12 * count + 4


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """Return a JPEG marker segment."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segments(content: bytes, *segments: bytes) -> bytes:
    """Return a JPEG with segments right behind its start."""
    return content[:2] + b"".join(segments) + content[2:]


def wide_jpeg(rng: random.Random, width: int, height: int) -> bytes:
    """Return an honest JPEG of any size, cheaply: one row of blocks, said again after each restart marker."""
    row = np.linspace(rng.sample(range(256), 3), rng.sample(range(256), 3), width).astype(np.uint8)
    strip = saved(Image.fromarray(np.tile(row, (16, 1, 1))), "JPEG", quality=40, restart_marker_rows=1)
    frame = strip.index(b"\xff\xc0")
    scan = strip.index(b"\xff\xda")
    scan += 2 + int.from_bytes(strip[scan + 2 : scan + 4], "big")
    head = strip[: frame + 5] + struct.pack(">H", height) + strip[frame + 7 : scan]
    data = strip[scan:-2]
    rows = b"".join(data + bytes((0xFF, 0xD0 + number % 8)) for number in range(-(-height // 16)))
    return head + rows[:-2] + b"\xff\xd9"


def box(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """Return a box of ISO/IEC 14496-12, of a size that may be a lie."""
    return struct.pack(">I", len(data) + 8 if size is None else size) + kind + data


def element(ident: bytes, data: bytes, size: bytes | None = None) -> bytes:
    """Return an EBML element (RFC 8794) with an eight-byte size, which may be a lie."""
    return ident + (struct.pack(">Q", 1 << 56 | len(data)) if size is None else size) + data
