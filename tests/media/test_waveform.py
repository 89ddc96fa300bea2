"""The shape of a sound: loud where it is loud, for any length, in the format web players read."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lumiliod.media import waveform
from lumiliod.media.media import Media

from .conftest import CORPUS

RATE = 16_000


def sound(path: Path, samples: NDArray[np.float32], codec: str, rate: int = RATE) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.format, "mono", rate)
        for at in range(0, len(samples), rate):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + rate], format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


def swelling(length_s: float, rate: int = RATE) -> NDArray[np.float32]:
    """Make silence, then a tone of half the largest amplitude, then of all of it; a third of the time each."""
    at = np.arange(round(length_s * rate))
    loudness = np.array([0.0, 0.5, 0.98])[at * 3 // len(at)]
    return (loudness * np.sin(2 * np.pi * 440 * at / rate)).astype(np.float32)


def peaks(path: Path) -> waveform.Peaks:
    with av.open(str(path)) as container:
        return waveform.peaks(container, container.streams.audio[0])


def thirds(found: waveform.Peaks) -> list[tuple[int, int]]:
    margin = len(found) // 20
    third = len(found) // 3
    parts = [found[n * third + margin : (n + 1) * third - margin] for n in range(3)]
    return [(int(np.median(part[:, 0])), int(np.median(part[:, 1]))) for part in parts]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac")]
)
def test_it_is_loud_where_the_sound_is(tmp_path: Path, name: str, codec: str) -> None:
    found = peaks(sound(tmp_path / name, swelling(6), codec))
    assert found.shape == (waveform.POINTS, 2)
    for (low, high), level in zip(thirds(found), (0, 63, 124), strict=True):
        assert abs(low + level) <= 8
        assert abs(high - level) <= 8


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.wav", "pcm_s16le"), ("a.mka", "libopus")])
def test_a_long_sound_is_listened_to_here_and_there(
    tmp_path: Path, name: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "WHOLE_S", 20.0)
    monkeypatch.setattr(waveform, "POINTS", 120)
    found = peaks(sound(tmp_path / name, swelling(60), codec))
    assert found.shape == (120, 2)
    silence, half, loud = (high for _, high in thirds(found))
    assert silence < 8 < 40 < half < 80 < loud


@pytest.mark.parametrize("samples", [1, 7, 1000])
def test_a_short_sound_has_fewer_points(tmp_path: Path, samples: int) -> None:
    found = peaks(sound(tmp_path / "a.wav", np.full(samples, 0.5, np.float32), "pcm_s16le"))
    assert len(found) <= max(1, samples)
    assert waveform.drawn(found, 300, 75).shape == (75, 300, 3)


def test_what_breaks_off_is_heard_until_then(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", swelling(6), "flac")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert len(peaks(path)) == waveform.POINTS
    rng = np.random.default_rng(1)
    broken = np.frombuffer(content, np.uint8).copy()
    broken[rng.integers(200, len(broken), 500)] = 0
    path.write_bytes(broken.tobytes())
    assert peaks(path).shape[1] == 2


def test_web_players_can_read_it() -> None:
    found = np.array([[-3, 4], [-128, 127]], np.int8)
    data = waveform.encoded(found, 2.0)
    assert struct.unpack("<iIiiI", data[:20]) == (1, 1, waveform.RATE_HZ, waveform.RATE_HZ, 2)
    assert np.array_equal(np.frombuffer(data[20:], np.int8).reshape(-1, 2), found)


def test_the_picture_is_tall_where_the_sound_is_loud() -> None:
    found = np.zeros((100, 2), np.int8)
    found[50:] = (-100, 100)
    picture = waveform.drawn(found, 400, 101)
    heights = (picture == waveform.FOREGROUND).all(axis=2).sum(axis=0)
    assert set(heights[:199]) == {1}
    assert heights[201:].min() > 80
    assert (waveform.drawn(np.empty((0, 2), np.int8), 40, 11) == waveform.FOREGROUND).all(axis=2).sum() == 40


async def test_a_sound_is_shown_by_its_shape(media: Media, tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", swelling(6), "flac")
    drawn = await media.thumbnails(str(path))
    pictures, appearance, data = drawn.pictures, drawn.appearance, drawn.waveform
    assert [(one.width, one.height) for one in pictures] == [(1024, 256), (300, 75), (150, 38)]
    with Image.open(BytesIO(pictures[0].data)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    is_blue = np.abs(pixels - waveform.FOREGROUND).sum(axis=2) < 90
    heights = is_blue.sum(axis=0)
    assert heights[100] < 10 < 80 < heights[500] < 150 < heights[900]
    assert appearance is not None
    assert data is not None
    assert struct.unpack("<I", data[16:20]) == (waveform.POINTS,)


@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_cover_is_shown_where_there_is_one(media: Media, tmp_path: Path, is_broken: bool) -> None:
    path = sound(tmp_path / "a.mp3", swelling(2), "libmp3lame")
    file = BytesIO()
    Image.new("RGB", (600, 600), (200, 30, 30)).save(file, "JPEG")
    picture = file.getvalue()[: 300 if is_broken else None]
    # ID3v2.3, an APIC frame: encoding, MIME type, front cover, no description
    body = b"\0image/jpeg\0\x03\0" + picture
    tag = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(tag) >> shift & 0x7F for shift in (21, 14, 7, 0))
    content = path.read_bytes()
    if content[:3] == b"ID3":
        content = content[10 + int.from_bytes(content[6:10], "big") :]
    path.write_bytes(b"ID3\3\0\0" + size + tag + content)
    drawn = await media.thumbnails(str(path))
    pictures, data = drawn.pictures, drawn.waveform
    assert data is not None
    with Image.open(BytesIO(pictures[1].data)) as image:
        shown = image.convert("RGB")
    if is_broken:
        assert shown.size == (300, 75)
    else:
        assert shown.size == (300, 300)
        assert np.abs(np.asarray(shown).astype(int) - (200, 30, 30)).max() < 12


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")
async def test_the_covers_of_the_corpus(media: Media) -> None:
    pictures = (await media.thumbnails(str(CORPUS / "id4.m4a"))).pictures
    assert pictures[0].height * 4 > pictures[0].width
