"""What a console meets: no daemon, no permission, half an answer, none at all, small and poor terminals, foul names."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lumilio_tui import app
from lumilio_tui.app import Console, helpful
from lumilio_tui.desk import Look
from lumilio_tui.widgets.grid import Grid
from lumilio_tui.widgets.listing import Listing
from tests.conftest import Daemon
from tests.tui.canned import NOW, Canned, canned
from tests.tui.driving import Driven, driving


@pytest.fixture
def said(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Canned]:
    folder = short_dir / f"c{abs(hash(request.node.nodeid)) % 10**8}"
    folder.mkdir()
    with canned(folder) as server:
        yield server


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--images", "ink"], "--images"),
        (["--theme", "x"], "no theme x"),
    ],
)
def test_bad_usage_has_the_exit_status_of_all_commands(args: list[str], told: str) -> None:
    command = [sys.executable, "-m", "lumilio_tui", *args]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, told in done.stderr) == (64, True)


def test_a_daemon_that_is_not_there() -> None:
    async def main() -> None:
        async with driving("/nonexistent/s") as tui:
            await tui.until(lambda: "not running" in tui.text("#away"))
            assert "Trying again" in tui.text("#away")
            for key in ("2", "3", "4", "5", "6", "1", "question_mark", "escape"):
                await tui.press(key)
            await tui.press("q")
        assert tui.console.return_code == 0

    run(main)


def test_a_daemon_goes_away_and_comes_back(daemon: Daemon) -> None:
    async def main() -> None:
        async with driving(daemon.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            before = tui.cells("queues")
            await asyncio.to_thread(daemon.stop)
            await tui.until(lambda: "not running" in tui.text("#away"))
            assert "Last seen" in tui.text("#away")
            assert tui.listing("queues").is_old
            assert tui.cells("queues") == before
            await asyncio.to_thread(daemon.start)
            # by itself
            await tui.until(lambda: not tui.listing("queues").is_old)
            assert not tui.console.query_one("#heading").has_class("-away")

    run(main)


def test_a_socket_that_nobody_listens_on(short_dir: Path) -> None:
    path = short_dir / "stale"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def main() -> None:
        async with driving(str(path)) as tui:
            await tui.until(lambda: "nobody listens" in tui.text("#away"))

    run(main)


def test_permission_denied_says_what_would_help(said: Canned) -> None:
    assert helpful("/nonexistent/s") == "What helps: sudo usermod -aG lumilio-admin $USER, then sign in again."
    path = Path(said.socket)
    path.chmod(0o660)
    assert f"-aG {path.group()} " in helpful(said.socket)
    path.chmod(0)

    async def main() -> None:
        async with driving(said.socket) as tui:
            await tui.until(lambda: "You may not use" in tui.text("#away"))
            assert "usermod -aG" in tui.text("#away")

    test_a_daemon_that_is_not_there()  # so that nothing is imported from where nobody else may look
    with nobody_special():
        run(main)


@contextmanager
def nobody_special() -> Iterator[None]:
    """Be somebody whom permissions concern, which root is not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"items": [')


def noise(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(os.urandom(200))


def squeezed(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "5")
    handler.end_headers()
    handler.wfile.write(b"plain")


def refusing(handler: BaseHTTPRequestHandler) -> None:
    body = b'{"title": "No", "status": 500, "code": "internal", "detail": "it \\u001b[31mbroke"}'
    handler.send_response(500)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


ANSWERS: tuple[Any, ...] = (b"", b"null", b"[1, 2", b'{"items": 7}', b"\xff\xfe", half, noise, squeezed, refusing)


def test_what_is_no_answer_is_a_line_and_no_end(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            heading = tui.console.query_one("#heading")
            for number, answer in enumerate(ANSWERS):
                said.instead["*"] = answer
                tui.console.known.hasten()
                await tui.press("23456"[number % 5], "ctrl+r", "enter", "r", "s", "t", "escape", "4")
                await tui.until(lambda: tui.text("#wrong") or heading.has_class("-away"))
                assert "\x1b" not in tui.text("#wrong")
                said.instead.clear()
                await tui.press("1", "ctrl+r")
                # an answer that was on its way may still be told, for a while
                await tui.until(lambda: not heading.has_class("-away") and not tui.text("#wrong"))
            await tui.press("3")
            await tui.until(lambda: tui.listing("causes").rows)

    run(main)


def test_a_daemon_that_never_answers_keeps_nobody_waiting(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket) as tui:
            tui.console.asker.answer_s = 0.2
            said.instead["*"] = said.stall
            tui.console.known.hasten()
            await tui.press("ctrl+r")
            await tui.until(lambda: "does not answer" in tui.text("#away"))
            for number in "23456":
                await tui.press(number)  # each is dealt with while nothing is answered
            assert tui.console.number == 6
            said.instead.clear()
            said.released.set()
            await tui.until(lambda: not tui.console.query_one("#heading").has_class("-away"))

    run(main)


@pytest.mark.parametrize("size", [(20, 10), (40, 12), (80, 24), (300, 90)])
def test_every_screen_in_every_size(said: Canned, size: tuple[int, int]) -> None:
    async def main() -> None:
        async with driving(said.socket, size=size) as tui:
            for number in "123456":
                await tui.press(number, "j", "G", "enter", "escape", "tab", "question_mark", "escape")
            is_small = size[0] < app.SMALL[0] or size[1] < app.SMALL[1]
            assert tui.console.screen.query_one("#small").display is is_small
            if is_small:
                assert "Lumilio needs" in tui.text("#small")
            # and while it changes
            for width, height in ((100, 30), (39, 11), (1, 1), (20, 10)):
                await tui.pilot.resize_terminal(width, height)
                assert tui.console.screen.query_one("#small").display is (width < app.SMALL[0])
            await tui.until(lambda: "needs" in tui.drawn())

    run(main)


def test_names_cannot_control_the_terminal(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket, size=(160, 50)) as tui:
            for number, name in zip("2345", ("jobs", "files", "repositories", ""), strict=True):
                await tui.press(number)
                await tui.until(lambda: tui.listing(name).rows if name else tui.console.query_one(Grid).tiles)  # noqa: B023
                drawn = tui.drawn()
                assert "\x1b" not in drawn
                assert "\u202e" not in drawn
            await tui.press("2")
            about = [cells[6] for cells in tui.cells("jobs")]
            assert "inbox/evil\\x1b[31mred.jpg" in about
            assert "a\\u202egpj.exe" in about
            assert "שלום.jpg\u200e" in about
            # what is asked about
            await tui.press("j", "j", "j", "x")
            await tui.until(lambda: tui.front == "Confirm")
            assert "evil\\x1b[31mred.jpg" in tui.drawn()

    run(main)


def test_a_folder_whose_name_controls_the_terminal_is_a_repository_all_the_same(
    said: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foul = tmp_path / "a\x1b[2J\u202eb"
    foul.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    async def main() -> None:
        async with driving(said.socket, size=(160, 50)) as tui:
            await tui.press("4", "n")
            await tui.until(lambda: tui.front == "FolderPicker")
            picker = tui.console.screen.query_one("#folders", Listing)
            await tui.until(lambda: [row.key for row in picker.rows] == ["..", foul.name])
            await tui.press("j", "enter")
            await tui.until(lambda: len(picker.rows) == 1)
            drawn = tui.drawn()
            assert "a\\x1b[2J\\u202eb" in drawn
            assert "\x1b" not in drawn
            assert "\u202e" not in drawn
            await tui.press("ctrl+s")
            await tui.until(lambda: said.sent)
            assert said.sent[0][:2] == ("POST", "/repositories")
            assert said.sent[0][2]["path"] == str(foul)

    run(main)


def test_a_terminal_that_knows_ascii_alone(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket, size=(120, 40), look=Look(ascii_only=True, now=lambda: NOW)) as tui:
            await tui.press("2")
            await tui.until(lambda: tui.listing("jobs").rows)
            assert "\\u05e9" in tui.drawn()
            # screens, and what is in front of them
            for number in "123456":
                await tui.press(number)
                await _is_ascii(tui)
            for keys, front in {"2jjjjx": "Confirm", "2jjjj\n": "Lines", "4n": "FolderPicker", "5/": "Prompt"}.items():
                await tui.press(*keys.replace("\n", ""), *(["enter"] if "\n" in keys else []))
                await tui.until(lambda: tui.front == front)  # noqa: B023
                await _is_ascii(tui)
                await tui.press("escape")

    run(main)


async def _is_ascii(tui: Driven) -> None:
    await tui.until(lambda: True)
    lines = tui.drawn()
    assert lines.isascii(), [line for line in lines.split("\n") if not line.isascii()]


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps(said: Canned, by: timedelta) -> None:
    clock = [NOW]

    async def main() -> None:
        async with driving(said.socket, look=Look(images="none", now=lambda: clock[0])) as tui:
            await tui.until(lambda: tui.listing("services").rows and tui.console.known.status)
            ages = {cells[2] for cells in tui.cells("services")}
            clock[0] += by
            for number, name in (("2", "jobs"), ("3", "files"), ("4", "runs")):
                await tui.press(number)
                await tui.until(lambda: tui.listing(name).rows)  # noqa: B023
            asked = len(said.asked)
            await tui.press("1")
            # the daemon is asked as before, and what is said of times is said of the clock as it is
            await tui.until(lambda: len(said.asked) > asked and {cells[2] for cells in tui.cells("services")} != ages)
            assert all(cells[2].startswith("in ") is (by.days < 0) for cells in tui.cells("services"))

    run(main)


def test_without_colour(said: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def main() -> None:
        async with driving(said.socket) as tui:
            assert tui.console.no_color
            await tui.until(lambda: tui.listing("queues").rows)
            assert [cells[1] for cells in tui.cells("queues")][-1] == "paused"  # said in words

    run(main)


def test_no_log_says_what_would_help(said: Canned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    async def main() -> None:
        async with driving(said.socket) as tui:
            await tui.press("6")
            await tui.until(lambda: "--log-file" in tui.text("#screen-6 #shown"))
        async with driving(said.socket, log_file=str(tmp_path / "none")) as tui:
            await tui.press("6")
            await tui.until(lambda: "No such file" in tui.text("#screen-6 #shown"))

    run(main)


def test_other_themes_can_be_drawn(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            for theme in sorted(Console("/s").available_themes)[::4]:
                tui.console.theme = theme
                await tui.pilot.pause()
                assert "Queues" in tui.drawn()

    run(main)


def test_held_deletions_are_approved_by_four_keys(said: Canned) -> None:
    async def main() -> None:
        async with driving(said.socket, size=(160, 50)) as tui:
            await tui.press("4")
            await tui.until(lambda: tui.listing("repositories").rows)
            assert "12,408 of 52,881 files of home are missing" in tui.text("#held")
            await tui.press("a")
            await tui.until(lambda: "2019/01 Album/IMG_1.jpg" in tui.drawn())
            assert tui.front == "Confirm"
            await tui.press("y")
            await tui.until(lambda: any("Approved" in told for told in tui.told))
            assert ("POST", "/repositories/00000000-0000-0000-0000-000000000001/held/approve") in said.asked

    run(main)


def test_what_happens_is_seen_without_asking(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "TICK_S", 86_400.0)

    async def main() -> None:
        async with driving(daemon.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows and tui.console.heard)
            name = tui.cells("queues")[0][0]
            with daemon.client as client:
                client.pause_queue(name)
            await tui.until(lambda: tui.cells("queues")[0][1] == "paused")

    run(main)
