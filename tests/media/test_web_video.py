"""Films for the web: what plays is left alone, what complies is copied, the rest comes out upright and complete."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from lumiliod.domain.errors import Permanent, Refused
from lumiliod.domain.media import WebVideo
from lumiliod.media import isobmff, web_video
from lumiliod.media.media_type import HEAD_BYTES, Conversion, Source
from lumiliod.media.video import Video
from lumiliod.media.web_video import Plan

from .conftest import CORPUS

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
MANY_PIXELS = 10**9


def film(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (320, 160),
    seconds: float = 2,
    rate: int = 25,
    rotation: int = 0,
    sound: str | None = "aac",
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Write a film: the upper half as stored green, the lower blue."""
    width, height = size
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        tone: Any = container.add_stream(sound, rate=48000, layout="stereo") if sound else None
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[: height // 2], pixels[height // 2 :] = GREEN, BLUE
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
            if tone is not None and number % rate == 0:
                samples = np.zeros((2, 48000), np.float32)
                heard = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
                heard.sample_rate, heard.pts, heard.time_base = 48000, number // rate * 48000, Fraction(1, 48000)
                container.mux(tone.encode(heard))
        container.mux(stream.encode(None))
        if tone is not None:
            container.mux(tone.encode(None))
    return path


@dataclass
class Made:
    """What came of a film, and how it was told to get on."""

    told: WebVideo
    content: bytes
    progress: list[float] = field(default_factory=list[float])

    def opened(self) -> Any:
        return av.open(io.BytesIO(self.content))

    def codecs(self) -> list[str]:
        with self.opened() as container:
            return [stream.codec_context.codec.canonical_name for stream in container.streams]

    def frames(self) -> list[Any]:
        with self.opened() as container:
            return list(container.decode(video=0))

    def shown(self, number: int = 10) -> NDArray[np.uint8]:
        frame = self.frames()[number]
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        return np.rot90(pixels, round(frame.rotation / 90) % 4)


def source(path: Path) -> Source:
    file = path.open("rb")
    return Source(file, file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)


def planned(path: Path) -> Plan:
    opened = source(path)
    with opened.file:
        sniffed = Video().sniff(opened.head, opened.size_bytes)
        assert sniffed is not None
        return web_video.plan(opened, sniffed, MANY_PIXELS)


def converted(path: Path, max_pixels: int = MANY_PIXELS) -> Made:
    opened = source(path)
    progress: list[float] = []
    with opened.file, tempfile.TemporaryFile() as scratch, tempfile.TemporaryFile() as into:
        sniffed = Video().sniff(opened.head, opened.size_bytes)
        assert sniffed is not None
        told = web_video.convert(opened, sniffed, Conversion(scratch, into, max_pixels, progress.append))
        assert isobmff.index_comes_first(into)
        into.seek(0)
        content = into.read()
    assert told.size_bytes == len(content)
    return Made(told, content, progress)


def near(pixels: NDArray[np.uint8], wanted: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels.mean(axis=(0, 1)) - wanted) < 30).all())


def test_what_plays_is_left_alone(tmp_path: Path) -> None:
    assert planned(film(tmp_path / "a.mp4", options={"movflags": "+faststart"})).plays
    assert planned(film(tmp_path / "b.mp4", options={"movflags": "+faststart"}, sound=None)).plays
    assert planned(film(tmp_path / "c.webm", codec="libvpx-vp9", sound="libopus")).plays


@pytest.mark.parametrize("name", ["late.mp4", "film.mov", "film.mkv", "film.ts", "film.3gp"])
def test_what_complies_is_copied(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name)
    assert planned(path) == Plan(False, copies_picture=True, copies_sound=True, has_sound=True)
    made = converted(path)
    assert (made.told.copied_picture, made.told.width, made.told.height) == (True, 320, 160)
    assert made.told.duration_s == pytest.approx(2, abs=0.1)
    assert made.codecs() == ["h264", "aac"]
    assert len(made.frames()) == 50
    assert near(made.shown()[:70], GREEN)


@pytest.mark.parametrize(
    ("name", "codec", "sound", "pix_fmt"),
    [
        ("a.mp4", "libx265", "aac", "yuv420p"),
        ("b.mov", "libx265", "pcm_s16le", "yuv420p10le"),
        ("c.avi", "mpeg4", "libmp3lame", "yuv420p"),
        ("d.mpg", "mpeg2video", "mp2", "yuv420p"),
        ("e.mkv", "libx264", "flac", "yuv444p"),
        ("f.mkv", "ffv1", "libopus", "yuv420p"),
        ("g.mov", "prores_ks", "pcm_s16le", "yuv422p10le"),
        ("h.mov", "mjpeg", None, "yuvj420p"),
    ],
)
def test_what_does_not_is_made_anew(tmp_path: Path, name: str, codec: str, sound: str | None, pix_fmt: str) -> None:
    made = converted(film(tmp_path / name, codec=codec, sound=sound, pix_fmt=pix_fmt, size=(320, 240)))
    assert not made.told.copied_picture
    assert (made.told.width, made.told.height) == (320, 240)
    kept = {"libmp3lame": "mp3", None: None}.get(sound, "aac")
    assert made.codecs() == ["h264", kept] if kept else ["h264"]
    assert len(made.frames()) == pytest.approx(50, abs=1)
    assert {frame.format.name for frame in made.frames()} == {"yuv420p"}
    assert near(made.shown()[:110], GREEN)
    assert near(made.shown()[130:], BLUE)
    assert made.progress[-1] > 0.9


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_it_is_upright(tmp_path: Path, rotation: int, codec: str) -> None:
    """Copied with the camera's word for it, or drawn so."""
    path = film(tmp_path / "a.mov", codec=codec, rotation=rotation)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        wanted = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    made = converted(path)
    height, width = wanted.shape[:2]
    assert (made.told.width, made.told.height) == (width, height)
    shown = made.shown()
    assert shown.shape == wanted.shape
    assert np.abs(shown.astype(int) - wanted.astype(int)).mean() < 12
    if codec == "libx265":
        assert {frame.rotation for frame in made.frames()} == {0}


