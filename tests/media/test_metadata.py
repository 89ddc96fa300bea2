"""What of a tag set goes into the columns of an asset."""

from datetime import UTC, datetime

import pytest

from lumiliod.domain.media import Metadata
from lumiliod.media.metadata import metadata_from_tags

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(tags: dict[str, object]) -> Metadata:
    return metadata_from_tags(tags, NOW)


def test_exif_goes_before_what_the_maker_noted() -> None:
    canon: dict[str, object] = {"Canon:FNumber": 24.675, "Canon:ExposureTime": 0.2726, "Composite:ISO": 1083.4}
    exif: dict[str, object] = {"ExifIFD:FNumber": 25, "ExifIFD:ExposureTime": 0.25, "ExifIFD:ISO": 1000}
    found = read(canon | exif)
    assert (found.f_number, found.exposure_s, found.iso) == (25, 0.25, 1000)
    alone = read(canon)
    assert (alone.f_number, alone.exposure_s, alone.iso) == (24.675, 0.2726, 1083)


@pytest.mark.parametrize(
    ("tags", "lens"),
    [
        ({"Composite:Lens": 5.8}, None),
        ({"Composite:Lens": 70, "Canon:LensModel": "RF70-200mm F2.8 L IS USM"}, "RF70-200mm F2.8 L IS USM"),
        ({"Canon:LensModel": "65535"}, None),
        ({"Nikon:Lens": "28 70 2.8 2.8"}, "28-70 mm f/2.8"),
        ({"Nikon:Lens": "18 55 3.5 5.6"}, "18-55 mm f/3.5-5.6"),
        ({"Nikon:Lens": "20 20 2.8 2.8"}, "20 mm f/2.8"),
        ({"XMP-aux:LensInfo": "70 200 2.8 2.8", "XMP-aux:Lens": "70.0-200.0 mm f/2.8"}, "70.0-200.0 mm f/2.8"),
        ({"Keys:CameraLensModel": "iPhone 13 Pro back camera"}, "iPhone 13 Pro back camera"),
    ],
)
def test_a_lens_has_a_name(tags: dict[str, object], lens: str | None) -> None:
    assert read(tags).lens_model == lens
