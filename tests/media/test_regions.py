"""Regions are told of the upright picture, whoever wrote them and however the picture lies."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lumiliod.domain.media import Metadata, Region
from lumiliod.media.media import Media
from lumiliod.media.regions import MAX_NAME_CHARACTERS, MAX_REGIONS, regions
from tests.media.moving import exiftool, jpeg

MWG = "XMP-mwg-rs:RegionInfo"
MP = "XMP-MP:RegionInfoMP"


def mwg(*told: dict[str, object]) -> dict[str, object]:
    return {MWG: {"AppliedToDimensions": {"W": 400, "H": 300, "Unit": "pixel"}, "RegionList": list(told)}}


def face(x: object, y: object, w: object, h: object, **more: object) -> dict[str, object]:
    return {"Area": {"X": x, "Y": y, "W": w, "H": h, "Unit": "normalized"}, "Type": "Face", **more}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_turns_with_its_picture(orientation: int) -> None:
    stored = Image.new("L", (400, 300))
    stored.paste(255, (40, 30, 120, 75))  # 0.1, 0.1 with 0.2 by 0.15
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    rows, columns = np.nonzero(upright)
    height, width = upright.shape
    [region] = regions(mwg(face(0.2, 0.175, 0.2, 0.15, Name="Ada")), orientation)
    shown = (columns.min() / width, rows.min() / height)
    extent = ((columns.max() + 1 - columns.min()) / width, (rows.max() + 1 - rows.min()) / height)
    assert (region.x, region.y, region.w, region.h) == pytest.approx((*shown, *extent))


async def test_as_exiftool_gives_them(media: Media, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg")
    area = "Area={X=0.25,Y=0.5,W=0.1,H=0.2,Unit=normalized}"
    told = "-RegionInfoMP={Regions=[{PersonDisplayName=Grace,Rectangle=0.5|, 0.5|, 0.25|, 0.25}]}"
    exiftool(path, "-Orientation#=6", f"-RegionInfo={{RegionList=[{{{area},Name=Ada,Type=Face}}]}}", told)
    [found] = await media.metadata([(str(path), "image/jpeg")])
    assert isinstance(found, Metadata)
    assert found.regions == (
        Region("Grace", "face", 0.25, 0.5, 0.25, 0.25),
        Region("Ada", "face", 0.4, 0.2, 0.2, 0.1),
    )


def test_what_makes_no_sense_is_left_out() -> None:
    fine = face(0.5, 0.5, 0.2, 0.2, Name="Ada")
    bad: list[dict[str, object]] = [
        face(0.5, 0.5, 0, 0.2), face(0.5, 0.5, -0.1, 0.2), face(1.5, 0.5, 0.2, 0.2), face("x", 0.5, 0.2, 0.2),
        face(float("nan"), 0.5, 0.2, 0.2), face(0.5, 0.5, float("inf"), 0.2), face(None, 0.5, 0.2, 0.2),
        {"Area": {"X": 0.5, "Y": 0.5, "Unit": "normalized"}, "Type": "Focus"}, {"Type": "Face"}, {"Area": []},
        {"Area": {"X": 100, "Y": 100, "W": 50, "H": 50, "Unit": "pixel"}, "Type": "Face"},
        face(0.5, 0.5, 0.1, 0.1, Type="Spaceship"),
    ]  # fmt: skip
    assert regions(mwg(*bad, fine), 1) == (Region("Ada", "face", 0.4, 0.4, 0.2, 0.2),)
    odd: tuple[object, ...] = (
        None, 3, "x", [], {"RegionList": "x"}, {"RegionList": [3, None]}, {"Regions": [{"Rectangle": "1,2"}]}
    )  # fmt: skip
    for told in odd:
        assert regions({MWG: told, MP: told}, 1) == ()


def test_limits_and_doubles() -> None:
    crowd = [face(0.5, 0.5, 0.001 * (n + 1), 0.5, Name=f"{n}" + "x" * 1000) for n in range(500)]
    found = regions(mwg(*crowd), 1)
    assert len(found) == MAX_REGIONS
    assert all(len(region.name or "") == MAX_NAME_CHARACTERS for region in found)
    both = mwg(face(0.5, 0.5, 0.2, 0.2, Name="Ada"), {**face(0.1, 0.1, 0.1, 0.1), "Type": "Pet"})
    both[MP] = {"Regions": [{"PersonDisplayName": "Ada", "Rectangle": "0.401, 0.4, 0.2, 0.2"}]}
    assert [(region.name, region.type) for region in regions(both, 1)] == [("Ada", "face"), (None, "pet")]
    assert [region.type for region in regions(mwg(face(0.5, 0.5, 0.1, 0.1, Type=None, Name="Ada")), 1)] == ["face"]


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("XYWH"), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.builds(face, anything, anything, anything, anything, Name=anything), max_size=4), st.integers(0, 9))
def test_all_told_lie_in_the_picture(told: list[dict[str, object]], orientation: int) -> None:
    for region in regions(mwg(*told), orientation):
        assert 0 <= region.x <= region.x + region.w <= 1 + 1e-5
        assert 0 <= region.y <= region.y + region.h <= 1 + 1e-5
