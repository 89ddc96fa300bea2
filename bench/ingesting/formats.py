"""Other media to measure with: each kind as many different files of one content."""

import io
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

from bench.ingesting.photographs import MP24, Pixels
from scripts.sample_formats import raw
from scripts.sample_library import SKIMAGE, fetch, packages

HEIC = "samsung-one-ui-6.heic"
"""A phone's picture of 12 megapixels in the corpus: nothing that may be installed here encodes HEVC into HEIC."""
FILM_S, FILM_RATE, FILM_SIZE = 10, 30, (1920, 1080)
SOUND_S, SOUND_RATE = 180, 44_100

_PICTURE = (SKIMAGE, "skimage/data/astronaut.png")


def write(folder: Path, count: int, corpus: Path) -> dict[str, Path]:
    """Write ``count`` files of each kind into a folder of its own; return those folders by what is in them.

    HEIC only where ``corpus`` is.
    """
    contents = {
        "raw (DNG, 24 MP, preview of 24 MP)": ("DSC{:03}.DNG", _raw()),
        f"film (H.264, 1080p, {FILM_S} s)": ("MVI{:03}.MP4", _film()),
        f"sound (MP3, {SOUND_S} s)": ("track {:03}.mp3", _sound()),
    }
    if (corpus / HEIC).is_file():
        contents["heic (12 MP)"] = ("IMG{:03}.HEIC", (corpus / HEIC).read_bytes())
    folders: dict[str, Path] = {}
    for what, (name, content) in contents.items():
        folders[what] = folder / what.partition(" ")[0]
        folders[what].mkdir(parents=True)
        for number in range(count):
            path = folders[what] / name.format(number)
            path.write_bytes(content + _tail(path.suffix, number))
    return folders


def _tail(suffix: str, number: int) -> bytes:
    """Return what makes a file another one, where its format takes it: a free box, a tag, or bytes behind it all."""
    if suffix in (".HEIC", ".MP4"):  # ISO/IEC 14496-12, 8.1.2
        return (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
    if suffix == ".mp3":  # ID3v1
        return b"TAG" + f"track {number:03}".encode().ljust(124, b"\0") + b"\xff"
    return number.to_bytes(8, "big")


def _raw() -> bytes:
    enlarged = cv2.resize(_photograph(), MP24, interpolation=cv2.INTER_CUBIC)
    noise = np.empty(enlarged.shape, np.int16)
    cv2.setRNGSeed(1)
    cv2.randn(noise, np.zeros(1), np.full(1, 4.0))
    noisy = np.clip(enlarged.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, "BMP")
    return raw(out.getvalue())


def _photograph() -> Pixels:
    return np.asarray(Image.open(io.BytesIO(packages(fetch())(*_PICTURE))).convert("RGB"))


def _film() -> bytes:
    """Return a pan over a photograph: H.264 as cameras write it, a key frame a second, and no sound."""
    out = io.BytesIO()
    width, height = FILM_SIZE
    ground = cv2.resize(_photograph(), (2 * width, 2 * width), interpolation=cv2.INTER_CUBIC)
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FILM_RATE)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast", "g": str(FILM_RATE), "b": "12M"}
        for number in range(FILM_S * FILM_RATE):
            window = ground[number : number + height, number * 2 : number * 2 + width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(window, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FILM_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _sound() -> bytes:
    """Return chords that change every second, MP3 in stereo."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SOUND_RATE)
        assert isinstance(stream, AudioStream)
        stream.codec_context.format = "s16p"
        for block in _chords():
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return out.getvalue()


def _chords() -> Iterator[av.AudioFrame]:
    for second in range(SOUND_S):
        time_s = np.arange(SOUND_RATE) / SOUND_RATE
        root = 110.0 * 2 ** (second % 12 / 12)
        wave = np.sin(2 * math.pi * root * np.outer((1.0, 1.25, 1.5), time_s)).sum(axis=0) * 7000
        samples = np.repeat(wave.astype(np.int16)[None], 2, axis=0)
        block = av.AudioFrame.from_ndarray(samples, format="s16p", layout="stereo")
        block.sample_rate, block.pts, block.time_base = SOUND_RATE, second * SOUND_RATE, Fraction(1, SOUND_RATE)
        yield block


def size_mb(folder: Path) -> float:
    """Return what the files in ``folder`` have on average."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()]
    return sum(sizes) / len(sizes) / 1e6
