"""From decoded pixels to derivatives: colour, size, orientation, encoding.

Arrays are uint8 ``[height, width, 3]`` in RGB. The costly steps run on the smallest array that can
carry them: pixels are scaled down first, then managed, turned and encoded.
"""

from functools import lru_cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lumiliod.media.appearance import Pixels, appearance
from lumiliod.media.media_type import Picture, Recipe, Rendering

cv2.setNumThreads(1)  # one core per worker

CUBIC_FACTOR = 1.5
"""Reductions by less are done best by cubic interpolation; by more it would alias (measured: bench/RESULTS.md)."""

# numpy's quarter turns are counter-clockwise; EXIF 2.32 table 6 says what undoes each orientation
_TURNS = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}
_MIRRORED = frozenset({2, 4, 5, 7})


def drawn(pixels: Pixels, orientation: int, icc: bytes, recipe: Recipe) -> Rendering:
    """Return one picture per size, each scaled from the next larger one, and describe them.

    Args:
        pixels: RGB as stored, at least as large as the largest size where the original is.
        orientation: EXIF orientation still to be applied, 1-8.
        icc: the profile ``pixels`` are in; empty for sRGB.
        recipe: sizes and format.
    """
    pictures: list[Picture] = []
    sizes = sorted(recipe.sizes, reverse=True)
    current = largest = upright(to_srgb(scaled(pixels, sizes[0]), icc), orientation)
    for size in sizes:
        current = scaled(current, size)
        pictures.append(_encoded(current, size, recipe))
    return Rendering(tuple(pictures), appearance(largest, current))


def scaled(pixels: Pixels, long_side: int) -> Pixels:
    """Return ``pixels`` reduced to at most ``long_side``; never enlarged.

    By halves, which are averages, and the rest of less than a half by interpolation: against area averaging in one step
    this is as like an exact rendering, or more (SSIM), in a third of the time.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= long_side:
        return pixels
    size = max(1, round(width * long_side / longest)), max(1, round(height * long_side / longest))
    if pixels.ndim == 3 and pixels.shape[2] == 4:  # premultiplied: a colour must not overshoot its opacity
        return _as_pixels(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    while longest >= 2 * long_side and min(pixels.shape[:2]) >= 2:
        half = pixels.shape[1] // 2, pixels.shape[0] // 2
        pixels, longest = _as_pixels(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)), longest // 2
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    is_near = longest < CUBIC_FACTOR * long_side
    return _as_pixels(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if is_near else cv2.INTER_LINEAR))


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return ``pixels`` turned and mirrored so that EXIF ``orientation`` becomes 1."""
    if orientation in _TURNS:
        pixels = np.rot90(pixels, _TURNS[orientation])
    if orientation in _MIRRORED:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def to_srgb(pixels: Pixels, icc: bytes) -> Pixels:
    """Return ``pixels`` converted from profile ``icc`` to sRGB; unchanged where that is needless or impossible."""
    transform = _transform(icc) if icc else None
    if transform is None:
        return pixels
    return np.asarray(transform.apply(Image.fromarray(np.ascontiguousarray(pixels))))


def flattened(image: Image.Image, long_side: int) -> tuple[Pixels, bytes]:
    """Return a loaded Pillow image as RGB at least ``long_side`` long, and the profile it still has to leave.

    Transparency is laid on white; 16-bit, floating, palette, grey and CMYK pictures come out as 8-bit RGB.
    """
    icc = image.info.get("icc_profile") or b""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _gray_to_rgb(_eight_bit(np.asarray(image))), b""
    if image.mode in ("CMYK", "LAB"):
        image = _reduced(image, long_side)
        return np.asarray(_managed(image, icc)), b""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # premultiplied colour scales without fringes: what is missing to opaque is white
        premultiplied = np.asarray(image.convert("RGBA").convert("RGBa"))
        small = scaled(premultiplied, long_side)
        return np.ascontiguousarray(small[..., :3] + (255 - small[..., 3:])), icc
    if image.mode in ("1", "L"):
        gray = scaled(np.asarray(image.convert("L")), long_side)
        return _gray_to_rgb(gray), b""
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), icc


def _reduced(image: Image.Image, long_side: int) -> Image.Image:
    factor = max(image.size) // max(1, long_side)
    return image.reduce(factor) if factor > 1 else image


def _managed(image: Image.Image, icc: bytes) -> Image.Image:
    srgb: Any = ImageCms.createProfile("sRGB")
    try:
        source: Any = ImageCms.ImageCmsProfile(BytesIO(icc)) if icc else None
        if source is None and image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        if source is not None:
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    except (ImageCms.PyCMSError, OSError):
        pass  # a profile that does not fit its picture is as good as none
    return image.convert("RGB")


def _eight_bit(values: NDArray[Any]) -> Pixels:
    """Return grey samples of any depth as 8 bits: by their type's range, floats and 32-bit by their largest."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return _as_pixels(values >> 8)
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(numbers.max(initial=0.0))
    ceiling = next((limit for limit in (1.0, 255.0, 65535.0) if largest <= limit), largest)
    return _as_pixels(np.clip(numbers * (255.0 / ceiling), 0, 255))


def _gray_to_rgb(gray: Pixels) -> Pixels:
    return np.repeat(gray[..., None], 3, axis=2)


@lru_cache(maxsize=16)
def _transform(icc: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an RGB profile to sRGB, or None for sRGB itself, other spaces and broken profiles."""
    try:
        profile: Any = ImageCms.ImageCmsProfile(BytesIO(icc))
        described = f"{profile.profile.profile_description or ''}"
        if profile.profile.xcolor_space.strip() != "RGB" or "srgb" in described.lower():
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.buildTransform(profile, srgb, "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _encoded(pixels: Pixels, size: int, recipe: Recipe) -> Picture:
    if recipe.format == "jpeg":
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=recipe.quality, colorspace="RGB", colorsubsampling="420"
        )
    else:
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=recipe.quality, method=0)
        data = buffer.getvalue()
    height, width = pixels.shape[:2]
    return Picture(size, width, height, data)


def _as_pixels(array: NDArray[Any]) -> Pixels:
    return array.astype(np.uint8, copy=False)
