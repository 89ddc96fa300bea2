"""Films in pieces: each is made alone, and together they are the film, without a gap and to the frame."""

import io
import itertools
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from lumiliod.domain import streaming
from lumiliod.domain.errors import NotFound, Permanent
from lumiliod.domain.streaming import FilmSurvey, Piece
from lumiliod.media import film_pieces
from lumiliod.media.film_filter import frame_rate
from lumiliod.media.film_tracks import MAX_RATE
from lumiliod.media.media_type import Conversion, Sniffed, Source
from lumiliod.media.video import Video
from tests.media.test_web_video import BLUE, GREEN, film, films_of_the_corpus, near, source

MANY_PIXELS = 10**9


class Streamed:
    """A film, as a player would have it that fetched all pieces of one size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        opened = source(path)
        with opened.file:
            self.survey = film_pieces.survey(opened, self._sniffed(opened), MANY_PIXELS)

    def part(self, piece: Piece) -> bytes:
        opened = source(self._path)
        with opened.file, tempfile.TemporaryFile() as scratch, tempfile.TemporaryFile() as into:
            conversion = Conversion(scratch, into, MANY_PIXELS, lambda _: None)
            told = film_pieces.write(opened, self._sniffed(opened), piece, conversion)
            into.seek(0)
            content = into.read()
        assert told == len(content)
        return content

    def _sniffed(self, opened: Source) -> Sniffed:
        sniffed = Video().sniff(opened.head, opened.size_bytes)
        assert sniffed is not None
        return sniffed

    def whole(self, rendition: int, numbers: "range | list[int] | None" = None) -> bytes:
        chosen = range(streaming.count(self.survey.duration_s)) if numbers is None else numbers
        parts = [self.part(streaming.piece(self.survey, rendition, number)) for number in chosen]
        return b"".join([self.part(Piece(rendition)), *parts])


def frames(content: bytes) -> list[Any]:
    with av.open(io.BytesIO(content), "r") as container:
        return list(container.decode(video=0))


def sound(content: bytes) -> tuple[NDArray[np.float32], list[float]]:
    """Return the samples of the first channel, and where frames begin."""
    with av.open(io.BytesIO(content), "r") as container:
        heard = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray()[0] for frame in heard]), [float(frame.time or 0) for frame in heard]


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def counting(
    path: Path, codec: str, *, seconds: float, rate: Fraction, sound: str | None = None, gop: int = 250
) -> Path:
    """Write a film whose frames say which they are: each is lighter than the one before, 50 times, and anew."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.gop_size = gop
        if codec == "mpeg2video":  # of a picture at a cut libav writes, or reads, a time that is one frame late
            stream.codec_context.options = {"sc_threshold": "1000000000"}
        hertz = 48_000 if sound == "libopus" else 44_100
        tone: Any = container.add_stream(sound, rate=hertz, layout="mono") if sound else None
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 20 + 4 * (number % 50), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        if tone is not None:
            at = np.arange(round(seconds * hertz))
            resampler = av.AudioResampler(tone.format, "mono", hertz)
            samples = (0.5 * np.sin(2 * np.pi * 441 * at / hertz)).astype(np.float32)
            for start in range(0, len(samples), hertz):
                heard = av.AudioFrame.from_ndarray(samples[None, start : start + hertz], format="flt", layout="mono")
                heard.sample_rate, heard.pts = hertz, start
                for resampled in resampler.resample(heard):
                    container.mux(tone.encode(resampled))
            container.mux(tone.encode(None))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "heard", "rate"),
    [
        ("a.mp4", "libx264", "aac", Fraction(25)),
        ("b.mkv", "libx264", "libmp3lame", Fraction(30_000, 1001)),
        ("c.ts", "libx264", "aac", Fraction(25)),
        ("d.mpg", "mpeg2video", "mp2", Fraction(25)),
        ("e.webm", "libvpx-vp9", "libopus", Fraction(24)),
        ("f.mov", "libx265", "pcm_s16le", Fraction(50)),
    ],
)
def test_pieces_are_the_film(tmp_path: Path, name: str, codec: str, heard: str, rate: Fraction) -> None:
    seconds = 14.5
    path = counting(tmp_path / name, codec, seconds=seconds, rate=rate, sound=heard)
    streamed = Streamed(path)
    assert list(streamed.survey.sizes) == [480]
    content = streamed.whole(480)
    shown = frames(content)
    wanted = frames(path.read_bytes())
    assert len(shown) == pytest.approx(len(wanted), abs=0 if codec != "mpeg2video" else 1)
    assert len(shown) == pytest.approx(float(seconds * rate), abs=2)
    levels = [float(frame.to_ndarray(format="gray")[20:70, 20:140].mean()) for frame in shown]
    first = np.array(levels[:50])
    for at in range(50, len(levels) - 51, 50):
        assert np.abs(np.array(levels[at : at + 50]) - first).max() < 3, at
    assert (np.diff(first) > 2).all()
    times = [float(frame.time or 0) for frame in shown]
    assert max(gaps(times[:-1])) == pytest.approx(float(1 / rate), abs=0.0011)  # Matroska has milliseconds
    samples, begins = sound(content)
    assert gaps(begins) == pytest.approx([1024 / 48_000] * (len(begins) - 1), abs=1e-6)
    assert len(samples) / 48_000 == pytest.approx(seconds, abs=0.1)
    # the tone goes through: nothing but it is heard where pieces meet
    for boundary in (6, 12):
        part = samples[boundary * 48_000 - 9_600 : boundary * 48_000 + 9_600]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        peak = int(spectrum.argmax())
        assert peak * 48_000 / len(part) == pytest.approx(441, abs=3)
        assert spectrum[peak - 6 : peak + 7].sum() / spectrum.sum() > 0.99


