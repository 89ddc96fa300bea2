"""Hostile files with good photographs among them: every one has its verdict, and the daemon is as before."""

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lumiliod.domain.ids import shown
from tests.conftest import Daemon
from tests.hostile import generate, write, write_irregular
from tests.hostile.parts import Hostile, jpeg

FILES, SEED = 60, 7
GOOD = 20
MEMORY_GROWTH_MB = 64
"""What the daemon's own process may take more afterwards; one picture of hostile size would be ten times that."""
CAUSES = {"corrupt", "unsupported", "too_large", "timeout", "poison", "empty"}
"""Codes that say something of a file; anything else would be a defect of ours."""


@dataclass(frozen=True)
class Survived:
    """What is to be seen when everything is done."""

    root: Path
    hostile: list[Hostile]
    good: list[str]
    files: dict[str, dict[str, Any]]
    assets: dict[str, dict[str, Any]]
    discarded: Counter[tuple[str, str]]
    memory_mb: tuple[float, float]
    elsewhere: set[str]


@pytest.fixture(scope="module")
def survived(make_module_daemon: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survived]:
    root = tmp_path_factory.mktemp("hostile") / "library"
    root.mkdir()
    hostile = write(root, generate(FILES, SEED)) + write_irregular(root)
    good = [f"good {number}.jpg" for number in range(GOOD)]
    for number, name in enumerate(good):
        (root / name).write_bytes(jpeg(random.Random(number)))
    daemon = make_module_daemon()
    scratch = Path(tempfile.mkdtemp(prefix="lum-"))
    daemon.environ["TMPDIR"] = str(scratch)
    daemon.start()
    assert daemon.process is not None
    pid = daemon.process.pid
    daemon.cli("repos", "add", str(root), "--name", "hostile")
    before_mb = resident_mb(pid)
    daemon.cli("scan", "hostile", "--wait")
    daemon.cli("wait", "--timeout", "300", check=False)  # says that jobs were discarded
    after_mb = resident_mb(pid)
    with daemon.client as client:
        health = client.health()
        assert (health.status, daemon.process.poll()) == ("ok", None), health
        assert not client.status().open_jobs
        discarded = Counter((job.kind, job.errors[-1].code) for job in client.jobs(state="discarded", limit=500).items)
    files = {
        file["path"]: file for file in json.loads(daemon.cli("repos", "files", "hostile", "--json").stdout)["items"]
    }
    assets = {
        asset["id"]: asset for asset in json.loads(daemon.cli("assets", "list", "--all", "--json").stdout)["items"]
    }
    elsewhere = {path.name for path in scratch.rglob("*")}
    workers = media_processes(pid)
    assert workers
    assert daemon.stop() == 0
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    yield Survived(root, hostile, good, files, assets, discarded, (before_mb, after_mb), elsewhere)
    scratch.rmdir()


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def media_processes(pid: int) -> list[int]:
    """Return the processes below a daemon that read foreign bytes."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"lumiliod.media.zygote" in command or b"exiftool" in command:
                found += [child, *media_processes(child)]
    return found


def verdict(survived: Survived, name: bytes) -> tuple[str, str]:
    """Return what became of a file and why: its outcome, or the status of its asset."""
    file = survived.files[shown(os.fsdecode(name))]
    if file["outcome"] != "asset":
        return file["outcome"], file["reason"] or ""
    asset = survived.assets[file["asset_id"]]
    return asset["status"], asset["status_reason"] or ""


def test_every_hostile_file_has_a_verdict_and_a_reason(survived: Survived) -> None:
    wrong = []
    for one in survived.hostile:
        end, reason = verdict(survived, one.name)
        if end not in one.ends or (end != "ready" and not reason):
            wrong.append((one.name, one.about, end, reason))
        if end in {"undecodable", "corrupt", "unsupported", "too_large"} and reason.partition(":")[0] not in CAUSES:
            wrong.append((one.name, one.about, end, reason))
    assert not wrong


def test_every_good_file_among_them_is_ready(survived: Survived) -> None:
    assert {verdict(survived, name.encode()) for name in survived.good} == {("ready", "")}
    for name in survived.good:
        asset = survived.assets[survived.files[name]["asset_id"]]
        assert asset["thumbnails"] == [150, 300, 1024]


def test_discarded_jobs_name_what_is_wrong_with_their_file(survived: Survived) -> None:
    assert {code for _, code in survived.discarded} <= CAUSES
    undecodable = sum(asset["status"] == "undecodable" for asset in survived.assets.values())
    assert sum(count for (kind, _), count in survived.discarded.items() if kind == "thumbnails") == undecodable
    # what exiftool cannot get through has no metadata, and what is no film no version for the web, and that is all
    others = {(kind, code) for kind, code in survived.discarded if kind != "thumbnails"}
    assert {kind for kind, _ in others} <= {"metadata", "transcode"}
    assert {code for kind, code in others if kind == "metadata"} <= {"timeout", "poison"}


def test_the_daemon_does_not_grow(survived: Survived) -> None:
    before, after = survived.memory_mb
    assert after - before < MEMORY_GROWTH_MB


def test_nothing_is_written_elsewhere(survived: Survived) -> None:
    ours = {".lumilio", ".lumiliorepo", "inbox", "folder.jpg"}
    expected = {one.name for one in survived.hostile} | {name.encode() for name in survived.good}
    assert {os.fsencode(name) for name in os.listdir(survived.root) if name not in ours} == expected
    assert not any((survived.root / "inbox").iterdir())
    assert not any((survived.root / "folder.jpg").iterdir())
    assert not survived.elsewhere


def test_the_same_seed_makes_the_same_files() -> None:
    once, again = (list(generate(40, 3)) for _ in range(2))
    assert once == again
    assert {one.content for one in once}.isdisjoint(one.content for one in generate(40, 4) if one.content)
