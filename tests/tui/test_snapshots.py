"""Pictures of every screen, as they stand in the documents: a change of what is seen is seen.

``LUMILIO_PICTURES=renew`` writes them anew.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lumilio_tui.desk import Look
from lumilio_tui.screens.overview import Overview, Stage
from tests.conftest import ROOT
from tests.tui.canned import NOW, Canned, canned
from tests.tui.driving import Driven, driving

PICTURES = ROOT / "docs" / "tui"
SIZES = ((80, 24), (160, 50))

LOG = """\
{"at": "2026-06-01T11:58:02+00:00", "level": "info", "message": "ready", "socket": "/run/s"}
{"at": "2026-06-01T11:58:40+00:00", "level": "warning", "message": "repository offline", "repository": "phone"}
{"at": "2026-06-01T11:59:12+00:00", "level": "info", "message": "scan ended", "repository": "home", "found": 52881}
{"at": "2026-06-01T11:59:13+00:00", "level": "warning", "message": "deletions held", "files": 12408}
{"at": "2026-06-01T11:59:44+00:00", "level": "warning", "message": "job failed", "code": "corrupt"}
{"at": "2026-06-01T11:59:58+00:00", "level": "error", "message": "service failed", "service": "encoder"}
"""

SCREENS = ("overview", "jobs", "failures", "repositories", "library", "logs")


@pytest.fixture(scope="module")
def said(short_dir: Path) -> Iterator[Canned]:
    folder = short_dir / "pictures"
    folder.mkdir()
    with canned(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def normalised(svg: str) -> str:
    """Return a picture without what differs between two runs, and without fonts from elsewhere."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


def compare(svg: str, name: str, tmp_path: Path) -> None:
    """Fail where a picture is not what stands in the documents; colours of photographs may differ a little."""
    drawn, path = normalised(svg), PICTURES / f"{name}.svg"
    if os.environ.get("LUMILIO_PICTURES") == "renew":
        PICTURES.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
    known = path.read_text(encoding="utf-8")
    plain = [re.findall(r"<text[^>]* x=.*?</text>", text) for text in (drawn, known)]
    if "▀" in drawn:
        texts = [[re.sub(r'class="[^"]*"|[▀▄]+', "", line) for line in lines] for lines in plain]
        same = sorted(set(texts[0])) == sorted(set(texts[1]))
    else:
        same = drawn == known
    if not same:
        (tmp_path / path.name).write_text(drawn, encoding="utf-8")
        pytest.fail(f"{path} shows something else than {tmp_path / path.name}; LUMILIO_PICTURES=renew keeps it")


async def settled(tui: Driven) -> None:
    """Wait for everything that is asked for at the beginning, and ask for nothing more of the whole."""
    known = tui.console.known
    await tui.until(lambda: known.status is not None and "storage" in tui.text("#vitals"))
    known._again_at = float("inf")
    overview = tui.console.query_one(Overview)
    overview._stages.clear()
    for kind, rates in {
        "ingest": (21, 24, 22, 19),
        "metadata": (20, 23, 23, 18),
        "thumbnails": (12, 19, 22, 20),
    }.items():
        stage, at, done = Stage(), 0.0, 0
        for step in range(40):
            at, done = at + 2.0, done + 2 * rates[step % 4] * (1 + step // 13)
            stage.note(at, done)
        overview._stages[kind] = stage
    overview._noted_at = known.status_at


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_screens(said: Canned, tmp_path: Path, size: tuple[int, int]) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    look = Look(images="half", now=lambda: NOW)

    async def main() -> None:
        async with driving(said.socket, size=size, look=look, log_file=str(log)) as tui:
            await settled(tui)
            signs = (
                lambda: True,
                lambda: tui.listing("jobs").rows,
                lambda: tui.listing("files").rows,
                lambda: tui.listing("runs").rows,
                lambda: pictured(tui),
                lambda: len(tui.listing("log").rows) == 6,
            )
            for number, (name, sign) in enumerate(zip(SCREENS, signs, strict=True), 1):
                await tui.press(str(number))
                await tui.until(sign)
                if name == "logs":
                    tui.console.query_one("#screen-6 #shown").update("/var/log/lumilio.log   info and graver")  # type: ignore[attr-defined]
                await tui.console.workers.wait_for_complete()
                await tui.pilot.pause()
                compare(tui.console.export_screenshot(simplify=True), f"{name}-{size[0]}x{size[1]}", tmp_path)

    asyncio.run(main())


def pictured(tui: Driven) -> bool:
    cells = [cell for cell in tui.console.query("Cell") if not cell.has_class("-empty")]
    sounds = sum("audio" in tile.instead for tile in tui.console.query_one("#grid").tiles)  # type: ignore[attr-defined]
    return bool(cells) and sum(cell.has_class("-pictured") for cell in cells) == len(cells) - sounds


def test_dialogs(said: Canned, tmp_path: Path) -> None:
    look = Look(images="half", now=lambda: NOW)

    async def main() -> None:
        async with driving(said.socket, size=(100, 30), look=look) as tui:
            await settled(tui)

            async def shown(name: str, front: str, *keys: str) -> None:
                await tui.pilot.pause()
                await tui.press(*keys)
                await tui.until(lambda: tui.front == front and "Asking" not in tui.text("#title"))
                await tui.pilot.pause()
                compare(tui.console.export_screenshot(simplify=True), name, tmp_path)
                await tui.press("escape")

            await tui.press("2")
            await tui.until(lambda: tui.listing("jobs").rows)
            await shown("job-100x30", "Lines", "j", "j", "enter")
            await tui.press("3")
            await tui.until(lambda: tui.listing("files").rows)
            await shown("why-100x30", "Lines", "enter", "enter")
            await tui.press("4")
            await tui.until(lambda: tui.listing("repositories").rows)
            await shown("approve-100x30", "Confirm", "a")
            await shown("help-100x30", "Help", "question_mark")

    asyncio.run(main())
