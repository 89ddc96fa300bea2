"""Our own media types keep what every media type has to keep."""

import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lumiliod.domain.media import AssetType
from lumiliod.testing import media
from lumiliod.testing.media import Sample

from .conftest import CORPUS
from .test_web_video import film


def photo(_folder: Path) -> Sample:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    coarse.resize((640, 480)).save(buffer, "JPEG", exif=exif)
    return Sample(buffer.getvalue(), "image/jpeg", width=480, height=640)


def raw(_folder: Path) -> Sample:
    if not CORPUS.exists():
        pytest.skip("the corpus is not at hand")
    content = (CORPUS / "canon_eos_6d.dng").read_bytes()
    return Sample(content, "image/x-adobe-dng", width=1224, height=816)


def video(folder: Path) -> Sample:
    content = film(folder / "a.mp4", size=(320, 160), seconds=1).read_bytes()
    return Sample(content, "video/mp4", AssetType.VIDEO, width=320, height=160, duration_s=1.0)


def audio(_folder: Path) -> Sample:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        tone = np.sin(np.arange(16_000) / 3) * 20_000
        sound.writeframes(tone.astype("<i2").tobytes())
    return Sample(buffer.getvalue(), "audio/x-wav", AssetType.AUDIO, duration_s=2.0)


@pytest.mark.parametrize("check", media.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [photo, raw, video, audio], ids=lambda make: make.__name__)
def test_conformance(make: Callable[[Path], Sample], check: Callable[[str, Sample], None], tmp_path: Path) -> None:
    check(f"lumiliod.media.{make.__name__}:{make.__name__.title()}", make(tmp_path))
