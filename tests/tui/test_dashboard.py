import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.widgets import DataTable, HelpPanel, Static

from lumilio_tui.app import Console

if TYPE_CHECKING:
    from tests.conftest import Daemon


async def until(console: Console, sign: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
        while not sign():
            await asyncio.sleep(0.02)


def summary(console: Console) -> str:
    found = console.screen.query("#summary")
    return str(found.first(Static).content) if found else ""


def test_a_daemon_that_is_not_there() -> None:
    async def main() -> None:
        console = Console("/nonexistent/s")
        async with console.run_test() as pilot:
            await until(console, lambda: "not running" in summary(console))
            assert "Trying again" in summary(console)
            assert console.screen.query_one("#summary").has_class("lost")
            await pilot.press("question_mark")
            await until(console, lambda: bool(console.screen.query(HelpPanel)))
            await pilot.press("question_mark")
            await until(console, lambda: not console.screen.query(HelpPanel))
            await pilot.press("r")
            await pilot.press("q")
        assert console.return_code == 0

    asyncio.run(main())


def test_a_daemon(daemon: "Daemon") -> None:
    root = daemon.state_dir / "photos"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "[b]home")

    async def main() -> None:
        console = Console(daemon.socket)
        async with console.run_test(size=(120, 40)) as pilot:
            await until(console, lambda: "lumiliod 0" in summary(console))
            table = console.screen.query_one("#repositories", DataTable)
            await until(console, lambda: table.row_count == 1)
            assert str(table.get_row_at(0)[0]) == "[b]home"
            assert console.screen.query_one("#services", DataTable).row_count > 0
            await asyncio.to_thread(daemon.stop)
            await pilot.press("r")
            await until(console, lambda: "not running" in summary(console))
            await asyncio.to_thread(daemon.start)
            await pilot.press("r")
            await until(console, lambda: "lumiliod 0" in summary(console))
            await pilot.press("q")

    asyncio.run(main())
