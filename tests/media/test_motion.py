"""The film of a motion photo is found wherever it lies, and what is no film is not taken for one."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lumiliod.domain.media import Metadata, MotionVideo
from lumiliod.media.media import Media
from lumiliod.media.media_type import HEAD_BYTES, Source
from lumiliod.media.motion import MAX_PLACES, claims, locate
from tests.media import moving
from tests.media.moving import exiftool

from .conftest import CORPUS


async def read(media: Media, path: Path) -> Metadata:
    [metadata] = await media.metadata([(str(path), await media.identify(str(path)))])
    assert isinstance(metadata, Metadata)
    return metadata


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (moving.micro_video, "a.jpg"),
        (moving.motion_photo, "a.jpg"),
        (lambda path, film: moving.motion_photo(path, film, between=b"\xff\xd8 a gain map \xff\xd9"), "a.jpg"),
        (lambda path, film: moving.appended(moving.motion_photo(path, film, behind=5), b"\0\0\0\1x"), "a.jpg"),
        (moving.samsung_jpeg, "a.jpg"),
        (moving.boxed, "a.avif"),
    ],
    ids=["micro video", "motion photo", "gain map before it", "more behind it", "samsung", "heif box"],
)
async def test_found(media: Media, tmp_path: Path, make: Callable[[Path, bytes], Path], name: str) -> None:
    film = moving.film_bytes(tmp_path / "film.mp4")
    path = make(tmp_path / name, film)
    found = (await read(media, path)).motion
    assert found is not None
    assert found == MotionVideo(path.read_bytes().index(film), len(film))
    assert moving.opened_film(path.read_bytes()[found.offset_bytes :][: found.size_bytes]) == 10


@pytest.mark.parametrize("told", [1, 100, 5_000, 10**12, -1])
async def test_a_number_that_is_wrong_finds_nothing(media: Media, tmp_path: Path, told: int) -> None:
    path = moving.jpeg(tmp_path / "a.jpg")
    exiftool(path, "-XMP-GCamera:MicroVideo=1", f"-XMP-GCamera:MicroVideoOffset={told}")
    moving.appended(path, b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(4_000))
    assert (await read(media, path)).motion is None


async def test_a_trailer_that_lies_finds_nothing(media: Media, tmp_path: Path) -> None:
    film = moving.film_bytes(tmp_path / "film.mp4")
    whole = moving.samsung_jpeg(tmp_path / "a.jpg", film).read_bytes()
    path = tmp_path / "b.jpg"
    for at in range(len(whole) - 48, len(whole)):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        found = (await read(media, path)).motion
        assert found is None or whole[found.offset_bytes :].startswith(film)


def test_a_trailer_of_many_films_is_looked_at_a_few_times() -> None:
    film = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0\0\0\x08free" * 100
    block = bytes(4) + (0).to_bytes(4, "little") + film
    directory = b"SEFH" + struct.pack("<II", 107, 10_000)
    directory += struct.pack("<HHII", 0, 0x0A30, len(block), len(block)) * 10_000
    content = b"\xff\xd8\xff" + block + directory + struct.pack("<I", len(directory)) + b"SEFT"
    reads = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(size)

    assert locate(Source(Counted(content), content[:HEAD_BYTES], len(content)), ()) is None
    assert reads < MAX_PLACES * 110


async def test_a_photo_of_a_burst_and_a_live_photo(media: Media, tmp_path: Path) -> None:
    photo = await read(media, moving.apple_photo(tmp_path / "a.jpg", "red", content_id="LIVE-1", burst="BURST-1"))
    assert (photo.content_id, photo.burst_id, photo.motion) == ("LIVE-1", "BURST-1", None)
    film = await read(media, moving.apple_film(tmp_path / "a.mov", "LIVE-1"))
    assert film.content_id == "LIVE-1"
    pixel = moving.jpeg(tmp_path / "b.jpg")
    exiftool(pixel, "-XMP-GCamera:BurstID=1b2c-3")
    assert (await read(media, pixel)).burst_id == "1b2c-3"


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")
@pytest.mark.parametrize(
    ("name", "offset", "size"),
    [("samsung-one-ui-6.heic", 452_284, 3_226_469), ("motion_photo_pixel_synth.jpg", 21_008 - 2745, 2745)],
)
async def test_real_ones(media: Media, name: str, offset: int, size: int) -> None:
    assert (await read(media, CORPUS / name)).motion == MotionVideo(offset, size)


def test_what_tags_claim() -> None:
    assert claims({"XMP-GCamera:MotionPhoto": 0, "XMP-dc:Title": "MotionPhoto"}) is None
    assert claims({"XMP-GCamera:MotionPhoto": 1}) == ()
    assert claims({"IFD0:Make": "SAMSUNG "}) == ()
    assert claims({"XMP-GCamera:MicroVideo": 1, "XMP-GCamera:MicroVideoOffset": "12"}) == (12,)
    odd = [None, {"Item": 3}, {"Item": {"Mime": "video/mp4", "Length": float("nan")}}, {"Item": {"Mime": "video/mp4"}}]
    assert claims({"XMP-Container:Directory": odd}) is None
    many = [{"Item": {"Mime": "video/mp4", "Length": 9}}] * 1000
    assert len(claims({"XMP-Container:Directory": many}) or ()) == 8
