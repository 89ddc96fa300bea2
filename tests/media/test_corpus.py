"""Every file of the corpus against what its manifest expects; skipped where the corpus is not at hand."""

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
import trio
from PIL import Image

from lumiliod.domain.errors import LumilioError
from lumiliod.domain.media import AssetType, Identified, Metadata, TzSource
from lumiliod.media.media import Media, opened
from lumiliod.media.media_type import Picture
from lumiliod.media.settings import MediaSettings

from .conftest import CORPUS

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not at hand")

Row = dict[str, str]

# the decoders measure the sound; exiftool estimates from the bit rate, or counts the preroll
DURATION_DIFFERS = {"nirvana-2sec.vorbis.ogg": 2.0, "silence-1.wma": 3.712}
# sensor size by LibRaw or EXIF where exiftool names the size of IFD0 or of the stub's preview
SIZE_DIFFERS = {"CanonRaw.cr2", "FujiFilm.raf", "jølstravatnet.pef", "sample.arw", "Canon-R6-pruned.CR3"}
MIME_DIFFERS = {"issue_9292_sony_6_right_top.HIF": "image/heic"}
TURNED_BY_DECODER = {"heic", "avif", "raw"}


@dataclass(frozen=True)
class Seen:
    identified: Identified | LumilioError
    metadata: Metadata | LumilioError | None
    pictures: tuple[Picture, ...] | LumilioError | None
    folder: Path


def rows() -> list[Row]:
    if not CORPUS.exists():
        return []
    with (CORPUS / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))


async def looked_at(media: Media, path: str, folder: Path) -> Seen:
    try:
        identified = await media.identify(path)
    except LumilioError as error:
        return Seen(error, None, None, folder)
    [metadata] = await media.metadata([(path, identified)])
    try:
        pictures = (await media.thumbnails(path)).pictures
        return Seen(identified, metadata, pictures, folder)
    except LumilioError as error:
        return Seen(identified, metadata, error, folder)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """One pass over the whole corpus, shared: starting processes for each file would take minutes."""
    root = tmp_path_factory.mktemp("corpus")
    results: dict[str, Seen] = {}

    async def look_at_all() -> None:
        async with opened(MediaSettings(workers=2)) as media:
            for number, row in enumerate(rows()):
                path, folder = str(CORPUS / row["file"]), root / str(number)
                folder.mkdir()
                results[row["file"]] = await looked_at(media, path, folder)

    trio.run(look_at_all)
    return results


@pytest.mark.parametrize("row", rows(), ids=lambda row: repr(row["file"]))
def test_corpus_file(row: Row, seen: dict[str, Seen]) -> None:
    result, expected = seen[row["file"]], row["expect"]
    if expected.startswith(("reject", "sidecar")):
        assert isinstance(result.identified, LumilioError)
        assert result.identified.code in {"unsupported", "empty", "corrupt"}
    elif expected.startswith("bounded"):
        assert isinstance(result.identified, LumilioError)
        assert result.identified.code == "too_large"
    elif expected.startswith("no crash"):
        codes = [r.code for r in (result.identified, result.pictures) if isinstance(r, LumilioError)]
        assert set(codes) <= {"corrupt", "unsupported"}
    else:
        check_ingested(row, result)


def check_ingested(row: Row, result: Seen) -> None:
    identified, metadata = result.identified, result.metadata
    assert isinstance(identified, Identified), identified
    assert isinstance(metadata, Metadata), metadata
    assert identified.mime_type == MIME_DIFFERS.get(row["file"], row["mime"])
    if row["width"] and row["file"] not in SIZE_DIFFERS:
        shown = (int(row["width"]), int(row["height"]))
        if turned(row):
            shown = shown[::-1]
        assert (metadata.width, metadata.height) == shown
    if row["duration_s"] and identified.type is not AssetType.PHOTO:
        wanted = DURATION_DIFFERS.get(row["file"], float(row["duration_s"]))
        assert metadata.duration_s == pytest.approx(wanted, abs=0.1)
    check_taken(row, metadata)
    check_place(row, metadata)
    check_pictures(row, identified, metadata, result)


def turned(row: Row) -> bool:
    if row["file"] == "video_rotate.mp4" or row["file"] == "with-gps.mov":
        return True
    if row["kind"] == "heic":
        return row["rotation"] in {"1", "3"}
    return row["kind"] not in TURNED_BY_DECODER and row["orientation"] in {"5", "6", "7", "8"}


def check_taken(row: Row, metadata: Metadata) -> None:
    if not row["taken"]:
        return
    assert metadata.taken is not None
    wanted = datetime.fromisoformat(row["taken"])
    assert abs(metadata.taken.local - wanted) <= timedelta(seconds=1)  # WMA: 100 ns counted differently
    offset = metadata.taken.local - metadata.taken.utc.replace(tzinfo=None)
    if row["taken_offset"]:
        assert offset == (datetime.fromisoformat(f"{row['taken']}{row['taken_offset']}").utcoffset())
        assert metadata.taken.tz_source in {TzSource.OFFSET_TAG, TzSource.UTC}
    else:
        assert metadata.taken.tz_source in {TzSource.UNKNOWN, TzSource.GPS}


def check_place(row: Row, metadata: Metadata) -> None:
    if not row["gps_lat"] or float(row["gps_lat"]) == float(row["gps_lon"]) == 0:
        assert metadata.latitude is None
        return
    assert metadata.latitude == pytest.approx(float(row["gps_lat"]), abs=1e-6)
    assert metadata.longitude == pytest.approx(float(row["gps_lon"]), abs=1e-6)


def check_pictures(row: Row, identified: Identified, metadata: Metadata, result: Seen) -> None:
    pictures = result.pictures
    if "pixels undecodable" in row["expect"] and isinstance(pictures, LumilioError):
        assert pictures.code == "corrupt"
        return
    assert isinstance(pictures, tuple), pictures
    assert [picture.size for picture in pictures] == [1024, 300, 150]
    for picture in pictures:
        with Image.open(BytesIO(picture.data)) as image:
            image.load()
            assert image.size == (picture.width, picture.height)
            assert image.mode == "RGB"
        assert max(image.size) <= picture.size
        if metadata.width and metadata.height and row["kind"] != "raw":
            assert max(image.size) == min(picture.size, max(metadata.width, metadata.height))
            scale = max(image.size) / max(metadata.width, metadata.height)
            assert abs(picture.width - metadata.width * scale) <= 2
            assert abs(picture.height - metadata.height * scale) <= 2
