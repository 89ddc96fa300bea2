"""Sample files in formats that no package has: a RAW, films and sounds. The same bytes on every run."""

import io
import struct
import wave
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.video.stream import VideoStream
from PIL import Image


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    """Return a picture as Pillow writes it in a format."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def raw(png: bytes) -> bytes:
    """Return a DNG 1.4: a JPEG preview in IFD 0, uncompressed 16-bit Bayer data (RGGB) in its sub-IFD."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.resize((picture.width & ~1, picture.height & ~1))
    linear = (np.asarray(picture, np.float32) / 255.0) ** 2.2 * 16383
    mosaic = linear[:, :, 1].copy()
    mosaic[0::2, 0::2] = linear[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = linear[1::2, 1::2, 2]
    pixels = mosaic.astype("<u2").tobytes()
    preview = encoded(picture, "JPEG", quality=85)
    width, height = picture.size
    main: dict[int, tuple[str, object]] = {
        254: ("I", 1), 256: ("I", width), 257: ("I", height), 258: ("H", (8, 8, 8)), 259: ("H", 7), 262: ("H", 6),
        271: ("s", "Lumilio"), 272: ("s", "Sample Bayer"), 274: ("H", 1), 277: ("H", 3), 278: ("I", height),
        279: ("I", len(preview)), 305: ("s", "Lumilio sample library"), 306: ("s", "2019:10:05 14:00:00"),
        50706: ("B", (1, 4, 0, 0)), 50707: ("B", (1, 1, 0, 0)), 50708: ("s", "Lumilio Sample Bayer"),
        50721: ("r", ((3240479, -1537150, -498535, -969256, 1875992, 41556, 55648, -204043, 1057311), 1_000_000)),
        50728: ("R", ((1, 1, 1), 1)), 50778: ("H", 21),
    }  # fmt: skip
    sub: dict[int, tuple[str, object]] = {
        254: ("I", 0), 256: ("I", width), 257: ("I", height), 258: ("H", 16), 259: ("H", 1), 262: ("H", 32803),
        277: ("H", 1), 278: ("I", height), 279: ("I", len(pixels)), 33421: ("H", (2, 2)), 33422: ("B", (0, 1, 1, 2)),
        50714: ("H", 0), 50717: ("I", 16383),
    }  # fmt: skip
    preview_at = 8
    pixels_at = preview_at + len(preview) + len(preview) % 2
    sub_at = pixels_at + len(pixels)
    sub_bytes = _ifd(sub | {273: ("I", pixels_at)}, sub_at)
    exif_at = sub_at + len(sub_bytes)
    exif_bytes = _ifd({36867: ("s", "2019:10:05 14:00:00")}, exif_at)
    main_at = exif_at + len(exif_bytes)
    main_bytes = _ifd(main | {273: ("I", preview_at), 330: ("I", sub_at), 34665: ("I", exif_at)}, main_at)
    body = preview + b"\0" * (len(preview) % 2) + pixels + sub_bytes + exif_bytes + main_bytes
    return struct.pack("<2sHI", b"II", 42, main_at) + body


_TIFF_TYPES = {"B": 1, "s": 2, "H": 3, "I": 4, "R": 5, "r": 10}


def _ifd(tags: dict[int, tuple[str, object]], at: int) -> bytes:
    """Encode one image file directory (TIFF 6.0, section 2) that will lie at offset ``at``."""
    entries, beyond = b"", b""
    beyond_at = at + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        count, encoded = _tiff_value(kind, value)
        if len(encoded) > 4:
            field = struct.pack("<I", beyond_at + len(beyond))
            beyond += encoded + b"\0" * (len(encoded) % 2)
        else:
            field = encoded.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, _TIFF_TYPES[kind], count) + field
    return struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + beyond


def _tiff_value(kind: str, value: object) -> tuple[int, bytes]:
    if isinstance(value, str):
        encoded = value.encode() + b"\0"
        return len(encoded), encoded
    if kind in "rR":
        assert isinstance(value, tuple)
        numerators, denominator = value
        pairs = [part for number in numerators for part in (number, denominator)]
        return len(numerators), struct.pack(f"<{len(pairs)}{'i' if kind == 'r' else 'I'}", *pairs)
    values = value if isinstance(value, tuple) else (value,)
    return len(values), struct.pack(f"<{len(values)}{kind}", *values)


def video(pictures: list[Image.Image], form: str, codec: str, tags: dict[str, str], *, sound: bool = False) -> bytes:
    """Return two seconds of a camera that pans over photographs; 320 x 240, 12 frames a second."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options={"fflags": "+bitexact"}) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=12)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            # its lookahead runs in a thread of its own, and then not every run gives the same bytes
            stream.codec_context.options = {"x264-params": "threads=1:lookahead-threads=1:rc-lookahead=0"}
        stream.codec_context.flags |= Flags.bitexact
        tone = container.add_stream("aac", rate=48_000) if sound else None
        for number, picture in enumerate(_pan(pictures, 24)):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if isinstance(tone, AudioStream):
            tone.codec_context.flags |= Flags.bitexact
            for block in _tone(523.25, 2.0, "fltp"):
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
    return out.getvalue()


def _pan(pictures: list[Image.Image], frames: int) -> Iterator[Image.Image]:
    for number in range(frames):
        picture = pictures[number * len(pictures) // frames]
        share = number / frames
        box = (picture.width * share * 0.2, picture.height * share * 0.1)
        yield picture.resize(
            (320, 240), box=(*box, picture.width * (0.8 + share * 0.2), picture.height * (0.9 + share * 0.1))
        )


def sound(form: str, codec: str, hertz: float, tags: dict[str, str]) -> bytes:
    """Return two seconds of one note."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options={"fflags": "+bitexact"}) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=48_000)
        assert isinstance(stream, AudioStream)
        stream.codec_context.flags |= Flags.bitexact
        for block in _tone(hertz, 2.0, stream.codec_context.format.name):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return out.getvalue()


def _tone(hertz: float, seconds: float, sample_format: str) -> Iterator[av.AudioFrame]:
    """Yield stereo blocks of 1152 samples, 48 kHz, in a format the encoder takes."""
    resampler = av.AudioResampler(format=sample_format, layout="stereo", rate=48_000)
    for start in range(0, int(48_000 * seconds), 1152):
        block = av.AudioFrame.from_ndarray(_samples(hertz, start, 1152), format="s16", layout="stereo")
        block.sample_rate, block.pts, block.time_base = 48_000, start, Fraction(1, 48_000)
        yield from resampler.resample(block)
    yield from resampler.resample(None)


def _samples(hertz: float, start: int, count: int) -> "np.ndarray[tuple[int, int], np.dtype[np.int16]]":
    """Return interleaved stereo samples, int16 [1, 2 * count]."""
    phase = np.arange(start, start + count) * (2 * np.pi * hertz / 48_000)
    return np.repeat((np.sin(phase) * 12_000).astype(np.int16), 2).reshape(1, -1)


def wave_file(hertz: float) -> bytes:
    """Return two seconds of one note, PCM in RIFF."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(_samples(hertz, 0, 96_000).tobytes())
    return out.getvalue()
