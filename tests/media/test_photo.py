import os
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import trio
from PIL import Image, ImageCms

from lumiliod.domain.errors import LumilioError, Permanent, Refused
from lumiliod.domain.media import AssetType, Identified, Metadata, TzSource
from lumiliod.media.media import Media, opened
from lumiliod.media.settings import MediaSettings
from tests.hostile.parts import jpeg, jpeg_segment, with_segments
from tests.hostile.pictures import jpeg_of_many_scans

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (255, 255, 255)
CORNERS = [RED, GREEN, BLUE, WHITE]  # top left, top right, bottom left, bottom right, as shown

# how a picture shown upright has to be stored so that the orientation undoes it
STORED = {
    1: [],
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_270],
}


def picture_of_corners(width: int = 1600, height: int = 1200) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for index, colour in enumerate(CORNERS):
        left, top = width // 2 * (index % 2), height // 2 * (index // 2)
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def corners_of(path: str | BytesIO) -> list[tuple[int, int, int]]:
    with Image.open(path) as opened_image:
        image = opened_image.convert("RGB")
    width, height = image.size
    points = [(x, y) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    found = [image.getpixel(point) for point in points]
    return [colour for colour in found if isinstance(colour, tuple) and len(colour) == 3]


def assert_corners(picture: BytesIO, wanted: list[tuple[int, int, int]] = CORNERS, tolerance: int = 12) -> None:
    difference = np.abs(np.array(corners_of(picture)) - np.array(wanted))
    assert difference.max() <= tolerance, corners_of(picture)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_orientation_is_shown_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    image = picture_of_corners()
    for step in STORED[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"o{suffix}"
    image.save(path, exif=exif)
    async with opened(MediaSettings(workers=1)) as media:
        identified = await media.identify(str(path))
        pictures = (await media.thumbnails(str(path))).pictures
        [metadata] = await media.metadata([(str(path), identified.mime_type)])
    assert (identified.width, identified.height) == (1600, 1200)
    assert isinstance(metadata, Metadata)
    assert (metadata.width, metadata.height) == (1600, 1200)
    assert [(p.width, p.height) for p in pictures] == [(1024, 768), (300, 225), (150, 112)]
    for picture in pictures:
        assert_corners(BytesIO(picture.data))


def sixteen_bit_gray() -> Image.Image:
    ramp = np.full((120, 160), 0x8000, np.uint16)
    return Image.fromarray(ramp)


def palette_with_alpha() -> Image.Image:
    image = picture_of_corners(160, 120).quantize(8)
    index = image.getpixel((10, 10))
    image.info["transparency"] = index
    return image


def half_transparent() -> Image.Image:
    image = picture_of_corners(160, 120).convert("RGBA")
    image.putalpha(0)
    return image


@pytest.mark.parametrize(
    ("image", "format_", "wanted"),
    [
        (picture_of_corners(160, 120).convert("CMYK"), "JPEG", CORNERS),
        (picture_of_corners(160, 120).convert("CMYK"), "TIFF", CORNERS),
        (sixteen_bit_gray(), "PNG", [(128, 128, 128)] * 4),
        (sixteen_bit_gray(), "TIFF", [(128, 128, 128)] * 4),
        (palette_with_alpha(), "PNG", [WHITE, GREEN, BLUE, WHITE]),
        (picture_of_corners(160, 120).quantize(8), "GIF", CORNERS),
        (half_transparent(), "PNG", [WHITE] * 4),
        (half_transparent(), "WEBP", [WHITE] * 4),
        (Image.new("L", (160, 120), 77), "JPEG", [(77, 77, 77)] * 4),
        (Image.new("1", (160, 120), 1), "PNG", [WHITE] * 4),
        (Image.new("F", (160, 120), 0.5), "TIFF", [(127, 127, 127)] * 4),
        (picture_of_corners(160, 120), "JPEG2000", CORNERS),
        (picture_of_corners(160, 120), "AVIF", CORNERS),
        (picture_of_corners(160, 120), "JXL", CORNERS),
        (picture_of_corners(160, 120), "BMP", CORNERS),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "mode", ""),
)
async def test_every_mode_comes_out_in_its_colours(
    image: Image.Image, format_: str, wanted: list[tuple[int, int, int]], media: Media, tmp_path: Path
) -> None:
    import pillow_jxl  # noqa: F401

    path = tmp_path / "nameless"
    image.save(path, format_)
    identified = await media.identify(str(path))
    assert (identified.type, identified.width, identified.height) == (AssetType.PHOTO, 160, 120)
    pictures = (await media.thumbnails(str(path))).pictures
    for picture in pictures:
        assert_corners(BytesIO(picture.data), wanted, tolerance=16)


async def test_other_colour_spaces_become_srgb(media: Media, tmp_path: Path) -> None:
    # a profile with swapped primaries would need a file; LAB's own converts visibly and surely
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(picture_of_corners(160, 120), srgb, lab, outputMode="LAB")
    assert image is not None
    path = tmp_path / "lab.tif"
    image.save(path)
    [picture, *_] = (await media.thumbnails(str(path))).pictures
    assert_corners(BytesIO(picture.data), tolerance=16)


async def test_small_pictures_are_never_enlarged(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    picture_of_corners(200, 80).save(path)
    pictures = (await media.thumbnails(str(path))).pictures
    assert [(p.size, p.width, p.height) for p in pictures] == [(1024, 200, 80), (300, 200, 80), (150, 150, 60)]


async def test_webp_derivatives(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture_of_corners().save(path)
    async with opened(MediaSettings(workers=1, thumbnail_format="webp")) as media:
        pictures = (await media.thumbnails(str(path), (300,))).pictures
    assert pictures[0].data.startswith(b"RIFF")
    assert_corners(BytesIO(pictures[0].data))


async def test_quick_capture_time_with_offset(media: Media, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x9011: "+02:00", 0x9291: "25"})
    path = tmp_path / "t.jpg"
    picture_of_corners(64, 48).save(path, exif=exif)
    taken = (await media.identify(str(path))).taken
    assert taken is not None
    assert taken.local.isoformat() == "2024-05-06T07:08:09.250000"
    assert taken.utc.isoformat() == "2024-05-06T05:08:09.250000+00:00"
    assert taken.tz_source is TzSource.OFFSET_TAG


def jpeg_bytes(*, is_progressive: bool = False) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (600, 800, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", progressive=is_progressive)
    return buffer.getvalue()


async def test_truncated_jpeg_is_identified_but_corrupt(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(jpeg_bytes()[: len(jpeg_bytes()) // 2])
    identified = await media.identify(str(path))
    assert (identified.width, identified.height) == (800, 600)
    with pytest.raises(Permanent) as raised:
        await media.thumbnails(str(path))
    assert raised.value.code == "corrupt"


async def test_jpeg_without_its_last_bytes_is_shown(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "almost.jpg"
    path.write_bytes(jpeg_bytes()[:-40])
    assert len((await media.thumbnails(str(path))).pictures) == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (bytes(70_000), "corrupt"),
        (b"<!doctype html><p>no</p>", "unsupported"),
        (b"PK\x03\x04" + bytes(60), "unsupported"),
        (b"\x7fELF" + bytes(60), "unsupported"),
        (b"plain words\n", "unsupported"),
    ],
)
async def test_what_is_no_media_is_turned_away(content: bytes, code: str, media: Media, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(Permanent) as raised:
        await media.identify(str(path))
    assert raised.value.code == code


async def test_jpeg_magic_alone_is_identified(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "stub"
    path.write_bytes(b"\xff\xd8\xff\xe0" + b"garbage" * 20)
    identified = await media.identify(str(path))
    assert (identified.mime_type, identified.width) == ("image/jpeg", None)
    with pytest.raises(Permanent):
        await media.thumbnails(str(path))


async def test_more_pixels_than_allowed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    Image.new("1", (4000, 4000)).save(path)
    async with opened(MediaSettings(workers=1, max_pixels=10_000_000)) as media:
        for call in (media.identify(str(path)), media.thumbnails(str(path))):
            with pytest.raises(Refused) as raised:
                await call
            assert raised.value.code == "too_large"


async def test_names_that_are_hard_to_pass_on(media: Media, tmp_path: Path) -> None:
    names = [
        b"-ver", b" lead.jpg", b"new\nline.jpg", b"#hash", b"q'\"`$(x)", b"trail ", b"a=b", b"\xff\xfe.jpg", b"%d",
        b"cr\r",
    ]  # fmt: skip
    paths = [os.path.join(tmp_path, os.fsdecode(name)) for name in names]
    exif = Image.Exif()
    exif[0x10F] = "Maker"
    for path in paths:
        picture_of_corners(64, 48).save(tmp_path / "x", "JPEG", exif=exif)
        (tmp_path / "x").rename(path)
    found = await media.metadata([(path, await media.identify(path)) for path in paths])
    assert [m.camera_make if isinstance(m, Metadata) else m for m in found] == ["Maker"] * len(paths)
    for path in paths:
        assert len((await media.thumbnails(path)).pictures) == 3


async def test_metadata_answers_per_file(media: Media, tmp_path: Path) -> None:
    good = tmp_path / "a.png"
    picture_of_corners(64, 48).save(good)
    (tmp_path / "folder").mkdir()
    found = await media.metadata([
        (str(tmp_path / "gone.jpg"), "image/jpeg"),
        (str(good), "image/png"),
        (str(tmp_path / "folder"), "image/png"),
    ])  # fmt: skip
    assert isinstance(found[0], LumilioError)
    assert found[0].code == "not_found"
    assert isinstance(found[1], Metadata)
    assert (found[1].width, found[1].height) == (64, 48)
    assert isinstance(found[2], LumilioError)


async def test_without_exiftool_the_decoders_answer(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x110] = "Model X"
    path = tmp_path / "a.jpg"
    picture_of_corners(64, 48).save(path, exif=exif)
    async with opened(MediaSettings(workers=1, exiftool=str(tmp_path / "no-exiftool"))) as media:
        assert media.degraded is not None
        assert "exiftool" not in media.tools
        [metadata] = await media.metadata([(str(path), "image/jpeg")])
    assert isinstance(metadata, Metadata)
    assert (metadata.camera_model, metadata.width, dict(metadata.tags)) == ("Model X", 64, {})


async def test_tools_are_named(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture_of_corners(64, 48).save(path)
    identified = await media.identify(str(path))
    assert isinstance(identified, Identified)
    assert {"pillow", "av", "libavcodec", "libraw"} <= set(media.tools)
    assert media.degraded is None


async def test_a_jpeg_of_scans_without_end_is_refused_at_once(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "scans.jpg"
    content = jpeg_of_many_scans(random.Random(1)).content
    assert content is not None
    path.write_bytes(content)
    before = trio.current_time()
    with pytest.raises(Refused) as raised:
        await media.thumbnails(str(path))
    assert raised.value.code == "too_large"
    assert trio.current_time() - before < 10


async def test_what_only_looks_like_scans_does_not_count(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "motion.jpg"
    whole = jpeg(random.Random(1), progressive=True)
    comment = jpeg_segment(0xFE, b"\xff\xda" * 200)
    path.write_bytes(with_segments(whole, comment) + b"\xff\xda" * 200)
    pictures = (await media.thumbnails(str(path))).pictures
    assert len(pictures) == 3
