"""The strip of a film: a frame for every place, upright, in the order of time."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lumiliod.domain.errors import Permanent, Refused
from lumiliod.media.filmstrip import filmstrip
from lumiliod.media.media_type import Filmstrip
from lumiliod.media.video import Video

from .test_web_video import film, films_of_the_corpus, source


def brightening(path: Path, seconds: int, *, codec: str = "libx264", rotation: int = 0) -> Path:
    """Write a film that goes from black to white, a key frame every second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        stream.codec_context.gop_size = 10
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(seconds * 10):
            level = round(255 * number / (seconds * 10 - 1))
            frame = av.VideoFrame.from_ndarray(np.full((160, 320, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def strip(path: Path, max_pixels: int = 10**9) -> Filmstrip | None:
    opened = source(path)
    with opened.file:
        sniffed = Video().sniff(opened.head, opened.size_bytes)
        assert sniffed is not None
        return filmstrip(opened, sniffed, max_pixels)


def tiles(made: Filmstrip) -> list[NDArray[np.uint8]]:
    with Image.open(BytesIO(made.data)) as image:
        sheet = np.asarray(image)
    rows = -(-made.frames // made.columns)
    assert sheet.shape == (rows * made.height, made.columns * made.width, 3)
    places = [divmod(number, made.columns) for number in range(made.frames)]
    return [sheet[y * made.height : (y + 1) * made.height, x * made.width : (x + 1) * made.width] for y, x in places]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_frame_for_every_second_in_order(tmp_path: Path, name: str) -> None:
    codec = "libx264" if name in ("a.mp4", "a.mkv") else "mpeg4"
    made = strip(brightening(tmp_path / name, 12, codec=codec))
    assert made is not None
    assert (made.frames, made.interval_s, made.width, made.height) == (12, 1.0, 160, 80)
    levels = [float(tile.mean()) for tile in tiles(made)]
    assert levels == sorted(levels)
    assert levels[0] < 30
    assert levels[-1] > 200


def test_a_long_film_has_no_more_frames(tmp_path: Path) -> None:
    made = strip(brightening(tmp_path / "a.mkv", 250))
    assert made is not None
    assert (made.frames, made.interval_s) == (100, 2.5)
    levels = [float(tile.mean()) for tile in tiles(made)]
    assert np.abs(np.array(levels) - np.linspace(0, 255, 100)).max() < 12


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_it_is_upright(tmp_path: Path, rotation: int) -> None:
    path = film(tmp_path / "a.mov", rotation=rotation, sound=None)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        wanted = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    made = strip(path)
    assert made is not None
    tile = tiles(made)[0]
    assert tile.shape[0] * wanted.shape[1] == tile.shape[1] * wanted.shape[0]
    corners = [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    for y, x in corners:
        seen = tile[int(y * tile.shape[0]), int(x * tile.shape[1])].astype(int)
        assert np.abs(seen - wanted[int(y * wanted.shape[0]), int(x * wanted.shape[1])]).max() < 40


def test_what_has_no_picture_has_none(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", codec="mpeg4", seconds=2, sound=None)
    with pytest.raises(Refused):
        strip(path, max_pixels=100)
    content = path.read_bytes()
    header = content.index(b"\x1f\x43\xb6\x75") + 20  # the first Cluster
    path.write_bytes(content[:header] + bytes(len(content) - header))
    try:
        assert strip(path) is None
    except Permanent as error:
        assert error.code == "corrupt"  # noqa: PT017  either is right


@pytest.mark.parametrize("path", [*films_of_the_corpus()], ids=lambda path: path.name)
def test_the_films_of_the_corpus(path: Path) -> None:
    made = strip(path)
    assert made is not None
    assert max(tile.mean() for tile in tiles(made)) > 5
