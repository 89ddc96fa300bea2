import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import sample_library
from scripts.sample_formats import raw
from scripts.sample_library import Library, build


def fake_source(package: str, member: str) -> bytes:
    """Stand for a photograph: noise of its own, in the format its name says."""
    seed = int.from_bytes(hashlib.sha256(member.encode()).digest()[:4], "big")
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 128, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG" if member.endswith(".png") else "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return build(tmp_path_factory.mktemp("sample"), fake_source)


def contents(library: Library) -> dict[str, str]:
    root = library.folder.parent
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_is_the_same_every_time(library: Library, tmp_path: Path) -> None:
    assert contents(build(tmp_path / "again", fake_source)) == contents(library)


def test_every_file_has_an_expected_end(library: Library) -> None:
    listed = {sample.path for sample in library.samples}
    found = {path for path in library.folder.parent.rglob("*") if path.is_file()}
    assert found - listed == {library.licences}
    assert len(listed) == len(library.samples)
    assert all(sample.ends for sample in library.samples)
    assert set(library.scanned()) | set(library.uploaded()) == set(library.samples)


def test_twins_are_the_same_bytes(library: Library) -> None:
    twins = [(sample.path, sample.twin) for sample in library.samples if sample.twin]
    assert len(twins) == 4
    assert all(twin is not None and path.read_bytes() == twin.read_bytes() for path, twin in twins)


def test_has_many_photographs_of_several_places_and_years() -> None:
    shots = sample_library.SHOTS + sample_library.UPLOADED
    assert len({(shot.package, shot.member) for shot in shots}) >= 24
    assert len({shot.place for shot in shots if shot.place}) >= 12
    assert len({shot.taken[:4] for shot in shots}) >= 8


def test_exif_and_xmp_are_readable_and_pixels_untouched() -> None:
    shot = sample_library.SHOTS[0]
    made = Image.open(io.BytesIO(sample_library.photograph(shot, fake_source)))
    given = Image.open(io.BytesIO(fake_source(shot.package, shot.member)))
    exif = made.getexif()
    assert exif[272] == "ILCE-7M4"
    assert exif.get_ifd(0x8769)[36867] == "2017:03:18 14:03:11"
    assert exif.get_ifd(0x8769)[36881] == "+01:00"
    degrees, minutes, seconds = (float(part) for part in exif.get_ifd(0x8825)[2])
    assert degrees + minutes / 60 + seconds / 3600 == pytest.approx(48.1378, abs=1e-5)
    assert b"munich" in made.info["xmp"]
    assert made.tobytes() == given.tobytes()


def test_raw_file_holds_sensor_data_that_libraw_develops() -> None:
    rawpy = pytest.importorskip("rawpy")
    with rawpy.imread(io.BytesIO(raw(fake_source("", "x.png")))) as opened:
        assert opened.raw_image.shape == (96, 128)
        assert opened.postprocess(half_size=True).shape == (48, 64, 3)
