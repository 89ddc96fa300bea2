"""Every file of the corpus reaches the outcome its manifest names, through a real daemon and the command line."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS, Daemon

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")

ALLOWED = {
    "ingest": {"asset", "duplicate"},
    "reject": {"unsupported", "corrupt", "ignored"},
    "sidecar": {"sidecar"},
    "no crash": {"asset", "duplicate", "corrupt", "unsupported"},
    "bounded": {"asset", "too_large", "corrupt"},
}
"""Outcomes by the first word of the manifest's expectation."""


@dataclass(frozen=True)
class Ingested:
    """What the command line says after the corpus was scanned."""

    root: Path
    files: dict[str, dict[str, Any]]
    assets: dict[str, dict[str, Any]]


def rows() -> list[dict[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def ingested(make_module_daemon: Callable[[], Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    root = tmp_path_factory.mktemp("corpus") / "library"
    shutil.copytree(CORPUS, root, ignore=shutil.ignore_patterns("MANIFEST.csv"))
    root.chmod(0o755)
    daemon = make_module_daemon().start()
    daemon.cli("repos", "add", str(root), "--name", "corpus")
    daemon.cli("scan", "corpus", "--wait")
    daemon.cli("wait", "--timeout", "300")
    files = {
        file["path"]: file for file in json.loads(daemon.cli("repos", "files", "corpus", "--json").stdout)["items"]
    }
    assets = {
        asset["id"]: asset for asset in json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    }
    yield Ingested(root, files, assets)
    assert daemon.stop() == 0


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_outcome(ingested: Ingested, row: dict[str, str]) -> None:
    file = ingested.files[row["file"]]
    allowed = next(outcomes for start, outcomes in ALLOWED.items() if row["expect"].startswith(start))
    assert file["outcome"] in allowed, file
    if file["outcome"] in {"asset", "duplicate"}:
        asset = ingested.assets[file["asset_id"]]
        assert asset["status"] in {"ready", "undecodable"}
        if row["expect"] == "ingest":
            assert asset["status"] == "ready", asset["status_reason"]
            assert asset["thumbnails"] == [150, 300, 1024]
    elif file["outcome"] != "sidecar":
        assert file["reason"]


@pytest.mark.parametrize(
    "row", [row for row in rows() if row["taken"] and row["expect"] == "ingest"], ids=lambda row: row["file"]
)
def test_capture_time(ingested: Ingested, row: dict[str, str]) -> None:
    asset = ingested.assets[ingested.files[row["file"]]["asset_id"]]
    assert asset["taken_source"] == "capture"
    assert asset["taken_at_local"][:16] == row["taken"][:16]
    assert (asset["tz_source"] == "unknown") <= (not row["taken_offset"])


SIZES = {
    # what the picture is, not what its first directory or its stub says
    "canon_eos_6d.dng": (1224, 816),
    "sample.nef": (2012, 1324),
    "sample.arw": (3872, 2592),
    "canon_hdr_YES.jpg": (1536, 2048),
    "iphone_15_pro.heic": (3024, 4032),
    "video_rotate.mp4": (60, 80),
    "with-gps.mov": (320, 568),
    **{f"Landscape_{number}.jpg": (1800, 1200) for number in range(9)},
}


@pytest.mark.parametrize("name", SIZES)
def test_size_as_shown(ingested: Ingested, name: str) -> None:
    asset = ingested.assets[ingested.files[name]["asset_id"]]
    assert (asset["width"], asset["height"]) == SIZES[name]


def test_the_sidecar_is_attached_to_its_asset(ingested: Ingested) -> None:
    name = "iptc-agency-photographer-example.jpg"
    assert ingested.files[f"{name}.json"]["asset_id"] == ingested.files[name]["asset_id"]


def test_the_duplicate_is_one_asset(ingested: Ingested) -> None:
    pair = [ingested.files[name] for name in ("exact-duplicate.JPG", "canon_hdr_YES.jpg")]
    assert pair[0]["asset_id"] == pair[1]["asset_id"]
    assert sorted(file["outcome"] for file in pair) == ["asset", "duplicate"]


def test_nothing_of_the_user_area_was_touched(ingested: Ingested) -> None:
    for row in rows():
        assert (ingested.root / row["file"]).read_bytes() == (CORPUS / row["file"]).read_bytes()
