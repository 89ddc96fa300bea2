"""Every file of the corpus reaches the outcome its manifest names, through a real daemon and the command line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import corpus
from tests.conftest import CORPUS, Daemon

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")


@dataclass(frozen=True)
class Ingested:
    """What the command line says after the corpus was scanned."""

    root: Path
    files: dict[str, dict[str, Any]]
    assets: dict[str, dict[str, Any]]
    checked: list[corpus.Checked]


def rows() -> list[corpus.Row]:
    return corpus.rows(CORPUS) if CORPUS.is_dir() else []


@pytest.fixture(scope="module")
def ingested(make_module_daemon: Callable[[], Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    root = tmp_path_factory.mktemp("corpus") / "library"
    corpus.copy(CORPUS, root)
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
    with daemon.client as client:
        checked = corpus.checked(CORPUS, corpus.seen(client, "corpus"))
    yield Ingested(root, files, assets, checked)
    assert daemon.stop() == 0


def test_every_field_is_as_the_manifest_says_or_has_a_reason(ingested: Ingested) -> None:
    assert corpus.unexplained(ingested.checked, corpus.reasons()) == []
    assert len({one.field for one in ingested.checked}) == 25
    assert len(ingested.checked) > 2500


def test_nothing_is_explained_by_a_reason_for_something_else(ingested: Ingested) -> None:
    known = corpus.reasons()
    [problem] = corpus.unexplained(ingested.checked, known[1:])
    assert problem == f"{known[0].file!r}: {known[0].field} is {known[0].got} instead of image/heif"
    stale = corpus.Reason(known[0].file, known[0].field, "image/x", "none")
    assert corpus.unexplained(ingested.checked, [*known, stale]) == [
        f"{stale.file!r}: {stale.field} is not image/x: a reason without a difference"
    ]


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
