"""Every key that the help of a screen names does what it says, to what is shown, however fast keys come."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from textual.widget import Widget

from lumilio_tui.desk import Look
from lumilio_tui.screens import SCREENS
from lumilio_tui.screens.jobs import PAGE
from lumilio_tui.widgets.grid import Grid
from lumilio_tui.widgets.window import PAGES
from lumiliod.contract.jobs import JobPage
from tests.tui.canned import HOME, Canned, canned, jobs, number
from tests.tui.driving import CHARACTERS, Driven, driving

NAMES = [name for name, _ in SCREENS]


@pytest.fixture
def said(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Canned]:
    folder = short_dir / f"k{abs(hash(request.node.nodeid)) % 10**8}"
    folder.mkdir()
    with canned(folder) as server:
        yield server


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@dataclass(frozen=True)
class Does:
    """What a key does: it asks first, sends something, and says something, in a line or in what it told."""

    asks: str = ""
    sends: tuple[str, str] | None = None
    says: str = ""
    opens: str = ""


JOB = str(number(9_999))
ASSET = f"/assets/{number(0)}"

KEYS: dict[str, dict[str, Does]] = {
    "Overview": {
        "p": Does(sends=("POST", "/queues/develop/pause"), says="is paused"),
        "+": Does(sends=("PATCH", "/queues/develop"), says="2 jobs of develop"),
        "-": Does(sends=("PATCH", "/queues/develop"), says="0 jobs of develop"),
    },
    "Jobs": {
        "r": Does(sends=("POST", "/jobs/retry"), says="begin anew"),
        "x": Does(asks="End 1 job", sends=("POST", "/jobs/cancel"), says="7 jobs ended"),
        "d": Does(asks="Give up 1 job", sends=("POST", "/jobs/discard"), says="given up"),
        "a": Does(says="ALL MATCHING"),
        "p": Does(sends=("POST", "/queues/transcode/resume"), says="goes on"),
        "y": Does(says=f"Copied: {JOB}"),
        "T": Does(says="sorted by created  "),
        "K": Does(says="sorted by kind"),
        "Q": Does(says="sorted by queue"),
        "S": Does(says="sorted by state"),
        "P": Does(says="sorted by priority"),
        "A": Does(says="sorted by attempt"),
        "U": Does(says="sorted by scheduled"),
        "C": Does(says="sorted by cause"),
    },
    "Failures": {
        "r": Does(asks="Let 124 jobs begin anew", sends=("POST", "/jobs/retry"), says="begin anew"),
        "x": Does(asks="End 124 jobs", sends=("POST", "/jobs/cancel"), says="7 jobs ended"),
        "d": Does(says="given up already"),
        "y": Does(says="Copied: 2024/08 Alps/IMG_2041.jpg"),
    },
    "Repositories": {
        "s": Does(sends=("POST", f"/repositories/{HOME}/scan"), says="A scan of home"),
        "n": Does(opens="FolderPicker"),
        "a": Does(asks="Believe that 12,408", sends=("POST", f"/repositories/{HOME}/held/approve"), says="Approved"),
        "x": Does(asks="Keep the records", sends=("POST", f"/repositories/{HOME}/held/reject"), says="Rejected"),
        "y": Does(says="Copied: /srv/photos"),
    },
    "Library": {
        "+": Does(sends=("PUT", f"{ASSET}/rating"), says="1 stars"),
        "-": Does(sends=("PUT", f"{ASSET}/rating"), says="0 stars"),
        "f": Does(sends=("PUT", f"{ASSET}/like"), says="Liked"),
        "t": Does(asks="Put 1 asset into the trash", sends=("POST", "/trash"), says="put into the trash"),
        "u": Does(says="This is the library"),
        "T": Does(says="trash, page 1"),
        "y": Does(says="Copied: 2024/08 Alps/sunset.jpg"),
    },
    "Logs": {
        "y": Does(says="Copied: second"),
        "p": Does(says="not following"),
        "v": Does(says="warning and graver"),
    },
}


async def there(tui: Driven, name: str) -> None:
    """Go to a screen, and wait until it shows something to do something with."""
    await tui.press(str(NAMES.index(name) + 1))
    shown = {"Overview": "queues", "Jobs": "jobs", "Failures": "files", "Repositories": "runs", "Logs": "log"}
    if name == "Library":
        await tui.until(lambda: tui.console.query_one(Grid).tiles)
    else:
        await tui.until(lambda: tui.listing(shown[name]).rows)


def driven(said: Canned, tmp_path: Path, **options: Any) -> Any:
    log = tmp_path / "log"
    log.write_text("first\nsecond\n")
    return driving(said.socket, look=Look(images="none"), log_file=str(log), **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_screen_does_what_it_says(said: Canned, tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, name)
            view = tui.console.view
            bound = {
                CHARACTERS.get(key, key) for key in cast(Widget, view)._bindings.key_to_bindings if key != "equals_sign"
            }
            helped = {verb.keys for verb in view.verbs() if verb.keys}
            assert helped == set(KEYS[name]) == bound | {"y"} if name != "Overview" else bound
            for key, does in KEYS[name].items():
                said.sent.clear()
                tui.console.clear_notifications()
                await tui.press(key)
                if does.opens:
                    await tui.until(lambda: tui.front == does.opens)  # noqa: B023
                if does.asks:
                    await tui.until(lambda: does.asks in tui.text("#title"))  # noqa: B023
                    await tui.press("n")
                    await tui.until(lambda: tui.front == "Screen")
                    assert not said.sent
                    await tui.press(key)
                    await tui.until(lambda: does.asks in tui.text("#title"))  # noqa: B023
                    await tui.press("y")
                if does.sends:
                    await tui.until(lambda: said.sent)
                    assert said.sent[0][:2] == does.sends
                if does.says:
                    shown = f"#screen-{tui.console.number} #shown"
                    await tui.until(lambda: any(does.says in told for told in (*tui.told, f"{tui.text(shown)}  ")))  # noqa: B023
                await tui.press("escape")
                if key == "a" or name == "Library":
                    await there(tui, name)

    run(main)


def test_keys_that_are_the_same_everywhere(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Jobs")
            listing = tui.listing("jobs")
            last = len(listing.rows) - 1
            for keys, row in (
                (("j", "down"), 2),
                (("k",), 1),
                (("up",), 0),
                (("pagedown",), listing.size.height - 2),
                (("pageup",), 0),
                (("G",), last),
                (("g",), 0),
                (("end",), last),
                (("home",), 0),
            ):
                await tui.press(*keys)
                await tui.until(lambda: listing.cursor == row)  # noqa: B023
            await tui.press("space")
            assert len(listing.marked) == 1
            await tui.press("escape")
            assert not listing.marked
            await tui.press("slash")
            await tui.until(lambda: tui.front == "Prompt")
            await tui.type("state:running")
            await tui.press("enter")
            await tui.until(lambda: len(listing.rows) == 2)
            await tui.press("escape")
            await tui.until(lambda: len(listing.rows) == last + 1)
            asked = said.asked.count(("GET", "/jobs"))
            await tui.press("ctrl+r")
            await tui.until(lambda: said.asked.count(("GET", "/jobs")) > asked)
            await there(tui, "Failures")
            await tui.press("tab")
            assert tui.listing("files").has_focus
            await tui.press("question_mark")
            await tui.until(lambda: tui.front == "Help")
            await tui.press("q")
            await tui.press("colon")
            await tui.until(lambda: tui.front == "CommandPalette")
            await tui.press("escape")
            await tui.until(lambda: tui.front == "Screen")
            await tui.press("q")
        assert tui.console.return_code == 0

    run(main)


GOALS = {
    "why did a file fail": (("3", "enter", "enter"), "Lines", None),
    "retry all of one cause": (("3", "j", "r", "y"), "", ("POST", "/jobs/retry")),
    "pause a queue": (("1", "j", "p"), "", ("POST", "/queues/ingest/pause")),
    "approve deletions": (("4", "a", "y"), "", ("POST", f"/repositories/{HOME}/held/approve")),
}


@pytest.mark.parametrize("goal", GOALS)
def test_so_many_keys_from_the_start(said: Canned, tmp_path: Path, goal: str) -> None:
    keys, front, sends = GOALS[goal]
    shown = {"1": "queues", "3": "files", "4": "runs"}
    asking = {"r": "12 jobs", "a": "12,408"}

    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            for key in keys:
                await tui.press(key)
                if key in shown:
                    await tui.until(lambda: tui.listing(shown[key]).rows)  # noqa: B023
                if key in asking:
                    await tui.until(lambda: asking[key] in tui.text("#title"))  # noqa: B023
            if front:
                await tui.until(lambda: tui.front == front)
            if sends:
                await tui.until(lambda: said.sent)
                assert said.sent[0][:2] == sends
            if goal == "retry all of one cause":
                assert said.sent[0][2] == {"kind": "ingest", "cause": "unsupported"}

    run(main)


class Waiting:
    """An answer that comes when it is let go."""

    def __init__(self, body: bytes) -> None:
        self.go = threading.Event()
        self._body = body

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.go.wait(60)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self._body)))
        handler.end_headers()
        handler.wfile.write(self._body)


def test_a_cause_is_retried_that_is_shown_while_another_is_still_asked_for(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Failures")
            said.instead["/jobs"] = waiting = Waiting(b'{"items": []}')
            await tui.press("j")
            assert not tui.listing("files").rows  # nothing is done to the files of another cause
            tui.hit("j", "r")
            await tui.until(lambda: "Let 7 jobs begin anew" in tui.text("#title"))
            await tui.press("y")
            await tui.until(lambda: said.sent)
            assert said.sent[0][2] == {"kind": "thumbnails", "cause": "poison"}
            waiting.go.set()

    run(main)


def test_a_file_is_opened_that_belongs_to_the_current_cause(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Failures")
            [job] = [one for one in jobs() if one.cause == "unsupported"]
            said.instead["/jobs"] = waiting = Waiting(msgspec.json.encode(JobPage(items=[job])))
            await tui.press("j", "enter", "enter")
            assert tui.front == "Screen"
            waiting.go.set()
            await tui.until(lambda: tui.front == "Lines")
            assert "evil" in tui.text("#title")
        async with driven(said, tmp_path) as tui:
            await tui.press("3", "enter", "enter")  # before anything is known
            await tui.until(lambda: tui.front == "Lines")

    run(main)


def test_all_matching_is_what_was_shown_and_no_yes_comes_too_early(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Jobs")
            tui.console.view.narrow("state:discarded")
            await tui.until(lambda: len(tui.listing("jobs").rows) == 3)
            said.instead["/jobs/cancel"] = waiting = Waiting(b'{"count": 3}')
            tui.hit("a", "x")
            await tui.until(lambda: said.sent)
            assert said.sent == [("POST", "/jobs/cancel", {"state": "discarded", "dry_run": True})]
            # until it is known how many are meant no key is a yes, and none means anything else
            await tui.press("y", "2", "x", "slash")
            assert tui.front == "Confirm"
            waiting.go.set()
            await tui.until(lambda: "End 3 jobs" in tui.text("#title"))
            assert len(said.sent) == 1
            await tui.press("y")
            await tui.until(lambda: len(said.sent) == 2)
            # what came while that was read is not meant
            since_s = said.sent[1][2].pop("older_s")
            assert since_s > 0
            assert said.sent[1] == ("POST", "/jobs/cancel", {"state": "discarded"})
            await tui.until(lambda: "ALL MATCHING" not in tui.text("#screen-2 #shown"))

    run(main)


def test_what_is_asked_twice_is_asked_once(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Jobs")
            tui.hit("x", "x", "x")
            await tui.until(lambda: tui.front == "Confirm")
            await tui.press("n")
            await tui.until(lambda: tui.front == "Screen")
            assert not said.sent

    run(main)


def test_marks_are_of_jobs_and_not_of_rows(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Jobs")
            marked = tui.listing("jobs").rows[0].key
            await tui.press("space", "T")  # the other way round
            await tui.until(lambda: tui.listing("jobs").rows[0].key != marked)
            await tui.press("r")
            await tui.until(lambda: said.sent)
            assert said.sent[0][2] == {"ids": [marked]}

    run(main)


def test_marks_of_another_page_are_meant_too(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Library")
            grid = tui.console.query_one(Grid)
            first = grid.key
            await tui.press("space", "pagedown")
            said.told["/search"] = None
            await tui.until(lambda: "page 2" in tui.text("#screen-5 #shown"))
            grid.show([])  # a page on which it is not
            tui.console.query_one("Library")._items = {}
            await tui.press("f")
            await tui.until(lambda: said.sent)
            assert said.sent[0][:2] == ("PUT", f"/assets/{first}/like")

    run(main)


def test_a_verb_of_another_screen_does_nothing_to_what_nobody_has_seen(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Overview")
            verbs = {verb.name: verb for verb in tui.console.verbs()}
            for name in ("Jobs: retry", "Repository: scan now", "Library: rate higher", "Library: like"):
                tui.console.clear_notifications()
                tui.console.do(verbs[name])
                await tui.until(lambda: any("does it" in told for told in tui.told))
                assert not said.sent
                await tui.press("1")
            # what asks is asked at once
            tui.console.do(verbs["Jobs: cancel"])
            await tui.until(lambda: tui.front == "Confirm")
            await tui.press("n")
            assert not said.sent

    run(main)


def test_nothing_is_changed_that_cannot_be_seen(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path, size=(20, 10)) as tui:
            await tui.press("2")
            await tui.until(lambda: tui.listing("jobs").rows)
            await tui.press("r", "p", "x", "y")
            await tui.until(lambda: any("cannot be seen" in told for told in tui.told))
            assert tui.front == "Screen"
            assert not said.sent

    run(main)


def test_nothing_is_changed_in_read_only_mode(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path, readonly=True) as tui:
            await tui.until(lambda: "READ-ONLY" in tui.text("#tabs"))
            for name, keys in KEYS.items():
                await there(tui, name)
                changing = {verb.keys for verb in tui.console.view.verbs() if verb.changes and verb.keys}
                for key in keys:
                    if key == "T" and name == "Library":
                        continue  # there is nothing in the trash to change
                    tui.console.clear_notifications()
                    await tui.press(key)
                    if key in changing and key != "u":
                        await _refused(tui)
                    await tui.press("y", "escape")
            for verb in tui.console.verbs():
                if verb.changes:
                    tui.console.clear_notifications()
                    tui.console.do(verb)
                    await _refused(tui)
            assert {method for method, _ in said.asked} == {"GET"}

    run(main)


async def _refused(tui: Driven) -> None:
    await tui.until(lambda: any("Read-only" in told for told in tui.told))
    assert tui.front == "Screen"


def test_a_console_that_ends_leaves_nothing_behind(said: Canned, tmp_path: Path) -> None:
    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            said.instead["*"] = said.stall
            await tui.press("2", "ctrl+r", "3", "q")

    before = set(threading.enumerate())
    run(main)
    ours = [one for one in set(threading.enumerate()) - before if one.name.startswith("lumilio")]
    for one in ours:
        one.join(30)
    assert not any(one.is_alive() for one in ours)


def test_a_million_jobs_are_a_window(said: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, [one, *_] = 1_000_000, jobs()

    def find(self: Canned, method: str, path: str, query: dict[str, list[str]]) -> Any:
        if path != "/jobs":
            return others(self, method, path, query)
        limit = int(query["limit"][0])
        at = many - limit if "last" in query else int(query.get("cursor", ["0"])[0])
        items = [msgspec.structs.replace(one, id=number(many - of)) for of in range(at, at + limit)]
        after = str(at + limit) if at + limit < many else None
        return JobPage(items=items, next_cursor=after, prev_cursor=str(at - limit) if at else None)

    others = Canned.find
    monkeypatch.setattr(Canned, "find", find)

    async def main() -> None:
        async with driven(said, tmp_path) as tui:
            await there(tui, "Jobs")
            listing = tui.listing("jobs")
            # down, faster than pages come
            for key, row in (("pagedown", 10 * (listing.size.height - 2)), ("j", 30)):
                before, keys = int(UUID(listing.key)), [key] * (10 if key == "pagedown" else 30)
                tui.hit(*keys)
                await tui.until(lambda: before - int(UUID(listing.key)) == row)  # noqa: B023
            await tui.press("G")
            await tui.until(lambda: listing.key == str(number(1)))
            for _ in range(40):
                await tui.press("pageup")
            await tui.until(lambda: int(UUID(listing.key)) > int(number(40 * (listing.size.height - 2))))
            assert len(listing.rows) <= PAGES * PAGE
            await tui.press("g")
            await tui.until(lambda: listing.key == str(number(many)))

    run(main)
