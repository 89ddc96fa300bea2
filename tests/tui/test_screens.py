"""Every screen and its keys, over a real daemon."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lumilio_tui.widgets.grid import Grid
from lumiliod.client import Client
from lumiliod.contract.trash import RestoreRequest
from tests.tui.conftest import BROKEN, PHOTOS, Home
from tests.tui.driving import driving


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_overview(home: Home, client: Client) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows and "storage" in tui.text("#vitals"))
            assert f"{PHOTOS + len(BROKEN)} photo" in tui.text("#vitals")
            assert "loop lag" in tui.text("#vitals")
            assert "memory" in tui.text("#vitals")
            assert {"api", "database", "jobs"} <= {cells[0] for cells in tui.cells("services")}
            stages = {cells[0]: cells for cells in tui.cells("stages")}
            assert stages["thumbnails"][3] == str(PHOTOS)
            assert stages["thumbnails"][2] == str(len(BROKEN))
            # how many at once
            before = client.queues().items[0].concurrency
            tui.hit("plus", "plus")
            await tui.until(lambda: tui.cells("queues")[0][3] == str(before + 2))
            assert client.queues().items[0].concurrency == before + 2
            await tui.press("minus", "minus")
            await tui.until(lambda: client.queues().items[0].concurrency == before)

    run(main)


def test_a_queue_is_paused_by_three_keys(home: Home, client: Client) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            name = tui.cells("queues")[1][0]
            await tui.press("1", "j", "p")
            await tui.until(lambda: tui.cells("queues")[1][1] == "paused")
            [paused] = [queue.name for queue in client.queues().items if queue.paused_at]
            assert paused == name
            await tui.press("p")
            await tui.until(lambda: tui.cells("queues")[1][1] != "paused")

    run(main)


def test_jobs(home: Home) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.press("2")
            await tui.until(lambda: len(tui.listing("jobs").rows) > 20)
            ages = [UUID(row.key) for row in tui.listing("jobs").rows]
            assert ages == sorted(ages, reverse=True)
            await tui.press("T")
            await tui.until(lambda: "sorted by created  " in tui.text("#screen-2 #shown") + "  ")
            await tui.until(lambda: [UUID(row.key) for row in tui.listing("jobs").rows] == sorted(ages))
            await tui.press("G")
            await tui.until(lambda: tui.listing("jobs").cursor == len(ages) - 1)
            await tui.press("g")
            assert tui.listing("jobs").cursor == 0
            # a filter, by words alone
            await tui.press("slash")
            await tui.until(lambda: tui.front == "Prompt")
            await tui.type("discarded thumbnails")
            await tui.press("enter")
            await tui.until(lambda: len(tui.listing("jobs").rows) == len(BROKEN))
            assert "only state:discarded kind:thumbnails" in tui.text("#screen-2 #shown")
            assert {cells[6] for cells in tui.cells("jobs")} == {"broken-1.jpg", "broken-2.jpg", "evil\\x1b[31mred.jpg"}
            await tui.press("K")
            await tui.until(lambda: "sorted by kind" in tui.text("#screen-2 #shown"))
            # details, with attempts and errors
            await tui.press("enter")
            await tui.until(lambda: tui.front == "Lines")
            assert "corrupt" in tui.text("#text")
            assert "Failed attempts" in tui.text("#text")
            await tui.press("y")
            assert any("Copied" in told for told in tui.told)
            await tui.press("escape")
            # a filter that means nothing
            await tui.press("slash")
            await tui.until(lambda: tui.front == "Prompt")
            await tui.press("end", *["backspace"] * 30)
            await tui.type("colour:red")
            await tui.press("enter")
            await tui.until(lambda: any("no field colour" in told for told in tui.told))
            await tui.press("escape", "T")
            await tui.until(lambda: len(tui.listing("jobs").rows) >= len(ages))

    run(main)


def test_jobs_are_retried_cancelled_and_marked(home: Home, client: Client) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.press("2")
            await tui.until(lambda: tui.listing("jobs").rows)
            tui.console.view.narrow("discarded")
            await tui.until(lambda: len(tui.listing("jobs").rows) == len(BROKEN))
            # marked: asks, and no is no
            await tui.press("g", "space", "space")
            assert "2 marked" in tui.text("#screen-2 #shown")
            await tui.press("x")
            await tui.until(lambda: "End 2 jobs" in tui.text("#title"))
            await tui.press("n")
            await tui.until(lambda: tui.front == "Screen")
            assert len(client.jobs(state="discarded").items) == len(BROKEN)
            await tui.press("escape")
            assert "marked" not in tui.text("#screen-2 #shown")
            # one is retried, and fails again
            attempts = {job.id: len(job.errors) for job in client.jobs(state="discarded").items}
            job_id = UUID(tui.listing("jobs").key)
            await tui.press("r")
            await tui.until(lambda: any("1 job begin anew" in told for told in tui.told))
            await tui.until(
                lambda: client.job(job_id).state == "discarded" and len(client.job(job_id).errors) > attempts[job_id]
            )
            # all matching
            await tui.until(lambda: len(tui.listing("jobs").rows) == len(BROKEN))
            await tui.press("a")
            assert "ALL MATCHING" in tui.text("#screen-2 #shown")
            await tui.press("r")
            await tui.until(lambda: f"{len(BROKEN)} jobs" in tui.text("#title"))
            await tui.press("y")
            others = attempts.keys() - {job_id}
            await tui.until(lambda: all(len(client.job(one).errors) > attempts[one] for one in others))

    run(main)


def test_why_a_file_failed_is_three_keys_away(home: Home) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.press("3")
            await tui.until(lambda: len(tui.listing("files").rows) == len(BROKEN))
            assert tui.cells("causes")[0][2:4] == ("thumbnails", "corrupt")
            await tui.press("enter", "enter")
            await tui.until(lambda: tui.front == "Lines")
            assert "Why it failed" in tui.text("#title")
            assert "corrupt: cannot be decoded" in tui.text("#text")
            await tui.press("escape", "escape")
            assert tui.listing("causes").has_focus

    run(main)


def test_all_of_a_cause_are_retried_by_four_keys(home: Home, client: Client) -> None:
    async def main() -> None:
        before = {job.id: len(job.errors) for job in client.jobs(state="discarded").items}
        async with driving(home.socket) as tui:
            await tui.press("3")
            await tui.until(lambda: tui.listing("causes").rows)
            await tui.press("k", "r")
            await tui.until(lambda: tui.front == "Confirm")
            await tui.press("y")
            await tui.until(lambda: all(len(client.job(one).errors) > number for one, number in before.items()))

    run(main)


def test_repositories(home: Home, client: Client, tmp_path: Path) -> None:
    added = tmp_path / "another"
    added.mkdir()
    tmp_path.chmod(0o755)

    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.press("4")
            await tui.until(lambda: tui.listing("runs").rows)
            [cells] = tui.cells("repositories")
            assert cells[:2] == ("home", "online")
            runs = len(client.sync.operations(repository="home").items)
            await tui.press("s")
            await tui.until(lambda: len(client.sync.operations(repository="home").items) > runs)
            await tui.press("enter")
            await tui.until(lambda: tui.front == "Lines")
            assert str(home.folder) in tui.text("#text")
            await tui.press("escape")
            await tui.press("a")
            await tui.until(lambda: any("Nothing is held" in told for told in tui.told))
            # another, found in the picker
            await tui.press("n")
            await tui.until(lambda: tui.front == "FolderPicker")
            tui.console.screen.query_one("#path").value = str(tmp_path)  # type: ignore[attr-defined]
            tui.console.screen.query_one("#path").focus()
            await tui.press("enter")
            picker = tui.console.screen.query_one("#folders")
            await tui.until(lambda: [row.key for row in picker.rows] == ["..", "another"])  # type: ignore[attr-defined]
            await tui.press("j", "enter")
            await tui.until(lambda: tui.console.screen.query_one("#path").value == str(added))  # type: ignore[attr-defined]
            await tui.press("ctrl+l", "ctrl+s")
            await tui.until(lambda: len(tui.listing("repositories").rows) == 2)
            assert client.repository("another").storage_strategy == "flat"

    run(main)
    home.daemon.cli("repos", "remove", "another", "--yes", check=False)


def test_the_library_is_seen_rated_liked_and_put_into_the_trash(home: Home, client: Client) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            grid = tui.console.screen.query_one(Grid)
            await tui.press("5")
            await tui.until(lambda: len(grid.tiles) == PHOTOS + len(BROKEN))
            await tui.until(lambda: len(tui.console.screen.query("Cell.-pictured")) == PHOTOS)
            assert "▀" in tui.drawn() or "▄" in tui.drawn()
            tui.console.view.narrow("photo-1")
            await tui.until(lambda: len(grid.tiles) == 1)
            asset_id = UUID(grid.key)
            tui.hit("plus", "plus", "f")
            await tui.until(lambda: client.asset(asset_id).rating == 2 and client.asset(asset_id).liked)
            await tui.press("enter")
            await tui.until(lambda: tui.front == "AssetView")
            assert "photo-1.jpg" in tui.text("#title")
            await tui.press("escape", "minus", "minus")
            await tui.until(lambda: client.asset(asset_id).rating == 0)
            # into the trash, and out of it
            await tui.press("t")
            await tui.until(lambda: tui.front == "Confirm")
            await tui.press("y")
            await tui.until(lambda: not grid.tiles)
            await tui.press("T")
            await tui.until(lambda: grid.key == str(asset_id))
            await tui.press("u")
            await tui.until(lambda: not grid.tiles)
            await tui.press("escape", "escape")
            await tui.until(lambda: len(grid.tiles) == PHOTOS + len(BROKEN))
            # marks and moves
            await tui.press("space", "space")
            assert len(grid.marked) == 2
            await tui.press("escape", "l", "j", "h", "k")
            assert not grid.marked

    run(main)
    client.trash.restore(RestoreRequest(all=True))


def test_pages_of_the_library(home: Home) -> None:
    async def main() -> None:
        async with driving(home.socket, size=(80, 24)) as tui:
            grid = tui.console.screen.query_one(Grid)
            await tui.press("5")
            await tui.until(lambda: grid.capacity and len(grid.tiles) == grid.capacity)
            assert 1 < grid.capacity < PHOTOS + len(BROKEN)
            first = [tile.key for tile in grid.tiles]
            await tui.press("pagedown")
            await tui.until(lambda: grid.tiles and grid.tiles[0].key not in first)
            assert "page 2" in tui.text("#screen-5 #shown")
            await tui.press("pageup")
            await tui.until(lambda: [tile.key for tile in grid.tiles] == first)

    run(main)


def test_logs(home: Home) -> None:
    log = home.daemon.state_dir / "daemon.log"

    async def main() -> None:
        async with driving(home.socket, log_file=str(log)) as tui:
            await tui.press("6")
            await tui.until(lambda: any("ready" in cells[2] for cells in tui.cells("log")))
            assert "following" in tui.text("#screen-6 #shown")
            await tui.press("p")
            assert "not following" in tui.text("#screen-6 #shown")
            await tui.press("v")
            await tui.until(lambda: {cells[1] for cells in tui.cells("log")} == {"warning"})
            tui.console.view.narrow("job failed")
            await tui.until(lambda: all("job failed" in cells[2] for cells in tui.cells("log")))
            await tui.press("enter")
            await tui.until(lambda: tui.front == "Lines")
            await tui.press("escape", "escape")
            assert "not following" not in tui.text("#screen-6 #shown")

    run(main)


def test_help_and_the_command_palette(home: Home) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            for number in "123456":
                await tui.press(number, "question_mark")
                await tui.until(lambda: tui.front == "Help")
                assert "Everywhere" in tui.text("#text")
                await tui.press("escape")
            names = [verb.name for verb in tui.console.verbs()]
            assert len(names) == len(set(names))
            for said in ("Queues: pause all", "Jobs: backfill", "Deletions: approve", "Library: like", "Trash: empty"):
                assert said in names
            await tui.press("colon")
            await tui.until(lambda: tui.front == "CommandPalette")
            await tui.type("workers list")
            await tui.until(lambda: tui.console.screen.query_one("OptionList").option_count == 1)  # type: ignore[attr-defined]
            await tui.press("enter")
            await tui.until(lambda: tui.front == "Lines")
            assert "this one" in tui.text("#text")
            await tui.press("escape", "q")
        assert tui.console.return_code == 0

    run(main)


@pytest.mark.parametrize(
    "verb",
    [
        "Queues: pause all",
        "Jobs: backfill",
        "Repositories: scan all",
        "Integrity: verify all",
        "Derivatives: prune",
        "Queues: let all go on",
    ],
)
def test_verbs_of_the_palette(home: Home, client: Client, verb: str) -> None:
    async def main() -> None:
        async with driving(home.socket) as tui:
            await tui.until(lambda: tui.listing("queues").rows)
            [found] = [one for one in tui.console.verbs() if one.name == verb]
            tui.console.do(found)
            await tui.until(lambda: tui.told)
            assert not tui.text("#wrong")

    run(main)
    client.resume_queue("*")
