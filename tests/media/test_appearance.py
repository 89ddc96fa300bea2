"""What pictures look like in numbers: alike stays alike, unlike unlike, and the hash is the one browsers know."""

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from lumiliod.media.appearance import Pixels, appearance, thumbhash
from lumiliod.media.media import opened
from lumiliod.media.settings import MediaSettings

# of ``weave``, by the encoder that defines the format: npm's thumbhash 0.1.1
REFERENCE = {
    (100, 67): "df07020d820441105267971368687a32b1a9ffef89",
    (40, 100): "df17060b0611504487707618025eeebf8c",
    (64, 64): "df170217041020335077855277779717768569e3f9fd8b07",
    (7, 90): "d98606090885805777737834b063b9f657",
}


def weave(width: int, height: int) -> Pixels:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * 7 + y * 13) % 256, (x * x + y) % 256, (x + y * y * 3) % 256], axis=2).astype(np.uint8)


def scene(seed: int, width: int = 1024, height: int = 683) -> Image.Image:
    """Make something with the frequencies of a photograph: large forms strong, small ones weak."""
    rng = np.random.default_rng(seed)
    found: NDArray[np.float64] = np.zeros((height, width, 3))
    for octave in range(1, 8):
        coarse = rng.random((2**octave, 2**octave, 3))
        found += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return Image.fromarray(np.clip(found / found.max() * 255, 0, 255).astype(np.uint8))


def phash(image: Image.Image) -> int:
    pixels = np.asarray(image.convert("RGB"))
    small = cv2.resize(pixels, (150, round(150 * image.height / image.width)), interpolation=cv2.INTER_AREA)
    found = appearance(pixels, np.asarray(small, np.uint8)).phash
    assert found is not None
    return found


def saved_again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


@pytest.mark.parametrize(("width", "height"), REFERENCE)
def test_browsers_know_the_thumbhash(width: int, height: int) -> None:
    assert thumbhash(weave(width, height)).hex() == REFERENCE[width, height]


def test_a_thumbhash_of_any_size_is_short() -> None:
    for width, height in ((1, 1), (1, 5000), (5000, 1), (1024, 768), (3, 100)):
        assert 5 < len(thumbhash(weave(width, height))) <= 25
    plain = np.full((50, 80, 3), (200, 30, 90), np.uint8)
    assert set(thumbhash(plain)[5:]) == {0}


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: image.resize((image.width // 3, image.height // 3)),
        saved_again,
        lambda image: image.convert("L"),
        lambda image: ImageEnhance.Brightness(image).enhance(1.15),
        lambda image: ImageEnhance.Contrast(image).enhance(0.8),
        lambda image: ImageEnhance.Sharpness(image).enhance(2),
    ],
    ids=["smaller", "saved again", "grey", "brighter", "flatter", "sharpened"],
)
def test_a_variant_is_near(changed: Callable[[Image.Image], Image.Image]) -> None:
    for seed in range(10):
        image = scene(seed)
        assert (phash(image) ^ phash(changed(image))).bit_count() <= 8, seed


def test_different_pictures_are_far() -> None:
    hashes = [phash(scene(seed)) for seed in range(40)]
    assert min((one ^ other).bit_count() for one, other in combinations(hashes, 2)) > 16


def test_one_colour_has_no_hash_and_says_how_bright_it_is() -> None:
    black, white = (np.full((683, 1024, 3), level, np.uint8) for level in (0, 255))
    dark, bright = appearance(black, black[:150, :225]), appearance(white, white[:150, :225])
    assert (dark.phash, dark.brightness, dark.dark_share, dark.bright_share, dark.sharpness) == (None, 0, 1, 0, 0)
    assert (bright.phash, bright.brightness, bright.dark_share, bright.bright_share) == (None, 1, 0, 1)


def test_a_blurred_picture_is_less_sharp() -> None:
    sharp = np.repeat(np.kron(np.indices((86, 128)).sum(0) % 2 * 200, np.ones((8, 8)))[..., None], 3, 2).astype(
        np.uint8
    )
    soft = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 2), np.uint8)
    small = np.asarray(cv2.resize(sharp, (150, 100), interpolation=cv2.INTER_AREA), np.uint8)
    assert appearance(soft, small).sharpness < appearance(sharp, small).sharpness / 2


async def test_it_comes_with_the_thumbnails_turned_as_they_are(tmp_path: Path) -> None:
    upright, turned = tmp_path / "upright.jpg", tmp_path / "turned.jpg"
    image = scene(7)
    image.save(upright, quality=92)
    exif = Image.Exif()
    exif[0x112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(turned, quality=92, exif=exif)
    async with opened(MediaSettings(workers=1)) as media:
        one = (await media.thumbnails(str(upright))).appearance
        other = (await media.thumbnails(str(turned))).appearance
    assert one is not None
    assert other is not None
    assert one.phash is not None
    assert other.phash is not None
    assert (one.phash ^ other.phash).bit_count() <= 4
    assert (one.phash ^ phash(image)).bit_count() <= 4
    assert abs(one.brightness - other.brightness) < 0.01