@pytest.mark.parametrize(
    ("size", "aspect", "wanted"),
    [
        ((3840, 2160), None, (1920, 1080)),
        ((2160, 3840), None, (1080, 1920)),
        ((2000, 500), None, (1920, 480)),
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((322, 162), None, (322, 162)),
        ((3000, 3000), None, (1080, 1080)),
    ],
)
def test_it_fits_and_is_never_enlarged(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction | None, wanted: tuple[int, int]
) -> None:
    made = converted(film(tmp_path / "a.mkv", codec="mpeg4", size=size, aspect=aspect, seconds=0.5, sound=None))
    assert (made.told.width, made.told.height) == wanted


def test_an_odd_size_becomes_even(tmp_path: Path) -> None:
    made = converted(film(tmp_path / "a.mkv", codec="ffv1", size=(321, 161), pix_fmt="bgr0", seconds=0.5, sound=None))
    assert (made.told.width, made.told.height) == (320, 160)


def test_slow_motion_is_thinned_out(tmp_path: Path) -> None:
    made = converted(film(tmp_path / "a.mkv", codec="mpeg4", rate=240, seconds=1, sound=None))
    assert len(made.frames()) == pytest.approx(60, abs=2)
    assert made.told.duration_s == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_becomes_standard(tmp_path: Path, transfer: int) -> None:
    """A grey of a fifth of the brightest light is bright but not white; black stays black."""
    path = tmp_path / "a.mov"
    codes = np.repeat(np.array([0.0, 0.3, 0.508, 0.75]), 80)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        for number in range(10):
            frame = av.VideoFrame(320, 160, "yuv420p10le")
            rows = (np.tile((64 + 876 * codes).astype("<u2"), (160, 1)), np.full((80, 160), 512, "<u2"))
            for plane, values in zip(frame.planes, (rows[0], rows[1], rows[1]), strict=True):
                padded = np.zeros((plane.height, plane.line_size // 2), "<u2")
                padded[:, : values.shape[1]] = values
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, 9, 9, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    made = converted(path)
    frame = made.frames()[5]
    assert (frame.color_trc, frame.color_primaries, frame.colorspace) == (1, 1, 1)
    levels = made.shown(5)[80, 40::80].mean(axis=1)
    assert levels[0] < 8
    assert (np.diff(levels) > 15).all()
    assert levels[3] < 250


def test_a_film_that_changes_its_size_goes_on(tmp_path: Path) -> None:
    parts = [film(tmp_path / f"{n}.ts", codec="mpeg2video", size=size, seconds=1, sound=None)
             for n, size in enumerate([(320, 240), (640, 480)])]  # fmt: skip
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    made = converted(joined)
    assert (made.told.width, made.told.height) == (320, 240)
    assert {(frame.width, frame.height) for frame in made.frames()} == {(320, 240)}
    assert len(made.frames()) >= 25


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.avi"])
def test_what_breaks_off_is_kept_as_far_as_it_goes(tmp_path: Path, name: str, share: float) -> None:
    path = film(tmp_path / name, codec="mpeg4", seconds=4, sound="libmp3lame" if name != "a.ts" else "mp2")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    made = converted(path)
    assert 0.1 < made.told.duration_s < 4.1


def test_flipped_bytes_end_in_a_film_or_a_reason(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", codec="mpeg4", seconds=2, sound="libmp3lame")
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        broken = content.copy()
        broken[rng.integers(3000, len(broken), 200)] = rng.integers(0, 256, 200)
        path.write_bytes(broken.tobytes())
        with contextlib.suppress(Permanent):
            assert converted(path).told.size_bytes > 1000


def test_what_is_no_film_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08free" * 10)
    with pytest.raises(Permanent, match="cannot be read"):
        planned(path)
    sound = film(tmp_path / "b.mkv", codec="mpeg4", seconds=0.5)
    with pytest.raises(Refused):
        converted(sound, max_pixels=100)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")
def test_the_films_of_the_corpus(subtests: Any) -> None:
    for path in films_of_the_corpus():
        with subtests.test(path.name):
            if planned(path).plays:
                continue
            made = converted(path)
            assert made.codecs()[0] == "h264"
            with av.open(str(path)) as container:
                length = (container.duration or 0) / 1_000_000
            assert made.told.duration_s == pytest.approx(length, abs=0.2)


def films_of_the_corpus() -> Iterator[Path]:
    if not CORPUS.exists():
        return
    for path in sorted(CORPUS.iterdir()):
        if path.suffix.lower() in {".mp4", ".mov", ".mts", ".mkv", ".avi", ".webm", ".3gp"} and "poc" not in path.name:
            yield path
