"""What a picture looks like in a few numbers: for finding it again, for a first glance, for how good it is.

Arrays are uint8 ``[height, width, 3]`` in RGB, upright and in sRGB.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lumiliod.domain.media import Appearance

Pixels = NDArray[np.uint8]

HASHED_PX = 32
"""The square the perceptual hash is computed of."""
LEAST_AMPLITUDE = 16.0
"""What a cosine of one level of 255 comes to there; a picture with nothing above that has nothing to be known by."""
THUMBHASH_PX = 100
"""The longest side ThumbHash takes."""
DARK, BRIGHT = 4, 251
"""Luma (of 255) at and beyond which a pixel shows nothing any more."""


def appearance(large: Pixels, small: Pixels) -> Appearance:
    """Describe a picture.

    Args:
        large: what sharpness is measured of, 1024 pixels long where the original is; numbers of pictures of other
            sizes do not compare.
        small: a smaller version of the same.
    """
    luma = _luma(small)
    return Appearance(
        phash=perceptual_hash(luma),
        thumbhash=thumbhash(small),
        sharpness=_sharpness(_luma(large)),
        brightness=float(luma.mean()) / 255,
        dark_share=float((luma <= DARK).mean()),
        bright_share=float((luma >= BRIGHT).mean()),
    )


def perceptual_hash(luma: Pixels) -> int | None:
    """Return the 64-bit DCT hash of a grey picture; those of the same picture differ in few bits.

    Which of the 64 lowest frequencies beside the flat ones are above their median, the first the highest bit (Zauner,
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010; as in pHash 0.9.6, with area averaging
    instead of its blur). None of a picture of one colour.
    """
    square = cv2.resize(luma, (HASHED_PX, HASHED_PX), interpolation=cv2.INTER_AREA)
    low = cv2.dct(square.astype(np.float32))[1:9, 1:9].ravel()
    if np.abs(low).max() < LEAST_AMPLITUDE:
        return None
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


def thumbhash(pixels: Pixels) -> bytes:
    """Return the ThumbHash of an opaque picture, some 24 bytes that browsers draw a blurred picture from.

    The format of Evan Wallace (https://evanw.github.io/thumbhash/): luminance and two colour differences as the lowest
    cosine frequencies, four bits each.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest > THUMBHASH_PX:
        width, height = (max(1, round(side * THUMBHASH_PX / longest)) for side in (width, height))
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        longest = max(height, width)
    red, green, blue = np.moveaxis(pixels.astype(np.float64) / 255, 2, 0)
    across, down = (max(1, _rounded(7 * side / longest)) for side in (width, height))
    light, light_scale, light_steps = _frequencies((red + green + blue) / 3, max(3, across), max(3, down))
    yellow, yellow_scale, yellow_steps = _frequencies((red + green) / 2 - blue, 3, 3)
    ruddy, ruddy_scale, ruddy_steps = _frequencies(red - green, 3, 3)
    is_landscape = width > height
    header = (
        _rounded(63 * light)
        | _rounded(31.5 + 31.5 * yellow) << 6
        | _rounded(31.5 + 31.5 * ruddy) << 12
        | _rounded(31 * light_scale) << 18
    )
    shape = (
        (down if is_landscape else across)
        | _rounded(63 * yellow_scale) << 3
        | _rounded(63 * ruddy_scale) << 9
        | int(is_landscape) << 15
    )
    steps: list[int] = [*light_steps, *yellow_steps, *ruddy_steps]
    steps += [0] * (len(steps) % 2)
    pairs = bytes(low | high << 4 for low, high in zip(steps[::2], steps[1::2], strict=True))
    return header.to_bytes(3, "little") + shape.to_bytes(2, "little") + pairs


def _luma(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _frequencies(channel: NDArray[np.float64], across: int, down: int) -> tuple[float, float, list[int]]:
    """Return a channel's mean, its largest other frequency, and those others in sixteenths of that."""
    height, width = channel.shape
    columns = np.cos(np.pi / width * np.outer(np.arange(across), np.arange(width) + 0.5))
    rows = np.cos(np.pi / height * np.outer(np.arange(down), np.arange(height) + 0.5))
    # what is noise of the arithmetic is nothing
    found = np.round(rows @ channel @ columns.T / (width * height), 9)
    kept = [found[y, x] for y in range(down) for x in range(across) if x * down < across * (down - y)]
    mean, others = float(kept[0]), [float(one) for one in kept[1:]]
    scale = max(map(abs, others), default=0.0)
    return mean, scale, [_rounded(15 * (0.5 + 0.5 / scale * one if scale else one)) for one in others]


def _rounded(value: float) -> int:
    """Round as ECMAScript does, which the format is defined by."""
    return math.floor(value + 0.5)


def _sharpness(luma: Pixels) -> float:
    """Return the variance of the Laplacian, in squared levels of 255 (Pech-Pacheco and others, 2000)."""
    second = cv2.Laplacian(luma, cv2.CV_16S)
    # of its sums, which OpenCV has quick ways for; meanStdDev takes four times as long
    mean = cv2.sumElems(second)[0] / second.size
    return cv2.norm(second, cv2.NORM_L2SQR) / second.size - mean * mean
