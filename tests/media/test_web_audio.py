"""Sounds for the web: what plays is left alone, AAC is copied, the rest comes out as AAC, complete and in tune."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import WebAudio
from lumiliod.media import index_first, isobmff, web_audio
from lumiliod.media.audio import Audio
from lumiliod.media.media_type import HEAD_BYTES, Conversion, Sniffed, Source
from lumiliod.media.video import Video
from lumiliod.media.web_audio import Plan

from .conftest import CORPUS


def tone(
    path: Path, codec: str, *, rate: int = 48_000, layout: str = "stereo", seconds: float = 2, muxer: str | None = None
) -> Path:
    """Write a tone of 440 Hz."""
    with av.open(str(path), "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            stream.codec_context.bit_rate = 128_000
        at = np.arange(round(seconds * rate))
        samples = (0.5 * np.sin(2 * np.pi * 440 * at / rate)).astype(np.float32)
        resampler = av.AudioResampler(stream.format, layout, rate)
        for start in range(0, len(samples), rate):
            part = np.tile(samples[start : start + rate], (stream.channels, 1))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


def opened(path: Path) -> tuple[Source, Sniffed]:
    file = path.open("rb")
    source = Source(file, file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)
    for kind in (Video(), Audio()):
        sniffed = kind.sniff(source.head, source.size_bytes)
        if sniffed is not None:
            return source, sniffed
    raise AssertionError(path.name)


def planned(path: Path) -> Plan:
    source, sniffed = opened(path)
    with source.file:
        return web_audio.plan(source, sniffed)


def converted(path: Path) -> tuple[WebAudio, bytes]:
    source, sniffed = opened(path)
    with source.file, tempfile.TemporaryFile() as scratch, tempfile.TemporaryFile() as into:
        told = web_audio.convert(source, sniffed, Conversion(scratch, into, 10**9, lambda _: None))
        assert isobmff.index_comes_first(into)
        into.seek(0)
        content = into.read()
    assert told.size_bytes == len(content)
    assert isobmff.mime_type(content[:64], len(content)) == "audio/mp4"
    return told, content


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp3", "libmp3lame"),
        ("a.m4a", "aac"),
        ("a.aac", "aac"),
        ("a.flac", "flac"),
        ("a.wav", "pcm_s16le"),
        ("b.wav", "pcm_s24le"),
        ("a.ogg", "libopus"),
        ("a.webm", "libopus"),
        ("a.mp4", "aac"),
    ],
)
def test_what_plays_is_left_alone(tmp_path: Path, name: str, codec: str) -> None:
    assert planned(tone(tmp_path / name, codec)) == Plan(plays=True)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "muxer"),
    [
        ("a.m4a", "alac", 96_000, "stereo", "ipod"),
        ("a.wma", "wmav2", 44_100, "stereo", "asf"),
        ("a.aiff", "pcm_s16be", 44_100, "mono", None),
        ("a.wav", "pcm_f32le", 48_000, "5.1", None),
        ("b.wav", "pcm_s32le", 192_000, "stereo", None),
        ("c.wav", "pcm_alaw", 8_000, "mono", None),
        ("a.mka", "ac3", 48_000, "5.1", "matroska"),
        ("b.mka", "flac", 22_050, "stereo", "matroska"),
        ("a.ogg", "flac", 48_000, "stereo", "ogg"),
        ("a.mp2", "mp2", 48_000, "stereo", "mp2"),
        ("a.3gp", "libopencore_amrnb", 8_000, "mono", None),
    ],
)
def test_what_does_not_is_made_anew(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, muxer: str | None
) -> None:
    path = tone(tmp_path / name, codec, rate=rate, layout=layout, muxer=muxer, seconds=3)
    assert planned(path) == Plan(plays=False)
    told, content = converted(path)
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[0]
        context = stream.codec_context
        assert (context.name, context.channels) == ("aac", 1 if layout == "mono" else 2)
        assert context.sample_rate == (rate if rate in web_audio.RATES else 48_000)
        assert 8 * (len(content) - index_first.MOOV_SPARE_BYTES) / told.duration_s < 205_000
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    assert told.duration_s == pytest.approx(3, abs=0.1)
    middle = heard[len(heard) // 4 : len(heard) // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * context.sample_rate / len(middle) == pytest.approx(440, abs=3)
    assert np.abs(middle).max() > 0.2


def test_aac_is_copied_out_of_other_containers(tmp_path: Path) -> None:
    path = tone(tmp_path / "a.mka", "aac", muxer="matroska")
    assert planned(path) == Plan(plays=False, copies=True)
    _, content = converted(path)
    with av.open(str(path), "r") as before, av.open(io.BytesIO(content), "r") as after:
        packets = [[bytes(packet) for packet in one.demux(audio=0) if packet.size] for one in (before, after)]
    assert packets[0] == packets[1]


def test_what_holds_no_sound_says_so(tmp_path: Path) -> None:
    whole = tone(tmp_path / "a.aiff", "pcm_s16be").read_bytes()
    (tmp_path / "b.aiff").write_bytes(whole[:50])
    with pytest.raises(Permanent) as raised:
        converted(tmp_path / "b.aiff")
    assert raised.value.code == "corrupt"


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")
def test_the_sounds_of_the_corpus(subtests: Any) -> None:
    for path in sorted(CORPUS.iterdir()):
        if path.suffix.lower() not in {".m4a", ".wma", ".aiff", ".wav", ".mp3", ".flac", ".ogg", ".opus"}:
            continue
        with subtests.test(path.name):
            if path.name.startswith("CWE"):
                with pytest.raises(Permanent):
                    planned(path)
                continue
            if planned(path).plays:
                continue
            with av.open(str(path)) as container:
                length_s = (container.duration or 0) / 1_000_000
            assert converted(path)[0].duration_s == pytest.approx(length_s, abs=0.3)