def test_one_piece_comes_out_the_same_whatever_was_made_before(tmp_path: Path) -> None:
    streamed = Streamed(counting(tmp_path / "a.mp4", "libx264", seconds=14.5, rate=Fraction(25), sound="aac"))
    shown = frames(streamed.whole(480, [1]))
    assert (shown[0].time, shown[0].key_frame, len(shown)) == (6.0, True, 150)
    assert frames(streamed.whole(480, [2]))[0].time == 12.0


def test_there_are_sizes_up_to_the_films_own(tmp_path: Path) -> None:
    """And none is larger than it: portraits lie in an upright box."""
    path = film(tmp_path / "a.mkv", codec="mpeg4", size=(1920, 1080), seconds=0.4)
    streamed = Streamed(path)
    assert streamed.survey.sizes == {480: (854, 480), 720: (1280, 720), 1080: (1920, 1080)}
    for name, (width, height) in streamed.survey.sizes.items():
        [frame, *_] = frames(streamed.whole(name))
        assert (frame.width, frame.height) == (width, height)
    small = Streamed(film(tmp_path / "b.mkv", codec="mpeg4", size=(320, 240), seconds=0.4))
    assert small.survey.sizes == {480: (320, 240)}
    middle = Streamed(film(tmp_path / "c.mkv", codec="mpeg4", size=(600, 800), seconds=0.4))
    assert middle.survey.sizes == {480: (480, 640), 720: (600, 800)}


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_they_are_upright(tmp_path: Path, rotation: int) -> None:
    path = film(tmp_path / "a.mov", codec="libx264", rotation=rotation, seconds=8)
    with av.open(str(path), "r") as container:
        frame = next(container.decode(video=0))
        wanted = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    streamed = Streamed(path)
    for number in (0, 1):
        shown = frames(streamed.whole(480, [number]))[5]
        assert shown.rotation == 0
        pixels = shown.to_ndarray(format="rgb24")
        assert pixels.shape == wanted.shape
        assert np.abs(pixels.astype(int) - wanted.astype(int)).mean() < 12


def test_high_dynamic_range_becomes_standard(tmp_path: Path) -> None:
    path = film(
        tmp_path / "a.mov", codec="libx265", pix_fmt="yuv420p10le", seconds=1,
        color_trc=16, color_primaries=9, colorspace=9, color_range=1,
    )  # fmt: skip
    frame = frames(Streamed(path).whole(480))[5]
    assert (frame.color_trc, frame.color_primaries, frame.colorspace, frame.format.name) == (1, 1, 1, "yuv420p")


