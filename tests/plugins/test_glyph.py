"""A stranger's media type: held to the suite, installed, and at work in the daemon; and what broken ones do."""

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lumiliod.testing import media
from lumiliod.testing.media import Sample
from tests.conftest import Daemon
from tests.daemon.test_web_videos import played

HERE = Path(__file__).parent / "glyph"

BAD = """
import os
from pathlib import Path

from acme_glyph import Glyph
from lumiliod.media.media_type import Sniffed


class Greedy(Glyph):
    def sniff(self, head, size):
        return Sniffed("image/x-acme-glyph", ".glyph")


class Moody(Glyph):
    def render(self, source, sniffed, recipe):
        made = super().render(source, sniffed, recipe)
        return type(made)(tuple(type(p)(p.size, p.width, p.height, p.data + os.urandom(8)) for p in made.pictures))


class Small(Glyph):
    def render(self, source, sniffed, recipe):
        made = super().render(source, sniffed, recipe)
        least = made.pictures[-1]
        return type(made)(tuple(type(p)(p.size, least.width, least.height, least.data) for p in made.pictures))


class Deadly(Glyph):
    def render(self, source, sniffed, recipe):
        if source.size_bytes < 100:
            os._exit(1)
        return super().render(source, sniffed, recipe)


class Unbounded(Glyph):
    def inspect(self, source, sniffed, max_pixels):
        return super().inspect(source, sniffed, 1 << 40)


class Nosy(Glyph):
    def inspect(self, source, sniffed, max_pixels):
        Path("/etc/hostname").exists() and open("/etc/hostname").close()
        return super().inspect(source, sniffed, max_pixels)


class Writing(Glyph):
    def render(self, source, sniffed, recipe):
        source.file.seek(0)
        os.pwrite(source.file.fileno(), b"X", 0)
        return super().render(source, sniffed, recipe)


class Nothing:
    name = "nothing"
"""

