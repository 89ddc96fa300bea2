"""Thumbnails against a slow, exact rendering of the same picture; ``pytest -s`` prints how alike they are.

The reference is decoded whole by Pillow, brought to sRGB by ImageCms (perceptual), turned upright, laid on white, and
scaled by Lanczos in sRGB's own values, not in linear light: that is how viewers and browsers scale.

Compared is what is rendered, encoded at quality 100. At the default of 80 the encoder alone takes more than 0.05 from
pictures full of fine detail: the exact reference itself, encoded so, keeps 0.94 of Landscape_1.jpg (ours 0.93) and 0.94
of 8bit-sRGB.avif (ours 0.93). That is the price of the setting, and says nothing of the rendering.
"""

import csv
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pi_heif
import pillow_jxl  # noqa: F401  # registers its decoder
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from lumiliod.media.media import Media, opened
from lumiliod.media.settings import MediaSettings
from tests.hostile.parts import picture

from .conftest import CORPUS

pi_heif.register_heif_opener()

Image.MAX_IMAGE_PIXELS = None
SETTINGS = MediaSettings(workers=1, thumbnail_quality=100)
LEAST = 0.95
SIZES = (1024, 300, 150)
STILLS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".bmp", ".jp2", ".jxl", ".heic", ".avif", ".hif", ".mpo"}

EXCEPTIONS = {"bitflips.jpg": "its flipped bits end Pillow's whole decode, so there is no reference"}
"""Files of the corpus that are not compared, each with its reason."""