def test_a_still_picture_is_held_from_piece_to_piece(tmp_path: Path) -> None:
    """A recording of a screen has a frame when something happens: here, at 0 and at 20 seconds."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        for at, colour in ((0, GREEN), (600, BLUE), (630, BLUE)):
            frame = av.VideoFrame.from_ndarray(np.full((160, 320, 3), colour, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = frames(Streamed(path).whole(480))
    assert [frame.time for frame in shown] == [0, 6, 12, 18, 20, 21]
    assert [near(frame.to_ndarray(format="rgb24"), BLUE) for frame in shown] == [False] * 4 + [True] * 2


def test_what_cannot_be_sought_in_is_read_from_its_beginning(tmp_path: Path) -> None:
    """An MPEG-4 stream in AVI without an index; and only one key frame in all."""
    path = counting(tmp_path / "a.avi", "mpeg4", seconds=14, rate=Fraction(25), gop=10_000)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1")])
    streamed = Streamed(path)
    shown = frames(streamed.whole(480))
    assert len(shown) == pytest.approx(len(frames(path.read_bytes())), abs=1)
    assert len(shown) > 340


def test_what_is_broken_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", codec="mpeg4", seconds=0.2, sound=None)
    path.write_bytes(path.read_bytes()[:600] + b"\0" * 400)
    with pytest.raises(Permanent) as raised:
        Streamed(path)
    assert raised.value.code == "corrupt"


def test_the_films_of_the_corpus(subtests: Any) -> None:
    for path in films_of_the_corpus():
        with subtests.test(path.name):
            streamed = Streamed(path)
            with av.open(str(path), "r") as container:
                begins = (container.start_time or 0) / 1_000_000
                if frame_rate(container.streams.video[0]) > MAX_RATE:
                    continue
                wanted = [float(frame.time or 0) - begins for frame in container.decode(video=0)]
            shown = frames(streamed.whole(480))
            assert len(shown) == pytest.approx(len(wanted), abs=1)
            assert float(shown[-1].time or 0) == pytest.approx(wanted[-1], abs=0.05)


def surveys() -> Iterator[tuple[float, int, float]]:
    """Yield lengths, with how many pieces they have, and how long the last one is."""
    yield from ((0.2, 1, 0.2), (6.0, 1, 6.0), (6.9, 1, 6.9), (7.1, 2, 1.1), (12.04, 2, 6.04), (13.0, 3, 1.0))


@pytest.mark.parametrize(("length_s", "count", "last_s"), list(surveys()))
def test_playlists_tell_what_there_is(length_s: float, count: int, last_s: float) -> None:
    survey = FilmSurvey(length_s, 25.0, True, {480: (854, 480), 720: (1280, 720)})
    lines = streaming.index(survey, 480).splitlines()
    assert (lines[0], lines[-1]) == ("#EXTM3U", "#EXT-X-ENDLIST")
    assert [line for line in lines if line.endswith(".m4s")] == [f"{number}.m4s" for number in range(count)]
    lengths = [float(line[8:-1]) for line in lines if line.startswith("#EXTINF:")]
    assert sum(lengths) == pytest.approx(length_s)
    assert lengths[-1] == pytest.approx(last_s)
    assert max(lengths) < 7.5
    told = [line for line in streaming.master(survey).splitlines() if not line.startswith("#")]
    assert told == ["480/index.m3u8", "720/index.m3u8"]
    for wrong in (lambda: streaming.index(survey, 1080), lambda: streaming.piece(survey, 480, count)):
        with pytest.raises(NotFound):
            wrong()


@pytest.mark.parametrize("length_s", [0.0, float("nan"), 1e9])
def test_a_length_that_cannot_be_is_no_reason_for_a_playlist(length_s: float) -> None:
    with pytest.raises(NotFound):
        streaming.master(FilmSurvey(length_s, 25.0, True, {480: (854, 480)}))