RAISING = """
from acme_glyph import Glyph


class Type(Glyph):
    order = 0

    def sniff(self, head, size):
        1 / 0
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the path in which the package is installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copytree(HERE / "acme_glyph", folder / "acme_glyph", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "acme_bad.py").write_text(BAD)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def glyph(site: Path) -> ModuleType:
    return importlib.import_module("acme_glyph")


def install(site: Path, dist: str, entries: str) -> None:
    folder = site / f"{dist}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[lumilio.media]\n{entries}\n")


def started(make_daemon: Callable[..., Daemon], site: Path) -> Daemon:
    daemon = make_daemon()
    daemon.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    return daemon.start()


def sample(glyph: ModuleType) -> Sample:
    return Sample(glyph.written(400, 300, pen="Acme 9"), "image/x-acme-glyph", width=400, height=300)


@pytest.mark.parametrize("check", media.CHECKS, ids=lambda check: check.__name__)
def test_conformance(glyph: ModuleType, check: Callable[[str, Sample], None]) -> None:
    check("acme_glyph:Glyph", sample(glyph))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("Nothing", media.is_a_media_type),
        ("Greedy", media.claims_nothing_else),
        ("Moody", media.is_deterministic),
        ("Small", media.draws_every_size),
        ("Deadly", media.survives_damage),
        ("Unbounded", media.keeps_to_the_limit),
        ("Nosy", media.touches_nothing_else),
        ("Writing", media.touches_nothing_else),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_suite_finds_what_is_wrong(glyph: ModuleType, name: str, check: Callable[[str, Sample], None]) -> None:
    with pytest.raises(AssertionError):
        check(f"acme_bad:{name}", sample(glyph))


def test_at_work_in_the_daemon(
    make_daemon: Callable[..., Daemon], site: Path, glyph: ModuleType, tmp_path: Path
) -> None:
    install(site, "acme_glyph", "glyph = acme_glyph:Glyph")
    root = tmp_path / "repo"
    root.mkdir()
    content = glyph.written(400, 300, pen="Acme 9", title="A letter", taken="2024:05:06 07:08:09")
    (root / "letter.glyph").write_bytes(content)
    (root / "cut.glyph").write_bytes(content[:-20])
    daemon = started(make_daemon, site)
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        assert client.health().status == "ok"
        found = {asset.path: client.asset(asset.id) for asset in client.all_assets()}
    whole, cut = found["letter.glyph"], found["cut.glyph"]
    assert (whole.type, whole.mime_type, whole.status, whole.thumbnails) == (
        "photo",
        "image/x-acme-glyph",
        "ready",
        [150, 300, 1024],
    )
    assert (whole.width, whole.height, whole.camera_model, whole.title) == (400, 300, "Acme 9", "A letter")
    assert (whole.taken_source, str(whole.taken_at_local)) == ("capture", "2024-05-06 07:08:09")
    assert whole.tags["Glyph:Model"] == "Acme 9"
    assert (cut.status, cut.status_reason) == ("undecodable", "corrupt: the glyph ends before its picture does")
    status, body, mime = played(daemon, whole.id, "thumbnail?size=300")
    assert (status, body[:3], mime) == (200, b"\xff\xd8\xff", "image/jpeg")
    assert played(daemon, whole.id, "original")[:2] == (200, content)


def test_broken_ones_are_left_out_and_told_of(
    make_daemon: Callable[..., Daemon], site: Path, glyph: ModuleType, tmp_path: Path
) -> None:
    (site / "acme_deadly.py").write_text("import os\nos._exit(3)\n")
    entries = {
        "absent": "acme_absent:Type",
        "nothing": "acme_bad:Nothing",
        "deadly": "acme_deadly:Type",
        "glyph": "acme_glyph:Glyph",
    }
    install(site, "acme_glyph", "\n".join(f"{name} = {target}" for name, target in entries.items()))
    root = tmp_path / "repo"
    root.mkdir()
    (root / "letter.glyph").write_bytes(glyph.written(40, 30))
    daemon = started(make_daemon, site)
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    with daemon.client as client:
        health = client.health()
        [asset] = client.all_assets()
    assert asset.status == "ready"
    [told] = [service for service in health.services if service.name == "media types"]
    assert (health.status, told.state) == ("degraded", "degraded")
    for said in (
        "acme_absent:Type is left out: media workers do not start: ModuleNotFoundError: No module named",
        "acme_bad:Nothing is left out: media workers do not start: TypeError: acme_bad:Nothing gives no media type",
        "acme_deadly:Type is left out: media workers do not start",
    ):
        assert said in str(told.reason)
    assert "acme_glyph" not in str(told.reason)


def test_two_packages_with_one_name_are_a_mistake(make_daemon: Callable[..., Daemon], site: Path) -> None:
    install(site, "acme_glyph", "photo = acme_glyph:Glyph")
    daemon = make_daemon()
    daemon.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    process = daemon.start(wait=False).process
    assert process is not None
    assert process.wait(60) == 78
    assert "plugin 'photo' for lumilio.media is claimed by" in daemon.log


@pytest.mark.usefixtures("site")
def test_one_that_raises_is_passed_over(make_daemon: Callable[..., Daemon], site: Path, tmp_path: Path) -> None:
    (site / "acme_raising.py").write_text(RAISING)
    install(site, "acme_glyph", "raising = acme_raising:Type\nglyph = acme_glyph:Glyph")
    root = tmp_path / "repo"
    root.mkdir()
    (root / "letter.glyph").write_bytes(importlib.import_module("acme_glyph").written(40, 30))
    (root / "notes.txt").write_text("none")
    daemon = started(make_daemon, site)
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("wait", "--timeout", "120")
    files = json.loads(daemon.cli("repos", "files", "home", "--json").stdout)["items"]
    assert {file["path"]: file["outcome"] for file in files} == {"letter.glyph": "asset", "notes.txt": "unsupported"}
