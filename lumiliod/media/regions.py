"""What regions of a picture its tags name: faces, pets and the like, in one form whoever wrote them.

Two vocabularies are read: the Metadata Working Group's (``mwg-rs:RegionInfo``, centres and sizes) and Microsoft's
(``MP:RegionInfo``, corners and sizes), both in shares of the picture. They relate to the picture as it is *stored*,
before EXIF's orientation is applied (MWG, Guidelines for Handling Image Metadata 2.0, 5.9; digiKam and Immich read them
so), and are turned here with it.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import cast

from lumiliod.domain.media import Region

MAX_REGIONS = 200
MAX_LOOKED_AT = 2 * MAX_REGIONS
"""Each is compared with all that are kept; a file may name thousands that are the same."""
MAX_NAME_CHARACTERS = 200
SAME_WITHIN = 0.02
"""Programs write a face in both vocabularies; corners that differ by less, with one name, are one face."""

_TYPES = {"face": "face", "pet": "pet", "focus": "focus", "barcode": "barcode"}

Box = tuple[float, float, float, float]
Struct = Mapping[str, object]


def regions(tags: Mapping[str, object], orientation: int) -> tuple[Region, ...]:
    """Return the regions of the upright picture, each once; what makes no sense is left out.

    Args:
        tags: exiftool's, structures as such (``-struct``).
        orientation: EXIF's, 1 to 8.
    """
    found: list[Region] = []
    for name, kind, box in islice(_named(tags), MAX_LOOKED_AT):
        upright = _clipped(_turned(box, orientation))
        if upright is None:
            continue
        region = Region(name, kind, *(round(number, 6) for number in upright))
        if not any(_are_same(region, other) for other in found):
            found.append(region)
        if len(found) == MAX_REGIONS:
            break
    return tuple(found)


def _named(tags: Struct) -> Iterator[tuple[str | None, str, Box]]:
    """Yield name, type and left, top, width, height of every region with a size, as stored."""
    for key, value in tags.items():
        group, _, tag = key.rpartition(":")
        if group == "XMP-mwg-rs" and tag == "RegionInfo":
            for region in _list(_struct(value).get("RegionList")):
                area, name = _struct(region.get("Area")), _name(region.get("Name"))
                kind = _TYPES.get(str(region.get("Type") or ("Face" if name else "")).lower())
                x, y, width, height = (_number(area.get(side)) for side in "XYWH")
                if kind and str(area.get("Unit", "normalized")).lower() == "normalized":
                    yield name, kind, (x - width / 2, y - height / 2, width, height)
        elif group == "XMP-MP" and tag == "RegionInfoMP":
            for region in _list(_struct(value).get("Regions")):
                numbers = [_number(word.strip()) for word in str(region.get("Rectangle", "")).split(",")]
                if len(numbers) == 4:
                    left, top, width, height = numbers
                    yield _name(region.get("PersonDisplayName")), "face", (left, top, width, height)


def _turned(box: Box, orientation: int) -> Box:
    """Return a box of the stored picture as it lies in the upright one (EXIF 2.32, 4.6.4, Orientation)."""
    left, top, width, height = box
    right, bottom = 1 - left - width, 1 - top - height
    return {
        2: (right, top, width, height),
        3: (right, bottom, width, height),
        4: (left, bottom, width, height),
        5: (top, left, height, width),
        6: (bottom, left, height, width),
        7: (bottom, right, height, width),
        8: (top, right, height, width),
    }.get(orientation, box)


def _clipped(box: Box) -> Box | None:
    """Return the part of a box that lies in the picture; None where that is nothing, or its centre lies outside."""
    left, top, width, height = box
    if not all(math.isfinite(number) for number in box) or width <= 0 or height <= 0:
        return None
    if not (0 <= left + width / 2 <= 1 and 0 <= top + height / 2 <= 1):
        return None
    left, right = max(left, 0.0), min(left + width, 1.0)
    top, bottom = max(top, 0.0), min(top + height, 1.0)
    return left, top, right - left, bottom - top


def _are_same(one: Region, other: Region) -> bool:
    corners = [(region.x, region.y, region.x + region.w, region.y + region.h) for region in (one, other)]
    return (one.name, one.type) == (other.name, other.type) and all(
        abs(a - b) < SAME_WITHIN for a, b in zip(*corners, strict=True)
    )


def _name(value: object) -> str | None:
    return (str(value).strip()[:MAX_NAME_CHARACTERS] or None) if isinstance(value, str | int | float) else None


def _number(value: object) -> float:
    """Return a number, NaN where there is none."""
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _struct(value: object) -> Struct:
    return cast("Struct", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Struct]:
    return [_struct(one) for one in cast("list[object]", value)] if isinstance(value, list) else []