def ssim(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the structural similarity of two pictures' luma.

    Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment: From Error Visibility to Structural Similarity (2004):
    a Gaussian window of 11 x 11 with a deviation of 1.5, K1 = 0.01, K2 = 0.03, L = 255.
    """
    x, y = (np.asarray(Image.fromarray(pixels).convert("L"), np.float64) for pixels in (one, other))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT), np.float64)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())


def reference(path: Path) -> Image.Image:
    """Return the whole picture in upright, opaque sRGB."""
    with Image.open(path) as opened_image:
        opened_image.load()
        icc = opened_image.info.get("icc_profile")
        is_turned = opened_image.format == "HEIF"
        image: Image.Image = opened_image if is_turned else ImageOps.exif_transpose(opened_image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, np.float64) / 65535 * 255).astype(np.uint8))
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if has_alpha:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        image = image.convert("RGB")
    if icc and image.mode in ("RGB", "CMYK"):
        profile: Any = ImageCms.ImageCmsProfile(BytesIO(icc))
        if profile.profile.xcolor_space.strip() == image.mode:
            srgb = ImageCms.createProfile("sRGB")
            intent = ImageCms.Intent.PERCEPTUAL
            converted = ImageCms.profileToProfile(image, profile, srgb, renderingIntent=intent, outputMode="RGB")
            assert converted is not None
            return converted
    return image.convert("RGB")


async def alike(media: Media, path: Path) -> dict[int, float]:
    """Return how alike each thumbnail is to the reference."""
    whole = reference(path)
    pictures = (await media.thumbnails(str(path))).pictures
    assert [one.size for one in pictures] == list(SIZES)
    found: dict[int, float] = {}
    for one in pictures:
        with Image.open(BytesIO(one.data)) as image:
            shown = np.asarray(image.convert("RGB"))
        longest = max(whole.size)
        factor = min(1, one.size / longest)
        wanted = tuple(max(1, round(side * factor)) for side in whole.size)
        assert max(abs(a - b) for a, b in zip(image.size, wanted, strict=True)) <= 1, (image.size, wanted)
        exact = whole.resize(image.size, Image.Resampling.LANCZOS) if image.size != whole.size else whole
        found[one.size] = ssim(np.asarray(exact), shown)
    return found


def rows() -> list[str]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "MANIFEST.csv").open(newline="") as file:
        return [
            row["file"]
            for row in csv.DictReader(file)
            if row["expect"] == "ingest" and Path(row["file"]).suffix.lower() in STILLS and row["mime"][:6] == "image/"
        ]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")
async def test_every_still_of_the_corpus(tmp_path: Path) -> None:
    poor: dict[str, str] = {}
    async with opened(SETTINGS) as media:
        for name in rows():
            try:
                found = await alike(media, CORPUS / name)
            except (OSError, ValueError, SyntaxError, RuntimeError) as error:
                poor[name] = f"no reference: {error}"
                continue
            print(f"{name!r:60} " + "  ".join(f"{size}: {value:.4f}" for size, value in found.items()))
            if min(found.values()) < LEAST:
                poor[name] = f"{min(found.values()):.3f}"
    assert {name: told for name, told in poor.items() if name not in EXCEPTIONS} == {}


def wide_gamut() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # sRGB with red and green swapped: what ignores the profile shows other colours
    red, green = (profile.index(tag, 128) for tag in (b"rXYZ", b"gXYZ"))
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    described = bytes(swapped).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))
    return described.replace(b"sRGB", b"wide")


def made(mode: str, width: int, height: int) -> Image.Image:
    image = picture(random.Random(width * height), width, height)
    if mode == "I;16":
        gray = np.asarray(image.convert("L"), np.uint16)
        return Image.fromarray(gray * 257)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))))
        return image
    return image.quantize(64) if mode == "P" else image.convert(mode)


Case = tuple[str, str, int, int, dict[str, Any]]
CASES: list[Case] = [
    ("odd.jpg", "RGB", 1999, 1333, {}), ("less.jpg", "RGB", 37, 61, {}), ("1x1.png", "RGB", 1, 1, {}),
    ("1x5000.png", "RGB", 1, 5000, {}), ("5000x3.jpg", "RGB", 5000, 3, {}), ("1025.png", "RGB", 1025, 1023, {}),
    ("deep.png", "I;16", 1400, 900, {}), ("deep.tif", "I;16", 1400, 900, {}), ("cmyk.jpg", "CMYK", 1400, 900, {}),
    ("cmyk.tif", "CMYK", 1400, 900, {}), ("gray.jpg", "L", 2100, 900, {}), ("gray.png", "L", 1400, 900, {}),
    ("gray-alpha.png", "LA", 600, 400, {}), ("alpha.png", "RGBA", 1400, 900, {}), ("alpha.webp", "RGBA", 1400, 900, {}),
    ("palette.png", "P", 1400, 900, {}), ("palette.gif", "P", 1400, 900, {}),
    ("wide.jpg", "RGB", 1400, 900, {"icc": 1}),
    ("wide.png", "RGB", 1400, 900, {"icc": 1}), ("progressive.jpg", "RGB", 2600, 1800, {"progressive": True}),
    ("full.jpg", "RGB", 2600, 1800, {"subsampling": 0}), ("lossless.webp", "RGB", 1400, 900, {"lossless": True}),
    ("a.avif", "RGB", 1400, 900, {}), ("a.jxl", "RGB", 1400, 900, {"effort": 1}), ("a.jp2", "RGB", 1400, 900, {}),
    *((f"turned-{n}.jpg", "RGB", 2000, 1300, {"orientation": n}) for n in range(1, 9)),
    *((f"turned-{n}.webp", "RGB", 1300, 700, {"orientation": n}) for n in (3, 6, 8)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_generated(case: Case, tmp_path: Path) -> None:
    name, mode, width, height, given = case
    options: dict[str, Any] = {"quality": 95} if name.endswith((".jpg", ".webp", ".avif")) else {}
    options |= {key: value for key, value in given.items() if key not in ("icc", "orientation")}
    if "icc" in given:
        options["icc_profile"] = wide_gamut()
    if isinstance(turn := given.get("orientation"), int):
        exif = Image.Exif()
        exif[0x112] = turn
        options["exif"] = exif
    made(mode, width, height).save(tmp_path / name, **options)
    async with opened(SETTINGS) as media:
        found = await alike(media, tmp_path / name)
    print(f"{name:20} " + "  ".join(f"{size}: {value:.4f}" for size, value in found.items()))
    assert min(found.values()) >= LEAST


def test_ssim_is_one_of_the_same_and_less_of_others() -> None:
    one = np.asarray(picture(random.Random(1)))
    assert ssim(one, one) == pytest.approx(1)
    shifted: Callable[[int], NDArray[np.uint8]] = lambda by: np.ascontiguousarray(np.roll(one, by, axis=1))  # noqa: E731
    assert ssim(one, shifted(40)) < ssim(one, shifted(2)) < LEAST
