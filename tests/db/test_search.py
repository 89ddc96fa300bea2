"""Search over real rows: words by prefix and without accents, every filter, pages without gaps."""

import datetime as dt

import psycopg
import pytest

from lumiliod.db import assets, files, repositories, search, users
from lumiliod.db.repositories import RepositoryRow
from lumiliod.db.search import After
from lumiliod.domain.assets import FileStat, NewAsset
from lumiliod.domain.ids import AssetId, Digest, RepositoryId, UserId, path_from_bytes, uuid7
from lumiliod.domain.media import AssetType, Metadata
from lumiliod.domain.query import parse
from lumiliod.domain.repositories import RepositoryStatus

REPOSITORY = RepositoryId(uuid7())


def admit(conn: psycopg.Connection, owner: UserId, number: int, name: str, path: bytes, metadata: Metadata) -> AssetId:
    taken = dt.datetime(2024, 1 + number % 12, 1, tzinfo=dt.UTC)
    digest = Digest(f"{number:064x}")
    kind = AssetType.VIDEO if name.endswith(".mp4") else AssetType.PHOTO
    asset = NewAsset(
        id=AssetId(uuid7()), owner_id=owner, type=kind, digest=digest, size_bytes=1, mime_type="image/jpeg",
        original_filename=name, width=1, height=1, duration_s=None, taken_at=taken,
        taken_at_local=taken.replace(tzinfo=None), tz_source="unknown", taken_source="capture",
    )  # fmt: skip
    admitted = assets.admit(conn, asset)
    files.place(conn, REPOSITORY, path_from_bytes(path), FileStat(1, 1, number), digest, admitted.asset_id)
    assets.set_metadata(conn, admitted.asset_id, digest, name, metadata)
    return admitted.asset_id


def home() -> RepositoryRow:
    return RepositoryRow(
        REPOSITORY, "Photos", "/photos", "date", RepositoryStatus.ONLINE, None, dt.datetime.now(dt.UTC)
    )


@pytest.fixture
def library(conn: psycopg.Connection) -> psycopg.Connection:
    owner = users.ensure_admin(conn)
    repositories.insert(conn, home())
    zurich = Metadata(
        latitude=47.37, longitude=8.54, camera_make="FUJIFILM", camera_model="X-T5", rating=4,
        keywords=("Beach", "été"), title="A day at the lake",
    )  # fmt: skip
    admit(conn, owner, 1, "IMG_2041.jpg", b"inbox/IMG_2041.jpg", zurich)
    admit(conn, owner, 2, "Café 100%.jpg", b"2024/summer/cafe.jpg", Metadata(camera_model="Pixel 6"))
    admit(conn, owner, 3, "clip.mp4", b"2024/clip-\xff.mp4", Metadata(latitude=-33.9, longitude=151.2))
    return conn


CASES = {
    "": {"IMG_2041.jpg", "Café 100%.jpg", "clip.mp4"},
    "img": {"IMG_2041.jpg"},
    "204": {"IMG_2041.jpg"},
    "cafe": {"Café 100%.jpg"},
    "CAFÉ 100": {"Café 100%.jpg"},
    "lake beach": {"IMG_2041.jpg"},
    "ete": {"IMG_2041.jpg"},
    "fujifilm": {"IMG_2041.jpg"},
    "lake pixel": set[str](),
    "type:video": {"clip.mp4"},
    'camera:"x-t5"': {"IMG_2041.jpg"},
    "camera:pixel type:photo": {"Café 100%.jpg"},
    'name:"100%"': {"Café 100%.jpg"},
    "name:_": {"IMG_2041.jpg"},
    "tag:beach": {"IMG_2041.jpg"},
    "in:photos/2024": {"Café 100%.jpg", "clip.mp4"},
    "in:photos/2024/summer": {"Café 100%.jpg"},
    "in:Photos": {"IMG_2041.jpg", "Café 100%.jpg", "clip.mp4"},
    "in:photos/20": set[str](),
    "after:2024-03": {"Café 100%.jpg", "clip.mp4"},
    "before:2024-03": {"IMG_2041.jpg"},
    "after:2024-03 before:2024-04": {"Café 100%.jpg"},
    "rating:>=4": {"IMG_2041.jpg"},
    "rating:0": {"Café 100%.jpg", "clip.mp4"},
    "missing:gps": {"Café 100%.jpg"},
    "near:47.37,8.55,2km": {"IMG_2041.jpg"},
    "near:47.37,8.55,100m": set[str](),
    "near:-33.9,151.2,10km": {"clip.mp4"},
    "liked:true": set[str](),
}


@pytest.mark.parametrize("text", CASES)
def test_finds(library: psycopg.Connection, text: str) -> None:
    query = parse(text)
    found = search.page(library, query, after=None, count=50)
    assert {row.original_filename for row in found} == CASES[text]
    assert search.count(library, query) == len(CASES[text])


def test_pages_without_gaps_or_repeats(library: psycopg.Connection) -> None:
    owner = users.ensure_admin(library)
    for number in range(10, 60):
        admit(library, owner, number, f"{number}.jpg", b"%d.jpg" % number, Metadata())
    seen: list[AssetId] = []
    after: After | None = None
    while page := search.page(library, parse(""), after=after, count=7):
        seen += [row.id for row in page]
        after = After(page[-1].taken_at, page[-1].id)
    assert len(seen) == len(set(seen)) == 53


def test_whatever_a_file_says_can_be_stored(library: psycopg.Connection) -> None:
    owner = users.ensure_admin(library)
    odd = Metadata(
        title="NUL\0 and \ud800 surrogate", keywords=("a\0b", "\udcff"), camera_model="\0",
        tags={"X:\0": ["\0", {"y": "\ud83d", "z": float("nan")}], "big": 10**30},
    )  # fmt: skip
    asset_id = admit(library, owner, 900, "odd.jpg", b"odd.jpg", odd)
    shown = assets.show(library, asset_id)
    assert shown is not None
    assert shown[0].title == "NUL and ? surrogate"
    assert shown[0].keywords == ["ab", "?"]
